package cell_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dartwing/jobledger/dispatcher"
	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// Aims of a cancel: acknowledged, and effective for a handler that heeds its context.
const (
	cancelAckAim       = 100 * time.Millisecond
	cancelEffectiveAim = 2 * time.Second
)

// loiter announces a worker with slots for a type that never pulls: jobs are queued and offered, and the
// offers stay in WORK.
func (s *system) loiter(typ schemas.TypeName, slots int) {
	s.t.Helper()
	body, err := json.Marshal(ledger.Beat{Session: "loiterer", Worker: "loiterer", StartedAt: time.Now(), Slots: slots,
		Serves: []ledger.Serves{{Queue: schemas.QueueDefault, Type: typ}}})
	if err != nil {
		s.t.Fatal(err)
	}
	nc := s.env.Connect()
	limit := time.Now().Add(patience)
	for {
		ctx, cancel := context.WithTimeout(s.env.Context(), 2*time.Second)
		_, err := nc.RequestWithContext(ctx, ledger.SubjectBeat, body)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(limit) {
			s.t.Fatalf("no leader answers a beat: %v", err)
		}
	}
}

// offers is how many offers stand in WORK.
func (s *system) offers() uint64 {
	s.t.Helper()
	stream, err := s.env.Ledger.JetStream().Stream(s.env.Context(), ledger.StreamWork)
	if err != nil {
		s.t.Fatal(err)
	}
	return stream.CachedInfo().State.Msgs
}

// awaitOffers polls WORK, which tells nobody when it changes.
func (s *system) awaitOffers(n uint64) {
	s.t.Helper()
	limit := time.Now().Add(patience)
	for have := s.offers(); have != n; have = s.offers() {
		if time.Now().After(limit) {
			s.t.Fatalf("WORK holds %d offers, want %d", have, n)
		}
		_ = rest(s.env.Context(), 5*time.Millisecond)
	}
}

// canceling a queued job is immediate and takes its offer out of WORK, one by one and in bulk; the
// offers of others stay.
func TestCancelRemovesTheOffer(t *testing.T) {
	t.Parallel()
	env, _ := ledgertest.Cell(t)
	s := newSystem(t, env)
	const n = 20
	s.loiter("idle", n)
	ids := s.submit("idle", n)
	s.awaitOffers(n)
	c := env.Client(acme)
	began := time.Now()
	reply, err := c.Cancel(t.Context(), ids[0], "no longer wanted")
	if err != nil || reply.State != schemas.StateCanceled || reply.Requested {
		t.Fatalf("cancel: %+v, %v", reply, err)
	}
	acked := time.Since(began)
	s.awaitOffers(n - 1)
	t.Logf("canceled after %s, its offer gone after %s", acked.Round(time.Microsecond), time.Since(began).Round(time.Microsecond))
	bulk, err := c.Bulk(t.Context(), gateway.BulkRequest{Action: gateway.ActionCancel, Reason: "all of them", IDs: ids[1 : n-1]})
	if err != nil || bulk.Done != n-2 {
		t.Fatalf("bulk: %+v, %v", bulk, err)
	}
	s.awaitOffers(1)
	work, err := env.Ledger.JetStream().Stream(t.Context(), ledger.StreamWork)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := work.GetLastMsgForSubject(t.Context(), ledger.OfferSubject(schemas.QueueDefault, "idle", acme, ids[n-1])); err != nil {
		t.Errorf("the offer of the job that was not canceled: %v", err)
	}
	if _, err := c.Cancel(t.Context(), ids[n-1], ""); err != nil {
		t.Fatal(err)
	}
	s.awaitOffers(0)
}

// a job that waits, whatever for, is canceled at once and runs never.
func TestCancelWaiting(t *testing.T) {
	t.Parallel()
	env, _ := ledgertest.Cell(t)
	s := newSystem(t, env)
	s.worker("w", "fails", 4, func(context.Context, *handlers.Attempt) (json.RawMessage, error) {
		return nil, handlers.Transient(errors.New("not yet")) // the next attempt is a minute away
	})
	give := func(r ledger.SubmitRequest) schemas.JobID {
		r.Org, r.RegisterUnknown = acme, true
		s.submitOne(r)
		return r.ID
	}
	parent := give(ledger.SubmitRequest{ID: "unserved", Type: "nobody"})
	ids := []schemas.JobID{ // the child before its parent, whose end would be its own
		give(ledger.SubmitRequest{ID: "waiting-on-parent", Type: "fails", Parents: []schemas.ParentRef{{ID: parent}}}),
		parent,
		give(ledger.SubmitRequest{ID: "scheduled", Type: "fails", Delay: time.Hour}),
		give(ledger.SubmitRequest{ID: "retrying", Type: "fails"}),
	}
	s.await("a failed attempt", func() bool { return s.jobs["retrying"] != nil && s.jobs["retrying"].State == schemas.StateRetrying })
	c := env.Client(acme)
	for _, id := range ids {
		for range 2 { // again is no error
			reply, err := c.Cancel(t.Context(), id, "no longer wanted")
			if err != nil || reply.State != schemas.StateCanceled || reply.Requested {
				t.Errorf("cancel %s: %+v, %v", id, reply, err)
			}
		}
	}
	s.awaitFinished(ids)
	for _, id := range ids {
		if j := s.jobs[id]; j.State != schemas.StateCanceled || j.CancelReason != "no longer wanted" {
			t.Errorf("%s is %s, %q", id, j.State, j.CancelReason)
		}
	}
	if n := s.startsBegun(); n != 1 {
		t.Errorf("%d starts, want the one that failed", n)
	}
}

// a running job's cancel is acknowledged and effective in time for a handler that heeds its
// context, also while every job reports progress a hundred times a second.
func TestCancelRunningInTime(t *testing.T) {
	t.Parallel()
	env, _ := ledgertest.Cell(t)
	s := newSystem(t, env)
	const n = 20
	s.worker("w", "heed", n, func(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		for i := 0; ctx.Err() == nil; i++ {
			a.Progress(schemas.Progress{Percent: i % 100, Message: fmt.Sprintf("update %d", i)})
			_ = rest(ctx, 10*time.Millisecond)
		}
		return nil, ctx.Err()
	})
	ids := s.submit("heed", n)
	s.awaitStarts(n)
	s.await("all of them running", func() bool {
		return !slices.ContainsFunc(ids, func(id schemas.JobID) bool { return s.state(id) != schemas.StateRunning })
	})
	c := env.Client(acme)
	var acks, effects []time.Duration
	for _, id := range ids {
		began := time.Now()
		reply, err := c.Cancel(t.Context(), id, "")
		acks = append(acks, time.Since(began))
		if err != nil || !reply.Requested {
			t.Fatalf("cancel: %+v, %v", reply, err)
		}
		if r, err := c.Wait(t.Context(), id); err != nil || r.State != schemas.StateCanceled || r.Cancel.Forced {
			t.Fatalf("the job: %+v, %v", r, err)
		}
		effects = append(effects, time.Since(began))
	}
	slices.Sort(acks)
	slices.Sort(effects)
	t.Logf("%d running jobs, 100 progress updates a second each: cancel acknowledged p50 %s, max %s (aim %s); effective p50 %s, max %s (aim %s)", n,
		acks[n/2].Round(10*time.Microsecond), acks[n-1].Round(10*time.Microsecond), cancelAckAim,
		effects[n/2].Round(10*time.Microsecond), effects[n-1].Round(10*time.Microsecond), cancelEffectiveAim)
	s.check(ids)
}

// where the worker is gone, the leader finishes the cancel.
func TestCancelWithTheWorkerGone(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	env.RunServer(func(c *cell.Config) {
		c.Times = dispatcher.HostTimes{Core: dispatcher.Times{Lease: 2 * time.Second}}
	})
	s := newSystem(t, env)
	forever := make(chan struct{})
	kill := s.worker("w", "hang", 1, func(context.Context, *handlers.Attempt) (json.RawMessage, error) { <-forever; return nil, nil })
	t.Cleanup(func() { close(forever) }) // before the worker ends
	ids := s.submit("hang", 1)
	s.awaitStarts(1)
	kill()
	c := env.Client(acme)
	began := time.Now()
	reply, err := c.Cancel(t.Context(), ids[0], "wrong customer")
	if err != nil || !reply.Requested {
		t.Fatalf("cancel: %+v, %v", reply, err)
	}
	s.awaitFinished(ids)
	t.Logf("the leader canceled a dead worker's job %s after the request, with a lease of 2s", time.Since(began).Round(time.Millisecond))
	if j := s.jobs[ids[0]]; j.State != schemas.StateCanceled || j.CancelReason != "wrong customer" || !j.CancelForced {
		t.Errorf("the job is %s, %q, forced %t", j.State, j.CancelReason, j.CancelForced)
	}
}

// the work that was done first stands, whether its end was stored before the cancel or after.
func TestCancelTooLate(t *testing.T) {
	t.Parallel()
	env, _ := ledgertest.Cell(t)
	s := newSystem(t, env)
	s.worker("w", "stubborn", 2, func(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		if a.ID == "stubborn-00000" {
			<-ctx.Done() // it hears of the cancel, and is done all the same
		}
		return a.Args, nil
	})
	ids := s.submit("stubborn", 2)
	c := env.Client(acme)
	if r, err := c.Wait(t.Context(), ids[1]); err != nil || r.State != schemas.StateCompleted {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := c.Cancel(t.Context(), ids[1], ""); err == nil || ledger.AsError(err).Code != ledger.CodeInvalidState {
		t.Errorf("cancel of a completed job: %v", err)
	}
	s.await("the other running", func() bool { return s.jobs[ids[0]] != nil && s.jobs[ids[0]].State == schemas.StateRunning })
	if reply, err := c.Cancel(t.Context(), ids[0], ""); err != nil || !reply.Requested {
		t.Fatalf("cancel: %+v, %v", reply, err)
	}
	if r, err := c.Wait(t.Context(), ids[0]); err != nil || r.State != schemas.StateCompleted {
		t.Errorf("the work that was done: %+v, %v", r, err)
	}
}

// cancels race claims, and each job has one winner: canceled and never started, or started, once.
func TestCancelRacesClaim(t *testing.T) {
	t.Parallel()
	env, _ := ledgertest.Cell(t)
	s := newSystem(t, env)
	const n, parallel = 400, 8
	s.worker("w", "quick", 16, func(_ context.Context, a *handlers.Attempt) (json.RawMessage, error) { return a.Args, nil })
	c := env.Client(acme)
	var canceled, tooLate int
	var mu sync.Mutex
	var wg sync.WaitGroup
	ids := make([]schemas.JobID, n)
	for p := range parallel {
		wg.Go(func() {
			for i := p; i < n; i += parallel {
				ids[i] = schemas.JobID(fmt.Sprintf("race-%04d", i))
				s.submitOne(ledger.SubmitRequest{Org: acme, Type: "quick", ID: ids[i], RegisterUnknown: true})
				_ = rest(context.Background(), time.Duration(i%7)*time.Millisecond) // meet every stage of its life
				_, err := c.Cancel(context.Background(), ids[i], "")
				mu.Lock()
				switch {
				case err == nil:
					canceled++
				case ledger.AsError(err).Code == ledger.CodeInvalidState:
					tooLate++
				default:
					t.Errorf("cancel %s: %v", ids[i], err)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	s.awaitFinished(ids)
	s.check(ids)
	var never int
	for _, id := range ids {
		j := s.jobs[id]
		started := len(s.starts[attemptKey{id, 1, 1}])
		switch {
		case j.Attempt != started:
			t.Errorf("%s is %s after %d attempts and %d starts", id, j.State, j.Attempt, started)
		case started == 0:
			never++
		}
	}
	t.Logf("of %d jobs %d cancels were stored, %d came too late; %d jobs never started", n, canceled, tooLate, never)
	s.awaitOffers(0)
}
