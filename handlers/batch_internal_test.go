package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"pgregory.net/rapid"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Whatever the times of asking, no more items go in any window than the rate allows, they are spread over it, and the
// pace goes on.
func TestPace(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rate := schemas.Rate{Count: rapid.IntRange(1, 500).Draw(t, "count"), PerMS: schemas.Millis(rapid.IntRange(1000, 60_000).Draw(t, "per"))}
		if err := rate.Validate(); err != nil {
			t.Fatal(err)
		}
		p, window := newPace(&rate), rate.PerMS.Duration()
		now := time.Unix(0, 0)
		var out []time.Time // when each was let out, which is before it is counted
		for range rapid.IntRange(1, 200).Draw(t, "asks") {
			n, next := p.room(batchAtOnce, now)
			if n == 0 {
				if !next.After(now) {
					t.Fatalf("no room, and none to wait for at %s: %s", now, next)
				}
				now = next
				continue
			}
			for range n {
				out = append(out, now)
			}
			now = now.Add(time.Duration(rapid.IntRange(0, 50).Draw(t, "ms")) * time.Millisecond)
			p.took(n, now)
		}
		for i := rate.Count; i < len(out); i++ {
			if took := out[i].Sub(out[i-rate.Count]); took < window {
				t.Fatalf("%d items within %s at a rate of %s", rate.Count+1, took, rate)
			}
		}
		for i := p.step; i < len(out); i++ {
			if took := out[i].Sub(out[i-p.step]); took < p.each {
				t.Fatalf("%d items within %s at a rate of %s: it is not even", p.step+1, took, rate)
			}
		}
	})
	if n, _ := newPace(nil).room(9, time.Time{}); n != 9 {
		t.Errorf("without a pace %d of 9 may go", n)
	}
}

// A batch's state survives as a checkpoint, whatever its items came to, and one of 10,000 items fits.
func TestBatchCheckpoint(t *testing.T) {
	t.Parallel()
	const n = ledger.BatchItemsMax
	s, ok := newBatchState(n, nil)
	if ok {
		t.Error("nothing passes for a checkpoint")
	}
	refusal := &ledger.Error{Code: ledger.CodeInvalidArgument, Field: "args", Message: strings.Repeat("ä", schemas.ErrorTextMax)}
	ends := []schemas.State{schemas.StateCompleted, schemas.StateCanceled, schemas.StateDeadLettered}
	for s.left(n) > 0 {
		for _, i := range s.take(batchAtOnce, n) {
			s.setOpen(i)
			switch {
			case i%5 == 3:
				s.reject(i, refusal)
			case i%5 < 3:
				s.settle(i, ends[i%5])
				s.settle(i, schemas.StateCompleted) // a second end counts for nothing
			}
		}
	}
	if s.nOpen != n/5 || s.total() != n/5*4 || s.Completed != n/5 || s.Rejected != n/5 || len(s.openItems()) != n/5 {
		t.Errorf("the state is %+v with %d open", s.batchCounts, s.nOpen)
	}
	s.giveBack([]int{3, n - 1})
	body, err := s.checkpoint()
	if err != nil || len(body) > CheckpointMax/4 {
		t.Fatalf("the checkpoint is %d bytes, %v", len(body), err)
	}
	back, ok := newBatchState(n, body)
	if !ok || back.batchCounts != s.batchCounts || back.Next != n || len(back.Failed) != batchFailedMax || len(back.Errors) != batchErrorsMax {
		t.Errorf("read back it is %+v, %t", back, ok)
	}
	if got, want := s.text(n), "8,000 of 10,000 done, 2,000 failed, 2,000 canceled, 2,000 rejected"; got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
	for name, bad := range map[string]string{"of another size": `{"next":1,"settled":"AQ=="}`, "no checkpoint": `[1]`, "miscounted": `{"next":9,"completed":3,"settled":"AQI="}`} {
		if s, ok := newBatchState(16, json.RawMessage(bad)); ok || s.total() != 0 || s.Next != 0 {
			t.Errorf("a checkpoint %s is taken: %+v", name, s)
		}
	}
}

// The sweep of one canceled batch ends when others have waited long enough, and goes on behind them; one that fails
// otherwise, and one whose server stops, do not. A deleted org's callback is not tried for ever.
func TestBatchSweepTakesTurns(t *testing.T) {
	t.Parallel()
	b := &Batches{log: zap.NewNop(), sweeps: make(chan batchKey, 1)}
	k := batchKey{"acme", "faxes"}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	hangs := func(ctx context.Context, _ batchKey) error { <-ctx.Done(); return ctx.Err() }
	fails := func(context.Context, batchKey) error { return errors.New("the batch cannot be read") }
	for name, c := range map[string]struct {
		ctx   context.Context
		sweep func(context.Context, batchKey) error
		want  int
	}{"hangs": {t.Context(), hangs, 1}, "fails": {t.Context(), fails, 0}, "stopped": {stopped, hangs, 0}} {
		most := time.Hour
		if c.want > 0 {
			most = time.Millisecond
		}
		b.sweepFor(c.ctx, k, most, c.sweep)
		if len(b.sweeps) != c.want {
			t.Errorf("%s: %d wait for another sweep", name, len(b.sweeps))
		}
		for range len(b.sweeps) {
			if got := <-b.sweeps; got != k {
				t.Errorf("%s: %v waits", name, got)
			}
		}
	}
	if later(ledger.OrgDeleted("acme")) {
		t.Error("the callback of a deleted org's batch is tried again")
	}
}

// What a checkpoint says was submitted is never submitted again if the ledger knows nothing of it any more, in the batch's own
// generation; of a checkpoint that does not say so the ledger has the last word.
func TestBatchItemsGiven(t *testing.T) {
	t.Parallel()
	b, spec := &Batches{log: zap.NewNop()}, &ledger.BatchSpec{Items: make([]ledger.BatchItem, 9)}
	first := newBatchRun(b, "acme", "faxes", 1, spec, nil)
	first.s.known(1)
	first.s.take(5, 9)
	first.s.setOpen(0)
	first.s.setOpen(1)
	first.s.settle(1, schemas.StateCompleted)
	first.s.giveBack([]int{3, 4})
	body, err := first.s.checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		generation int
		body       json.RawMessage
		lost       int
	}{"told": {1, body, 2}, "retried": {2, body, 0}, "of an earlier version": {1, json.RawMessage(`{"next":5,"completed":1,"settled":"AgA="}`), 0}} {
		r := newBatchRun(b, "acme", "faxes", c.generation, spec, c.body)
		for i := range r.s.Next {
			if !r.s.Settled.has(i) {
				r.s.lose(i, false)
			}
		}
		if r.s.Next != 5 || r.s.Completed != 1 || r.s.Removed != c.lost || r.s.Settled.has(3) || r.s.Settled.has(4) || r.s.Settled.count() != r.s.total() {
			t.Errorf("%s: %+v", name, r.s)
		}
		if !r.s.lose(3, true) || r.s.Removed != c.lost+1 {
			t.Errorf("%s: what is known to be removed is not lost", name)
		}
	}
}

// A canceled batch keeps how its items ended however long it took to cancel them: it waits for their ends only as long as
// its grace leaves time for that, and the checkpoint has its own.
func TestBatchCancelKeeps(t *testing.T) {
	t.Parallel()
	spec := &ledger.BatchSpec{Items: make([]ledger.BatchItem, 2)}
	b := &Batches{log: zap.NewNop()}
	synctest.Test(t, func(t *testing.T) { // its clock stands still but for what is waited for
		r := newBatchRun(b, "acme", "faxes", 1, spec, nil)
		r.s.setOpen(0)
		for grace, want := range map[time.Duration]time.Duration{20 * time.Second: 15 * time.Second, time.Minute: batchItemsWait, time.Second: 0} {
			ctx, done := context.WithTimeout(t.Context(), grace)
			begun := time.Now()
			r.awaitItems(ctx)
			if waited := time.Since(begun); waited != want {
				t.Errorf("with %s left it waits %s, want %s", grace, waited, want)
			}
			done()
		}
	})
	kept := errors.New("nothing was kept")
	r := newBatchRun(b, "acme", "faxes", 1, spec, nil)
	r.a = &Attempt{host: host{save: func(ctx context.Context, _ json.RawMessage) error {
		kept = ctx.Err()
		return nil
	}}}
	r.cancel(t.Context()) // no grace is left
	if kept != nil {
		t.Errorf("the last checkpoint: %v", kept)
	}
}

// A ledger that went back to before an org was first set leaves no batch of it suspended.
func TestBatchOrgNeverSet(t *testing.T) {
	t.Parallel()
	r := newBatchRun(&Batches{log: zap.NewNop()}, "acme", "faxes", 1, &ledger.BatchSpec{}, nil)
	r.orgSet(7, true)
	if why, _ := r.paused(time.Now()); why == "" {
		t.Fatal("a suspended org's batch goes on")
	}
	r.lookAgain()
	if why, _ := r.paused(time.Now()); why != "" {
		t.Errorf("the batch waits: %s", why)
	}
}
