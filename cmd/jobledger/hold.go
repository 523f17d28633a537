package main

import (
	"context"
	"fmt"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/schemas"
)

// holdFlags are those of `queue pause` and `queue resume`.
type holdFlags struct {
	queue, typ, resource, batch, until string
	all                                bool
}

func (p *program) addQueueHold(queue *fisk.CmdClause, on bool) {
	var f holdFlags
	verb, help := "pause", "Start no more jobs of a queue, a type, an org, a resource, or at all"
	if !on {
		verb, help = "resume", "Lift a pause"
	}
	cmd := p.command(queue, verb, help, func(ctx context.Context) error { return p.hold(ctx, &f, on) })
	cmd.Arg("queue", "The queue").StringVar(&f.queue)
	cmd.Flag("type", "Only jobs of this type").PlaceHolder("TYPE").StringVar(&f.typ)
	cmd.Flag("resource", "Only jobs that name this resource").PlaceHolder("NAME").StringVar(&f.resource)
	cmd.Flag("batch", "The items of this batch, those to come too").PlaceHolder("ID").StringVar(&f.batch)
	cmd.Flag("all", "Everything there is").UnNegatableBoolVar(&f.all)
	if !on {
		cmd.HelpLong(`Name the scope as it was named to pause it; it is lifted as a whole, and jobs start again
in their old order.

Examples:

	jobledger queue resume bulk --reason "database is back"
	jobledger queue resume --type mail-send --org acme --reason "mended"`)
		return
	}
	cmd.HelpLong(`Held jobs keep their place, their state and their attempts; those that run, run on. Of
several flags all must match; --org counts when it is given here, not from the
environment. To pause what is paused changes its end.

Examples:

	jobledger queue pause bulk --reason "database is being moved"
	jobledger queue pause --type mail-send --org acme --until 2h --reason "bounces"
	jobledger queue pause --all --reason "maintenance"`)
	cmd.Flag("until", "When it ends by itself: a time, or how long it lasts").PlaceHolder("TIME").StringVar(&f.until)
}

// scope is what the flags name.
func (f *holdFlags) scope(p *program) (schemas.HoldScope, error) {
	s := schemas.HoldScope{Queue: schemas.QueueName(f.queue), Type: schemas.TypeName(f.typ), Resource: f.resource, Batch: f.batch}
	if p.flags.Org.fromFlag {
		s.Org = schemas.OrgID(p.flags.Org.Value)
	}
	switch empty := s == (schemas.HoldScope{}); {
	case f.all && !empty:
		return s, usagef("--all is everything: give nothing beside it")
	case !f.all && empty:
		return s, usagef("which jobs? give a queue, --type, --org, --resource or --batch, or --all")
	}
	if err := s.Validate(); err != nil {
		return s, usagef("%w", err)
	}
	return s, nil
}

func (p *program) hold(ctx context.Context, f *holdFlags, on bool) error {
	scope, err := f.scope(p)
	if err != nil {
		return err
	}
	r := gateway.HoldRequest{Scope: scope, On: on}
	if f.until != "" {
		until, err := parseTime(f.until, p.Now(), p.flags.zone, +1)
		if err != nil {
			return usagef("--until: %w", err)
		}
		r.Until = &until
	}
	verb := map[bool]string{true: "pause", false: "resume"}[on]
	if p.flags.DryRun {
		p.talkf("would %s %s", verb, scope)
		return nil
	}
	if r.Reason, err = p.reason(); err != nil {
		return err
	}
	return p.withClient(ctx, "queue "+verb, func(ctx context.Context, c *gateway.Client) error {
		h, err := c.SetHold(ctx, r)
		if err != nil {
			return err
		}
		if p.flags.JSON {
			return p.document(h)
		}
		jobs := ""
		if h.Jobs != nil {
			jobs = fmt.Sprintf(": %d jobs wait there", *h.Jobs)
		}
		p.talkf("%s: %sd%s%s", scope, verb, untilFact(p, h.Until), jobs)
		return nil
	})
}

func (p *program) addQueueHolds(queue *fisk.CmdClause) {
	var format string
	cmd := p.command(queue, "holds", "List what is paused, by whom and why", func(ctx context.Context) error {
		return p.withClient(ctx, "queue holds", func(ctx context.Context, c *gateway.Client) error {
			all, err := c.Holds(ctx)
			if err != nil {
				return err
			}
			if p.flags.JSON {
				return p.document(all)
			}
			g := &grid{Title: fmt.Sprintf("%d holds", len(all.Items)), Columns: []string{"id", "scope", "until", "since", "by", "reason"}}
			for i := range all.Items {
				h := &all.Items[i]
				until, since := "", ""
				if h.Until != nil {
					until = p.recordTime(*h.Until)
				}
				if h.At != nil {
					since = p.listTime(*h.At)
				}
				g.add(h.ID, h.Scope.String(), until, since, deref(h.Actor), deref(h.Reason))
			}
			return p.printGrid(g, format)
		})
	})
	formatFlag(cmd, &format)
}
