package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// listFlags are those of `job ls`.
type listFlags struct {
	jobFilters
	owner, tags, batch []string
	since, until       string
	limit              option[int]
	cursor, minSeq     string
	idsOnly            bool
	format             string
}

func (p *program) addJobLs(job *fisk.CmdClause) {
	var f listFlags
	cmd := p.command(job, "ls", "List jobs, newest first", func(ctx context.Context) error { return p.listJobs(ctx, &f) })
	cmd.HelpLong(`Examples:

	jobledger job ls --state dead_lettered --since 1h
	jobledger job ls --state submitted --reason paused,limited
	jobledger job ls --type email-send,email-digest -n
	jobledger job ls --tag env=prod --format csv > jobs.csv`)
	f.declare(cmd)
	cmd.Flag("owner", "Only jobs that run as these").PlaceHolder("OWNER").StringsVar(&f.owner)
	cmd.Flag("tag", "Only jobs with this tag; several must all match").PlaceHolder("K=V").StringsVar(&f.tags)
	cmd.Flag("batch", "Only jobs of these batches").PlaceHolder("ID").StringsVar(&f.batch)
	cmd.Flag("since", "Only jobs submitted since a time, or so long ago").PlaceHolder("TIME|D").StringVar(&f.since)
	cmd.Flag("until", "Only jobs submitted until a time, or so long ago").PlaceHolder("TIME|D").StringVar(&f.until)
	optionFlag(cmd, "limit", fmt.Sprintf("Rows, %d by default, %d at most", gateway.LimitDefault, gateway.LimitMax), &f.limit, parseInt).PlaceHolder("N")
	cmd.Flag("cursor", "Where the last page ended").PlaceHolder("CURSOR").StringVar(&f.cursor)
	cmd.Flag("min-seq", "Wait until the list includes this sequence").PlaceHolder("N").StringVar(&f.minSeq)
	cmd.Flag("names", "Print ids only").Short('n').UnNegatableBoolVar(&f.idsOnly)
	cmd.Flag("format", "table or csv").EnumVar(&f.format, "table", "csv")
}

func (p *program) listJobs(ctx context.Context, f *listFlags) error {
	r, err := f.request(p)
	if err != nil {
		return err
	}
	c, err := p.openClient("job ls")
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	page, err := c.List(ctx, r)
	if err != nil {
		return err
	}
	if p.flags.JSON {
		return p.document(page)
	}
	if err := p.printJobs(page, f); err != nil {
		return err
	}
	if page.Next != nil {
		p.talkf("next: --cursor %s", *page.Next)
	}
	return nil
}

// request reads the flags; every mistake is found before a request is made.
func (f *listFlags) request(p *program) (gateway.ListRequest, error) {
	r := gateway.ListRequest{
		State: split[schemas.State](f.state), Reason: split[string]([]string{p.flags.Reason.Value}), Type: split[schemas.TypeName](f.typ),
		Queue: split[schemas.QueueName](f.queue), Priority: split[schemas.Priority](f.priority),
		Owner: split[string](f.owner), Batch: split[string](f.batch), Limit: f.limit.Or(0), Cursor: f.cursor,
	}
	if err := f.check(); err != nil {
		return r, err
	}
	if f.limit.Set && (f.limit.Value < 1 || f.limit.Value > gateway.LimitMax) {
		return r, usagef("--limit must be 1 to %d", gateway.LimitMax)
	}
	for _, tag := range f.tags {
		k, v, ok := strings.Cut(tag, "=")
		if !ok {
			return r, usagef("--tag: %q is not k=v", tag)
		}
		if r.Tags == nil {
			r.Tags = make(map[string]string)
		}
		r.Tags[k] = v
	}
	for _, bound := range []struct {
		name, text string
		to         **time.Time
	}{{"since", f.since, &r.Since}, {"until", f.until, &r.Until}} {
		if bound.text == "" {
			continue
		}
		t, err := parseTime(bound.text, p.Now(), p.flags.zone, -1)
		if err != nil {
			return r, usagef("--%s: %w", bound.name, err)
		}
		*bound.to = &t
	}
	if f.minSeq != "" {
		seq, err := schemas.ParseSeq(f.minSeq)
		if err != nil {
			return r, usagef("--min-seq: %w", err)
		}
		r.MinSeq = seq
	}
	return r, nil
}

func (p *program) printJobs(page *gateway.List, f *listFlags) error {
	if f.idsOnly {
		for i := range page.Items {
			if err := p.printf("%s\n", page.Items[i].ID); err != nil {
				return err
			}
		}
		return nil
	}
	if f.format == "csv" {
		return outputError(jobsGrid(page.Items, csvTime).writeCSV(p.Stdout))
	}
	g := jobsGrid(page.Items, func(t *time.Time) string {
		if t == nil {
			return ""
		}
		return p.listTime(*t)
	})
	g.Title = fmt.Sprintf("%d jobs", len(page.Items))
	return p.list(g)
}

// csvTime is a time for a spreadsheet: the same everywhere.
func csvTime(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func jobsGrid(jobs []ledger.Record, when func(*time.Time) string) *grid {
	g := &grid{Columns: []string{"id", "type", "queue", "state", "reason", "attempt", "submitted", "finished", "error"}}
	for i := range jobs {
		r := &jobs[i]
		reason, message := "", ""
		if r.Reason != nil {
			reason = *r.Reason
		}
		if r.Error != nil && r.State != schemas.StateCompleted {
			message = clip(r.Error.Message, errorCellMax)
		}
		g.add(string(r.ID), string(r.Type), string(r.Queue), string(r.State), reason, fmt.Sprint(r.Attempt),
			when(&r.SubmittedAt), when(r.FinishedAt), message)
	}
	return g
}

// errorCellMax is how much of an error a list shows, in letters.
const errorCellMax = 60

// clip shortens text to its first line and so many letters.
func clip(s string, max int) string {
	s, _, more := strings.Cut(s, "\n")
	if letters := []rune(s); len(letters) > max {
		s, more = string(letters[:max]), true
	}
	if more {
		s += "…"
	}
	return s
}
