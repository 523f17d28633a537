package metrics

import (
	"sync"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

const (
	// lagEvery is how often it is noted where the ledger ends, and how exact a lag in seconds is.
	lagEvery = time.Second
	// lagMax bounds what is noted: a lag beyond ten minutes is told as ten minutes at least.
	lagMax = 600
)

// lagWatch tells for how long a position has been behind the ledger's end, by this process's clock.
type lagWatch struct {
	mu   sync.Mutex
	ends []sighting  // the oldest first
	told schemas.Seq // where the ledger said last that it ends; 0 while nobody asked
}

type sighting struct {
	end schemas.Seq
	at  time.Time
}

// read notes how far the feed is: the ledger ends there, or where it said itself.
func (w *lagWatch) read(at schemas.Seq, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note(max(at, w.told), now)
}

// tell notes where the ledger said that it ends. The answer may be older than what the feed has read since.
func (w *lagWatch) tell(end schemas.Seq, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = end
	if n := len(w.ends); n == 0 || end > w.ends[n-1].end {
		w.note(end, now)
	}
}

// anew notes that the ledger went back to older data, and how far the feed is since.
func (w *lagWatch) anew(at schemas.Seq, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ends, w.told = w.ends[:0], 0
	w.note(at, now)
}

// note notes an end.
func (w *lagWatch) note(end schemas.Seq, now time.Time) {
	if n := len(w.ends); n > 0 && end < w.ends[n-1].end { // the ledger went back to older data
		w.ends = w.ends[:0]
	}
	if n := len(w.ends); n > 0 && w.ends[n-1].end == end {
		return
	}
	if len(w.ends) == lagMax {
		copy(w.ends, w.ends[1:])
		w.ends = w.ends[:lagMax-1]
	}
	w.ends = append(w.ends, sighting{end, now})
}

// behind is how many events a position lacks, and since when it lacks the first of them, as far as that is known.
func (w *lagWatch) behind(at schemas.Seq, now time.Time) (events uint64, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.ends {
		if s.end > at {
			return uint64(w.ends[len(w.ends)-1].end - at), now.Sub(s.at)
		}
	}
	return 0, 0
}
