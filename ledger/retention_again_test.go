package ledger_test

import (
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// A job that is retried the day before its history is due keeps it, whole, until it is over for its time again (R-40,
// GUARANTEES: jobs that are not over never go).
func TestRetriedKeepsHistory(t *testing.T) {
	t.Parallel()
	for _, leaves := range []bool{false, true} { // again, with what is carried: then a later segment goes on with it
		r := newRetained(t, 400)
		j := r.make("a", "t", "resolved")
		r.make("a", "t", "done")
		r.leave()
		r.ahead = 89 * day
		r.look()
		r.do(j, &ledger.Retry{Reason: "once more", Now: time.Now()})
		j.over = false
		r.remember(j)
		if leaves {
			r.leave()
		}
		r.ahead = 95 * day
		if plan, err := r.rem.Plan(t.Context()); err != nil || plan.Segments != 0 {
			t.Errorf("would remove %+v, %v", plan, err)
		}
		r.look()
		r.run(j, schemas.EventCompleted)
		j.over = true
		r.remember(j)
		r.ahead = 97 * day
		if plan, err := r.rem.Look(t.Context()); err != nil || plan.Segments != 0 {
			t.Errorf("its end is in LEDGER still: removed %+v, %v", plan, err)
		}
		r.leave()
		r.ahead = 100 * day
		r.look()
		r.gone(j)
	}
}

// An id that is used again and again does not keep the lives before: each is complete.
func TestUsedAgainKeepsNothing(t *testing.T) {
	t.Parallel()
	r := newRetained(t, 400)
	r.setUsedAgain("t", 0)
	r.life("x", "t")
	j := r.lived("x", "t")
	first := j.story
	r.leave()
	r.begin("x", "t")
	j.over, j.again = false, true
	r.remember(j)
	r.ahead = 95 * day
	if plan := r.look(); plan.Segments == 0 {
		t.Errorf("nothing went: %+v", plan)
	}
	h, err := r.NewLedger().History(t.Context(), j.org, j.id)
	if err != nil || strings.HasPrefix(storyOf(h), first) {
		t.Errorf("the first life is there still, %v", err)
	}
}
