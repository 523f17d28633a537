package handlers

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

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
	body, err := json.Marshal(s)
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
