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

// A look that begins anew leaves the next no more to search than a margin, however far back the latest control event is: what
// is searched costs the server a look into every block, and keeps them all in its memory.
func TestControlIsNotSearchedAgain(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	here, ctx := env.NewLedger(), env.Context()
	set := &schemas.TypeSet{Settings: schemas.TypeSettings{Name: "echo"}}
	putSetting(t, env.Ledger, set)
	last, err := here.LatestControl(ctx)
	if err != nil {
		t.Fatal(err)
	}
	more := func(from int) schemas.Seq {
		t.Helper()
		for i := range 30 {
			submit(t, env.Ledger, distinct(from+i))
		}
		end, err := env.Ledger.End(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return end.Seq
	}
	before := more(0)
	for _, anew := range []bool{false, true} {
		if anew {
			more(100)
			here.ForgetControl()
		}
		if at, err := here.LatestControl(ctx); err != nil || at != last {
			t.Fatalf("the latest control event is %+v, %v; it is %+v", at, err, last)
		}
	}
	if clear := here.ControlClear(); clear < before {
		t.Errorf("a look that begins anew leaves the search from %d on, and the look before had come to %d", clear, before)
	}
	const margin = ledger.ControlMargin
	for _, c := range []struct{ last, before, end, want schemas.Seq }{
		{0, 0, 0, 0}, {5, 0, 9, 5}, {5, 7, 9, 7}, {5, 0, margin, 5}, {5, 0, margin + 9, 9}, {5, 20, margin + 9, 20}, {margin + 20, 3, margin + 9, margin + 20},
	} {
		if have := ledger.ClearTo(c.last, c.before, c.end); have != c.want {
			t.Errorf("the latest at %d, the end at %d and then %d: clear to %d, want %d", c.last, c.before, c.end, have, c.want)
		}
	}
}
