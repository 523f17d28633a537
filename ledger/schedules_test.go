package ledger_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

func putSchedule(t *testing.T, env *ledgertest.Env, name string, change func(s *schemas.ScheduleSettings)) *ledger.Entry {
	t.Helper()
	_, _, err := env.Ledger.PutSchedule(env.Context(), "acme", name, ledger.Meta{Actor: schemas.Actor{Type: "user", ID: "ada"}}, "because", nil,
		func(have *schemas.ScheduleSettings) (schemas.ScheduleSettings, error) {
			s := schemas.ScheduleSettings{EveryMS: 60_000, Job: schemas.JobTemplate{Type: "echo", Args: json.RawMessage(`{"n":1}`)}}
			if have != nil {
				s = *have
			}
			change(&s)
			return s, nil
		})
	if err != nil {
		t.Fatal(err)
	}
	e, err := env.Ledger.Schedule(env.Context(), "acme", name)
	if err != nil && ledger.AsError(err).Code != ledger.CodeNotFound {
		t.Fatal(err)
	}
	return e
}

func keepSchedule(*schemas.ScheduleSettings) {}

// R-12, DESIGN D11: a schedule is put, listed, changed and removed as any setting; used again, its name begins a new
// generation. Orgs do not see each other's.
func TestPutSchedule(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	l, ctx := env.Ledger, env.Context()
	e := putSchedule(t, env, "n", keepSchedule)
	if s := e.Data.(*schemas.ScheduleSet); s.Settings.Generation != 1 || s.Settings.Org != "acme" || s.Settings.Name != "n" || s.Reason != "because" {
		t.Errorf("stored %+v", s)
	}
	if again := putSchedule(t, env, "n", keepSchedule); again.Seq != e.Seq {
		t.Errorf("the same again is event %d after %d", again.Seq, e.Seq)
	}
	putSchedule(t, env, "m", keepSchedule)
	if all, err := l.Schedules(ctx, "acme"); err != nil || len(all) != 2 {
		t.Errorf("acme's schedules: %v (%v)", all, err)
	}
	if all, err := l.Schedules(ctx, "other"); err != nil || len(all) != 0 {
		t.Errorf("another org's schedules: %v (%v)", all, err)
	}
	if e := putSchedule(t, env, "n", func(s *schemas.ScheduleSettings) { s.Removed = true }); e != nil {
		t.Errorf("a removed schedule is there: %+v", e.Data)
	}
	if all, err := l.Schedules(ctx, "acme"); err != nil || len(all) != 1 {
		t.Errorf("acme's schedules after a removal: %v (%v)", all, err)
	}
	if s := putSchedule(t, env, "n", keepSchedule).Data.(*schemas.ScheduleSet); s.Settings.Generation != 2 {
		t.Errorf("used again: %+v", s)
	}
}

// a tick makes one job, whoever submits it how often, at once or after it has ended; the same time of a
// schedule that was removed and set again is another tick. The job names its schedule, and who it runs as.
func TestSubmitTick(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	l, ctx := env.Ledger, env.Context()
	putType(t, env, "echo")
	set := putSchedule(t, env, "n", keepSchedule)
	tick := time.Date(2026, 11, 25, 21, 0, 0, 0, time.UTC)
	bySystem := ledger.Meta{Actor: schemas.Actor{Type: "system", ID: "dispatcher"}}
	var wg sync.WaitGroup
	receipts, errs := make([]ledger.Receipt, 8), make([]error, 8)
	for i := range receipts {
		wg.Go(func() { receipts[i], errs[i] = l.SubmitTick(ctx, set, tick, bySystem, "") })
	}
	wg.Wait()
	first := 0
	for i, r := range receipts {
		if !r.Duplicate {
			first++
		}
		if errs[i] != nil || r.ID != schemas.TickJobID("n", 1, tick) {
			t.Errorf("tick %d: %+v %v", i, r, errs[i])
		}
	}
	j, err := l.Fold(ctx, "acme", receipts[0].ID)
	if err != nil || first != 1 {
		t.Fatalf("%d made it (%v)", first, err)
	}
	if j.Spec.Schedule != "n" || !j.Spec.Tick.Equal(tick) || j.Principal() != "user:ada" || j.SubmittedBy != bySystem.Actor || j.CausationID != string(set.ID) {
		t.Errorf("the job is %+v", j)
	}
	if _, _, err := l.Do(ctx, "acme", j.ID, &ledger.Cancel{Reason: "ended"}, ledger.Meta{}); err != nil {
		t.Fatal(err)
	}
	if r, err := l.SubmitTick(ctx, set, tick, bySystem, ""); err != nil || !r.Duplicate || r.State != schemas.StateCanceled || r.Generation != 1 {
		t.Errorf("a tick whose job has ended: %+v %v", r, err)
	}
	putSchedule(t, env, "n", func(s *schemas.ScheduleSettings) { s.Removed = true })
	again := putSchedule(t, env, "n", keepSchedule)
	if r, err := l.SubmitTick(ctx, again, tick, bySystem, ""); err != nil || r.Duplicate || r.ID == j.ID {
		t.Errorf("the tick of a schedule that was set again: %+v %v", r, err)
	}
	request := uuid.Must(uuid.NewV7())
	one, err1 := l.RunSchedule(ctx, again, request, ledger.Meta{}, "by hand")
	two, err2 := l.RunSchedule(ctx, again, request, ledger.Meta{}, "by hand")
	if err1 != nil || err2 != nil || one.ID != two.ID || one.ID != schemas.JobID(request.String()) {
		t.Errorf("run by hand: %+v %v, and the same request again: %+v %v", one, err1, two, err2)
	}
}

// what is given up for a tick's job is given up once, before the job is stored, and not at all for a job that is
// refused or is there already.
func TestFireTick(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	l, ctx := env.Ledger, env.Context()
	putType(t, env, "echo")
	set := putSchedule(t, env, "n", keepSchedule)
	tick := time.Date(2026, 11, 25, 21, 0, 0, 0, time.UTC)
	given := 0
	giveUp := func(ctx context.Context) error {
		given++
		if _, err := l.Fold(ctx, "acme", schemas.TickJobID("n", 1, tick)); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("given up behind its job: %v", err)
		}
		return nil
	}
	fire := func(before func(context.Context) error) (ledger.Receipt, error) {
		return l.FireTick(ctx, set, tick, ledger.Meta{}, before)
	}
	closed := schemas.TypeSettings{Name: "echo", DisabledOrgs: []schemas.OrgID{"acme"}}
	if _, err := l.PutType(ctx, closed, ledger.Meta{}, "closed"); err != nil {
		t.Fatal(err)
	}
	if _, err := fire(giveUp); ledger.AsError(err).Code != ledger.CodeTypeDisabled || given != 0 {
		t.Errorf("a type that is disabled: %v, given up %d times", err, given)
	}
	putType(t, env, "echo")
	deposed := errors.New("deposed")
	if _, err := fire(func(context.Context) error { return deposed }); !errors.Is(err, deposed) {
		t.Errorf("what could not be given up: %v", err)
	}
	for i, want := range []bool{false, true} {
		if r, err := fire(giveUp); err != nil || r.Duplicate != want || given != 1 {
			t.Errorf("fired %d: %+v %v, given up %d times", i, r, err, given)
		}
	}
}

// what the door would refuse of every job is refused of the schedule.
func TestCheckSchedule(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	l, err := ledger.New(ledger.Config{Conn: env.Connect(), Logger: zap.NewNop(), CheckArgs: func(_ *schemas.TypeSettings, args json.RawMessage) error {
		if string(args) != `{}` {
			return errors.New("no such field")
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	putType(t, env, "echo")
	for _, tc := range []struct {
		want ledger.Code
		job  schemas.JobTemplate
	}{
		{"", schemas.JobTemplate{Type: "echo"}},
		{ledger.CodeUnknownType, schemas.JobTemplate{Type: "nobody"}},
		{ledger.CodeInvalidArgument, schemas.JobTemplate{Type: "echo", Args: json.RawMessage(`{"n":1}`)}},
		{ledger.CodeInvalidArgument, schemas.JobTemplate{Type: "echo", Override: &schemas.Override{MaxAttempts: new(int)}}},
	} {
		s := &schemas.ScheduleSettings{Org: "acme", Name: "n", Generation: 1, EveryMS: 1000, Job: tc.job}
		var got ledger.Code
		if err := l.CheckSchedule(env.Context(), s, ledger.Meta{}, false); err != nil {
			got = ledger.AsError(err).Code
		}
		if got != tc.want {
			t.Errorf("%+v: %q, want %q", tc.job, got, tc.want)
		}
	}
	s := &schemas.ScheduleSettings{Org: "acme", Name: "n", EveryMS: 1000, Job: schemas.JobTemplate{Type: "fresh"}}
	if err := l.CheckSchedule(env.Context(), s, ledger.Meta{}, true); err != nil {
		t.Errorf("an unknown type in dev: %v", err)
	}
	if _, err := l.Type(env.Context(), "fresh"); err != nil {
		t.Error(err)
	}
}

func putType(t *testing.T, env *ledgertest.Env, name schemas.TypeName) {
	t.Helper()
	if _, err := env.Ledger.PutType(env.Context(), schemas.TypeSettings{Name: name}, ledger.Meta{}, fmt.Sprint("for ", t.Name())); err != nil {
		t.Fatal(err)
	}
}
