package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	lagRate  = 3_000 // jobs a second of the first step
	lagEvery = 100 * time.Millisecond
	lagOrg   = schemas.OrgID("observer") // whose jobs are looked for
	lagMax   = time.Minute               // a view that is further behind is as good as none
)

// seen is what one look asks of the server: an answer that includes an event.
type seen struct {
	what string
	ask  func(ctx context.Context, c *gateway.Client, seq schemas.Seq) error
}

var seenInViews = seen{"counts", func(ctx context.Context, c *gateway.Client, seq schemas.Seq) error {
	_, err := c.Count(ctx, gateway.CountRequest{MinSeq: seq})
	return err
}}

var seenInIndex = seen{"query index", func(ctx context.Context, c *gateway.Client, seq schemas.Seq) error {
	_, err := c.List(ctx, gateway.ListRequest{Filter: gateway.Filter{Where: "args:x"}, Limit: 1, MinSeq: seq})
	return err
}}

// lag: how long after its answer a submit is in what people look at, at a steady rate and at as much as goes. Every
// tenth of a second somebody submits, and asks for the counts and a search that include it.
func lag(ctx context.Context, b *bed) error {
	if err := b.registerType(ctx, schemas.TypeSettings{}); err != nil {
		return err
	}
	looks := []seen{seenInViews}
	if !b.noIndex {
		looks = append(looks, seenInIndex)
	}
	c, err := b.work(ctx, 0)
	if err != nil {
		return err
	}
	for _, step := range []struct {
		name string
		rate int
		aim  time.Duration
	}{{fmt.Sprintf("at %d jobs/s", lagRate), lagRate, time.Second}, {"at saturation", 0, 10 * time.Second}} {
		if err := b.lagAt(ctx, c, looks, step.name, step.rate, step.aim); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return c.stop()
}

// lagAt is one step: half of the jobs, submitted and worked off.
func (b *bed) lagAt(ctx context.Context, c *crew, looks []seen, name string, rate int, aim time.Duration) error {
	loaded, over := context.WithCancel(ctx)
	defer over()
	took := make([][]time.Duration, len(looks))
	var group errgroup.Group
	for i, s := range looks {
		group.Go(func() (err error) {
			took[i], err = b.lookFor(ctx, loaded, s)
			return err
		})
	}
	n, begun, ended := b.jobs/2, time.Now(), c.of(big)
	_, err := b.submit(ctx, n, func(i int) ledger.SubmitRequest {
		if rate > 0 {
			_ = rest(ctx, time.Until(begun.Add(time.Duration(i)*time.Second/time.Duration(rate)))) // Submit tells of the end
		}
		return ledger.SubmitRequest{Org: big}
	})
	if err == nil {
		err = c.await(ctx, "the load to end", func() bool { return c.of(big) >= ended+n })
	}
	b.add(name+": jobs finished a second", float64(n)/time.Since(begun).Seconds(), "jobs/s")
	over()
	if err = errors.Join(err, group.Wait()); err != nil {
		return err
	}
	for i, s := range looks {
		b.add(fmt.Sprintf("  %s: p50 of %d looks", s.what, len(took[i])), quantile(took[i], 0.5), "s")
		worst := quantile(took[i], 1)
		b.aim("    the longest", worst, "s", "<= "+aim.String(), worst <= aim.Seconds())
	}
	return nil
}

// lookFor submits a job and asks for an answer that includes it, over and over until loaded ends.
func (b *bed) lookFor(ctx, loaded context.Context, s seen) ([]time.Duration, error) {
	client := &gateway.Client{Conn: b.look.Conn(), Org: lagOrg, Timeout: lagMax}
	var took []time.Duration
	for loaded.Err() == nil || len(took) == 0 {
		r, err := b.in.Submit(ctx, ledger.SubmitRequest{Org: lagOrg, Type: typeName, Args: args, NoDedup: true, Meta: ledger.Meta{Actor: actor}})
		if err != nil {
			return nil, err
		}
		begin := time.Now()
		for err = s.ask(ctx, client, r.Seq); err != nil; err = s.ask(ctx, client, r.Seq) {
			if time.Since(begin) > lagMax || ctx.Err() != nil {
				return nil, err
			}
		}
		took = append(took, time.Since(begin))
		_ = rest(loaded, lagEvery) // the end is looked at above
	}
	return took, nil
}
