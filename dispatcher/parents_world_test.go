package dispatcher

import (
	"fmt"
	"strings"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Parents in a world: what the host does for them, without the I/O.

// ending reads how a life of a job ended from the first n events.
func (w *world) ending(org schemas.OrgID, ref schemas.JobRef, n int) *ledger.Ending {
	for {
		if w.removed[ref.ID] {
			return &ledger.Ending{Ref: ref, Job: &ledger.Job{Org: org, ID: ref.ID}, Removed: true}
		}
		var entries []*ledger.Entry
		for _, e := range w.log[:n] {
			if e.Org == org && e.Job == ref.ID {
				entries = append(entries, &ledger.Entry{Event: e})
			}
		}
		end := ledger.EndingOf(org, ref, entries)
		of := end.Job.DuplicateOf
		if end.State != schemas.StateCanceled || of == nil {
			return end
		}
		ref = *of
	}
}

func (w *world) parentOf(d *Decision, n int) *ledger.Ending {
	return w.ending(d.Org, schemas.JobRef{ID: d.Parent.ID, Generation: d.Parent.Generation}, n)
}

// lookUp settles a look-up with what the ledger held when it was settled, or every other time, as a slow answer
// does, when it was given out.
func (w *world) lookUp(d Decision) string {
	n := len(w.log)
	if early := w.asked[d.N]; d.N%2 == 0 && early != 0 {
		n = early
	}
	end := w.parentOf(&d, n)
	w.core.Settle(d, Result{Outcome: Stored, Ending: end})
	switch {
	case end.State == schemas.StateNone:
		return "unknown"
	case end.Ref.ID != d.Parent.ID:
		return string(end.State) + " as " + string(end.Ref.ID)
	}
	return string(end.State)
}

// waits is what the host finds of a job whose parents have to be judged before it is queued.
func (w *world) waits(d *Decision, j *ledger.Job) bool {
	if d.Kind != DecideQueue || j.ParentsWaived || j.State != schemas.StateSubmitted || j.LastSeq == d.At {
		return false
	}
	for _, p := range j.Spec.Parents {
		end := w.ending(j.Org, schemas.JobRef{ID: p.ID, Generation: p.Generation}, len(w.log))
		if end.Judge(p.OnFailure) != ledger.EdgeSatisfied {
			return true
		}
	}
	return false
}

// dependency is the host's command of that name, nil if it is moot.
func (w *world) dependency(d *Decision, j *ledger.Job) ledger.Command {
	end := w.parentOf(d, len(w.log))
	if j.ParentsWaived || !d.fails(end) {
		return nil
	}
	return d.endOfChild(end)
}

// parents reads the option after=JOB[:POLICY],...: jobs of the same org, in their present life, or after JOB.2 in
// another.
func (p *player) parents(org, text string) (refs []schemas.ParentRef) {
	for _, one := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' }) {
		id, policy, _ := strings.Cut(one, ":")
		ref := schemas.ParentRef{ID: schemas.JobID(id), Generation: 1, OnFailure: policy}
		if j := p.jobs[org+"/"+id]; j != nil {
			ref.Generation = j.Generation
		}
		refs = append(refs, ref)
	}
	return refs
}

// judgeParents holds a whole log to R-14 the dumb way: no job is queued before its parents' ends let it, and none
// ends with a parent that did not fail.
func (w *world) judgeParents(fail func(format string, args ...any)) {
	ended := make(map[string]map[schemas.State]bool) // by org/job/generation: every way in which it ever ended
	jobs := make(map[string]*ledger.Job)
	for _, e := range w.log {
		if e.Job == "" {
			continue
		}
		key := fmt.Sprintf("%s/%s", e.Org, e.Job)
		j := jobs[key]
		if j == nil {
			j = new(ledger.Job)
			jobs[key] = j
		}
		before := j.State
		ledger.Apply(j, e)
		life := fmt.Sprintf("%s/%d", key, j.Generation)
		if j.State.Finished() && !before.Finished() {
			if ended[life] == nil {
				ended[life] = make(map[schemas.State]bool)
			}
			ended[life][j.State] = true
		}
		if len(j.Spec.Parents) == 0 {
			continue
		}
		satisfied, failed := 0, ""
		for _, p := range j.Spec.Parents {
			was := ended[fmt.Sprintf("%s/%s/%d", e.Org, p.ID, p.Generation)]
			bad := was[schemas.StateCanceled] || was[schemas.StateDeadLettered]
			if was[schemas.StateCompleted] || p.OnFailure == schemas.ParentRun && bad {
				satisfied++
			}
			if bad && p.OnFailure != schemas.ParentRun {
				failed += p.OnFailure + " "
			}
		}
		switch d := e.Data.(type) {
		case *schemas.Queued:
			if before == schemas.StateSubmitted && !j.ParentsWaived && satisfied < len(j.Spec.Parents) {
				fail("%s is queued at %d, with %d of %d parents satisfied", key, e.Seq, satisfied, len(j.Spec.Parents))
			}
		case *schemas.DeadLettered:
			if d.Reason == schemas.DeadDependencyFailed && !strings.Contains(failed, " ") {
				fail("%s ends at %d with a parent, and none failed", key, e.Seq)
			}
		case *schemas.Canceled:
			if strings.HasPrefix(d.Reason, parentNamed) && failed == "" && !w.cascaded {
				fail("%s is canceled at %d with a parent, and none failed", key, e.Seq)
			}
		}
	}
}
