package dispatcher

import (
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// A handler that outlives an attempt which this fold has never seen holds the limits that its worker names for it, until
// the worker leaves (DESIGN D7).
func TestUnknownHandlerHoldsItsLimits(t *testing.T) {
	c := newCrowd(4)
	c.apply("", &schemas.ResourceSet{Settings: schemas.ResourceSettings{Name: "line", MaxRunning: 1}})
	c.apply("acme", &schemas.Submitted{Type: "t", Queue: "q", Priority: schemas.PriorityNormal, Generation: 1, Resource: "line"})
	hung := ledger.AttemptRef{Org: "acme", Job: "old", Attempt: 1, Fence: schemas.Fence{Seq: 1, ID: "gone"}, Hung: true,
		Queue: "q", Type: "t", Resource: "line"}
	beat := ledger.Beat{Session: "w", Slots: 4, Serves: []ledger.Serves{{Queue: "q", Type: "t"}}, Attempts: []ledger.AttemptRef{hung}}
	c.core.Beat(&beat, c.mono)
	for range 3 {
		if ds := c.core.Decide(c.now, c.mono, 10); len(ds) != 0 {
			t.Fatalf("%+v beside a handler that still runs", ds)
		}
		c.now, c.mono = c.now.Add(time.Second), c.mono+time.Second
		c.core.Beat(&beat, c.mono)
	}
	beat.Attempts, beat.Leaving = nil, true
	c.core.Beat(&beat, c.mono)
	if ds := c.core.Decide(c.now, c.mono, 10); len(ds) != 1 || ds[0].Kind != DecideQueue || !ds[0].Alone {
		t.Errorf("%+v when it is gone", ds)
	}
}
