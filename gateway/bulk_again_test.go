package gateway_test

import (
	"testing"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// An attempt of a bulk that goes on beside one which was given up and does not know it yet counts what that one does meanwhile as
// done: by whomever, it was this bulk.
func TestBulkBesideItself(t *testing.T) {
	w := start(t)
	w.submit(ledger.SubmitRequest{ID: "job", Type: "echo"})
	w.do("job", &ledger.Cancel{Reason: "by hand"})
	o := handlers.BulkOrder{Org: "acme", Bulk: "bulk", Spec: &ledger.BulkSpec{Action: gateway.ActionRetry, Reason: "r"}, Again: true}
	for range 16 { // at once
		o.IDs = append(o.IDs, "job")
	}
	o.Spec.IDs = o.IDs
	outcomes, err := w.g.ActBulk(t.Context(), &o)
	if err != nil {
		t.Fatal(err)
	}
	for _, outcome := range outcomes {
		if outcome.Err != nil || outcome.Skipped != "" {
			t.Errorf("%+v", outcome)
		}
	}
	if h, err := w.client.History(t.Context(), schemas.JobID("job")); err != nil || len(h) != 3 {
		t.Errorf("its history: %+v, %v", h, err)
	}
}
