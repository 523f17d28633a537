package main

import (
	"context"
	"fmt"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	timerOrgs  = 10
	timerLimit = 4               // jobs of an org that run at once
	timerLead  = 2 * time.Second // from the last submit to the due time
	timerRate  = 2_000           // jobs a second: a careful guess of how fast they are submitted
	farAway    = 24 * time.Hour
)

// timers: a tenth of the jobs, of ten orgs under limits, come due in one second.
func timers(ctx context.Context, b *bed) error {
	n := b.jobs / 10
	if err := b.registerType(ctx, schemas.TypeSettings{MaxRunning: timerOrgs * timerLimit}); err != nil {
		return err
	}
	for i := range timerOrgs {
		if err := b.org(ctx, small(i), 1, timerLimit); err != nil {
			return err
		}
	}
	due := time.Now().Add(timerLead + time.Duration(n)*time.Second/timerRate).Truncate(time.Second)
	took, err := b.submit(ctx, n, func(i int) ledger.SubmitRequest {
		at := due.Add(time.Duration(i) * time.Second / time.Duration(n))
		return ledger.SubmitRequest{Org: small(i % timerOrgs), NotBefore: &at}
	})
	if err != nil {
		return err
	}
	b.say("%d timers submitted in %s, due in %s", n, took.Round(time.Millisecond), time.Until(due).Round(time.Millisecond))
	if time.Until(due) < 0 {
		b.add("  NOT ONE BURST: they were due before all were submitted, by", time.Since(due).Seconds(), "s")
	}
	c, err := b.work(ctx, 0)
	if err != nil {
		return err
	}
	if err := rest(ctx, time.Until(due)); err != nil {
		return err
	}
	s, err := b.readAfter(ctx, c, 1, "all timers", func() bool { return c.ended.Load() >= int64(n) })
	if err != nil {
		return err
	}
	early, lost, last := 0, 0, due
	var late []time.Duration
	for _, j := range s.jobs {
		switch {
		case j.ended.IsZero() || j.losses > 0:
			lost++
		case j.started.Before(j.due):
			early++
		}
		if j.started.After(last) {
			last = j.started
		}
		late = append(late, j.started.Sub(j.due))
	}
	b.aim(fmt.Sprintf("%d timers due in one second: lost", n), float64(lost), "jobs", "0", lost == 0 && len(s.jobs) == n)
	b.aim("  started before they were due", float64(early), "jobs", "0", early == 0)
	b.add("  the last one started after", last.Sub(due).Seconds(), "s")
	b.add("  starts a second, 40 at once", float64(n)/max(last.Sub(due).Seconds(), 0.001), "jobs/s")
	b.add("  late, p50", quantile(late, 0.5), "s")
	b.aim("  leaders that lost their lease meanwhile", float64(s.epochs-1), "", "0", s.epochs == 1)
	b.remember("at the end")
	return nil
}

// restart: a server is killed with as many timers and as many waiting jobs as were asked for.
func restart(ctx context.Context, b *bed) error {
	if err := b.registerType(ctx, schemas.TypeSettings{}); err != nil {
		return err
	}
	for i := range b.orgs() {
		if err := b.org(ctx, small(i), 1, 0); err != nil {
			return err
		}
	}
	later := time.Now().Add(farAway)
	if err := b.fill(ctx, 2*b.jobs, "timers and waiting jobs are submitted", func(i int) ledger.SubmitRequest {
		r := ledger.SubmitRequest{Org: small(i % b.orgs())}
		if i%2 == 0 {
			at := later.Add(time.Duration(i) * time.Millisecond)
			r.NotBefore = &at
		}
		return r
	}); err != nil {
		return err
	}
	b.remember("with all of them waiting")
	if err := b.refold(ctx); err != nil {
		return err
	}
	begin := time.Now()
	c, err := b.work(ctx, 0)
	if err != nil {
		return err
	}
	if err := c.await(ctx, "a start", func() bool { return c.ended.Load() > 0 }); err != nil {
		return err
	}
	b.add("  first job ended, from a worker's start behind that", time.Since(begin).Seconds(), "s")
	return c.stop()
}
