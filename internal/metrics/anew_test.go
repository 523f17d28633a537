package metrics

import (
	"testing"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// When the ledger went back to older data, what is stored then bears sequences that were others' before: no job is told to have
// waited since something that the ledger lost.
func TestFoldBeginsAnew(t *testing.T) {
	t.Parallel()
	x := newTale(t, 100)
	for range 50 {
		x.tell(submitted())
	}
	lost := x.tell(&schemas.Submitted{Type: "email", Queue: "mail", Priority: schemas.PriorityHigh, Generation: 1, DelayMS: 1000})
	x.f.anew(120)
	for _, seq := range []schemas.Seq{110, 120, 130, lost} {
		if at, ok := x.f.times.of(seq); ok {
			t.Errorf("%d is known to be stored at %d", seq, at)
		}
	}
	if len(x.f.later) > 0 {
		t.Errorf("jobs that the ledger lost are kept: %v", x.f.later)
	}
	x.seq = 120
	id := x.tell(submitted())
	if at, ok := x.f.times.of(id); !ok || at != x.now.UnixNano() {
		t.Errorf("what comes then is stored at %d, %v", at, ok)
	}
}

// A fold is behind for as long as the ledger says that it ends elsewhere, also when the feed stands still.
func TestLagOfAFeedThatStandsStill(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	var w lagWatch
	expect := func(what string, at schemas.Seq, events uint64, d time.Duration) {
		t.Helper()
		if n, have := w.behind(at, now); n != events || have != d {
			t.Errorf("%s: %d is %d events behind for %s, want %d for %s", what, at, n, have, events, d)
		}
	}
	w.read(10, now)
	w.tell(10, now)
	expect("at rest", 10, 0, 0)
	w.tell(15, now)
	for range 60 {
		now = now.Add(time.Second)
		w.read(10, now)
	}
	expect("while the feed stands still", 10, 5, time.Minute)
	w.tell(14, now) // an answer that is older than what the feed has read
	w.read(16, now)
	w.tell(15, now)
	expect("when it goes on", 16, 0, 0)
	w.tell(12, now)
	w.read(12, now)
	expect("when the ledger went back", 12, 0, 0)
	w.tell(20, now)
	w.anew(13, now)
	w.read(13, now)
	expect("when the feed began anew", 13, 0, 0)
}
