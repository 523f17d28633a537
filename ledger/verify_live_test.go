package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// lead holds the leader's lease until the test ends, as a leader does, and counts as elected.
func lead(t *testing.T, env *ledgertest.Env) {
	t.Helper()
	e := schemas.NewEvent(ledger.ControlLeader, &schemas.LeaderElected{Server: "s", Cell: env.Cell.ID})
	if err := env.Ledger.Append(t.Context(), e, 0); err != nil {
		t.Fatal(err)
	}
	kv, err := env.Ledger.JetStream().KeyValue(t.Context(), ledger.BucketLease)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	renew := func() {
		if _, err := kv.Put(ctx, ledger.LeaseKey, []byte("s")); err != nil && ctx.Err() == nil {
			t.Error(err)
		}
	}
	renew()
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				renew()
			case <-ctx.Done():
				return
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
}

// offer puts a job's offer into WORK.
func offer(t *testing.T, env *ledgertest.Env, org schemas.OrgID, id schemas.JobID) {
	t.Helper()
	if _, err := env.Ledger.JetStream().Publish(t.Context(), ledger.OfferSubject("default", "echo", org, id), []byte("{}")); err != nil {
		t.Fatal(err)
	}
}

// Under a leader a Queued job that stays without an offer, and an offer that stays without a Queued job, are
// problems; what comes right meanwhile is none (DESIGN D7).
func TestVerifyOffers(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	env.SkipVerify()
	l := env.Ledger
	queue := func(id schemas.JobID) {
		submitOne(t, l, "acme", id)
		step(t, l, "acme", id, &ledger.Queue{Policy: schemas.DefaultPolicy(), Now: time.Now().Add(time.Hour)})
	}
	queue("offered")
	offer(t, env, "acme", "offered")
	queue("forgotten")
	wantProblems(t, verify(t, env, ledger.VerifyConfig{}), nil) // nobody leads
	lead(t, env)
	completeOne(t, l, "acme", "done")
	offer(t, env, "acme", "done")
	v := verify(t, env, ledger.VerifyConfig{})
	wantProblems(t, v, map[string]int{"offer": 2})
	for _, e := range v.Examples {
		if e.ID == nil || *e.ID != "forgotten" && *e.ID != "done" {
			t.Errorf("example %+v", e)
		}
	}
	wantProblems(t, verify(t, env, ledger.VerifyConfig{Org: "other"}), nil)

	// What the leader and workers do late is no problem, nor what has moved on.
	queue("claimed")
	began := make(chan struct{})
	go func() {
		defer close(began)
		<-time.After(time.Second) // while the checker waits
		completeOne(t, l, "acme", "new")
		j, err := l.Fold(t.Context(), "acme", "claimed")
		if err != nil {
			t.Error(err)
			return
		}
		step(t, l, "acme", "claimed", &ledger.Claim{Generation: 1, Submitted: j.SubmittedSeq, Session: schemas.NewSessionID(), Worker: "w"})
		offer(t, env, "acme", "forgotten")
		work, err := l.JetStream().Stream(t.Context(), ledger.StreamWork)
		if err != nil {
			t.Error(err)
			return
		}
		if err := work.Purge(t.Context(), jetstream.WithPurgeSubject(ledger.OfferSubject("default", "echo", "acme", "done"))); err != nil {
			t.Error(err)
		}
	}()
	wantProblems(t, verify(t, env, ledger.VerifyConfig{}), nil)
	<-began
	v = verify(t, env, ledger.VerifyConfig{})
	if got := problems(t, v)["offer"]; got != 0 || v.Problems.Offer == nil {
		t.Errorf("the verdict is %+v", v)
	}
}

// Under a leader, views that do not follow the ledger for seconds are a problem (DESIGN D9).
func TestVerifyViewsLate(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	env.SkipVerify()
	completeOne(t, env.Ledger, "acme", "one")
	project(t, env)
	lead(t, env)
	completeOne(t, env.Ledger, "acme", "two")
	wantProblems(t, verify(t, env, ledger.VerifyConfig{}), map[string]int{"view": 1})
	project(t, env)
	wantProblems(t, verify(t, env, ledger.VerifyConfig{}), nil)
}

// Verify runs beside writers and finds nothing, whatever moves meanwhile.
func TestVerifyBesideWriters(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			completeOne(t, env.Ledger, "acme", schemas.JobID(fmt.Sprint("job", i)))
			if i%20 == 10 { // somebody rebuilds
				if err := errors.Join(env.Ledger.JetStream().DeleteKeyValue(t.Context(), ledger.BucketJobs),
					env.Ledger.EnsureBucket(t.Context(), ledger.BucketJobs)); err != nil {
					t.Error(err)
				}
			}
			if i%10 == 0 {
				project(t, env)
			}
		}
	}()
	sound := 0
	for range 20 {
		v, err := ledger.Verify(t.Context(), ledger.VerifyConfig{Ledger: env.Ledger})
		if errors.Is(err, ledger.ErrViewsMove) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		wantProblems(t, v, nil)
		sound++
	}
	cancel()
	<-done
	if sound == 0 {
		t.Error("nothing was ever checked")
	}
}
