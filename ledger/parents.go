package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/dartwing/jobledger/schemas"
)

const (
	// parentReads is how many parents of one job are read at once.
	parentReads = 8
	// endingHopsMax bounds how many duplicates are followed to the job that stands for them.
	endingHopsMax = 100
)

// Ending is how one life of a job ended, or that it has not: what a job that waits for it goes by.
type Ending struct {
	// Ref names the life: the one asked for, or the one it stands for where that was canceled as a duplicate
	// (DESIGN D4).
	Ref schemas.JobRef
	// State is Completed, Canceled or DeadLettered once it has ended, however many lives followed; StateNone if the
	// ledger does not know that life.
	State schemas.State
	// Event ended it; nil while it has not, or if the ledger does not hold that.
	Event *schemas.Event
	// Job is the fold up to the end of that life. Never nil.
	Job *Job
	// Removed: that life is not told any more, in a ledger whose history leaves when its time is over. It was there, for a
	// job names parents that are, and it is over, for nothing else leaves. State is StateNone then: how it ended nobody
	// knows.
	Removed bool
}

// Judge says what the parent means to a job whose edge says what its failure does. One that ended and was removed is no
// reason to wait, nor to fail: whoever waited when it failed failed with it, a retention earlier; and who asks for a
// retry now asks in spite of it.
func (e *Ending) Judge(onFailure string) EdgeState {
	if e.Removed {
		return EdgeSatisfied
	}
	return JudgeEdge(onFailure, e.State)
}

// Ending returns how the life of a job that ref names ended; a ref without generation names the latest. seen is
// a position that the caller has seen: what stands before it is known, however far behind a replicated stream's
// leader may be. A job that holds an event of a newer version is returned with ErrUnreadable.
func (l *Ledger) Ending(ctx context.Context, org schemas.OrgID, ref schemas.JobRef, seen schemas.Seq) (*Ending, error) {
	if seen > 0 && l.replicated(ctx) {
		if err := l.reading(ctx, func(ctx context.Context) error { return l.caughtUp(ctx, seen) }); err != nil {
			return nil, fmt.Errorf("ending of %s.%s: %w", org, ref.ID, err)
		}
	}
	for range endingHopsMax {
		end, err := l.ending(ctx, org, ref)
		if err != nil {
			return nil, fmt.Errorf("ending of %s.%s: %w", org, ref.ID, err)
		}
		of := end.Job.DuplicateOf
		switch {
		case end.Job.Unreadable:
			return end, ErrUnreadable
		case end.State != schemas.StateCanceled || of == nil || *of == end.Ref:
			return end, nil
		}
		ref = *of
	}
	return nil, Errorf(CodeInternal, "job %s is a duplicate of a duplicate without end", ref.ID)
}

// ending is Ending without duplicates of other ids. Lives that LEDGER does not tell of are looked for in ARCHIVE.
func (l *Ledger) ending(ctx context.Context, org schemas.OrgID, ref schemas.JobRef) (*Ending, error) {
	s, err := l.story(ctx, org, ref.ID)
	if err != nil {
		return nil, err
	}
	end := EndingOf(org, ref, s.entries)
	if end.State != schemas.StateNone && !repeats(end.Job) {
		return end, nil
	}
	if s, err = l.wholeStory(ctx, org, ref.ID); err != nil {
		return nil, err
	}
	entries := s.entries
	for end = EndingOf(org, ref, entries); repeats(end.Job); {
		entries = before(entries, end.Job.SubmittedSeq) // the life that it stands for came earlier
		of := EndingOf(org, *end.Job.DuplicateOf, entries)
		if of.State == schemas.StateNone && !l.removed() {
			break
		}
		if end = of; of.State == schemas.StateNone { // its time was over, and it was removed
			break
		}
	}
	end.Removed = end.State == schemas.StateNone && end.Ref.Generation > 0 && !end.Job.Unreadable && l.removed()
	return end, nil
}

// EndingOf is Ending from the entries of the job's subject, in ledger order. It follows no duplicate. Of two lives of one
// generation (Event.First) the later one is meant.
func EndingOf(org schemas.OrgID, ref schemas.JobRef, entries []*Entry) *Ending {
	end := &Ending{Ref: ref, Job: &Job{Org: org, ID: ref.ID}}
	for _, e := range entries {
		if end.closedBy(e) {
			later := slices.IndexFunc(entries, func(x *Entry) bool { return x.Seq >= e.Seq && anew(x, ref.Generation) })
			if later >= 0 {
				return EndingOf(org, ref, entries[later:])
			}
			break
		}
		before := end.Job.State
		legal := e.ApplyTo(end.Job)
		switch after := end.Job.State; {
		case !after.Finished():
			end.Event = nil
		case legal && e.Err == nil && (!before.Finished() || end.Event == nil):
			end.Event = e.Event // a carried one, where it is the first
		}
	}
	switch j := end.Job; {
	case ref.Generation == 0:
		end.Ref.Generation = j.Generation
	case j.Generation != ref.Generation:
		end.Event = nil
		return end
	}
	end.State = end.Job.State
	return end
}

// anew reports whether e begins another life of a generation, on a subject that had been emptied.
func anew(e *Entry, generation int) bool {
	s, ok := e.Data.(*schemas.Submitted)
	return ok && e.Err == nil && e.First && s.Generation == generation
}

// closedBy reports whether e begins the life after the one that is looked for.
func (d *Ending) closedBy(e *Entry) bool {
	if e.Err != nil || d.Ref.Generation == 0 || d.Job.Generation != d.Ref.Generation || !d.Job.State.Finished() {
		return false
	}
	s, ok := e.Data.(*schemas.Submitted)
	return ok && (s.Generation == d.Job.Generation+1 || anew(e, 1))
}

// EdgeState says what a parent means to a job that waits for it.
type EdgeState uint8

// What a parent can mean.
const (
	EdgeOpen      EdgeState = iota // it has not ended: the job waits
	EdgeSatisfied                  // the job need not wait for it
	EdgeFailed                     // the job ends with it, as the edge says
)

// JudgeEdge is the rule of R-14 for a parent that the ledger tells of (others: Ending.Judge): a completed one satisfies,
// one that was canceled or dead-lettered does what the edge says, any other has not ended, one in backoff included. A
// parent that the ledger does not know (StateNone), and never did, will not complete either.
func JudgeEdge(onFailure string, parent schemas.State) EdgeState {
	switch {
	case parent == schemas.StateCompleted:
		return EdgeSatisfied
	case parent != schemas.StateNone && !parent.Finished():
		return EdgeOpen
	case onFailure == schemas.ParentRun:
		return EdgeSatisfied
	}
	return EdgeFailed
}

// Parent is one parent of a job as the ledger knows it.
type Parent struct {
	schemas.ParentRef
	*Ending
}

// Parents reads how the parents of a job stand, in the order in which it names them. It costs a read of each
// parent's subject, of at most ParentsMax. A job that holds an event of a newer version stands as far as it can be
// read.
func (l *Ledger) Parents(ctx context.Context, j *Job, seen schemas.Seq) ([]Parent, error) {
	out := make([]Parent, len(j.Spec.Parents))
	err := each(len(out), func(i int) error {
		p := j.Spec.Parents[i]
		end, err := l.Ending(ctx, j.Org, schemas.JobRef{ID: p.ID, Generation: p.Generation}, seen)
		if errors.Is(err, ErrUnreadable) {
			err = nil
		}
		out[i] = Parent{ParentRef: p, Ending: end}
		return err
	})
	return out, err
}

// each calls f for 0 to n-1, a few at a time, and returns the error of the first that failed.
func each(n int, f func(i int) error) error {
	errs := make([]error, n)
	hands := make(chan struct{}, parentReads)
	var all sync.WaitGroup
	for i := range n {
		hands <- struct{}{}
		all.Go(func() {
			defer func() { <-hands }()
			errs[i] = f(i)
		})
	}
	all.Wait()
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return errs[i]
	}
	return nil
}
