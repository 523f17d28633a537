package ledger_test

import (
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// opens is how many segments of jobs that were not over are left.
func (r *retained) opens() (n int) {
	r.t.Helper()
	all, err := r.NewLedger().ArchiveSegments(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, s := range all {
		if s.Class == "open" {
			n++
		}
	}
	return n
}

// wait makes jobs that wait, and leave in a segment of class open each, with what is carried of those before.
func (r *retained) wait(n int) {
	r.t.Helper()
	for range n {
		r.make("a", "t", "waiting")
		r.leave()
	}
}

// cancelAll ends all that is not over.
func (r *retained) cancelAll() {
	r.t.Helper()
	for _, j := range r.jobs {
		if !j.over {
			r.do(j, &ledger.Cancel{Reason: "not wanted"})
			j.over, j.again, j.state = true, true, schemas.StateCanceled
		}
	}
	r.leave()
}

// What became of the jobs of one segment cannot be found out: all else whose time is over goes all the same.
func TestRemoverOpenFails(t *testing.T) {
	t.Parallel()
	r := newRetained(t, 400)
	r.wait(2)
	r.make("a", "t", "done")
	r.cancelAll()
	r.ahead = 100 * day
	asked := 0
	r.rem.At(func(step string) error {
		if step == "open" {
			if asked++; asked == 1 {
				return errors.New("it cannot be read")
			}
		}
		return nil
	})
	plan := r.look()
	if asked != 2 || plan.Segments < 2 || r.opens() != 1 {
		t.Errorf("%d segments were looked into, %d are left; removed %+v", asked, r.opens(), plan)
	}
	r.ahead += day
	if r.look(); r.opens() != 0 {
		t.Errorf("%d segments are left a day later", r.opens())
	}
}

// A look that has no time for all segments of jobs which were not over goes on with the next ones an hour later.
func TestRemoverOpenBudget(t *testing.T) {
	t.Parallel()
	r := newRetained(t, 400)
	r.wait(3)
	r.cancelAll()
	var err error
	if r.rem, err = ledger.NewRemover(ledger.RemoverConfig{Ledger: r.Ledger, Logger: zap.NewNop(), Wait: -1, OpenBudget: time.Nanosecond,
		Now: func() time.Time { return time.Now().Add(r.ahead) }}); err != nil {
		t.Fatal(err)
	}
	r.ahead = 100 * day
	for left := 2; left >= 0; left-- {
		if r.look(); r.opens() != left {
			t.Fatalf("%d segments are left, want %d", r.opens(), left)
		}
		r.ahead += time.Hour
	}
}
