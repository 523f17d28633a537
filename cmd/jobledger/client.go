package main

import (
	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/schemas"
)

// openClient connects to the command service of the org in use. The caller
// closes its connection.
func (p *program) openClient(name string) (*gateway.Client, error) {
	t, err := p.resolveTarget()
	if err != nil {
		return nil, err
	}
	org, err := p.org(t)
	if err != nil {
		return nil, err
	}
	nc, err := p.connect(t, name)
	if err != nil {
		return nil, err
	}
	return &gateway.Client{Conn: nc, Org: org, Timeout: p.flags.Timeout}, nil
}

// checkJobID checks an id from the command line before any request.
func checkJobID(id string) error {
	if err := schemas.CheckToken("job id", id); err != nil {
		return usagef("%w", err)
	}
	return nil
}

func checkJobIDs(ids []string) error {
	for _, id := range ids {
		if err := checkJobID(id); err != nil {
			return err
		}
	}
	return nil
}

// exitOf is the code of a waiting command for a job that stands so.
func exitOf(state schemas.State) exitCode {
	switch state {
	case schemas.StateCompleted:
		return exitOK
	case schemas.StateDeadLettered:
		return exitDeadLettered
	case schemas.StateCanceled:
		return exitCanceled
	default:
		return exitUnfinished
	}
}

// exitWith ends the program with a code, with nothing more to say.
func exitWith(code exitCode) error {
	if code == exitOK {
		return nil
	}
	return exitRequest{code}
}
