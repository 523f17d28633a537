package main

import (
	"context"
	"fmt"
	"time"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/dispatcher"
	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// removalEvery is the time between two looks at how far the servers are.
const removalEvery = 250 * time.Millisecond

func (p *program) addOrgRm(org *fisk.CmdClause) {
	var name string
	var noWait bool
	cmd := p.command(org, "rm", "Delete an org for good: its unfinished jobs are dead-lettered", func(ctx context.Context) error {
		if err := schemas.CheckToken("org", name); err != nil {
			return usagef("%w", err)
		}
		return p.withCell(ctx, "org rm", func(ctx context.Context, c *gateway.Client) error {
			return p.removeOrg(ctx, c, schemas.OrgID(name), noWait)
		})
	})
	cmd.HelpLong(fmt.Sprintf(`Its jobs are counted first, then you are asked. From then on its submits and retries are
refused, its schedules fire no more, and the leader dead-letters its unfinished jobs, those
that run among them: reason org_deleted, at most %d a second. Its history stays, and its
id is never given out again; there is no way back.

The command follows until all have ended. It may be interrupted: the servers go on, and the
same command again shows what is left.

Examples:

	jobledger org rm acme --dry-run
	jobledger org rm acme --reason "contract ended"`, dispatcher.DissolveRate))
	cmd.Arg("org", "The org").Required().StringVar(&name)
	cmd.Flag("no-wait", "Do not follow until its jobs have ended").UnNegatableBoolVar(&noWait)
}

// removeOrg counts, asks, deletes and follows.
func (p *program) removeOrg(ctx context.Context, c *gateway.Client, org schemas.OrgID, noWait bool) error {
	found, err := c.RemoveOrg(ctx, org, gateway.RemoveOrgRequest{DryRun: true})
	if err != nil {
		return err
	}
	deleted := found.State == schemas.OrgDeleted
	p.talkRemoval(found)
	if p.flags.DryRun {
		if p.flags.JSON {
			return p.document(found)
		}
		return nil
	}
	total := found.Unfinished
	if !deleted {
		reason, err := p.reason()
		if err != nil {
			return err
		}
		question := fmt.Sprintf("Delete org %s for good and dead-letter %s?", org, jobsText(int(total)))
		if err := p.confirm(question); err != nil {
			return err
		}
		if found, err = c.RemoveOrg(ctx, org, gateway.RemoveOrgRequest{Reason: reason}); err != nil {
			return err
		}
		total = max(total, found.Unfinished)
	}
	if !noWait {
		if found, err = p.followRemoval(ctx, c, found, total); err != nil {
			return err
		}
	}
	found.DryRun = false
	if p.flags.JSON {
		return p.document(found)
	}
	if found.Unfinished > 0 {
		p.talkf("org %s is deleted; the servers go on with %s", org, jobsText(int(found.Unfinished)))
		return nil
	}
	p.talkf("org %s is deleted, none of its jobs is left unfinished", org)
	return nil
}

func (p *program) talkRemoval(r *gateway.OrgRemoval) {
	what := "org " + string(r.Org)
	if r.State == schemas.OrgDeleted {
		what += " was deleted already; it"
	}
	p.talkf("%s has %s unfinished, %s of them running, and %d schedules", what, jobsText(int(r.Unfinished)), thousands(uint64(r.Running)), r.Schedules)
}

// followRemoval looks how far the servers are until nothing is left. What is left at an interrupt they go on with.
func (p *program) followRemoval(ctx context.Context, c *gateway.Client, r *gateway.OrgRemoval, total int64) (*gateway.OrgRemoval, error) {
	show := &bulkProgress{p: p, total: int(total), on: total > 0 && !p.flags.JSON && p.IsTerminal(p.Stderr) && p.Getenv("TERM") != "dumb"}
	defer show.clear()
	var since schemas.Seq
	if r.Seq != nil {
		since = *r.Seq
	}
	tick := time.NewTicker(removalEvery)
	defer tick.Stop()
	for {
		now, err := c.RemoveOrg(ctx, r.Org, gateway.RemoveOrgRequest{DryRun: true, MinSeq: since})
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil && ledger.AsError(err).Code != ledger.CodeUnavailable:
			return nil, err
		case err == nil:
			if r = now; r.Unfinished == 0 {
				return r, nil
			}
			show.draw(int(max(0, total-r.Unfinished)), 0)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
