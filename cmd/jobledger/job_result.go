package main

import (
	"context"
	"errors"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

func (p *program) addJobResult(job *fisk.CmdClause) {
	var id, file string
	cmd := p.command(job, "result", "Print a job's result, byte for byte", func(ctx context.Context) error {
		return p.result(ctx, id, file)
	})
	cmd.HelpLong(`Exit code 1 while the job is unfinished, 4 dead_lettered, 5 canceled.

Example:

	jobledger job result 0193f0c2-... -o report.json`)
	cmd.Arg("id", "The job").Required().StringVar(&id)
	cmd.Flag("output", "Write it to a file").Short('o').PlaceHolder("FILE").StringVar(&file)
}

func (p *program) result(ctx context.Context, id, file string) error {
	if err := checkJobID(id); err != nil {
		return err
	}
	c, err := p.openClient("job result")
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	r, err := c.Result(ctx, schemas.JobID(id))
	if err != nil {
		return withStateCode(err)
	}
	if p.flags.JSON {
		text, err := r.Encode()
		if err != nil {
			return err
		}
		return p.printf("%s\n", text)
	}
	if file != "" {
		if err := writeFile(file, orNull(r.Result)); err != nil {
			return failf(ledger.CodeInternal, "%w", err)
		}
		return nil
	}
	_, err = p.Stdout.Write(orNull(r.Result))
	return outputError(err)
}

// withStateCode gives a refusal for the state of an ended job that state's exit
// code; an unfinished job stays an error.
func withStateCode(err error) error {
	var refused *ledger.Error
	if !errors.As(err, &refused) || refused.Code != ledger.CodeInvalidState {
		return err
	}
	e := asCLIError(err)
	state, _ := refused.Details["state"].(string)
	if s := schemas.State(state); s.Finished() {
		e.exit = exitOf(s)
	}
	return e
}
