package ledger_test

import (
	"testing"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// TestUnmaskFaults (R-606, DESIGN D3): an unmasking is one event, whatever becomes of the request and its reply, on a subject of
// its own; the job, its fold and its subject stay as they were.
func TestUnmaskFaults(t *testing.T) {
	env := ledgertest.Start(t)
	made, err := env.Ledger.Submit(t.Context(), ledger.SubmitRequest{Org: "acme", Type: "pay", RegisterUnknown: true})
	if err != nil {
		t.Fatal(err)
	}
	before, err := env.Ledger.Fold(t.Context(), "acme", made.ID)
	if err != nil {
		t.Fatal(err)
	}
	var want []schemas.EventID
	for _, kind := range []ledgertest.Kind{ledgertest.Pass, ledgertest.LoseRequest, ledgertest.LoseReply, ledgertest.Refuse} {
		env.Faults.Inject(ledgertest.Fault{Event: schemas.EventUnmasked, Kind: kind})
		e, err := env.Ledger.Unmask(t.Context(), &schemas.Unmasked{Org: "acme", Job: made.ID, Type: "pay", Fields: []string{"card"}, Reason: "case 4711"},
			ledger.Meta{Actor: schemas.Actor{Type: "user", ID: "ada"}})
		if err != nil {
			t.Fatalf("fault %d: %v", kind, err)
		}
		want = append(want, e.ID)
	}
	if env.Faults.Hits() != len(want) {
		t.Errorf("%d faults were met", env.Faults.Hits())
	}
	all, err := env.Ledger.Unmaskings(t.Context(), "acme", made.ID)
	if err != nil || len(all) != len(want) {
		t.Fatalf("%d unmaskings, %v", len(all), err)
	}
	for i, e := range all {
		if line := ledger.LineOf(e); e.ID != want[i] || line.Actor != "user:ada" || *line.Reason != "case 4711" || *line.ID != made.ID || *line.Type != "pay" || line.To != nil {
			t.Errorf("unmasking %d: %+v", i, line)
		}
	}
	if after, err := env.Ledger.Fold(t.Context(), "acme", made.ID); err != nil || after.LastSeq != before.LastSeq {
		t.Errorf("the job moved: %+v, %v", after, err)
	}
	for _, u := range []schemas.Unmasked{{Org: "acme", Job: made.ID, Type: "pay"}, {Org: "acme", Job: "a.b", Type: "pay", Reason: "x"}} {
		if _, err := env.Ledger.Unmask(t.Context(), &u, ledger.Meta{}); ledger.AsError(err).Code != ledger.CodeInvalidArgument {
			t.Errorf("%+v: %v", u, err)
		}
	}
}
