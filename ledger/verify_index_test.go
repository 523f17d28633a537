package ledger_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
)

// the sums of an index are those of the fold, also where that lets most jobs go and folds them again, and where the
// index is at another sequence than the ledger's end.
func TestVerifyIndexOfJobsLetGo(t *testing.T) {
	env := ledgertest.Start(t)
	x := env.RunIndex()
	walk := ledgertest.NewWalk(env, t, rand.Uint64())
	for round := range 3 {
		for range 150 {
			walk.Step()
		}
		end, err := env.Ledger.End(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		waiting, stop := context.WithTimeout(t.Context(), time.Minute)
		err = x.WaitFor(waiting, end.Seq/2+1) // behind or not
		stop()
		if err != nil {
			t.Fatal(err)
		}
		cfg := ledger.VerifyConfig{Ledger: env.NewLedger(), Full: true, FullSpeed: true}
		cfg.Hold(1 + round*3)
		v, err := ledger.Verify(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if !v.OK || v.Problems.Index == nil || len(v.Indexes) != 1 || !v.Indexes[0].Checked {
			t.Errorf("round %d: %+v, %+v", round, v.Problems, v.Examples)
		}
	}
}
