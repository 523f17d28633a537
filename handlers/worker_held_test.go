package handlers_test

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// answers takes what workers answer to offers.
func (ld *leader) answers() <-chan *nats.Msg {
	ld.t.Helper()
	ch := make(chan *nats.Msg, 1000)
	if _, err := ld.nc.ChanSubscribe("$JS.ACK."+ledger.StreamWork+".>", ch); err != nil {
		ld.t.Fatal(err)
	}
	if err := ld.nc.Flush(); err != nil {
		ld.t.Fatal(err)
	}
	return ch
}

// put sets a thing of the cell.
func (ld *leader) put(set schemas.Setting) {
	ld.t.Helper()
	m := ledger.Meta{Actor: schemas.Actor{Type: "user", ID: "ada"}}
	if _, err := ld.l.Put(context.Background(), m, set.Place(), func(schemas.Setting) (schemas.Setting, error) { return set, nil }); err != nil {
		ld.t.Fatal(err)
	}
}

func pause(on bool, s schemas.HoldScope) schemas.Setting {
	return &schemas.HoldSet{Settings: schemas.HoldSettings{Scope: s, On: on}, Reason: "a test"}
}

// serving starts a worker that goes by settings of at most that age.
func (ld *leader) serving(typ schemas.TypeName, h handlers.Handler, age time.Duration) <-chan handlers.Report {
	ld.t.Helper()
	reports := make(chan handlers.Report, 100)
	cfg := serves(typ, h)
	cfg.Ledger, cfg.Work, cfg.Logger = ld.env.Ledger, ld.env.Connect(), zap.NewNop()
	cfg.Report = func(r handlers.Report) { reports <- r }
	w, err := handlers.New(cfg)
	if err != nil {
		ld.t.Fatal(err)
	}
	w.Hasten(50*time.Millisecond, 0, 0)
	w.LookAtHolds(age)
	ld.start(w)
	return reports
}

// TestWorkerHeld shows and DESIGN D7: an offer that is in WORK when a hold is laid on its job is acked
// and dropped, once; the job keeps state and attempts, and starts when it is offered after the hold.
func TestWorkerHeld(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	var st starts
	reports := ld.serving("echo", handlers.HandlerFunc(func(_ context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		st.add(a)
		return a.Args, nil
	}), time.Nanosecond)
	answers := ld.answers()
	past := time.Now().Add(-time.Hour)
	state := func(s schemas.OrgState) schemas.Setting {
		return &schemas.OrgSet{Settings: schemas.OrgSettings{Name: org, State: s}, Reason: "a test"}
	}
	for name, c := range map[string]struct {
		lay, lift schemas.Setting
		runs      bool
		item      int // of the batch b
	}{
		"everything":      {lay: pause(true, schemas.HoldScope{}), lift: pause(false, schemas.HoldScope{})},
		"queue":           {lay: pause(true, schemas.HoldScope{Queue: queue}), lift: pause(false, schemas.HoldScope{Queue: queue})},
		"type":            {lay: pause(true, schemas.HoldScope{Type: "echo"}), lift: pause(false, schemas.HoldScope{Type: "echo"})},
		"org":             {lay: pause(true, schemas.HoldScope{Org: org}), lift: pause(false, schemas.HoldScope{Org: org})},
		"org and type":    {lay: pause(true, schemas.HoldScope{Org: org, Type: "echo"}), lift: pause(false, schemas.HoldScope{Org: org, Type: "echo"})},
		"resource":        {lay: pause(true, schemas.HoldScope{Resource: "line"}), lift: pause(false, schemas.HoldScope{Resource: "line"})},
		"suspended org":   {lay: state(schemas.OrgSuspended), lift: state(schemas.OrgActive)},
		"another queue":   {lay: pause(true, schemas.HoldScope{Queue: "bulk"}), lift: pause(false, schemas.HoldScope{Queue: "bulk"}), runs: true},
		"another org":     {lay: pause(true, schemas.HoldScope{Org: "globex"}), lift: pause(false, schemas.HoldScope{Org: "globex"}), runs: true},
		"batch":           {lay: pause(true, schemas.HoldScope{Org: org, Batch: "b"}), lift: pause(false, schemas.HoldScope{Org: org, Batch: "b"}), runs: true},
		"its batch":       {lay: pause(true, schemas.HoldScope{Org: org, Batch: "b"}), lift: pause(false, schemas.HoldScope{Org: org, Batch: "b"}), item: 1},
		"another's batch": {lay: pause(true, schemas.HoldScope{Org: "globex", Batch: "b"}), lift: pause(false, schemas.HoldScope{Org: "globex", Batch: "b"}), item: 2, runs: true},
		"ended by itself": {lay: &schemas.HoldSet{Settings: schemas.HoldSettings{On: true, Until: &past}}, lift: pause(false, schemas.HoldScope{}), runs: true},
	} {
		ld.put(c.lay)
		one := spec{typ: "echo", args: `1`, resource: "line"}
		if c.item > 0 {
			one.id = ledger.BatchItemID(ledger.BatchItems(org, "b", c.item), 7)
		}
		j := ld.give(one)
		ack := answered(t, answers)
		if string(ack.Data) != "+ACK" {
			t.Errorf("%s: the offer was answered with %s", name, ack.Data)
		}
		if !c.runs {
			if got := names(t, env, j.ID); !slices.Equal(got, []schemas.EventName{schemas.EventSubmitted, schemas.EventQueued}) {
				t.Errorf("%s: events under the hold: %v", name, got)
			}
		}
		ld.put(c.lift)
		if !c.runs {
			ld.offer(j, 10)
			answered(t, answers)
		}
		if r := next(t, reports); r.ID != j.ID || r.Attempt != 1 || r.Outcome != schemas.EventCompleted {
			t.Errorf("%s: report %+v", name, r)
		}
	}
	st.check(t, events(t, env, "jobs.>"))
}

func answered(t *testing.T, answers <-chan *nats.Msg) *nats.Msg {
	t.Helper()
	select {
	case m := <-answers:
		return m
	case <-time.After(patience):
		t.Fatal("an offer was not answered")
	}
	panic("unreachable")
}

// TestWorkerHoldLifted shows that a job starts which is offered in the moment when its hold is lifted, although the
// worker has seen the hold less than a second before.
func TestWorkerHoldLifted(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	ld.put(pause(true, schemas.HoldScope{Queue: queue}))
	reports := ld.serving("echo", echo, patience) // seen once, it would be believed to the end of the test
	answers := ld.answers()
	j := ld.give(spec{typ: "echo", args: `1`})
	answered(t, answers)
	ld.put(pause(false, schemas.HoldScope{Queue: queue}))
	ld.offer(j, 10)
	if r := next(t, reports); r.ID != j.ID || r.Attempt != 1 || r.Outcome != schemas.EventCompleted {
		t.Errorf("report %+v", r)
	}
}
