package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/schemas"
)

func (p *program) addJobCount(job *fisk.CmdClause) {
	var by, format, where string
	var f jobFilters
	cmd := p.command(job, "count", "Count jobs, exactly", func(ctx context.Context) error {
		return p.countJobs(ctx, by, format, where, &f)
	})
	cmd.HelpLong(`Examples:

	jobledger job count
	jobledger job count --by type --state dead_lettered
	jobledger job count --where 'type:email-* -state:completed'`)
	declareWhere(cmd, &where)
	cmd.Flag("by", "Group by state, type or queue").Default(gateway.ByState).EnumVar(&by, gateway.ByState, gateway.ByType, gateway.ByQueue)
	cmd.Flag("state", "Only jobs in these states: "+joined(stateNames())).PlaceHolder("STATE").StringsVar(&f.state)
	cmd.Flag("type", "Only jobs of these types").PlaceHolder("TYPE").StringsVar(&f.typ)
	cmd.Flag("queue", "Only jobs of these queues").PlaceHolder("QUEUE").StringsVar(&f.queue)
	cmd.Flag("format", "table or csv").EnumVar(&format, "table", "csv")
}

func (p *program) countJobs(ctx context.Context, by, format, where string, f *jobFilters) error {
	if err := f.check(); err != nil {
		return err
	}
	if _, err := checkWhere(where); err != nil {
		return err
	}
	c, err := p.openClient("job count")
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	count, err := c.Count(ctx, gateway.CountRequest{By: by, State: split[schemas.State](f.state),
		Type: split[schemas.TypeName](f.typ), Queue: split[schemas.QueueName](f.queue), Where: strings.TrimSpace(where)})
	if err != nil {
		return err
	}
	if p.flags.JSON {
		return p.document(count)
	}
	g := &grid{Title: fmt.Sprintf("%d jobs", count.Total), Columns: []string{by, "jobs"}}
	for _, item := range count.Items {
		g.add(item.Key, fmt.Sprint(item.Count))
	}
	if format == "csv" {
		return outputError(g.writeCSV(p.Stdout))
	}
	return p.list(g)
}
