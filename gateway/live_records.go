package gateway

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// A filter may ask about what an event does not tell, such as the owner or a tag of its job. Then the job's record behind
// the event is needed. Whoever follows is near the end, and so are all of them: the newest events are kept as they are,
// folded once, in order, when the first asks, and the record stays with the event for the others. Nobody asks: nothing is
// folded. A job that began before, and what is further back, is read from the ledger.

const (
	// liveHotEvents and liveHotBytes bound the newest events that are kept with all they hold, roughly.
	liveHotEvents = 4_096
	liveHotBytes  = 8 << 20
	// liveFoldsMax bounds the folds of jobs that are kept between their events.
	liveFoldsMax = 8_192
	// entryWeight is about what an event occupies beside its payloads.
	entryWeight = 1_024
)

// liveHot is an event as it was read.
type liveHot struct {
	e      *ledger.Entry
	bytes  int
	record atomic.Pointer[ledger.Record]
}

// weight is about what an event occupies.
func weight(e *ledger.Entry) int {
	n := entryWeight
	switch d := e.Data.(type) {
	case *schemas.Submitted:
		n += len(d.Args)
	case *schemas.Completed:
		n += len(d.Result)
	case *schemas.LateResult:
		n += len(d.Result)
	case *schemas.Checkpointed:
		n += len(d.Checkpoint)
	}
	return n
}

// liveHeat are the newest events of jobs. It is guarded by Live.mu.
type liveHeat struct {
	items   []*liveItem
	bytes   int
	dropped schemas.Seq
}

func (h *liveHeat) begin(at schemas.Seq) { *h = liveHeat{dropped: at} }

func (h *liveHeat) add(item *liveItem, bytes int) {
	h.items = append(h.items, item)
	for h.bytes += bytes; len(h.items) > 1 && (h.bytes > liveHotBytes || len(h.items) > liveHotEvents); {
		old := h.items[0]
		h.items[0] = nil
		h.items, h.dropped = h.items[1:], old.seq
		h.bytes -= old.hot.Swap(nil).bytes
	}
}

// liveRecords folds the newest events.
type liveRecords struct {
	runningMu sync.Mutex
	running   map[jobKey]attemptRecord

	live *Live

	mu   sync.Mutex
	life int                    // of Live, that what follows is about
	at   schemas.Seq            // every fold is that of its job here
	jobs map[jobKey]*ledger.Job // at most liveFoldsMax
}

// of returns the record of the item's job behind the item. It is shared: whoever changes one copies it.
func (r *liveRecords) of(ctx context.Context, item *liveItem) (*ledger.Record, error) {
	h := item.hot.Load()
	if h == nil {
		return r.read(ctx, item)
	}
	if record := h.record.Load(); record != nil {
		return record, nil
	}
	r.advance(item.seq)
	if record := h.record.Load(); record != nil {
		return record, nil
	}
	record, err := r.read(ctx, item)
	if err == nil {
		h.record.Store(record)
	}
	return record, err
}

// read reads the record, and keeps the fold if it is of use.
func (r *liveRecords) read(ctx context.Context, item *liveItem) (*ledger.Record, error) {
	j, err := r.live.l.FoldBefore(ctx, *item.Org, *item.ID, item.seq+1)
	if err != nil {
		return nil, err
	}
	record := lean(j)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at == item.seq && j.Exists() {
		r.keep(jobKey{j.Org, j.ID}, j)
	}
	return record, nil
}

// lean is a job's record without payloads, which no filter asks about; the fold loses them, too.
func lean(j *ledger.Job) *ledger.Record {
	j.Spec.Args, j.Result, j.Checkpoint = nil, nil, nil
	record := ledger.RecordOf(j)
	return &record
}

// keep keeps a fold; where there are too many another one goes, whichever. r.mu is held.
func (r *liveRecords) keep(k jobKey, j *ledger.Job) {
	if r.jobs[k] == nil && len(r.jobs) >= liveFoldsMax {
		for other := range r.jobs {
			delete(r.jobs, other)
			break
		}
	}
	r.jobs[k] = j
}

// advance folds all hot events up to seq.
func (r *liveRecords) advance(seq schemas.Seq) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, item := range r.ahead(seq) {
		h := item.hot.Load()
		r.at = item.seq
		k := jobKey{*item.Org, *item.ID}
		if h == nil { // it cooled down meanwhile
			delete(r.jobs, k)
			continue
		}
		j := r.jobs[k]
		if s, ok := h.e.Data.(*schemas.Submitted); ok && j == nil && h.e.First && s.Generation == 1 {
			j = &ledger.Job{Org: k.org, ID: k.id}
		}
		if j == nil {
			continue // read when somebody asks
		}
		h.e.ApplyTo(j)
		h.record.Store(lean(j))
		r.keep(k, j)
	}
}

// ahead returns the hot events from where the folds stand to seq. Where some of them are gone, so are the folds.
func (r *liveRecords) ahead(seq schemas.Seq) []*liveItem {
	v := r.live
	v.mu.Lock()
	defer v.mu.Unlock()
	if r.life != v.life || r.at < v.hot.dropped {
		clear(r.jobs)
		r.life, r.at = v.life, v.hot.dropped
	}
	from := seqIndex(v.hot.items, r.at)
	return slices.Clone(v.hot.items[from:max(from, seqIndex(v.hot.items, seq))])
}

// runningMax bounds the records that are kept of attempts that report progress.
const runningMax = 4096

// attemptRecord is a job's record as it was when its attempt first reported.
type attemptRecord struct {
	fence schemas.Seq
	j     *ledger.Record
}

// now returns the record of a job whose attempt reports: one reading an attempt, for whose it is does not change meanwhile.
func (r *liveRecords) now(ctx context.Context, ev *LiveEvent) (*ledger.Record, error) {
	k := jobKey{*ev.Org, *ev.ID}
	r.runningMu.Lock()
	have := r.running[k]
	r.runningMu.Unlock()
	if have.j != nil && ev.Fence != nil && have.fence == *ev.Fence {
		return have.j, nil
	}
	j, err := r.live.l.Fold(ctx, k.org, k.id)
	if err != nil {
		return nil, err
	}
	record := lean(j)
	if ev.Fence != nil {
		r.runningMu.Lock()
		defer r.runningMu.Unlock()
		if r.running == nil || len(r.running) >= runningMax {
			r.running = make(map[jobKey]attemptRecord) // rare enough that all may be read again
		}
		r.running[k] = attemptRecord{*ev.Fence, record}
	}
	return record, nil
}
