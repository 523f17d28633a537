package main

import (
	"context"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

func (p *program) addJobHistory(job *fisk.CmdClause) {
	var id, at string
	cmd := p.command(job, "history", "Show every event of one job, oldest first", func(ctx context.Context) error {
		return p.jobHistory(ctx, id, at)
	})
	cmd.HelpLong(`Examples:

	jobledger job history 0193f0c2-...
	jobledger job history 0193f0c2-... --at "2026-11-23 14:00" --tz UTC`)
	cmd.Arg("id", "The job").Required().StringVar(&id)
	cmd.Flag("at", "Only what had happened by then, and the state then").PlaceHolder("SEQ|TIME").StringVar(&at)
}

func (p *program) jobHistory(ctx context.Context, id, at string) error {
	if err := checkJobID(id); err != nil {
		return err
	}
	until, err := p.bound("--at", at)
	if err != nil {
		return err
	}
	c, err := p.openClient("job history")
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	lines, err := c.History(ctx, schemas.JobID(id))
	if err != nil {
		return err
	}
	state := schemas.StateNone
	for i := range lines {
		h := &lines[i]
		if until.Seq > 0 && h.Seq > until.Seq || !until.Time.IsZero() && h.Time.After(until.Time) {
			break
		}
		if h.To != nil && !h.Illegal {
			state = *h.To
		}
		if err := p.printHistoryLine(h); err != nil {
			return err
		}
	}
	if at != "" && !p.flags.JSON {
		if state == schemas.StateNone {
			p.talkf("the job did not exist then")
		} else {
			p.talkf("state then: %s", state)
		}
	}
	return nil
}

func (p *program) printHistoryLine(h *ledger.HistoryLine) error {
	if !p.flags.JSON {
		return p.printf("%s\n", p.eventLine(*h))
	}
	text, err := h.Encode(false)
	if err != nil {
		return err
	}
	return p.printf("%s\n", text)
}
