package handlers_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// A batch that stood still for longer than the history of its items is kept goes on: what it had submitted does not run
// again, though the ledger knows nothing of it any more; what it was to submit still is submitted. After a
// retry its items are others.
func TestBatchOfRemovedItems(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	l, ctx := env.Ledger, t.Context()
	if _, err := l.PutType(ctx, schemas.TypeSettings{Name: "fax"}, ledger.Meta{}, ""); err != nil {
		t.Fatal(err)
	}
	spec := ledger.BatchSpec{Each: ledger.BatchItem{Type: "fax"}}
	for i := range 4 {
		spec.Items = append(spec.Items, ledger.BatchItem{Args: fmt.Appendf(nil, "%d", i)})
	}
	args, err := spec.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.SubmitBatch(ctx, ledger.SubmitRequest{Org: org, ID: "faxes", Args: args}); err != nil {
		t.Fatal(err)
	}
	do := func(cmd ledger.Command) *ledger.Job {
		t.Helper()
		j, _, err := l.Do(ctx, org, "faxes", cmd, ledger.Meta{})
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	j := do(&ledger.Queue{Policy: schemas.DefaultPolicy(), Epoch: 10, Now: time.Now()})
	j = do(&ledger.Claim{Generation: 1, Submitted: j.SubmittedSeq, Session: schemas.NewSessionID()})
	// Three were tried, the third could not be submitted yet; the first two have ended, and their history was removed.
	do(&ledger.Checkpoint{Fence: j.Fence, Value: []byte(`{"items":4,"next":3,"settled":"AA==","told":1,"waiting":"BA=="}`)})
	j = do(&ledger.Outcome{Fence: j.Fence, Generation: 1, Attempt: 1, Kind: schemas.EventReleased, Reason: "yield"})
	ld := newLeader(t, env)
	runBatches(t, env)
	ld.offer(j, 10)
	items := ledger.BatchItems(org, "faxes", 1)
	for _, i := range []int{2, 3} {
		cancelWhenThere(t, l, ledger.BatchItemID(items, i))
	}
	var result handlers.BatchResult
	for limit := time.Now().Add(patience); ; {
		if j := ld.fold("faxes"); j.State == schemas.StateCompleted {
			if err := json.Unmarshal(j.Result, &result); err != nil {
				t.Fatal(err)
			}
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("the batch is %+v", ld.fold("faxes"))
		}
	}
	if result.Removed != 2 || result.Canceled != 2 || result.Completed != 0 {
		t.Errorf("it came to %+v", result)
	}
	for i := range 2 {
		if j, err := l.Fold(ctx, org, ledger.BatchItemID(items, i)); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("item %d was submitted again: %+v, %v", i, j, err)
		}
	}
}

// cancelWhenThere cancels a job once it was submitted.
func cancelWhenThere(t *testing.T, l *ledger.Ledger, id schemas.JobID) {
	t.Helper()
	for limit := time.Now().Add(patience); ; {
		_, _, err := l.Do(t.Context(), org, id, &ledger.Cancel{Reason: "it was there"}, ledger.Meta{})
		if err == nil {
			return
		}
		if !errors.Is(err, ledger.ErrNotFound) || time.Now().After(limit) {
			t.Fatalf("job %s: %v", id, err)
		}
	}
}
