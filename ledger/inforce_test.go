package ledger_test

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// A look at the control events asks where the ledger ends, then for an event up to there; the second may be answered by a
// deposed leader, whose log is shorter. What it did not have is searched again by the next look, so that no hold is
// overlooked for longer than a second.
func TestInForceBesideADeposedLeader(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	here, ctx := env.NewLedger(), env.Context()
	put := func(name string) schemas.Seq {
		t.Helper()
		set := &schemas.OrgSet{Settings: schemas.OrgSettings{Name: schemas.OrgID(name), Weight: 1}}
		e := schemas.NewEvent(set.Place(), set)
		if err := env.Ledger.Append(ctx, e, 0); err != nil {
			t.Fatal(err)
		}
		return e.Seq
	}
	look := func(want schemas.Seq) {
		t.Helper()
		if at, err := here.LatestControl(ctx); err != nil || at.Seq != want {
			t.Errorf("the latest control event is at %d, %v; it stands at %d", at.Seq, err, want)
		}
	}
	first := put("one")
	ahead := first + 1 // of the log that is read, as one sees it which the leader before answers from
	nc := env.Connect()
	if _, err := nc.Subscribe("test.api.STREAM.INFO."+ledger.StreamLedger, func(m *nats.Msg) {
		_ = m.Respond(fmt.Appendf(nil, `{"config":{"name":%q},"state":{"last_seq":%d}}`, ledger.StreamLedger, ahead))
	}); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := here.AskAt("test.api"); err != nil {
		t.Fatal(err)
	}
	look(first) // a look that begins anew is two requests as well
	second := put("two")
	look(second)
	ahead = second + 1
	look(second) // reads on, and finds nothing
	third := put("three")
	if third != ahead {
		t.Fatalf("somebody else wrote: the event is at %d, not at %d", third, ahead)
	}
	look(third)
}
