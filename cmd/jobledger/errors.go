package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/ledger"
)

// exitCode is what the process ends with (INTERFACE 2.2).
type exitCode int

const (
	exitOK           exitCode = 0
	exitError        exitCode = 1 // also: refused, not found, damage found
	exitUsage        exitCode = 2 // bad flag, missing argument, would have to prompt
	exitUnfinished   exitCode = 3 // waiting commands: time is up
	exitDeadLettered exitCode = 4 // waiting commands: the job ended so
	exitCanceled     exitCode = 5 // waiting commands: the job ended so
	exitSignal       exitCode = 128
)

// exitRequest ends the program with a code and no message: everything there is
// to say has been said.
type exitRequest struct{ code exitCode }

func (e exitRequest) Error() string { return fmt.Sprintf("exit %d", e.code) }

// cliError is an error as the user sees it: on one line, or with -j as the
// envelope of the HTTP API.
type cliError struct {
	Code      ledger.Code    `json:"code"`
	Message   string         `json:"message"`
	Details   map[string]any `json:"details"`
	RequestID *string        `json:"request_id"`

	exit  exitCode
	cause error
}

func (e *cliError) Error() string { return e.Message }
func (e *cliError) Unwrap() error { return e.cause }

// usagef is a mistake in the command line: exit code 2.
func usagef(format string, args ...any) *cliError {
	err := fmt.Errorf(format, args...)
	return &cliError{Code: ledger.CodeInvalidArgument, Message: err.Error(), exit: exitUsage, cause: err}
}

// failf is a failure with a code of the closed set: exit code 1.
func failf(code ledger.Code, format string, args ...any) *cliError {
	err := fmt.Errorf(format, args...)
	return &cliError{Code: code, Message: err.Error(), exit: exitError, cause: err}
}

// asCLIError gives any error its code: the ledger's judgement, after what only a
// connection can say.
func asCLIError(err error) *cliError {
	var known *cliError
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired):
		return failf(ledger.CodeUnauthenticated, "%w", err)
	case errors.Is(err, nats.ErrPermissionViolation):
		return failf(ledger.CodePermissionDenied, "%w", err)
	}
	e := ledger.AsError(err)
	message := e.Message
	if e.Field != "" {
		message = e.Field + ": " + message
	}
	return &cliError{Code: e.Code, Message: message, Details: e.Details, exit: exitError, cause: err}
}

// report writes the error to stderr and returns the exit code for it.
func (p *program) report(err error) exitCode {
	if err == nil {
		return exitOK
	}
	e := asCLIError(err)
	if !p.flags.JSON {
		fmt.Fprintf(p.Stderr, "jobledger: %s [%s]\n", e.Message, e.Code)
		return e.exit
	}
	line, err := json.Marshal(map[string]*cliError{"error": e})
	if err != nil {
		// Only details can fail to marshal, and they are ours.
		panic(fmt.Sprintf("error envelope: %v", err))
	}
	fmt.Fprintf(p.Stderr, "%s\n", line)
	return e.exit
}
