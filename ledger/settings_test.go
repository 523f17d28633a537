package ledger_test

import (
	"encoding/json"
	"reflect"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// R-04, DESIGN D11: settings are events; unchanged ones write nothing, bad ones are refused.
func TestPutType(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	l, ctx := env.Ledger, env.Context()
	ada := ledger.Meta{Actor: schemas.Actor{Type: "user", ID: "ada"}}
	s := schemas.TypeSettings{Name: "mail", Queue: "out", MaxAttempts: 3, Schema: json.RawMessage(`{"type":"object"}`)}
	e, err := l.PutType(ctx, s, ada, "first")
	if err != nil || e == nil || e.Seq == 0 {
		t.Fatalf("put: %v %v", e, err)
	}
	if e, err = l.PutType(ctx, s, ada, "again"); err != nil || e != nil {
		t.Errorf("the same settings again: %v (%v), want nothing written", e, err)
	}
	s.MaxAttempts = 4
	if e, err = l.PutType(ctx, s, ada, "more"); err != nil || e == nil {
		t.Errorf("other settings: %v %v", e, err)
	}
	if got, err := l.Type(ctx, "mail"); err != nil || got.MaxAttempts != 4 || string(got.Schema) != `{"type":"object"}` {
		t.Errorf("read back %+v (%v)", got, err)
	}
	stored := messages(t, l, "control.cell.type.mail")
	if len(stored) != 2 || stored[1].Actor != ada.Actor || stored[1].Data.(*schemas.TypeSet).Reason != "more" {
		t.Errorf("the history of the type is %+v", stored)
	}
	for name, bad := range map[string]schemas.TypeSettings{
		"name": {Name: "a.b"}, "queue": {Name: "x", Queue: ">"}, "attempts": {Name: "x", MaxAttempts: 99},
		"schema": {Name: "x", Schema: json.RawMessage(`{`)}, "dedup": {Name: "x", Dedup: "sometimes"},
	} {
		if _, err := l.PutType(ctx, bad, ada, ""); ledger.AsError(err).Code != ledger.CodeInvalidArgument {
			t.Errorf("bad %s: %v, want invalid_argument", name, err)
		}
	}
	if _, err := l.Type(ctx, "ghost"); ledger.AsError(err).Code != ledger.CodeUnknownType {
		t.Errorf("unknown type: %v", err)
	}
	if _, err := l.PutType(ctx, schemas.TypeSettings{Name: "another"}, ada, ""); err != nil {
		t.Fatal(err)
	}
	types, err := l.Types(ctx)
	if err != nil || len(types) != 2 || types[0].Name != "another" || types[1].Name != "mail" {
		t.Errorf("all types: %+v (%v)", types, err)
	}
}

// DESIGN D11: the settings of orgs, queues, resources and holds are read back as they were put, each from its own
// subject; a change sees what is in force, bad values and foreign messages change nothing.
func TestPutSettings(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	l, ctx := env.Ledger, env.Context()
	unlimited := 0
	sets := map[string]schemas.Setting{
		ledger.KindOrg:      &schemas.OrgSet{Settings: schemas.OrgSettings{Name: "x", State: schemas.OrgSuspended, MaxRunning: &unlimited}, Reason: "late"},
		ledger.KindQueue:    &schemas.QueueSet{Settings: schemas.QueueSettings{Name: "x", Weights: map[schemas.OrgID]int{"a": 3}}},
		ledger.KindResource: &schemas.ResourceSet{Settings: schemas.ResourceSettings{Name: "x", MaxRunning: 1}},
		ledger.KindHold:     &schemas.HoldSet{Settings: schemas.HoldSettings{Scope: schemas.HoldScope{Queue: "x"}, On: true}},
	}
	for kind, set := range sets {
		put := func() (*schemas.Event, error) {
			return l.Put(ctx, ledger.Meta{}, set.Place(), func(have schemas.Setting) (schemas.Setting, error) { return set, nil })
		}
		if e, err := put(); err != nil || e == nil {
			t.Fatalf("%s: put: %v %v", kind, e, err)
		}
		publishRaw(t, l, set.Place().String(), nil, "no setting")
		if e, err := put(); err != nil || e != nil {
			t.Errorf("%s: the same again: %v %v, want nothing written", kind, e, err)
		}
		all, err := l.Settings(ctx, kind)
		if err != nil || len(all) != 1 || !reflect.DeepEqual(all[0].Data, schemas.Data(set)) {
			t.Errorf("%s: all are %v (%v)", kind, all, err)
		}
	}
	if e, err := l.Setting(ctx, ledger.KindOrg, "nobody"); e != nil || err != nil {
		t.Errorf("an org that was never set: %v %v", e, err)
	}
	_, err := l.Put(ctx, ledger.Meta{}, sets[ledger.KindOrg].Place(), func(have schemas.Setting) (schemas.Setting, error) {
		o := have.(*schemas.OrgSet).Settings
		o.Weight = schemas.WeightMax + 1
		return &schemas.OrgSet{Settings: o}, nil
	})
	if ledger.AsError(err).Code != ledger.CodeInvalidArgument {
		t.Errorf("weight out of range: %v, want invalid_argument", err)
	}
}

// R-713, C45: of several who have seen the same settings one changes them; the others are told by whom they were changed,
// also if they want the same. Whoever has seen that a thing was never set adds it once.
func TestPutIf(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	l, ctx := env.Ledger, env.Context()
	place := (&schemas.OrgSet{Settings: schemas.OrgSettings{Name: "x"}}).Place()
	put := func(actor string, seq schemas.Seq, weight int) (*schemas.Event, error) {
		return l.PutIf(ctx, ledger.Meta{Actor: schemas.Actor{Type: "user", ID: actor}}, place, &seq, func(schemas.Setting) (schemas.Setting, error) {
			return &schemas.OrgSet{Settings: schemas.OrgSettings{Name: "x", Weight: weight}}, nil
		})
	}
	if _, err := put("eve", 7, 1); ledger.AsError(err).Code != ledger.CodeVersionConflict {
		t.Errorf("never set, seen at 7: %v", err)
	}
	seen := schemas.Seq(0)
	for round := range 3 {
		const writers = 4
		var all sync.WaitGroup
		events, errs := make([]*schemas.Event, writers), make([]error, writers)
		for i := range writers {
			all.Go(func() { events[i], errs[i] = put(strconv.Itoa(i), seen, round+2) })
		}
		all.Wait()
		var won *schemas.Event
		for i, e := range events {
			if e != nil && won != nil {
				t.Errorf("round %d: both %d and %d are stored", round, won.Seq, e.Seq)
			}
			if e != nil {
				won = events[i]
			}
		}
		if won == nil {
			t.Fatalf("round %d: nobody changed it: %v", round, errs)
		}
		for i, err := range errs {
			if events[i] != nil {
				continue
			}
			e := ledger.AsError(err)
			if e == nil || e.Code != ledger.CodeVersionConflict || e.Details[ledger.DetailSeq] != won.Seq || e.Details[ledger.DetailActor] != won.Actor.String() {
				t.Errorf("round %d: writer %d: %v, %s at %d was first", round, i, err, won.Actor, won.Seq)
			}
		}
		seen = won.Seq
	}
}

// A change made by another process holds here after at most a second; a foreign message on the subject
// changes nothing.
func TestTypeIsFresh(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	here, there, ctx := env.Ledger, env.NewLedger(), env.Context()
	if _, err := there.PutType(ctx, schemas.TypeSettings{Name: "mail", Queue: "one"}, ledger.Meta{}, ""); err != nil {
		t.Fatal(err)
	}
	if got, err := here.Type(ctx, "mail"); err != nil || got.Queue != "one" {
		t.Fatalf("%+v %v", got, err)
	}
	if _, err := there.PutType(ctx, schemas.TypeSettings{Name: "mail", Queue: "two"}, ledger.Meta{}, ""); err != nil {
		t.Fatal(err)
	}
	publishForeign(t, env.Connect(), "control.cell.type.mail")
	changed := time.Now()
	for {
		got, err := here.Type(ctx, "mail")
		if err != nil {
			t.Fatal(err)
		}
		if got.Queue == "two" {
			break
		}
		if time.Since(changed) > time.Minute { // aim 1s
			t.Fatal("the change of another process does not arrive")
		}
	}
	if _, err := here.PutType(ctx, schemas.TypeSettings{Name: "mail", Queue: "three"}, ledger.Meta{}, ""); err != nil {
		t.Errorf("put behind a foreign message: %v", err)
	}
	if got, err := here.Type(ctx, "mail"); err != nil || got.Queue != "three" {
		t.Errorf("own change: %+v (%v), want it at once", got, err)
	}
	env.SkipVerify() // the foreign message
}
