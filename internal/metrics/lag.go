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
	ends []sighting // the oldest first
}

type sighting struct {
	end schemas.Seq
	at  time.Time
}

// note says where the ledger ends now.
func (w *lagWatch) note(end schemas.Seq, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
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
