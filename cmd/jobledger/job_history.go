package main

import (
	"context"
	"errors"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// historyFlags say which part of a job's history is shown, and whence.
type historyFlags struct {
	id, at, file string
	raw          bool
}

func (p *program) addJobHistory(job *fisk.CmdClause) {
	var f historyFlags
	cmd := p.command(job, "history", "Show every event of one job, oldest first", func(ctx context.Context) error {
		return p.jobHistory(ctx, &f)
	})
	cmd.HelpLong(`With --raw each event is printed whole, as a CloudEvent: with its id, causation and trace.
With --file the history is read from what log replay, job export or log export has
written as CloudEvents or NDJSON, without a server.

Examples:

	jobledger job history 0193f0c2-...
	jobledger job history 0193f0c2-... --at "2026-11-23 14:00" --tz UTC
	jobledger job history 0193f0c2-... --file /export/acme`)
	cmd.Arg("id", "The job").Required().StringVar(&f.id)
	cmd.Flag("at", "Only what had happened by then, and the state then").PlaceHolder("SEQ|TIME").StringVar(&f.at)
	cmd.Flag("raw", "Print CloudEvents, whole, by a connection to the ledger itself").UnNegatableBoolVar(&f.raw)
	cmd.Flag("file", "Read this file, or folder of log export").PlaceHolder("EXPORT").StringVar(&f.file)
}

// toldEvent is one event of a history: its line, and the event itself where the source has it.
type toldEvent struct {
	ledger.HistoryLine
	entry *ledger.Entry
}

func (p *program) jobHistory(ctx context.Context, f *historyFlags) error {
	if err := checkJobID(f.id); err != nil {
		return err
	}
	until, err := p.bound("--at", f.at)
	if err != nil {
		return err
	}
	told, err := p.tellHistory(ctx, f)
	if err != nil {
		return err
	}
	state := schemas.StateNone
	for i := range told {
		h := &told[i]
		if until.Seq > 0 && h.Seq > until.Seq || !until.Time.IsZero() && h.Time.After(until.Time) {
			break
		}
		if h.To != nil && !h.Illegal {
			state = *h.To
		}
		if err := p.printHistoryLine(h, f.raw); err != nil {
			return err
		}
	}
	if f.at != "" && !p.flags.JSON && !f.raw {
		if state == schemas.StateNone {
			p.talkf("the job did not exist then")
		} else {
			p.talkf("state then: %s", state)
		}
	}
	return nil
}

// tellHistory reads the history where the flags say.
func (p *program) tellHistory(ctx context.Context, f *historyFlags) ([]toldEvent, error) {
	switch {
	case f.file != "":
		told, err := p.historyInFile(f)
		if err == nil && len(told) == 0 {
			err = failf(ledger.CodeNotFound, "%s holds nothing of job %s", f.file, f.id)
		}
		return told, err
	case f.raw:
		return p.historyInLedger(ctx, f.id)
	}
	c, err := p.openClient("job history")
	if err != nil {
		return nil, err
	}
	defer c.Conn.Close()
	lines, err := c.History(ctx, schemas.JobID(f.id))
	if err != nil {
		return nil, err
	}
	told := make([]toldEvent, len(lines))
	for i := range lines {
		told[i].HistoryLine = lines[i]
	}
	return told, nil
}

func (p *program) historyInLedger(ctx context.Context, id string) ([]toldEvent, error) {
	l, org, err := p.openOrgHistory(ctx, "job history")
	if err != nil {
		return nil, err
	}
	defer l.Conn().Close()
	h, err := l.History(ctx, org, schemas.JobID(id))
	if errors.Is(err, ledger.ErrNotFound) {
		return nil, failf(ledger.CodeNotFound, "org %s has no job %s, or its history is past its retention", org, id)
	}
	if err != nil {
		return nil, err
	}
	var told []toldEvent
	for i, e := range h.Entries {
		if !errors.Is(e.Err, schemas.ErrForeign) {
			line := ledger.LineOf(e)
			line.Illegal = h.Illegal[i]
			told = append(told, toldEvent{HistoryLine: line, entry: e})
		}
	}
	return told, nil
}

func (p *program) printHistoryLine(h *toldEvent, raw bool) error {
	var text []byte
	var err error
	switch {
	case raw && h.entry == nil:
		return usagef("--raw: the file holds no CloudEvents")
	case raw:
		text, err = ledger.CloudEvent(h.entry)
	case p.flags.JSON:
		text, err = h.Encode(false)
	default:
		line := h.HistoryLine
		line.Org, line.ID, line.Type = nil, nil, nil // all are of one job
		text = []byte(p.eventLine(line))
	}
	if err != nil {
		return err
	}
	return p.printf("%s\n", text)
}
