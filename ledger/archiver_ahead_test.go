package ledger_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// TestArchiverAheadAndBehind: what a job amounts to counts up to its last event in LEDGER, whether that is among what the archiver reads
// ahead of the stretch or behind it. One that ended there and was retried behind it is carried.
func TestArchiverAheadAndBehind(t *testing.T) {
	t.Parallel()
	const answer, together = 4096, 900 // messages that the archiver reads at once, and so ahead; jobs in one submit
	c := newCrowd(t, 0)
	ids := []schemas.JobID{"near", "far", "back", "gone"}
	for _, id := range ids {
		if _, err := c.Ledger.Submit(t.Context(), ledger.SubmitRequest{Org: "acme", Type: "t", ID: id, Args: []byte(`"x"`), NoDedup: true}); err != nil {
			t.Fatal(err)
		}
	}
	c.do("gone", &ledger.Cancel{})
	cut := c.cutAt(c.end0())
	c.do("near", &ledger.Cancel{})
	c.do("back", &ledger.Cancel{})
	for n := 0; n <= answer; n += together {
		requests := make([]ledger.SubmitRequest, together)
		for i := range requests {
			requests[i] = ledger.SubmitRequest{Org: "acme", Type: "t", Args: fmt.Append(nil, n+i), NoDedup: true}
		}
		if _, err := c.Ledger.SubmitMany(t.Context(), requests); err != nil {
			t.Fatal(err)
		}
	}
	c.do("far", &ledger.Cancel{})
	c.do("back", &ledger.Retry{Now: time.Now()})
	c.do("gone", &ledger.Retry{Now: time.Now()})
	for _, id := range ids {
		c.remember(id)
	}
	moved, err := c.archiver(small(16)).LookBefore(t.Context(), cut)
	if err != nil {
		t.Fatal(err)
	}
	if moved.Carried != 2 || moved.Jobs != len(ids) {
		t.Errorf("moved %+v, want both jobs carried that were retried, of %d", moved, len(ids))
	}
	c.check(c.Ledger)
}
