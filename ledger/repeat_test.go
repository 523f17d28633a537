package ledger_test

import (
	"testing"

	"github.com/google/uuid"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// A request that is repeated because its answer was lost finds its own job, with and without content id,
// and is no duplicate; another request with the same content is (D4, INTERFACE 2.4).
func TestSubmitRepeated(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	for _, noDedup := range []bool{false, true} {
		req := ledger.SubmitRequest{Org: "acme", Type: "echo", Args: []byte(`{"a":1}`), NoDedup: noDedup,
			RegisterUnknown: true, RequestID: uuid.New()}
		first, err := env.Ledger.Submit(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if first.ID != schemas.JobID(req.RequestID.String()) {
			t.Errorf("the job is %s, want the request's id %s, so that the caller can ask for it", first.ID, req.RequestID)
		}
		again, err := env.NewLedger().Submit(t.Context(), req)
		if err != nil || again != first {
			t.Errorf("no dedup %t: the repetition gave %+v, %v; want %+v", noDedup, again, err, first)
		}
		req.RequestID = uuid.New()
		other, err := env.Ledger.Submit(t.Context(), req)
		if err != nil || other.Duplicate == noDedup || (other.ID == first.ID) == noDedup {
			t.Errorf("no dedup %t: another request gave %+v, %v", noDedup, other, err)
		}
	}
	repeated := ledger.SubmitRequest{Org: "acme", Type: "echo", ID: "own", RequestID: uuid.New()}
	for range 2 {
		if r, err := env.Ledger.Submit(t.Context(), repeated); err != nil || r.Duplicate {
			t.Errorf("a repetition under the caller's own id gave %+v, %v", r, err)
		}
	}
}
