package projector

import (
	"context"
	"sync"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Where more jobs wait than are packed, each job that moves costs a read of its subject. Read one after the other they
// would hold the views back by a job's read each, and behind a backlog of a million jobs for minutes (DESIGN D9): so what
// a batch of entries needs is read at once, before the batch is folded.

// lacking are the jobs of a batch of entries whose folds must be read, each with the first entry that needs it.
func (v *views) lacking(es []*ledger.Entry) map[jobKey]schemas.Seq {
	var lacks map[jobKey]schemas.Seq
	known := make(map[jobKey]bool, len(es))
	for _, e := range es {
		k := jobKey{e.Org, e.Job}
		if e.Job == "" || e.Seq <= v.at.Seq || known[k] {
			continue
		}
		known[k] = true
		if v.jobs.entries[k] != nil || v.waiting.has(k) {
			continue
		}
		if s, ok := e.Data.(*schemas.Submitted); ok && s.Generation == 1 {
			continue // most are new; the few that are not are read when it is their turn
		}
		if lacks == nil {
			lacks = make(map[jobKey]schemas.Seq)
		}
		lacks[k] = e.Seq
	}
	return lacks
}

// readAhead reads what the entries need, readers at a time, and keeps it for entry. What cannot be read is left out: entry
// reads it again, and tells.
func (v *views) readAhead(ctx context.Context, es []*ledger.Entry) {
	clear(v.folds) // an entry that was not needed, as its job was in the cache again, is old by now
	lacks := v.lacking(es)
	if len(lacks) < 2 {
		return
	}
	type lack struct {
		k   jobKey
		seq schemas.Seq
	}
	work := make(chan lack)
	var mu sync.Mutex
	var readersDone sync.WaitGroup
	for range min(readers, len(lacks)) {
		readersDone.Go(func() {
			for l := range work {
				if job, err := v.before(ctx, l.k, l.seq); err == nil {
					mu.Lock()
					v.folds[l.k] = foldAt{job, l.seq}
					mu.Unlock()
				}
			}
		})
	}
	for k, seq := range lacks {
		work <- lack{k, seq}
	}
	close(work)
	readersDone.Wait()
}

// foldAt is a job's fold as it was before the message at seq.
type foldAt struct {
	job *ledger.Job
	seq schemas.Seq
}

// foldOf returns the fold of k before the message at seq, which is the caller's from then on.
func (v *views) foldOf(ctx context.Context, k jobKey, seq schemas.Seq) (*ledger.Job, error) {
	read, ok := v.folds[k]
	delete(v.folds, k)
	if ok && read.seq == seq {
		return read.job, nil
	}
	return v.before(ctx, k, seq)
}
