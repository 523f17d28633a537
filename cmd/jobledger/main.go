// Command jobledger is a distributed background-job ledger and dispatcher on
// NATS JetStream: the development cell, the server, workers, and the tools of
// whoever submits, watches and repairs jobs.
//
// # Shape
//
// A Main is one run of the program: arguments, streams and environment in, an
// exit code out, so that a test runs it in process. It parses the whole command
// line before anything happens (program.go); each command is a small file that
// declares its flags and leaves one function to run. What all commands share is
// in flags.go (common flags), connect.go and natscontext.go (where the server
// is), output.go and table.go (what stdout looks like), errors.go (what a
// failure looks like and which exit code it has).
//
// # Invariants
//
//   - stdout is data, stderr is talk; a pipe sees data only.
//   - A mistake in the command line is exit code 2 and happens before any
//     request.
//   - The environment and the terminal are read here and nowhere below.
package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/term"
)

// Main is one run of the program.
type Main struct {
	Args   []string // without the program's name
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Getenv func(string) string
	Now    func() time.Time

	// IsTerminal tells whether a person sits at this stream.
	IsTerminal func(stream any) bool

	abort atomic.Pointer[func()] // what a second signal calls; nil: it ends the process
}

func main() {
	m := &Main{
		Args:       os.Args[1:],
		Stdin:      os.Stdin,
		Stdout:     os.Stdout,
		Stderr:     os.Stderr,
		Getenv:     os.Getenv,
		Now:        time.Now,
		IsTerminal: isTerminal,
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	go m.handleSignals(cancel)
	os.Exit(int(m.Run(ctx)))
}

// Run does what the arguments say and returns the exit code (INTERFACE 2.2). It
// has reported every error by then.
func (m *Main) Run(ctx context.Context) exitCode {
	p := newProgram(m)
	run, err := p.parse()
	if err == nil {
		err = run(ctx)
	}
	var done exitRequest
	if errors.As(err, &done) {
		return done.code
	}
	if code, stopped := stoppedBySignal(ctx); stopped && err != nil {
		if !errors.Is(err, context.Canceled) {
			p.report(err)
		}
		return code
	}
	return p.report(err)
}

// signalError is the cause of a context that a signal canceled.
type signalError struct{ signal syscall.Signal }

func (e signalError) Error() string { return "stopped by " + e.signal.String() }

// handleSignals cancels at the first SIGINT or SIGTERM, which commands answer by
// draining. The second cuts the drain short, where the command can do that, and
// else ends the process, as the third does always.
func (m *Main) handleSignals(cancel context.CancelCauseFunc) {
	signals := make(chan os.Signal, 3)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	cancel(signalError{(<-signals).(syscall.Signal)})
	again := <-signals
	if abort := m.abort.Load(); abort != nil {
		(*abort)()
		again = <-signals
	}
	os.Exit(int(exitSignal) + int(again.(syscall.Signal)))
}

// onSecondSignal has a second signal call abort until the function it returns
// is called.
func (m *Main) onSecondSignal(abort func()) (forget func()) {
	m.abort.Store(&abort)
	return func() { m.abort.Store(nil) }
}

// stoppedBySignal tells whether a signal ended the context, and the code for a
// command that did not drain.
func stoppedBySignal(ctx context.Context) (exitCode, bool) {
	var s signalError
	if !errors.As(context.Cause(ctx), &s) {
		return 0, false
	}
	return exitSignal + exitCode(s.signal), true
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
