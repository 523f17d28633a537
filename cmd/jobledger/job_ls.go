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
	filterFlags
	limit          option[int]
	cursor, minSeq string
	sort           string
	idsOnly        bool
	format         string
}

func (p *program) addJobLs(job *fisk.CmdClause) {
	var f listFlags
	cmd := p.command(job, "ls", "List jobs, newest first", func(ctx context.Context) error { return p.listJobs(ctx, &f) })
	cmd.HelpLong(`Examples:

	jobledger job ls --state dead_lettered --since 1h
	jobledger job ls --state submitted --reason paused,limited
	jobledger job ls --sort run --since 1h --limit 10
	jobledger job ls --type email-send,email-digest -n
	jobledger job ls --tag env=prod --format csv > jobs.csv
	jobledger job ls --where 'state:retrying error:"connection refused" -tag.env:test submitted:>1h'`)
	f.declare(cmd)
	f.declarePage(cmd)
}

// declarePage declares how much is shown, and how.
func (f *listFlags) declarePage(cmd flagOwner) {
	optionFlag(cmd, "limit", fmt.Sprintf("Rows, %d by default, %d at most", gateway.LimitDefault, gateway.LimitMax), &f.limit, parseInt).PlaceHolder("N")
	cmd.Flag("sort", "By "+strings.Join(gateway.Sorts(), ", ")+": the greatest and latest first, or with :asc behind it the least and earliest").PlaceHolder("WHAT").StringVar(&f.sort)
	cmd.Flag("cursor", "Where the last page ended").PlaceHolder("CURSOR").StringVar(&f.cursor)
	cmd.Flag("min-seq", "Wait until the list includes this sequence").PlaceHolder("N").StringVar(&f.minSeq)
	cmd.Flag("names", "Print ids only").Short('n').UnNegatableBoolVar(&f.idsOnly)
	cmd.Flag("format", "table or csv").EnumVar(&f.format, "table", "csv")
}

func (p *program) listJobs(ctx context.Context, f *listFlags) error {
	return p.listWith(ctx, f, jobsGrid)
}

// listWith lists jobs in a table with columns of its own.
func (p *program) listWith(ctx context.Context, f *listFlags, gridOf gridOfJobs) error {
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
	if err := p.printJobs(page, f, gridOf); err != nil {
		return err
	}
	if page.Next != nil {
		p.talkf("next: --cursor %s", *page.Next)
	}
	return nil
}

// request reads the flags; every mistake is found before a request is made.
func (f *listFlags) request(p *program) (gateway.ListRequest, error) {
	r := gateway.ListRequest{Limit: f.limit.Or(0), Cursor: f.cursor, Sort: f.sort}
	if err := gateway.CheckSort(f.sort); err != nil {
		return r, usagef("--sort: %w", err)
	}
	filter, err := f.filter(p)
	if err != nil {
		return r, err
	}
	filter.Reason = split[string]([]string{p.flags.Reason.Value})
	r.Filter = filter
	if f.limit.Set && (f.limit.Value < 1 || f.limit.Value > gateway.LimitMax) {
		return r, usagef("--limit must be 1 to %d", gateway.LimitMax)
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

// gridOfJobs makes a table of jobs; when prints a time, also none.
type gridOfJobs func(jobs []ledger.Record, when func(*time.Time) string) *grid

func (p *program) printJobs(page *gateway.List, f *listFlags, gridOf gridOfJobs) error {
	if f.idsOnly {
		for i := range page.Items {
			if err := p.printf("%s\n", page.Items[i].ID); err != nil {
				return err
			}
		}
		return nil
	}
	if f.format == "csv" {
		return outputError(gridOf(page.Items, csvTime).writeCSV(p.Stdout))
	}
	g := gridOf(page.Items, func(t *time.Time) string {
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
