package handlers_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// TestWorkerReplicated shows Must hold: on three replicas a worker goes on when the node that holds WORK stops,
// within 5 s of the making of another WORK, and what ran through it is completed in its first attempt.
func TestWorkerReplicated(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a cluster takes seconds to elect its leaders")
	}
	env := ledgertest.StartCluster(t)
	ld := newLeader(t, env)
	h := newHeld()
	_, reports, _ := ld.worker(serves("r3", h))
	before := ld.give(spec{typ: "r3", args: `{}`})
	h.await(t)

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := env.Ledger.JetStream().Stream(ctx, ledger.StreamWork)
	if err != nil {
		t.Fatal(err)
	}
	env.Cluster.Stop(env.Cluster.ByName(s.CachedInfo().Cluster.Leader))
	if err := retry(ctx, func() error { return env.Ledger.RecreateWork(ctx) }); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	j := ld.queueJob(spec{typ: "r3", args: `{}`})
	body, err := (&ledger.Offer{Epoch: 10, Cell: env.Cell.ID, Job: j}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ld.l.JetStream().Publish(ctx, ledger.OfferSubject(queue, "r3", org, j.ID), body, jetstream.WithRetryAttempts(20)); err != nil {
		t.Fatal(err)
	}
	if a := h.await(t); a.ID != j.ID {
		t.Errorf("job %s began", a.ID)
	}
	t.Logf("resumed after %s: aim 5s", time.Since(began))
	close(h.free)
	for range 2 {
		if r := next(t, reports); r.Outcome != schemas.EventCompleted {
			t.Errorf("report %+v", r)
		}
	}
	if got := ld.fold(before.ID); got.State != schemas.StateCompleted || got.Attempt != 1 {
		t.Errorf("the job that ran through it is %s after %d attempts", got.State, got.Attempt)
	}
}

// retry calls f until it succeeds or ctx ends: a cluster that has lost a node elects leaders first.
func retry(ctx context.Context, f func() error) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-tick.C:
		}
	}
}
