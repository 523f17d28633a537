package dispatcher

import (
	"context"
	"sync"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// aheadBatch is how many messages one read of a job that is not cached brings: jobs that wait were as a
	// rule submitted one behind the other, and start in that order.
	aheadBatch = 128
	// aheadKept is how many batches are kept.
	aheadKept = 16
	// aheadUseful is how many of a batch must be used, on average, for reading ahead to be worth its bytes.
	aheadUseful = 8
	// aheadRetry is how many single reads are made before reading ahead is tried again.
	aheadRetry = 256
)

// readAhead holds the submitted events that lately came along with others: of a backlog, as after a restart,
// one read serves many jobs. Where jobs lie scattered it stops and leaves it at single reads.
type readAhead struct {
	turn chan struct{} // capacity 1: who reads; the others find what they look for afterwards

	mu      sync.Mutex
	batches [aheadKept]map[schemas.Seq]*ledger.Entry
	next    int
	used    int // entries taken since the latest batch
	useful  int // running average of used, times 4
	single  int // single reads to make before the next try
}

func newReadAhead() *readAhead {
	return &readAhead{turn: make(chan struct{}, 1), useful: 4 * aheadBatch}
}

// take returns and forgets the event at seq, nil if it is not held.
func (r *readAhead) take(seq schemas.Seq) *ledger.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.batches {
		if e, ok := b[seq]; ok {
			delete(b, seq)
			r.used++
			return e
		}
	}
	return nil
}

// worth reports whether to read ahead now.
func (r *readAhead) worth() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.single > 0 {
		r.single--
		return false
	}
	return true
}

// put keeps a batch in place of the oldest one.
func (r *readAhead) put(entries []*ledger.Entry) {
	b := make(map[schemas.Seq]*ledger.Entry, len(entries))
	for _, e := range entries {
		if s, ok := e.Data.(*schemas.Submitted); ok && s.Generation == 1 {
			b[e.Seq] = e
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.batches[r.next] = b
	r.next = (r.next + 1) % aheadKept
	r.useful += r.used - r.useful/4
	r.used = 0
	if r.useful < 4*aheadUseful {
		r.single, r.useful = aheadRetry, 4*aheadUseful
	}
}

func (r *readAhead) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.batches[:])
}

// eventAt returns the event that made a job wait, from memory or from the ledger.
func (h *Host) eventAt(ctx context.Context, at schemas.Seq) (*ledger.Entry, error) {
	if e := h.cache.take(at); e != nil {
		return e, nil
	}
	if e := h.ahead.take(at); e != nil {
		return e, nil
	}
	if h.ahead.worth() {
		if e := h.readAhead(ctx, at); e != nil {
			return e, nil
		}
	}
	h.counters.ReadsSingle.Add(1)
	return h.l.EventAt(ctx, at)
}

// readAhead reads the event at seq with its neighbours; nil if that did not bring it.
func (h *Host) readAhead(ctx context.Context, at schemas.Seq) *ledger.Entry {
	select {
	case h.ahead.turn <- struct{}{}:
	case <-ctx.Done():
		return nil
	}
	defer func() { <-h.ahead.turn }()
	if e := h.ahead.take(at); e != nil {
		return e // whoever had the turn before brought it
	}
	h.counters.ReadsAhead.Add(1)
	entries, err := h.l.EventsFrom(ctx, at, aheadBatch)
	if err != nil || len(entries) == 0 || entries[0].Seq != at {
		return nil
	}
	h.ahead.put(entries[1:])
	return entries[0]
}
