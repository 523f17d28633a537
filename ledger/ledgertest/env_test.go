package ledgertest_test

import (
	"testing"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// A restart keeps the ledger, loses the memory streams and begins a new start of the cell (DESIGN D2).
func TestRestartIsANewStartOfTheCell(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ctx, first := env.Context(), env.Cell
	if !first.Started || first.ID == "" {
		t.Fatalf("first provision returned %+v", first)
	}
	env.Provision()
	if env.Cell.Started || env.Cell.ID != first.ID {
		t.Errorf("second provision returned %+v, want the start %s", env.Cell, first.ID)
	}
	env.Restart()
	if !env.Cell.Started || env.Cell.ID == first.ID {
		t.Errorf("after a restart the cell is %+v, want a start other than %s", env.Cell, first.ID)
	}
	for seq, id := range map[schemas.Seq]string{1: first.ID, 2: env.Cell.ID} {
		e, err := env.Ledger.EventAt(ctx, seq)
		if err != nil {
			t.Fatal(err)
		}
		if s, ok := e.Data.(*schemas.CellStarted); !ok || s.Cell != id || s.Version != "test" {
			t.Errorf("event %d is %+v, want cell_started of %s", seq, e.Data, id)
		}
	}
	for _, name := range []string{ledger.StreamWork, "KV_" + ledger.BucketLease, "KV_" + ledger.BucketLive} {
		if _, err := env.Ledger.JetStream().Stream(ctx, name); err != nil {
			t.Errorf("stream %s after a restart: %v", name, err)
		}
	}
}
