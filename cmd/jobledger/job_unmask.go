package main

import (
	"context"
	"strings"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/schemas"
)

func (p *program) addJobUnmask(job *fisk.CmdClause) {
	var id string
	cmd := p.command(job, "unmask", "Print a job's arguments with what its type redacts", func(ctx context.Context) error {
		return p.unmask(ctx, id)
	})
	cmd.HelpLong(`What a type's schema marks x-redact is shown as "[redacted]" everywhere else. That you
saw it, and why, is stored as an event before anything is printed; job history shows it.
Needs the right payloads.unmask.

Example:

	jobledger job unmask 0193f0c2-... --reason "case 4711"`)
	cmd.Arg("id", "The job").Required().StringVar(&id)
}

func (p *program) unmask(ctx context.Context, id string) error {
	if err := checkJobID(id); err != nil {
		return err
	}
	if p.flags.DryRun {
		return usagef("--dry-run: job unmask shows what is redacted, or does not: job info shows the rest")
	}
	reason, err := p.reason()
	if err != nil {
		return err
	}
	c, err := p.openClient("job unmask")
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	r, err := c.Unmask(ctx, schemas.JobID(id), gateway.UnmaskRequest{Reason: reason})
	if err != nil {
		return err
	}
	if p.flags.JSON {
		text, err := r.Encode()
		if err != nil {
			return err
		}
		return p.printf("%s\n", text)
	}
	if r.Seq == nil {
		p.talkf("type %s redacts nothing: no event was stored", r.Type)
	} else {
		p.talkf("event %s says that you saw %s", r.Seq, oneLine.Replace(unmaskedText(r.Fields)))
	}
	return p.printf("%s\n", orNull(r.Args))
}

// unmaskedText names fields for people.
func unmaskedText(fields []string) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		if names[i] = f; f == "" {
			names[i] = "all of the arguments"
		}
	}
	return strings.Join(names, ", ")
}
