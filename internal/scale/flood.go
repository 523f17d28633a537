package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	smallOrgsMax = 200 // in the full form, and from 10,000 jobs on
	smallJobs    = 10  // of each

	big = schemas.OrgID("big")

	criticalEvery = 50 * time.Millisecond
	criticalMax   = 1_000
	criticalID    = "critical-" // and a number
)

// flood: one org submits everything there is, and others get their turn all the same.
func flood(ctx context.Context, b *bed) error {
	if err := b.registerType(ctx, schemas.TypeSettings{}); err != nil {
		return err
	}
	if err := b.org(ctx, big, 1, 0); err != nil {
		return err
	}
	for i := range b.orgs() {
		if err := b.org(ctx, small(i), 1, 0); err != nil {
			return err
		}
	}
	if err := b.fill(ctx, b.jobs, "one org submits", of(big)); err != nil {
		return err
	}
	b.remember("with all of them waiting")
	for _, step := range []func(context.Context, *bed) error{smallBehind, criticalBeside, shares} {
		if err := step(ctx, b); err != nil {
			return err
		}
	}
	b.remember("at the end")
	return nil
}

// orgs is how many small ones there are.
func (b *bed) orgs() int { return min(smallOrgsMax, max(2, b.jobs/50)) }

func small(i int) schemas.OrgID { return schemas.OrgID(fmt.Sprint("small-", i)) }

// of makes jobs of one org.
func of(org schemas.OrgID) func(int) ledger.SubmitRequest {
	return func(int) ledger.SubmitRequest { return ledger.SubmitRequest{Org: org} }
}

// smallBehind has 200 orgs submit ten jobs each while the flood is being worked off.
func smallBehind(ctx context.Context, b *bed) error {
	c, err := b.work(ctx, 0)
	if err != nil {
		return err
	}
	if err := c.await(ctx, "the flood to begin", func() bool { return c.of(big) >= b.jobs/20 }); err != nil {
		return err
	}
	from, err := b.end(ctx)
	if err != nil {
		return err
	}
	took, err := b.submit(ctx, b.orgs()*smallJobs, func(i int) ledger.SubmitRequest { return ledger.SubmitRequest{Org: small(i % b.orgs())} })
	if err != nil {
		return err
	}
	b.say("%d orgs submitted %d jobs in %s", b.orgs(), b.orgs()*smallJobs, took.Round(time.Millisecond))
	s, err := b.readAfter(ctx, c, from, "the small orgs", func() bool {
		for i := range b.orgs() {
			if c.of(small(i)) < smallJobs {
				return false
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	var firsts, all []time.Duration
	seen := make(map[schemas.OrgID]bool)
	for _, j := range s.order {
		if j.org == big {
			continue
		}
		wait := j.started.Sub(j.submitted)
		if all = append(all, wait); !seen[j.org] {
			seen[j.org] = true
			firsts = append(firsts, wait)
		}
	}
	late := s.late(b.orgs() + 1)
	worst := quantile(late, 1)
	b.aim(fmt.Sprintf("%d orgs behind the flood, %d jobs: longest wait beyond its turn", b.orgs(), len(all)), worst, "s", "<= 1 s", worst <= 1 && len(seen) == b.orgs())
	b.add("  longest wait of an org's first job", quantile(firsts, 1), "s")
	b.add("  longest wait of any, whose org has 9 before it", quantile(all, 1), "s")
	b.add("  p50 of all", quantile(all, 0.5), "s")
	b.add("  they were submitted in", took.Seconds(), "s")
	return nil
}

// late is, of each job of the small orgs, for how long it waited beyond its turn: when the k-th job of an org has been
// submitted, its turn has come after k rounds in which each of so many orgs starts one, or as soon as it is submitted if
// its org has nothing before it and starts are few.
func (s *story) late(orgs int) (out []time.Duration) {
	waiting := make(map[schemas.OrgID][]time.Time) // starts of jobs of an org, in order
	for _, j := range s.order {
		waiting[j.org] = append(waiting[j.org], j.started)
	}
	for _, j := range s.jobs {
		if j.org == big || j.started.IsZero() {
			continue
		}
		k := 0 // jobs of its org that start from its submit on, up to itself
		for _, at := range waiting[j.org] {
			if !at.Before(j.submitted) && !at.After(j.started) {
				k++
			}
		}
		first, _ := slices.BinarySearchFunc(s.order, j.submitted, func(o *told, t time.Time) int { return o.started.Compare(t) })
		turn := s.order[min(first+k*orgs, len(s.order)-1)].started
		out = append(out, max(0, j.started.Sub(turn)))
	}
	return out
}

// criticalBeside submits critical jobs of the same org, one after the other, beside its bulk.
func criticalBeside(ctx context.Context, b *bed) error {
	from, err := b.end(ctx)
	if err != nil {
		return err
	}
	if _, err := b.submit(ctx, max(2*slots, b.jobs/20), of(big)); err != nil { // a small flood may be over
		return err
	}
	c, err := b.work(ctx, 0)
	if err != nil {
		return err
	}
	if err := c.await(ctx, "the bulk to go on", func() bool { return c.ended.Load() > slots }); err != nil {
		return err
	}
	n := max(2, min(criticalMax, b.jobs/200))
	tick := time.NewTicker(criticalEvery)
	defer tick.Stop()
	for i := range n {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		r := ledger.SubmitRequest{Org: big, ID: schemas.JobID(fmt.Sprint(criticalID, i)), Priority: schemas.PriorityCritical,
			Type: typeName, Args: args, Meta: ledger.Meta{Actor: actor}}
		if _, err := b.in.Submit(ctx, r); err != nil {
			return err
		}
	}
	bulk := c.ended.Load() - c.critical.Load() // what ended until then found others waiting
	s, err := b.readAfter(ctx, c, from, "the critical jobs", func() bool { return c.critical.Load() >= int64(n) })
	if err != nil {
		return err
	}
	var waits []time.Duration
	for _, j := range s.jobs {
		if j.priority == schemas.PriorityCritical && !j.started.IsZero() {
			waits = append(waits, j.started.Sub(j.submitted))
		}
	}
	b.say("%d critical jobs started beside %d of the bulk", len(waits), bulk)
	p99 := quantile(waits, 0.99)
	b.aim(fmt.Sprintf("critical jobs beside the bulk, %d of %d: start p99", len(waits), n), p99, "s", "< 5 s", p99 < 5 && len(waits) == n)
	b.add("  p50", quantile(waits, 0.5), "s")
	b.add("  longest", quantile(waits, 1), "s")
	return nil
}

// shares has orgs of weights 1 and 1:2:4 contend, with the flood beside them.
func shares(ctx context.Context, b *bed) error {
	unit := max(20, b.jobs/200)
	weights := map[schemas.OrgID]int{"equal-1": 1, "equal-2": 1, "equal-3": 1, "equal-4": 1, "weight-1": 1, "weight-2": 2, "weight-4": 4}
	var deck []schemas.OrgID
	for _, org := range []schemas.OrgID{"equal-1", "equal-2", "equal-3", "equal-4", "weight-1", "weight-2", "weight-4"} {
		if err := b.org(ctx, org, weights[org], 0); err != nil {
			return err
		}
		for range weights[org] {
			deck = append(deck, org)
		}
	}
	from, err := b.end(ctx)
	if err != nil {
		return err
	}
	if _, err := b.submit(ctx, unit*len(deck), func(i int) ledger.SubmitRequest { return ledger.SubmitRequest{Org: deck[i%len(deck)]} }); err != nil {
		return err
	}
	c, err := b.work(ctx, 0)
	if err != nil {
		return err
	}
	s, err := b.readAfter(ctx, c, from, "the orgs that share", func() bool {
		for org, w := range weights {
			if c.of(org) < unit*w {
				return false
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	begin, end := s.contended(weights)
	for _, g := range []struct {
		what string
		orgs []schemas.OrgID
	}{{"4 orgs of weight 1", []schemas.OrgID{"equal-1", "equal-2", "equal-3", "equal-4"}}, {"weights 1:2:4", []schemas.OrgID{"weight-1", "weight-2", "weight-4"}}} {
		group := make(map[schemas.OrgID]int)
		for _, org := range g.orgs {
			group[org] = weights[org]
		}
		worst, spans := s.unfair(group, begin, end)
		b.aim(fmt.Sprintf("%s: greatest deviation of a share in %d spans of %s", g.what, spans, min(shareSpan, end.Sub(begin)).Round(100*time.Millisecond)),
			100*worst, "%", "<= 5 %", worst <= 0.05 && spans > 0)
	}
	return nil
}

// contended is the time in which all of these orgs had jobs waiting: from the first start of any to the earliest last one.
func (s *story) contended(weights map[schemas.OrgID]int) (begin, end time.Time) {
	last := make(map[schemas.OrgID]time.Time)
	for _, j := range s.order {
		if weights[j.org] > 0 {
			if begin.IsZero() {
				begin = j.started
			}
			last[j.org] = j.started
		}
	}
	for _, at := range last {
		if end.IsZero() || at.Before(end) {
			end = at
		}
	}
	return begin, end
}
