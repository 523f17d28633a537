package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/choria-io/fisk"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

func (p *program) addLogRetain(log *fisk.CmdClause) {
	var now bool
	cmd := p.command(log, "retain", "Remove history that is past its retention, now", func(ctx context.Context) error { return p.retain(ctx, now) })
	cmd.HelpLong(`The leader removes history from the archive every hour: what was over so long ago as
its org and its type say (the longer of both; org edit, type edit --retention), or else
the cell (server run --retention, 90 days at first). Open dead letters, jobs that are not over and
what a legal hold stands on stay. With --dry-run this says what would go; with --now
it goes now. For 24 hours it is only marked, for a backup that reads it; then it is
gone for good.

Examples:

	jobledger log retain --dry-run
	jobledger log retain --now --reason "space"`)
	cmd.Flag("now", "Remove it").UnNegatableBoolVar(&now)
}

func (p *program) retain(ctx context.Context, now bool) error {
	dry := p.flags.DryRun
	if now == dry {
		return usagef("give --dry-run to see what would be removed, or --now to remove it")
	}
	reason := ""
	if now {
		var err error
		if reason, err = p.reason(); err != nil {
			return err
		}
	}
	l, err := p.openLedger(ctx, "log retain", p.logger(zap.WarnLevel))
	if err != nil {
		return err
	}
	defer l.Conn().Close()
	plan, err := l.AskRetain(ctx, dry, p.devActor(), reason)
	if errors.Is(err, ledger.ErrNoArchiver) {
		return failf(ledger.CodeUnavailable, "%w: run it again when a server leads", err)
	}
	if err != nil {
		return err
	}
	if p.flags.JSON {
		return p.document(plan)
	}
	return p.printPlan(plan, dry)
}

func (p *program) printPlan(plan *ledger.RetainPlan, dry bool) error {
	if plan.Held > 0 {
		p.talkf("%d segments are past their retention, and a legal hold keeps them", plan.Held)
	}
	verb := "removed"
	if dry {
		verb = "would be removed"
	}
	if plan.Segments == 0 {
		p.talkf("nothing %s", verb)
		return nil
	}
	p.talkf("%s events of %s jobs, in %d segments, %s: from %s to %s", thousands(uint64(plan.Events)), thousands(uint64(plan.Jobs)), plan.Segments, verb,
		plan.Oldest.Format(time.RFC3339), plan.Newest.Format(time.RFC3339))
	g := &grid{Title: fmt.Sprintf("%d classes", len(plan.Classes)), Columns: []string{"kept by", "segments", "events", "jobs", "oldest", "newest"}}
	for i := range plan.Classes {
		c := &plan.Classes[i]
		g.add(classText(c.Class), fmt.Sprint(c.Segments), thousands(uint64(c.Events)), thousands(uint64(c.Jobs)), p.listTime(c.Oldest), p.listTime(c.Newest))
	}
	return p.list(g)
}

// classText says for people what a class is kept by.
func classText(class string) string {
	switch class {
	case "":
		return "the cell"
	case "many":
		return "many settings, the longest"
	case "open":
		return "each job's own"
	}
	return class
}

// parseRetention reads whole days, or "default".
func parseRetention(s string) (any, error) {
	if s == wordDefault {
		return nil, nil
	}
	d, err := parseDuration(s)
	if err != nil {
		return nil, err
	}
	days := int(d / schemas.Day)
	if d%schemas.Day != 0 || days == 0 {
		return nil, fmt.Errorf("%q is not a number of days, as in 365d, nor %q", s, wordDefault)
	}
	return days, schemas.CheckRetentionDays(days)
}

// retentionText prints a retention for people.
func retentionText(days int) string {
	if days == 0 {
		return ""
	}
	return fmt.Sprintf("%d days", days)
}
