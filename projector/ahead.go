package projector

import (
	"context"
	"slices"
	"sync"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Where more jobs wait than are packed, what a job was must be read when it moves. Read one after the other that would
// hold the views back by a read a job, and behind a backlog of a million jobs for minutes (DESIGN D9): so what a batch of
// entries needs is read before the batch is folded. Of a job that is kept thin its submitted does, and neighbours in the
// backlog are read with as many requests under way; of another one the whole subject is read, readers at a time.

// submittedAt returns the messages at sequences that ascend, nil for those that are not there.
type submittedAt func(ctx context.Context, seqs []schemas.Seq) ([]*ledger.Entry, error)

// foldAt is a job's fold as it was before the message at seq.
type foldAt struct {
	job *ledger.Job
	seq schemas.Seq
}

// aheadOf is what was read for the batch of entries that is folded now.
type aheadOf struct {
	folds   map[jobKey]foldAt
	submits map[schemas.Seq]*ledger.Entry
}

// begins is where the job's submitted stands that a message names; 0 if it names none.
func begins(e *schemas.Event) schemas.Seq {
	if d, ok := e.Data.(schemas.JobData); ok {
		return d.Common().Submitted
	}
	return 0
}

// lacking are the jobs of a batch whose folds must be read, each with the first entry that needs it, and the submitted
// events that must be.
func (v *views) lacking(es []*ledger.Entry) (folds []foldRead, submits []schemas.Seq) {
	known := make(map[jobKey]bool) // of those that are neither cached nor packed
	for _, e := range es {
		k := jobKey{e.Org, e.Job}
		if e.Job == "" || e.Seq <= v.at.Seq || v.jobs.entries[k] != nil || v.waiting.has(k) || known[k] {
			continue
		}
		known[k] = true
		if isCarried(e.Event) {
			continue // it holds all of it
		}
		if s, ok := e.Data.(*schemas.Submitted); ok && s.Generation == 1 {
			continue // most are new; the few that are not are read when it is their turn
		}
		if at := begins(e.Event); v.hasThin(at) {
			submits = append(submits, at)
		} else {
			folds = append(folds, foldRead{k, e.Seq})
		}
	}
	slices.Sort(submits)
	return folds, submits
}

// foldRead is a job whose fold before seq is to be read.
type foldRead struct {
	k   jobKey
	seq schemas.Seq
}

// readAhead reads what the entries need. What cannot be read is left out: entry reads it again, and tells.
func (v *views) readAhead(ctx context.Context, es []*ledger.Entry) {
	clear(v.read.folds) // what was not needed, as its job was in the cache again, is old by now
	clear(v.read.submits)
	folds, submits := v.lacking(es)
	if len(submits) > 0 {
		if read, err := v.submitted(ctx, submits); err == nil {
			for i, s := range read {
				v.read.submits[submits[i]] = s
			}
		}
	}
	if len(folds) < 2 {
		return
	}
	work := make(chan foldRead)
	var mu sync.Mutex
	var done sync.WaitGroup
	for range min(readers, len(folds)) {
		done.Go(func() {
			for f := range work {
				if job, err := v.before(ctx, f.k, f.seq); err == nil {
					mu.Lock()
					v.read.folds[f.k] = foldAt{job, f.seq}
					mu.Unlock()
				}
			}
		})
	}
	for _, f := range folds {
		work <- f
	}
	close(work)
	done.Wait()
}

func (v *views) hasThin(at schemas.Seq) bool {
	_, ok := v.waiting.thin[at]
	return ok
}

// thinEntry returns the entry of a job that is kept thin, or nil: it is none, or its submitted has left for the archive.
func (v *views) thinEntry(ctx context.Context, k jobKey, e *schemas.Event) (*jobEntry, error) {
	at := begins(e)
	if !v.hasThin(at) {
		return nil, nil
	}
	s, ok := v.read.submits[at]
	if !ok {
		read, err := v.submitted(ctx, []schemas.Seq{at})
		if err != nil {
			return nil, err
		}
		s = read[0]
	}
	return v.waiting.takeThin(k, s), nil
}

// foldOf returns the fold of k before the message at seq, which is the caller's from then on.
func (v *views) foldOf(ctx context.Context, k jobKey, seq schemas.Seq) (job *ledger.Job, err error) {
	read, ok := v.read.folds[k]
	delete(v.read.folds, k)
	if job = read.job; !ok || read.seq != seq {
		if job, err = v.before(ctx, k, seq); err != nil {
			return nil, err
		}
	}
	delete(v.waiting.thin, job.SubmittedSeq) // a message that names no submitted of its own has moved it
	return job, nil
}
