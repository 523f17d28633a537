package main

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	quietOrg    = schemas.OrgID("quiet")
	quietEvery  = 50 * time.Millisecond
	quietJobs   = 600 // in the full form: 30 s
	floodAtOnce = 1_000
)

// quiet: an org that submits a job now and then has it start about as soon beside an org that submits all the time as when it is alone
//
func quiet(ctx context.Context, b *bed) error {
	if err := b.registerType(ctx, schemas.TypeSettings{}); err != nil {
		return err
	}
	for _, org := range []schemas.OrgID{quietOrg, big} {
		if err := b.org(ctx, org, 1, 0); err != nil {
			return err
		}
	}
	n := max(20, min(quietJobs, b.jobs/100))
	idle, err := b.nowAndThen(ctx, "alone", n, nil)
	if err != nil {
		return err
	}
	beside, err := b.nowAndThen(ctx, "beside the flood", n, func(ctx context.Context) error {
		_, err := b.submit(ctx, floodAtOnce, of(big))
		return err
	})
	if err != nil {
		return err
	}
	ratio := quantile(beside, 0.99) / quantile(idle, 0.99)
	b.aim("start p99 beside the flood to alone", ratio, "", "<= 5", ratio <= 5)
	return nil
}

// nowAndThen has the quiet org submit n jobs, one every quietEvery, and returns how long each waited for its start by the ledger's
// clock. flood, if set, is called all the time meanwhile; the worker works off what it submits too.
func (b *bed) nowAndThen(ctx context.Context, how string, n int, flood func(context.Context) error) (waits []time.Duration, err error) {
	from, err := b.end(ctx)
	if err != nil {
		return nil, err
	}
	c, err := b.work(ctx, 0)
	if err != nil {
		return nil, err
	}
	own, err := b.connect() // the flood waits for nobody else on its connection, nor anybody for it
	if err != nil {
		return nil, err
	}
	defer own.Conn().Close()
	over := make(chan struct{})
	var group errgroup.Group
	if flood != nil {
		group.Go(func() error {
			for {
				select {
				case <-over:
					return nil
				default:
				}
				if err := flood(ctx); err != nil {
					return err
				}
			}
		})
		if err := c.await(ctx, "the flood to begin", func() bool { return c.of(big) >= slots }); err != nil {
			return nil, err
		}
	}
	calls, err := everyNow(ctx, own, n)
	close(over)
	if err := errors.Join(err, group.Wait()); err != nil {
		return nil, err
	}
	s, err := b.readAfter(ctx, c, from, "the quiet org", func() bool { return c.of(quietOrg) >= n })
	if err != nil {
		return nil, err
	}
	var decided []time.Duration // from submitted to queued
	flooded := 0
	for _, j := range s.jobs {
		switch {
		case j.org == quietOrg && !j.started.IsZero():
			waits = append(waits, j.started.Sub(j.submitted))
			decided = append(decided, j.queued.Sub(j.submitted))
		case j.org == big:
			flooded++
		}
	}
	if flood != nil {
		b.say("%d jobs of the other org were submitted meanwhile, and %d of them ended", flooded, c.of(big))
	}
	b.add(how+": from submitted to running, p50", 1000*quantile(waits, 0.5), "ms")
	b.add("  p99", 1000*quantile(waits, 0.99), "ms")
	b.add("  of it until queued, p50", 1000*quantile(decided, 0.5), "ms")
	b.add("  the submit itself, p99", 1000*quantile(calls, 0.99), "ms")
	return waits, nil
}

// everyNow submits n jobs of the quiet org, and returns how long each call took.
func everyNow(ctx context.Context, l *ledger.Ledger, n int) (calls []time.Duration, err error) {
	tick := time.NewTicker(quietEvery)
	defer tick.Stop()
	for range n {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		at := time.Now()
		r := ledger.SubmitRequest{Org: quietOrg, Type: typeName, Args: args, NoDedup: true, Meta: ledger.Meta{Actor: actor}}
		if _, err := l.Submit(ctx, r); err != nil {
			return nil, err
		}
		calls = append(calls, time.Since(at))
	}
	return calls, nil
}
