package ledger

import (
	"context"

	"github.com/dartwing/jobledger/schemas"
)

// ends are the ways in which one life of a job has ended so far: more than one, where it was retried.
type ends uint8

const (
	endedCompleted ends = 1 << iota
	endedFailed         // canceled or dead-lettered
)

// noteEnd keeps how a life ended, for the jobs that wait for it.
func (vj *verifiedJob) noteEnd(before schemas.State, generation int) {
	j := vj.job
	if j.Generation != generation && vj.ended != 0 { // another life has begun
		if vj.earlier == nil {
			vj.earlier = make(map[int]ends)
		}
		vj.earlier[generation] = vj.ended
		vj.ended = 0
	}
	switch {
	case before.Finished() || !j.State.Finished():
	case j.State == schemas.StateCompleted:
		vj.ended |= endedCompleted
	default:
		vj.ended |= endedFailed
	}
}

// endsOf returns how a life ended; known is false for one that the ledger does not hold (any more).
func (vj *verifiedJob) endsOf(generation int) (e ends, known bool) {
	if vj.job.Generation == generation {
		return vj.ended, true
	}
	e, known = vj.earlier[generation]
	return e, known
}

// auditParents holds the start of a job to its parents: each of them had ended in a way that lets it
// run. It knows nothing of the dispatcher: only what stands before the event.
func (v *verifier) auditParents(ctx context.Context, vj *verifiedJob, e *schemas.Event) error {
	q, ok := e.Data.(*schemas.Queued)
	if !ok || q.From != schemas.StateSubmitted || vj.job.ParentsWaived {
		return nil
	}
	for _, p := range vj.job.Spec.Parents {
		done, err := v.parentDone(ctx, e, schemas.JobRef{ID: p.ID, Generation: p.Generation}, p.OnFailure)
		if err != nil {
			return err
		}
		if !done {
			v.problem(ProblemIllegal, e.Seq, e.Org, e.Job, "it is queued, and its parent %s has not ended in a way that lets it run", p.ID)
		}
	}
	return nil
}

// parentDone is asked about a job that is queued by e.
func (v *verifier) parentDone(ctx context.Context, e *schemas.Event, ref schemas.JobRef, onFailure string) (bool, error) {
	for range endingHopsMax {
		parent := v.jobs[JobKey(e.Org, ref.ID)]
		if parent == nil {
			var err error
			if parent, err = v.refold(ctx, e.Org, ref.ID, e.Seq); err != nil {
				return false, err
			}
		}
		if parent == nil {
			return true, nil // its time was over, and it was removed
		}
		ended, known := parent.endsOf(ref.Generation)
		switch of := parent.job.DuplicateOf; {
		case !known, ended&endedCompleted != 0, ended != 0 && onFailure == schemas.ParentRun:
			return true, nil
		case of == nil || parent.job.Generation != ref.Generation:
			return false, nil
		default:
			ref = *of // another job stands for it
		}
	}
	return false, nil
}
