package ledger_test

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
)

// As long as the counts of any commit stand in its messages alone nothing is removed, of later commits neither: the sum of
// the tallies would end before them.
func TestRemoverWaitsForTallies(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(*retained){
		"made by an older version": func(r *retained) {
			if err := ledger.MoveToArchive(t.Context(), r.Ledger, end(t, r.Ledger), true); err != nil {
				t.Fatal(err)
			}
			r.setType("t", 0) // it was in what left
		},
		"damaged": func(r *retained) {
			r.SkipVerify() // it finds the damage
			flip := func(m *nats.Msg) { m.Data[len(m.Data)-20] ^= 1 }
			r.Faults.Inject(ledgertest.Fault{Archive: "catalog.tally", Kind: ledgertest.LoseReply, Before: flip})
			r.leave()
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRetained(t, 40)
			r.make("a", "t", "done")
			begin(r)
			r.make("a", "t", "done")
			r.leave()
			r.ahead = 100 * day
			plan, err := r.rem.Look(t.Context())
			if !errors.Is(err, ledger.ErrUntallied) || plan.Segments != 0 {
				t.Errorf("removed %+v, %v", plan, err)
			}
			if plan, err = r.rem.Plan(t.Context()); !errors.Is(err, ledger.ErrUntallied) || plan.Segments != 0 {
				t.Errorf("would remove %+v, %v", plan, err)
			}
			if state, err := r.NewLedger().Archived(t.Context()); err != nil || state.Removed != 0 {
				t.Errorf("%+v, %v", state, err)
			}
		})
	}
}
