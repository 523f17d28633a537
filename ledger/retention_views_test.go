package ledger_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Nothing is removed before the views have come to the end of the archive, nor while it is not known how far they are: a
// projector that reads on would count for ever what it never met the end of.
func TestRemoverWaitsForViews(t *testing.T) {
	t.Parallel()
	r := newRetained(t, 40)
	r.make("a", "t", "done")
	r.leave()
	r.ahead = 100 * day
	state, err := r.NewLedger().Archived(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	unknown := errors.New("not known")
	at, failed := schemas.Seq(0), unknown
	if r.rem, err = ledger.NewRemover(ledger.RemoverConfig{Ledger: r.Ledger, Logger: zap.NewNop(), Wait: -1, Now: func() time.Time { return time.Now().Add(r.ahead) },
		Views: func(context.Context) (schemas.Seq, error) { return at, failed }}); err != nil {
		t.Fatal(err)
	}
	if plan, err := r.rem.Look(t.Context()); !errors.Is(err, unknown) || plan.Segments != 0 {
		t.Errorf("removed %+v, %v", plan, err)
	}
	failed = nil
	for _, at = range []schemas.Seq{0, 1, state.Through.Seq - 1} {
		if plan, err := r.rem.Look(t.Context()); err != nil || plan.Segments != 0 {
			t.Errorf("removed %+v, %v, with views at %d of %d", plan, err, at, state.Through.Seq)
		}
	}
	at = state.Through.Seq
	if plan := r.look(); plan.Segments == 0 {
		t.Errorf("removed %+v, with views at %d", plan, at)
	}
}
