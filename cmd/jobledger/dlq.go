package main

import (
	"context"
	"fmt"
	"time"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
)

func (p *program) addDLQ(app *fisk.Application) {
	dlq := group(app, "dlq", "Look after dead letters: jobs that will not be tried again")
	p.addDLQLs(dlq)
	p.addDLQReport(dlq)
	p.addDLQRetry(dlq)
	p.addDLQResolve(dlq)
}

// ofDeadLetters are filters of commands about dead letters: open ones unless
// asked for others.
func ofDeadLetters() filterFlags { return filterFlags{withoutState: true, deadLetters: true} }

func (p *program) addDLQLs(dlq *fisk.CmdClause) {
	f := listFlags{filterFlags: ofDeadLetters()}
	cmd := p.command(dlq, "ls", "List open dead letters, newest first", func(ctx context.Context) error {
		return p.listWith(ctx, &f, deadGrid)
	})
	cmd.HelpLong(`Examples:

	jobledger dlq ls --reason poison,expired
	jobledger dlq ls --group 5f1c9a... --resolution all
	jobledger dlq ls --where 'class:timeout type:email-* finished:<1d'`)
	f.declare(cmd)
	f.declarePage(cmd)
}

func deadGrid(jobs []ledger.Record, when func(*time.Time) string) *grid {
	g := &grid{Columns: []string{"id", "type", "queue", "reason", "attempts", "submitted", "dead since", "resolution", "error"}}
	for i := range jobs {
		r := &jobs[i]
		resolution, message := "", ""
		if r.Resolution != nil {
			resolution = string(r.Resolution.State)
		}
		if r.Error != nil {
			message = clip(r.Error.Message, errorCellMax)
		}
		g.add(string(r.ID), string(r.Type), string(r.Queue), deref(r.Reason), fmt.Sprint(r.Attempt),
			when(&r.SubmittedAt), when(r.FinishedAt), resolution, message)
	}
	return g
}

func (p *program) addDLQReport(dlq *fisk.CmdClause) {
	f, by, format := ofDeadLetters(), "", ""
	cmd := p.command(dlq, "report", "What jobs died of, in groups", func(ctx context.Context) error {
		return p.reportDead(ctx, &f, by, format)
	})
	cmd.HelpLong(`Open dead letters are grouped by type, reason and error, without the numbers and
ids in which errors differ; the largest group comes first. One action then treats
a group:

	jobledger dlq report
	jobledger dlq retry --group 5f1c9a0b7d21 --reason "receiver is back"`)
	cmd.Flag("by", "error, type, queue or org").Default(gateway.ByError).EnumVar(&by, gateway.ByError, gateway.ByType, gateway.ByOrg, gateway.ByQueue)
	f.declare(cmd)
	cmd.Flag("format", "table or csv").EnumVar(&format, "table", "csv")
}

func (p *program) reportDead(ctx context.Context, f *filterFlags, by, format string) error {
	filter, err := f.filter(p)
	if err != nil {
		return err
	}
	filter.Reason = split[string]([]string{p.flags.Reason.Value})
	c, err := p.openClient("dlq report")
	if err != nil {
		return err
	}
	defer c.Conn.Close()
	report, err := c.Errors(ctx, gateway.ErrorsRequest{By: by, Filter: filter})
	if err != nil {
		return err
	}
	if p.flags.JSON {
		return p.document(report)
	}
	if format == "csv" {
		return outputError(groupsGrid(report, csvTime).writeCSV(p.Stdout))
	}
	g := groupsGrid(report, func(t *time.Time) string { return p.listTime(*t) })
	g.Title = fmt.Sprintf("%s dead letters in %d groups", thousands(uint64(report.Total)), len(report.Groups))
	if err := p.list(g); err != nil {
		return err
	}
	if report.Ungrouped > 0 {
		p.talkf("and %s more in smaller groups", thousands(uint64(report.Ungrouped)))
	}
	return nil
}

func groupsGrid(report *gateway.ErrorGroups, when func(*time.Time) string) *grid {
	g := &grid{Columns: []string{"group", "count", "type", "reason", "class", "error", "first", "last", "example"}}
	for i := range report.Groups {
		e := &report.Groups[i]
		g.add(e.Key, fmt.Sprint(e.Count), string(e.Type), e.Reason, string(e.Class), clip(e.Message, errorCellMax),
			when(&e.FirstAt), when(&e.LastAt), string(e.SampleID))
	}
	return g
}

func (p *program) addDLQRetry(dlq *fisk.CmdClause) {
	a := action{verb: gateway.ActionRetry, past: "retried", operator: true, filterFlags: ofDeadLetters()}
	cmd := p.command(dlq, "retry", "Give dead letters another budget", func(ctx context.Context) error { return p.act(ctx, &a) })
	cmd.HelpLong(retryHelp + `

Without ids, all open dead letters that match: they are counted first, then you are
asked (--force answers yes, --dry-run stops there). It may be interrupted: the same
command again does the rest.

Examples:

	jobledger dlq retry --type mail-send --since 2h --reason "receiver is back" --dry-run
	jobledger dlq retry --group 5f1c9a0b7d21 --reason "fixed in 1.4.2" --force
	jobledger dlq retry --for-reason retries_exhausted --error "connection refused" --reason "network mended"`)
	a.declareAction(cmd)
	a.declareRetry(cmd)
}

func (p *program) addDLQResolve(dlq *fisk.CmdClause) {
	a := action{verb: gateway.ActionResolve, operator: true, filterFlags: ofDeadLetters()}
	cmd := p.command(dlq, "resolve", "Close dead letters with a note", func(ctx context.Context) error { return p.resolve(ctx, &a) })
	cmd.HelpLong(resolveHelp + `

Without ids, all open dead letters that match, as with dlq retry.

Example:

	jobledger dlq resolve --type report-build --until 30d --as ignored --note "nobody waits for these" --force`)
	a.declareAction(cmd)
	a.declareResolve(cmd)
}
