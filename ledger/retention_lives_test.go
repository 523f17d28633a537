package ledger_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// life gives an id of its caller's a life, which completes.
func (r *retained) life(id schemas.JobID, typ schemas.TypeName) {
	r.t.Helper()
	r.begin(id, typ)
	r.run(&keptJob{org: "a", typ: typ, id: id}, schemas.EventCompleted)
}

// begin submits a job under an id of its caller's.
func (r *retained) begin(id schemas.JobID, typ schemas.TypeName) {
	r.t.Helper()
	receipt, err := r.Ledger.Submit(r.t.Context(), ledger.SubmitRequest{Org: "a", Type: typ, ID: id, Args: fmt.Appendf(nil, `{"of":%q}`, typ)})
	if err != nil || receipt.ID != id || receipt.Duplicate {
		r.t.Fatalf("%s: %+v, %v", id, receipt, err)
	}
}

// setUsedAgain has ids of a type be used again as soon as their job is over, and sets how many days it is kept.
func (r *retained) setUsedAgain(typ schemas.TypeName, days int) {
	r.t.Helper()
	var none schemas.Millis
	if _, err := r.Ledger.PutType(r.t.Context(), schemas.TypeSettings{Name: typ, RetentionDays: days, WindowMS: &none}, ledger.Meta{}, "test"); err != nil {
		r.t.Fatal(err)
	}
	r.types[typ] = days
}

// lived is the model's job of an id, kept as one of a type, as it is now.
func (r *retained) lived(id schemas.JobID, typ schemas.TypeName) *keptJob {
	r.t.Helper()
	j := &keptJob{org: "a", typ: typ, id: id, over: true}
	r.jobs = append(r.jobs, j)
	r.remember(j)
	return j
}

// gone fails the test unless nothing is told of a job any more.
func (r *retained) gone(j *keptJob) {
	r.t.Helper()
	if _, err := r.NewLedger().History(r.t.Context(), j.org, j.id); !errors.Is(err, ledger.ErrNotFound) {
		r.t.Errorf("day %d: %s.%s is there when its time is over: %v", r.days(), j.org, j.id, err)
	}
}

// An id that was used again for another type is kept as long as any of the two says, and a legal hold on either holds it, also
// where both lives leave at once, and where the later one was not over then.
func TestRetentionOfLives(t *testing.T) {
	t.Parallel()
	r := newRetained(t, 400)
	r.setUsedAgain("u", 200)
	r.setUsedAgain("t", 0)
	r.life("both", "u")
	r.life("both", "t")
	both := r.lived("both", "u")
	r.life("open", "u")
	r.begin("open", "t")
	r.leave() // the first life is in class open, beside the beginning of the other
	r.run(&keptJob{org: "a", typ: "t", id: "open"}, schemas.EventCompleted)
	open := r.lived("open", "u")
	r.leave()
	r.ahead = 100 * day
	r.look()
	r.hold(schemas.LegalScope{Org: "a", Type: "u"}, true)
	r.ahead = 210 * day
	if plan := r.look(); plan.Held == 0 {
		t.Errorf("a legal hold on type u keeps nothing: %+v", plan)
	}
	r.hold(schemas.LegalScope{Org: "a", Type: "u"}, false)
	r.look()
	r.gone(both)
	r.gone(open)
}

// The removal of a later life does not hide an earlier one, complete in a segment that stays, however near the two were to
// others that are hidden.
func TestRemovalLeavesEarlierLife(t *testing.T) {
	t.Parallel()
	r := newRetained(t, 400)
	r.setUsedAgain("u", 200)
	r.setUsedAgain("t", 0)
	early := r.make("a", "t", "waiting") // what is left of it stands in a segment with the later life, which so begins before
	r.life("x", "u")
	x := r.lived("x", "u")
	r.leave()
	r.life("x", "t")
	r.do(early, &ledger.Cancel{Reason: "not wanted"})
	early.over, early.again, early.state = true, true, schemas.StateCanceled
	r.leave()
	r.ahead = 100 * day
	if plan := r.look(); plan.Segments == 0 {
		t.Errorf("the later life is kept, too: %+v", plan)
	}
	if h, err := r.NewLedger().History(t.Context(), x.org, x.id); err != nil || storyOf(h) != x.story {
		t.Errorf("the earlier life: %v", err)
	}
	r.ahead = 210 * day
	r.look()
	r.gone(x)
}

// The removal of a segment with the end of one life and the whole of the next hides where the first began, though all that
// the segment tells of was submitted behind that one.
func TestRemovalHidesWhereALifeBegan(t *testing.T) {
	t.Parallel()
	r := newRetained(t, 400)
	r.setUsedAgain("t", 0)
	r.make("a", "t", "waiting") // it keeps the segment of the beginning
	r.begin("x", "t")
	r.leave()
	r.run(&keptJob{org: "a", typ: "t", id: "x"}, schemas.EventCompleted)
	r.life("x", "t")
	x := r.lived("x", "t")
	r.leave()
	r.ahead = 100 * day
	if plan := r.look(); plan.Segments == 0 {
		t.Errorf("nothing is removed: %+v", plan)
	}
	r.gone(x)
}
