package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/choria-io/fisk"
	"golang.org/x/sync/errgroup"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// exportChunk is how many jobs are read before they are written, and exportReads how many at once: what waits is
	// their histories.
	exportChunk = 64
	exportReads = 8
)

type exportFlags struct {
	filterFlags
	ids          []string
	format, file string
}

func (p *program) addJobExport(job *fisk.CmdClause) {
	var f exportFlags
	cmd := p.command(job, "export", "Write jobs with their histories", func(ctx context.Context) error { return p.exportJobs(ctx, &f) })
	cmd.HelpLong(`Writes every event of the jobs, job by job, in the formats of log replay: those of ids in
their order, those that a filter chooses newest first. job history --file reads it.
The whole history of an org, with payloads: log export.

Examples:

	jobledger job export 0193f0c2-... --format csv
	jobledger job export --where 'state:dead_lettered finished:<1d' --format cloudevents -o dead.ndjson`)
	cmd.Arg("id", "Jobs; a filter chooses them when absent").StringsVar(&f.ids)
	f.filterFlags.declare(cmd)
	f.declareReasons(cmd)
	cmd.Flag("format", "cloudevents, ndjson or csv").Default(formatNDJSON).EnumVar(&f.format, formatCloud, formatNDJSON, formatCSV)
	cmd.Flag("output", "Write into this file").Short('o').PlaceHolder("FILE").StringVar(&f.file)
}

func (p *program) exportJobs(ctx context.Context, f *exportFlags) error {
	switch {
	case len(f.ids) > 0 && f.given():
		return usagef("give ids or a filter, not both")
	case len(f.ids) == 0 && !f.given():
		return usagef("which jobs? give ids, or a filter such as --type; all of an org: log replay, log export")
	}
	if err := checkJobIDs(f.ids); err != nil {
		return err
	}
	filter, err := f.filter(p)
	if err != nil {
		return err
	}
	l, org, err := p.openOrgHistory(ctx, "job export")
	if err != nil {
		return err
	}
	defer l.Conn().Close()
	form := &eventForm{program: p, format: f.format}
	out, err := p.openEvents(ctx, l, form, f.file, false, nil)
	if err != nil {
		return err
	}
	x := &jobExport{l: l, org: org, out: out, show: p.newLiveLine()}
	if len(f.ids) > 0 {
		err = x.those(ctx, f.ids)
	} else {
		err = x.matches(ctx, &gateway.Client{Conn: l.Conn(), Org: org, Timeout: p.flags.Timeout}, filter)
	}
	x.show.clear()
	if err = errors.Join(err, out.close()); err == nil {
		p.talkf("%s, %s events", jobsText(x.jobs), thousands(uint64(x.events)))
	}
	return err
}

// jobExport writes jobs one after the other.
type jobExport struct {
	l            *ledger.Ledger
	org          schemas.OrgID
	out          eventSink
	show         *liveLine
	jobs, events int
}

// those writes jobs that must be there.
func (x *jobExport) those(ctx context.Context, ids []string) error {
	for len(ids) > 0 {
		n := min(len(ids), exportChunk)
		chunk := make([]schemas.JobID, n)
		for i, id := range ids[:n] {
			chunk[i] = schemas.JobID(id)
		}
		if err := x.write(ctx, chunk, true); err != nil {
			return err
		}
		ids = ids[n:]
	}
	return nil
}

// matches writes the jobs of a list. One whose history is removed meanwhile is left out.
func (x *jobExport) matches(ctx context.Context, c *gateway.Client, filter gateway.Filter) error {
	r := gateway.ListRequest{Filter: filter, Limit: exportChunk}
	for {
		page, err := c.List(ctx, r)
		if err != nil {
			return err
		}
		ids := make([]schemas.JobID, len(page.Items))
		for i := range page.Items {
			ids[i] = page.Items[i].ID
		}
		if err := x.write(ctx, ids, false); err != nil || page.Next == nil {
			return err
		}
		r.Cursor = *page.Next
	}
}

// write reads a few histories at once, and writes them in order.
func (x *jobExport) write(ctx context.Context, ids []schemas.JobID, all bool) error {
	histories := make([]*ledger.JobHistory, len(ids))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(exportReads)
	for i, id := range ids {
		group.Go(func() (err error) {
			histories[i], err = x.l.History(gctx, x.org, id)
			if errors.Is(err, ledger.ErrNotFound) {
				if err = nil; all {
					err = failf(ledger.CodeNotFound, "org %s has no job %s, or its history is past its retention", x.org, id)
				}
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	for _, h := range histories {
		if h == nil {
			continue
		}
		x.jobs++
		for _, e := range h.Entries {
			if errors.Is(e.Err, schemas.ErrForeign) {
				continue
			}
			x.events++
			if err := x.out.put(e); err != nil {
				return err
			}
		}
	}
	x.show.set(func() string { return fmt.Sprintf("%s, %s events", jobsText(x.jobs), thousands(uint64(x.events))) })
	return nil
}
