package handlers_test

import (
	"testing"
	"time"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// A batch that goes on is told when its latest items were submitted, as many as its pace allows in a window, so that the
// pace holds over a restart; those that are missing count for nothing.
func TestBatchPaceAfterRestart(t *testing.T) {
	t.Parallel()
	l := ledgertest.Start(t).Ledger
	if _, err := l.PutType(t.Context(), schemas.TypeSettings{Name: "fax"}, ledger.Meta{}, ""); err != nil {
		t.Fatal(err)
	}
	const given, missing = 37, 33
	spec := &ledger.BatchSpec{Each: ledger.BatchItem{Type: "fax"}, Items: make([]ledger.BatchItem, 50)}
	items := ledger.BatchItems(org, "faxes", 1)
	for i := range given {
		if i == missing {
			continue
		}
		if _, err := l.SubmitItem(t.Context(), org, "faxes", items, i, spec.Item(i), ledger.Meta{}); err != nil {
			t.Fatal(err)
		}
	}
	for count, want := range map[int]int{1: 1, 16: 16, 20: 20, 100: given - 1} {
		spec.Pace = &schemas.Rate{Count: count, PerMS: schemas.MillisOf(24 * time.Hour)}
		out, err := handlers.PaceAfterRestart(t.Context(), l, org, "faxes", spec)
		if err != nil {
			t.Fatal(err)
		}
		last, err := l.Fold(t.Context(), org, ledger.BatchItemID(items, given-1))
		if err != nil {
			t.Fatal(err)
		}
		if len(out) != want {
			t.Fatalf("at a pace of %d it knows of %d items, want %d", count, len(out), want)
		}
		if d := out[want-1].Sub(last.SubmittedAt).Abs(); d > time.Hour { // up to the difference of two clocks
			t.Errorf("the latest was submitted %s from when it is said to be", d)
		}
	}
}
