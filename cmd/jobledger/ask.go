package main

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/dartwing/jobledger/ledger"
)

// confirm asks before something that cannot be taken back. --force answers yes;
// without a terminal there is nobody to ask, so the flag is required
// (INTERFACE 1.9).
func (p *program) confirm(question string) error {
	if p.flags.Force {
		return nil
	}
	if !p.IsTerminal(p.Stdin) {
		return usagef("%s Give --force to do it without asking", question)
	}
	fmt.Fprintf(p.Stderr, "%s [y/N] ", question)
	answer, err := p.readLine()
	if err != nil {
		return err
	}
	switch strings.ToLower(answer) {
	case "y", "yes":
		return nil
	default:
		return failf(ledger.CodeInvalidArgument, "not done")
	}
}

// reason is why a change is made: the flag, or what a person answers.
func (p *program) reason() (string, error) {
	if given := p.flags.Reason.Value; given != "" {
		return given, nil
	}
	if !p.IsTerminal(p.Stdin) {
		return "", usagef("a reason is needed: give --reason")
	}
	fmt.Fprint(p.Stderr, "Reason: ")
	answer, err := p.readLine()
	if err != nil {
		return "", err
	}
	if answer == "" {
		return "", usagef("a reason is needed")
	}
	return answer, nil
}

// readLine reads one answer. Only one question is asked in a run, so what the
// reader takes beyond the line is not missed.
func (p *program) readLine() (string, error) {
	line, err := bufio.NewReader(p.Stdin).ReadString('\n')
	if err != nil && line == "" {
		return "", failf(ledger.CodeInvalidArgument, "no answer: %w", err)
	}
	return strings.TrimSpace(line), nil
}
