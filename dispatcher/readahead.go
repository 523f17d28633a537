package dispatcher

import (
	"context"
	"sync"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// aheadBatch is how many messages one read of a job that is not cached brings at most: jobs that wait were as a
	// rule submitted one behind the other, and start in that order. aheadBatchMin is the least.
	aheadBatch    = 128
	aheadBatchMin = 16
	// aheadBytesMax bounds what is kept, about. Of 200 orgs that take turns each has a batch of small args to itself.
	aheadBytesMax = 48 << 20
	// aheadKept is how many batches are kept at most.
	aheadKept = 4096
	// aheadUseful is how many of a batch must be used, on average, for reading ahead to be worth its bytes.
	aheadUseful = 8
	// aheadRetry is how many single reads are made before reading ahead is tried again.
	aheadRetry = 256
)

// readAhead holds the submitted events that lately came along with others: of a backlog, as after a restart,
// one read serves many jobs. The jobs of orgs that take turns may lie in as many places of the ledger; of each a
// batch is kept, smaller ones if they are many. Where jobs lie scattered it stops and leaves it at single reads.
type readAhead struct {
	turn chan struct{} // capacity 1: who reads; the others find what they look for afterwards

	mu      sync.Mutex
	held    map[schemas.Seq]aheadEntry
	batches []*aheadRead // by age; those used up stay until they reach the front
	bytes   int
	size    int // of the next batch
	useful  int // running average of what was used of a batch that had to go, times 4
	single  int // single reads to make before the next try
}

// aheadEntry is one event that came along.
type aheadEntry struct {
	e    *ledger.Entry
	from *aheadRead
}

// aheadRead is one batch.
type aheadRead struct {
	size int           // that was asked for
	seqs []schemas.Seq // of what came along
	left int           // of them that were not taken
}

func newReadAhead() *readAhead {
	r := &readAhead{turn: make(chan struct{}, 1)}
	r.reset()
	return r
}

// reset forgets everything.
func (r *readAhead) reset() {
	r.held, r.batches, r.bytes = make(map[schemas.Seq]aheadEntry), nil, 0
	r.size, r.useful, r.single = aheadBatch, 4*aheadBatch, 0
}

// take returns and forgets the event at seq, nil if it is not held.
func (r *readAhead) take(seq schemas.Seq) *ledger.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	h, ok := r.held[seq]
	if !ok {
		return nil
	}
	r.forget(seq, h)
	if h.from.left == 0 { // all of it was of use
		r.size = min(2*r.size, aheadBatch)
	}
	return h.e
}

func (r *readAhead) forget(seq schemas.Seq, h aheadEntry) {
	delete(r.held, seq)
	r.bytes -= sizeOf(h.e)
	h.from.left--
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

// next is how many messages to read now.
func (r *readAhead) next() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.size
}

// put keeps a batch, in place of the oldest ones if there is no room.
func (r *readAhead) put(entries []*ledger.Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := &aheadRead{size: r.size}
	for _, e := range entries {
		if s, ok := e.Data.(*schemas.Submitted); ok && s.Generation == 1 {
			if _, twice := r.held[e.Seq]; twice {
				continue
			}
			r.held[e.Seq] = aheadEntry{e, b}
			r.bytes += sizeOf(e)
			b.seqs = append(b.seqs, e.Seq)
		}
	}
	b.left = len(b.seqs)
	r.batches = append(r.batches, b)
	for len(r.batches) > 1 && (r.batches[0].left == 0 || r.bytes > aheadBytesMax || len(r.batches) > aheadKept) {
		r.evict()
	}
}

// evict drops the oldest batch. One that was mostly in vain says that smaller ones would do, so that more have room; if
// those are in vain, too, single reads do.
func (r *readAhead) evict() {
	b := r.batches[0]
	r.batches = r.batches[1:]
	switch used := len(b.seqs) - b.left; {
	case 2*used < len(b.seqs) && r.size > aheadBatchMin:
		r.size /= 2
	case 2*used < len(b.seqs) && b.size > r.size: // that has been drawn from others like it
	default:
		r.useful += used - r.useful/4
		if r.useful < 4*aheadUseful {
			r.single, r.useful = aheadRetry, 4*aheadUseful
		}
	}
	for _, seq := range b.seqs {
		if h, ok := r.held[seq]; ok && h.from == b {
			r.forget(seq, h)
		}
	}
}

func (r *readAhead) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reset()
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
	entries, err := h.l.EventsFrom(ctx, at, h.ahead.next())
	if err != nil || len(entries) == 0 || entries[0].Seq != at {
		return nil
	}
	h.ahead.put(entries[1:])
	return entries[0]
}
