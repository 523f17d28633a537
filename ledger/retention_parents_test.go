package ledger_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// after makes a job that waits for another.
func (r *retained) after(parent *keptJob, onFailure string) *keptJob {
	r.t.Helper()
	receipt, err := r.Ledger.Submit(r.t.Context(), ledger.SubmitRequest{Org: parent.org, Type: parent.typ, Args: fmt.Appendf(nil, `{"n":%d}`, len(r.jobs)),
		Parents: []schemas.ParentRef{{ID: parent.id, OnFailure: onFailure}}})
	if err != nil {
		r.t.Fatal(err)
	}
	j := &keptJob{org: parent.org, typ: parent.typ, id: receipt.ID}
	r.jobs = append(r.jobs, j)
	r.remember(j)
	return j
}

// A job that waits for another whose history was removed in the meantime is not failed by that, whatever its edge says; nor
// is an old dead letter that is retried.
func TestParentRemoved(t *testing.T) {
	t.Parallel()
	r := newRetained(t, 40)
	parent := r.make("a", "t", "done")
	var children []*keptJob
	for _, policy := range []string{schemas.ParentFail, schemas.ParentCancel, schemas.ParentRun} {
		children = append(children, r.after(parent, policy))
	}
	dead := r.after(parent, schemas.ParentFail)
	r.run(dead, schemas.EventFailed)
	r.remember(dead)
	end, err := r.Ledger.Ending(t.Context(), "a", schemas.JobRef{ID: "nobody", Generation: 1}, 0)
	if err != nil || end.Removed || end.Judge(schemas.ParentFail) != ledger.EdgeFailed {
		t.Errorf("before anything was removed, a parent that never was: %+v, %v", end, err)
	}
	r.leave()
	r.ahead = 95 * day
	r.look()
	if _, err := r.NewLedger().Fold(t.Context(), parent.org, parent.id); err == nil {
		t.Fatal("the parent is there still")
	}
	r.do(dead, &ledger.Retry{Reason: "once more", Now: time.Now()})
	for _, child := range append(children, dead) {
		j, err := r.Ledger.Fold(t.Context(), child.org, child.id)
		if err != nil {
			t.Fatal(err)
		}
		parents, err := r.NewLedger().Parents(t.Context(), j, 0)
		if err != nil || len(parents) != 1 {
			t.Fatal(parents, err)
		}
		p := parents[0]
		if !p.Removed || p.State != schemas.StateNone || p.Judge(p.OnFailure) != ledger.EdgeSatisfied {
			t.Errorf("%s: its parent is %+v, %v, and lets it run: %v", child.id, p.Ending, p.Removed, p.Judge(p.OnFailure))
		}
		r.run(child, schemas.EventCompleted) // the checker agrees
	}
}
