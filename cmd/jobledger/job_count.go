package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/schemas"
)

func (p *program) addJobCount(job *fisk.CmdClause) {
	var by, format, where, at string
	var f jobFilters
	cmd := p.command(job, "count", "Count jobs, exactly", func(ctx context.Context) error {
		return p.countJobs(ctx, by, format, where, at, &f)
	})
	cmd.HelpLong(`With --at it counts how all jobs of the org stood then: it reads the org's history up
to there, and connects to the ledger itself.

Examples:

	jobledger job count
	jobledger job count --by type --state dead_lettered
	jobledger job count --where 'type:email-* -state:completed'
	jobledger job count --at "2026-11-23 14:00" --tz UTC --by type
	jobledger job count --by tag:customer --where 'args.country:CH finished:<1d'`)
	declareWhere(cmd, &where)
	cmd.Flag("by", "Group by state, type, queue, error, class, reason, priority, owner, batch or tag:NAME").Default(gateway.ByState).PlaceHolder("WHAT").StringVar(&by)
	cmd.Flag("state", "Only jobs in these states: "+joined(stateNames())).PlaceHolder("STATE").StringsVar(&f.state)
	cmd.Flag("type", "Only jobs of these types").PlaceHolder("TYPE").StringsVar(&f.typ)
	cmd.Flag("queue", "Only jobs of these queues").PlaceHolder("QUEUE").StringsVar(&f.queue)
	cmd.Flag("format", "table or csv").EnumVar(&format, "table", "csv")
	cmd.Flag("at", "As they stood then: a sequence, a time, or how long ago").PlaceHolder("SEQ|TIME").StringVar(&at)
}

func (p *program) countJobs(ctx context.Context, by, format, where, at string, f *jobFilters) error {
	if err := f.check(); err != nil {
		return err
	}
	if _, err := checkWhere(where); err != nil {
		return err
	}
	if err := gateway.CheckBy(by); err != nil {
		return usagef("--by: %w", err)
	}
	req := gateway.CountRequest{By: by, State: split[schemas.State](f.state),
		Type: split[schemas.TypeName](f.typ), Queue: split[schemas.QueueName](f.queue), Where: strings.TrimSpace(where)}
	if at != "" {
		return p.countJobsAt(ctx, at, format, req)
	}
	c, err := p.openClient("job count")
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	count, err := c.Count(ctx, req)
	if err != nil {
		return err
	}
	return p.showCount(count, format)
}

// countJobsAt counts by a fold of the org's history up to a moment.
func (p *program) countJobsAt(ctx context.Context, at, format string, req gateway.CountRequest) error {
	then, err := p.bound("--at", at)
	if err != nil {
		return err
	}
	l, org, err := p.openOrgHistory(ctx, "job count")
	if err != nil {
		return err
	}
	defer l.Conn().Close()
	show := p.newLiveLine()
	counts, as, err := l.CountsAt(ctx, org, then, func(at, end schemas.Seq) {
		show.set(func() string { return progressOf(1, uint64(at), uint64(end)) })
	})
	show.clear()
	if err != nil {
		return err
	}
	p.talkf("read the history of %s up to sequence %d", org, as)
	count, err := gateway.CountOf(req, counts, as)
	if err != nil {
		return err
	}
	return p.showCount(count, format)
}

func (p *program) showCount(count *gateway.Count, format string) error {
	if p.flags.JSON {
		return p.document(count)
	}
	g := &grid{Title: fmt.Sprintf("%d jobs", count.Total), Columns: []string{count.By, "jobs"}}
	for _, item := range count.Items {
		g.add(cmp.Or(item.Key, "-"), fmt.Sprint(item.Count))
	}
	if format == "csv" {
		return outputError(g.writeCSV(p.Stdout))
	}
	return p.list(g)
}
