package sim_test

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// parentsPerJob is how many jobs one waits for at most.
const parentsPerJob = 3

// choosePlanned draws whether a job will wait for others. It draws from a source of its own, so that the jobs of a seed
// stay what they were before jobs could wait.
func (p *plan) choosePlanned(r *rand.Rand) {
	if p.id == "" || r.IntN(2) == 0 {
		return // a job without an id of its own would be submitted again as another one: children carry no content id
	}
	p.wants = 1 + r.IntN(parentsPerJob)
	p.pick = r
	for i := range p.later {
		switch c := &p.later[i]; {
		case c.name == "cancel" && r.IntN(3) == 0:
			c.name = "cancel all"
		case c.name == "retry" && r.IntN(3) == 0:
			c.name = "retry alone"
		}
	}
}

// chooseParents names the parents when the job is first submitted: of the jobs that are known to be stored. A plan's
// parents belong to the goroutine that asks for it.
func (w *world) chooseParents(p *plan) {
	var known []schemas.JobID
	for _, o := range w.plans {
		if o == p || o.id == "" {
			continue
		}
		o.mu.Lock()
		if o.stage > 0 {
			known = append(known, o.id)
		}
		o.mu.Unlock()
	}
	for ; p.wants > 0; p.wants-- {
		if len(known) > 0 {
			p.parents = append(p.parents, schemas.ParentRef{ID: known[p.pick.IntN(len(known))],
				OnFailure: []string{schemas.ParentFail, schemas.ParentFail, schemas.ParentCancel, schemas.ParentRun}[p.pick.IntN(4)]})
		}
	}
	// One that is named twice has one policy.
	seen := make(map[schemas.JobID]bool)
	kept := p.parents[:0]
	for _, ref := range p.parents {
		if !seen[ref.ID] {
			kept = append(kept, ref)
		}
		seen[ref.ID] = true
	}
	p.parents = kept
}

// judgeParents holds what happens to a job that waits for others to what its parents' events say: it is queued only
// when each of them has ended in a way that lets it, and ends with a parent only if one failed. ledger.Verify
// asks the first once more at the end.
func (w *world) judgeParents(subject string, seq uint64, j *ledger.Job, before schemas.State, e *schemas.Event) {
	if j.State.Finished() && !before.Finished() {
		life := fmt.Sprintf("%s/%d", subject, j.Generation)
		w.truth.ends[life] = append(w.truth.ends[life], j.State)
	}
	if len(j.Spec.Parents) == 0 || j.ParentsWaived {
		return
	}
	failed := false
	for _, p := range j.Spec.Parents {
		completed, bad := false, false
		for _, end := range w.truth.ends[fmt.Sprintf("%s/%d", schemas.JobSubject(j.Org, p.ID), p.Generation)] {
			completed = completed || end == schemas.StateCompleted
			bad = bad || end != schemas.StateCompleted
		}
		failed = failed || bad && p.OnFailure != schemas.ParentRun
		if q, ok := e.Data.(*schemas.Queued); ok && q.From == schemas.StateSubmitted && !completed && (!bad || p.OnFailure != schemas.ParentRun) {
			w.truth.fail("%s is queued at %d, and its parent %s generation %d has not ended in a way that lets it", subject, seq, p.ID, p.Generation)
		}
	}
	d, dead := e.Data.(*schemas.DeadLettered)
	if dead && d.Reason == schemas.DeadDependencyFailed {
		w.truth.children++
		if !failed {
			w.truth.fail("%s ends at %d with a parent, and none of them failed", subject, seq)
		}
	}
	if c, ok := e.Data.(*schemas.Canceled); ok && strings.HasPrefix(c.Reason, "parent ") {
		w.truth.children++
	}
	if q, ok := e.Data.(*schemas.Queued); ok && q.From == schemas.StateSubmitted {
		w.truth.children++
	}
}
