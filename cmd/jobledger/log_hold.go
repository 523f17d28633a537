package main

import (
	"context"
	"fmt"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/schemas"
)

// legalFlags are those of `log hold add` and `log hold release`.
type legalFlags struct{ org, typ, job string }

func (p *program) addLogHold(log *fisk.CmdClause) {
	hold := group(log, "hold", "Legal holds: history that is kept, however old it is")
	p.addLegalHold(hold, "add", "Keep history from being removed", true, `Nothing of an org, of an org's jobs of one type, or of one job is removed from the
archive while the hold is on, whatever its retention says. It acts at once: when the
command has ended, nothing more goes. What was removed before is gone.

Examples:

	jobledger log hold add acme --reason "case 4711"
	jobledger log hold add acme --type invoice-send --reason "audit of 2026"
	jobledger log hold add acme --job 01938d4a-7c00-7abc-8def-0123456789ab --reason "case 4712"`)
	p.addLegalHolds(hold)
	p.addLegalHold(hold, "release", "Let history be removed again when its time is over", false, `Name the scope as it was named to hold it. What is past its retention by then is
removed at the leader's next look, within an hour.

Example:

	jobledger log hold release acme --reason "case 4711 is closed"`)
}

func (p *program) addLegalHold(hold *fisk.CmdClause, verb, help string, on bool, long string) {
	var f legalFlags
	cmd := p.command(hold, verb, help, func(ctx context.Context) error { return p.legalHold(ctx, verb, &f, on) })
	cmd.HelpLong(long)
	cmd.Arg("org", "The org").Required().StringVar(&f.org)
	cmd.Flag("type", "Only its jobs of this type").PlaceHolder("TYPE").StringVar(&f.typ)
	cmd.Flag("job", "Only this job").PlaceHolder("ID").StringVar(&f.job)
}

func (p *program) legalHold(ctx context.Context, verb string, f *legalFlags, on bool) error {
	scope := schemas.LegalScope{Org: schemas.OrgID(f.org), Type: schemas.TypeName(f.typ), Job: schemas.JobID(f.job)}
	if err := scope.Validate(); err != nil {
		return usagef("%w", err)
	}
	if f.typ != "" && f.job != "" {
		return usagef("give --type or --job, not both")
	}
	if p.flags.DryRun {
		p.talkf("would %s a legal hold on %s", verb, scope)
		return nil
	}
	reason, err := p.reason()
	if err != nil {
		return err
	}
	return p.withCell(ctx, "log hold "+verb, func(ctx context.Context, c *gateway.Client) error {
		h, err := c.SetLegalHold(ctx, gateway.LegalHoldRequest{Scope: scope, On: on, Reason: reason})
		if err != nil {
			return err
		}
		if p.flags.JSON {
			return p.document(h)
		}
		p.talkf("%s: %s", h.Scope, map[bool]string{true: "its history is kept", false: "released"}[h.On])
		return nil
	})
}

func (p *program) addLegalHolds(hold *fisk.CmdClause) {
	var format string
	cmd := p.command(hold, "ls", "List the legal holds, by whom and why", func(ctx context.Context) error {
		return p.withCell(ctx, "log hold ls", func(ctx context.Context, c *gateway.Client) error {
			all, err := c.LegalHolds(ctx)
			if err != nil {
				return err
			}
			if p.flags.JSON {
				return p.document(all)
			}
			g := &grid{Title: fmt.Sprintf("%d legal holds", len(all.Items)), Columns: []string{"id", "scope", "since", "by", "reason"}}
			for i := range all.Items {
				h := &all.Items[i]
				since := ""
				if h.At != nil {
					since = p.listTime(*h.At)
				}
				g.add(h.ID, h.Scope.String(), since, deref(h.Actor), deref(h.Reason))
			}
			return p.printGrid(g, format)
		})
	})
	formatFlag(cmd, &format)
}
