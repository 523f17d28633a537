package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// bands: the jobs of 200 orgs stand in separate bands of the ledger, so that taking turns reads all over it, and are worked
// off beside a single org's.
func bands(ctx context.Context, b *bed) error {
	single, err := b.drained(ctx, "one org", func(int) schemas.OrgID { return big })
	if err != nil {
		return err
	}
	if err := b.again(ctx); err != nil {
		return err
	}
	what, each := fmt.Sprintf("%d orgs in bands", b.orgs()), max(1, b.jobs/b.orgs())
	many, err := b.drained(ctx, what, func(i int) schemas.OrgID { return small(min(i/each, b.orgs()-1)) })
	if err != nil {
		return err
	}
	b.aim(what+" / one org", many/single, "", ">= 0.5", many >= 0.5*single)
	return b.refold(ctx)
}

// drained submits all jobs, works them off and returns how many ended in a second.
func (b *bed) drained(ctx context.Context, what string, org func(i int) schemas.OrgID) (float64, error) {
	if err := b.registerType(ctx, schemas.TypeSettings{}); err != nil {
		return 0, err
	}
	known := make(map[schemas.OrgID]bool)
	for i := range b.jobs {
		if o := org(i); !known[o] {
			known[o] = true
			if err := b.org(ctx, o, 1, 0); err != nil {
				return 0, err
			}
		}
	}
	if err := b.fill(ctx, b.jobs, what+" submits", func(i int) ledger.SubmitRequest { return ledger.SubmitRequest{Org: org(i)} }); err != nil {
		return 0, err
	}
	used := b.server.cpu()
	c, err := b.work(ctx, 0)
	if err != nil {
		return 0, err
	}
	if err := c.await(ctx, "all jobs", func() bool { return c.ended.Load() >= int64(b.jobs) }); err != nil {
		return 0, err
	}
	if err := c.stop(); err != nil {
		return 0, err
	}
	if used = b.server.cpu() - used; used > 0 {
		b.add(what+": server CPU a job drained", float64(used.Microseconds())/float64(b.jobs), "µs")
	}
	s, err := b.read(ctx, 1)
	if err != nil {
		return 0, err
	}
	rate := s.drain()
	b.say("%s: drained, %.0f jobs a second", what, rate)
	b.add(what+": drain", rate, "jobs/s")
	b.remember("after its drain")
	return rate, nil
}

// refold kills the server and starts it on what it left; then once more, without its saved fold.
func (b *bed) refold(ctx context.Context) error {
	if err := b.rise(ctx, "killed and started", false); err != nil {
		return err
	}
	if events, _ := b.server.fold(); events > 0 {
		b.add("  events read beyond the saved fold", float64(events), "")
	}
	if err := b.rise(ctx, "the same without a saved fold", true); err != nil {
		return err
	}
	used := b.server.cpu()
	if events, took := b.server.fold(); events > 0 {
		rate := float64(events) / took.Seconds()
		b.aim(fmt.Sprintf("  fold of %d events", events), rate, "events/s", ">= 200000", rate >= 200_000)
		if used > 0 {
			b.add("  CPU of the whole start, an event", float64(used.Microseconds())/float64(events), "µs")
		}
	}
	b.remember("after the fold")
	return nil
}

// rise kills the server and starts it; without: without its saved fold.
func (b *bed) rise(ctx context.Context, what string, without bool) error {
	b.disconnect()
	b.server.crash()
	if without {
		if err := os.RemoveAll(filepath.Join(b.store, "folds")); err != nil {
			return err
		}
	}
	begin := time.Now()
	if err := b.up(ctx); err != nil {
		return err
	}
	b.add(what+": serves after", time.Since(begin).Seconds(), "s")
	if err := b.lead(ctx); err != nil {
		return err
	}
	b.add("  leads after", time.Since(begin).Seconds(), "s")
	return nil
}

// lead waits for a leader that this start has brought.
func (b *bed) lead(ctx context.Context) error {
	_, err := b.look.StreamTime(ctx)
	if err != nil {
		return err
	}
	for limit := time.Now().Add(startTimeout); time.Now().Before(limit); {
		if _, took := b.server.fold(); took > 0 { // of no events too
			return nil
		}
		if err := rest(ctx, lookEvery); err != nil {
			return err
		}
	}
	return fmt.Errorf("nobody leads %s after the start", startTimeout)
}
