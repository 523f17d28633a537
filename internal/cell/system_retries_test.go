package cell_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// retryWave is jobs that fail once, and come due again one after the other within a window.
type retryWave struct {
	jobs   int
	lead   time.Duration // from the first submit to the first that is due: by then all have failed, as a rule
	window time.Duration
}

// jobs of two orgs that all failed come due again within a short time, in full ten thousand within
// a minute: all are queued and run. How late the latest was queued, and how many overtook it, is printed: a decision that meets
// a moment in which the machine stands still is overtaken by those behind it. That the oldest due comes first, and both
// orgs alike, is decided by the dispatcher's core, whose tests judge it.
func TestSystemRetriesDue(t *testing.T) {
	t.Parallel()
	wave := retryWave{jobs: 300, lead: 4 * time.Second, window: 3 * time.Second}
	if *full {
		wave = retryWave{jobs: 10_000, lead: time.Minute, window: time.Minute}
	}
	env := ledgertest.Start(t, options(t)...)
	env.RunServer()
	s := newSystem(t, env)
	first := time.Now().Add(wave.lead)
	busy := errors.New("the receiver is busy")
	s.worker("w", "retried", 64, func(_ context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		var args struct{ N int }
		if err := json.Unmarshal(a.Args, &args); err != nil || a.Number > 1 {
			return a.Args, err
		}
		due := first.Add(wave.window * time.Duration(args.N) / time.Duration(wave.jobs))
		return nil, handlers.RetryAfter(busy, time.Until(due))
	})
	soon := schemas.Backoff{ListMS: []schemas.Millis{schemas.MillisOf(time.Second)}} // the longer of it and what the handler asks for holds
	ids := s.submit("retried", wave.jobs, func(r *ledger.SubmitRequest) {
		r.Override = &schemas.Override{Backoff: &soon}
		if last := r.ID[len(r.ID)-1]; last%2 == 1 {
			r.Org = "bolt"
		}
	})
	s.awaitFinished(ids)
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := 0
	for _, e := range s.entries {
		if e.Name() == schemas.EventLost {
			lost++
		}
	}
	for _, id := range ids {
		if j := s.jobs[id]; j.State != schemas.StateCompleted || j.Attempt != 2 && lost == 0 {
			t.Errorf("job %s is %s after %d attempts, want completed after 2", id, j.State, j.Attempt)
		}
	}
	if lost > 0 {
		t.Skipf("the machine stood still for a lease: %d attempts were lost, and their order says nothing", lost)
	}
	s.judgeRetries(wave)
}

// retry is a job's way back into the queue.
type retry struct {
	org         schemas.OrgID
	due, queued time.Time // by the ledger's clock
}

// judgeRetries looks at the order in which retries were queued. s.mu is held.
func (s *system) judgeRetries(wave retryWave) {
	s.t.Helper()
	failed := make(map[schemas.JobID]*schemas.Event)
	var all []retry // as they were queued
	for _, e := range s.entries {
		switch e.Data.(type) {
		case *schemas.Failed:
			failed[e.Job] = e.Event
		case *schemas.Queued:
			if f := failed[e.Job]; f != nil {
				all = append(all, retry{e.Org, f.Time.Add(f.Data.(*schemas.Failed).DelayMS.Duration()), e.Time})
			}
		}
	}
	if len(all) != wave.jobs {
		s.t.Errorf("%d retries were queued, want %d", len(all), wave.jobs)
	}
	sorted := slices.Clone(all)
	slices.SortStableFunc(sorted, func(a, b retry) int { return a.due.Compare(b.due) })
	var late []time.Duration
	ahead, more, most := 0, 0, 0 // places; jobs of one org more than of the other
	for i, r := range all {
		late = append(late, r.queued.Sub(r.due))
		place, _ := slices.BinarySearchFunc(sorted, r.due, func(o retry, due time.Time) int { return o.due.Compare(due) })
		ahead = max(ahead, place-i)
		if more++; r.org != acme {
			more -= 2
		}
		most = max(most, more, -more)
	}
	slices.Sort(late)
	n := len(late)
	took := all[n-1].queued.Sub(sorted[0].due)
	s.t.Logf("figures: %d retries due within %s: queued within %s of the first, late by p50 %s, p99 %s, at most %s; %d places out of turn at most, one org %d ahead of the other at most (asked: queued within 60s; out of turn about 128, for so many decisions are under way)",
		n, sorted[n-1].due.Sub(sorted[0].due).Round(time.Millisecond), took.Round(time.Millisecond), late[n/2].Round(10*time.Microsecond),
		late[n*99/100].Round(10*time.Microsecond), late[n-1].Round(10*time.Microsecond), ahead, most)
}
