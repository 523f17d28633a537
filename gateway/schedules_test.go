package gateway_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

func daily(name string) gateway.AddSchedule {
	return gateway.AddSchedule{Schedule: gateway.Schedule{Name: name, Type: "echo", Cron: "30 2 * * *", TZ: "Europe/Berlin", Args: json.RawMessage(`{"n":9007199254740993}`)}}
}

// a schedule is added, shown, changed, paused, resumed and removed through the service; each change is an
// event with its actor and reason.
func TestSchedules(t *testing.T) {
	t.Parallel()
	w := start(t)
	ctx := t.Context()
	add := daily("nightly")
	why, attempts := "books", 3
	add.Reason, add.MaxAttempts, add.Tags = &why, &attempts, map[string]string{"kind": "books"}
	s, err := w.client.AddSchedule(ctx, add)
	if err != nil {
		t.Fatal(err)
	}
	if s.Missed != "once" || s.Overlap != "skip" || s.NextAt == nil || *s.Actor != "user:ada" || *s.Reason != "books" || string(s.Args) != `{"n":9007199254740993}` || *s.MaxAttempts != 3 {
		t.Errorf("added %+v", s)
	}
	if hour := s.NextAt.In(mustZone(t, "Europe/Berlin")).Hour(); hour != 2 && hour != 3 {
		t.Errorf("next at %s", s.NextAt)
	}
	if _, err := w.client.AddSchedule(ctx, daily("nightly")); code(err) != ledger.CodeIDConflict {
		t.Errorf("added again: %v", err)
	}
	if s, err = w.client.PauseSchedule(ctx, "nightly", "holidays"); err != nil || !s.Paused || s.NextAt != nil || *s.Reason != "holidays" {
		t.Errorf("paused: %+v %v", s, err)
	}
	change := daily("nightly")
	change.Replace, change.Missed = true, "all"
	if s, err = w.client.AddSchedule(ctx, change); err != nil || !s.Paused || s.Overlap != "allow" || *s.MissedMax != schemas.MissedMaxDefault || s.MaxAttempts != nil {
		t.Errorf("replaced while paused: %+v %v", s, err)
	}
	if s, err = w.client.ResumeSchedule(ctx, "nightly", ""); err != nil || s.Paused || s.NextAt == nil {
		t.Errorf("resumed: %+v %v", s, err)
	}
	if _, err := w.client.AddSchedule(ctx, daily("other")); err != nil {
		t.Fatal(err)
	}
	if all, err := w.client.Schedules(ctx); err != nil || len(all.Items) != 2 || all.Items[0].Name != "nightly" || all.AsOfSeq == 0 {
		t.Errorf("all: %+v %v", all, err)
	}
	if _, err := w.client.RemoveSchedule(ctx, "other", ""); err != nil {
		t.Error(err)
	}
	if _, err := w.client.Schedule(ctx, "other"); code(err) != ledger.CodeNotFound {
		t.Errorf("a removed one: %v", err)
	}
	if _, err := w.client.PauseSchedule(ctx, "other", ""); code(err) != ledger.CodeNotFound {
		t.Errorf("a removed one is paused: %v", err)
	}
	none, anew := schemas.Seq(0), daily("other")
	anew.IfSeq = &none
	if _, err := w.client.AddSchedule(ctx, anew); err != nil {
		t.Errorf("a removed one is added as one that never was: %v", err)
	}
	if _, err := w.client.AddSchedule(ctx, anew); code(err) != ledger.CodeVersionConflict {
		t.Errorf("added as one that never was, though it is there: %v", err)
	}
	foreign := gateway.Client{Conn: w.client.Conn, Org: "beta"}
	if _, err := foreign.Schedule(ctx, "nightly"); code(err) != ledger.CodeNotFound {
		t.Errorf("another org sees it: %v", err)
	}
	if next, err := w.client.NextTicks(ctx, "nightly", 3); err != nil || len(next.Ticks) != 3 || !next.Ticks[2].After(next.Ticks[1]) {
		t.Errorf("next: %+v %v", next, err)
	}
}

func mustZone(t *testing.T, name string) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

// what no job could be made of is refused when the schedule is added, with what is wrong.
func TestSchedulesThatAreRefused(t *testing.T) {
	t.Parallel()
	w := start(t, func(c *gateway.Config) { c.RegisterUnknown = false })
	if _, err := w.client.TypeAdd(t.Context(), gateway.Type{Name: "echo", Schema: json.RawMessage(`{"type":"object","properties":{"n":{"type":"integer"}}}`)}); err != nil {
		t.Fatal(err)
	}
	past, half, zero, bad := time.Now().Add(-time.Hour).Truncate(time.Second), 0.5, 0, "x"
	for _, tc := range []struct {
		code   ledger.Code
		says   string
		change func(s *gateway.AddSchedule)
	}{
		{"", "", func(s *gateway.AddSchedule) {}},
		{ledger.CodeInvalidArgument, "fields", func(s *gateway.AddSchedule) { s.Cron = "every day" }},
		{ledger.CodeInvalidArgument, "Mars/Olympus", func(s *gateway.AddSchedule) { s.TZ = "Mars/Olympus" }},
		{ledger.CodeInvalidArgument, "no day that exists", func(s *gateway.AddSchedule) { s.Cron = "0 0 31 2 *" }},
		{ledger.CodeInvalidArgument, "one of a cron expression", func(s *gateway.AddSchedule) { s.Cron = "" }},
		{ledger.CodeInvalidArgument, "whole seconds", func(s *gateway.AddSchedule) { s.Cron, s.TZ, s.EveryS = "", "", ptr(1.5) }},
		{ledger.CodeInvalidArgument, "interval", func(s *gateway.AddSchedule) { s.Cron, s.TZ, s.EveryS = "", "", &half }},
		{ledger.CodeInvalidArgument, "no tick from now on", func(s *gateway.AddSchedule) { s.Cron, s.TZ, s.Once = "", "", &past }},
		{ledger.CodeInvalidArgument, "missed policy", func(s *gateway.AddSchedule) { s.Missed = "never" }},
		{ledger.CodeInvalidArgument, "below 1", func(s *gateway.AddSchedule) { s.Missed, s.MissedMax = "all", &zero }},
		{ledger.CodeInvalidArgument, "overlap allow", func(s *gateway.AddSchedule) { s.Missed, s.Overlap = "all", "skip" }},
		{ledger.CodeUnknownType, "nobody", func(s *gateway.AddSchedule) { s.Type = "nobody" }},
		{ledger.CodeInvalidArgument, "args", func(s *gateway.AddSchedule) { s.Args = json.RawMessage(`{"n":"one"}`) }},
		{ledger.CodeInvalidArgument, "priority", func(s *gateway.AddSchedule) { s.Priority = "urgent" }},
		{ledger.CodeInvalidArgument, "max attempts", func(s *gateway.AddSchedule) { s.MaxAttempts = &zero }},
		{ledger.CodeInvalidArgument, "reason", func(s *gateway.AddSchedule) { s.Reason = ptr(strings.Repeat(bad, schemas.ReasonMax+1)) }},
	} {
		s := daily("n")
		tc.change(&s)
		_, err := w.client.AddSchedule(t.Context(), s)
		if code(err) != tc.code || err != nil && !strings.Contains(err.Error(), tc.says) {
			t.Errorf("%+v: %v, want %s with %q", s.Schedule, err, tc.code, tc.says)
		}
		if err == nil {
			if _, err := w.client.RemoveSchedule(t.Context(), "n", ""); err != nil {
				t.Error(err)
			}
		}
	}
}

func ptr[T any](v T) *T { return &v }

// a backfill makes up what has no job, given twice it adds nothing; a trigger makes a job for no tick, one for
// each request however often that is sent.
func TestBackfillAndTrigger(t *testing.T) {
	t.Parallel()
	w := start(t)
	ctx := t.Context()
	every := 60.0
	if _, err := w.client.AddSchedule(ctx, gateway.AddSchedule{Schedule: gateway.Schedule{Name: "n", Type: "echo", EveryS: &every, Paused: true}}); err != nil {
		t.Fatal(err)
	}
	to := time.Now().Truncate(time.Hour)
	r := gateway.BackfillRequest{From: to.Add(-10 * time.Minute), To: &to, Reason: "away"}
	dry := r
	dry.DryRun = true
	for _, step := range []struct {
		r                    gateway.BackfillRequest
		submitted, duplicate int
	}{{dry, 10, 0}, {gateway.BackfillRequest{From: r.From, To: ptr(to.Add(-5 * time.Minute))}, 5, 0}, {dry, 5, 5}, {r, 5, 5}, {r, 0, 10}, {dry, 0, 10}} {
		got, err := w.client.Backfill(ctx, "n", step.r)
		if err != nil || got.Submitted != step.submitted || got.Duplicate != step.duplicate || len(got.Ticks) != step.submitted+step.duplicate {
			t.Fatalf("%+v: %+v %v", step, got, err)
		}
	}
	j, err := w.client.Get(ctx, schemas.TickJobID("n", 1, to))
	if err != nil || j.State != schemas.StateSubmitted {
		t.Errorf("the tick's job: %+v %v", j, err)
	}
	if _, err := w.client.Backfill(ctx, "n", gateway.BackfillRequest{From: to, To: ptr(time.Now().Add(time.Hour))}); code(err) != ledger.CodeInvalidArgument {
		t.Errorf("ticks to come: %v", err)
	}
	if _, err := w.client.Backfill(ctx, "n", gateway.BackfillRequest{From: to.AddDate(-1, 0, 0)}); code(err) != ledger.CodeInvalidArgument || !strings.Contains(err.Error(), fmt.Sprint(gateway.TicksMax)) {
		t.Errorf("a year of minutes: %v", err)
	}
	one, err := w.client.TriggerSchedule(ctx, "n", "now")
	two, err2 := w.client.TriggerSchedule(ctx, "n", "now")
	if err != nil || err2 != nil || one.ID == two.ID || one.Duplicate || two.Duplicate {
		t.Errorf("triggered %+v %v and %+v %v", one, err, two, err2)
	}
	const request = "0193f0c2-0000-7000-8000-000000000001"
	for range 2 {
		if m := w.ask("acme.schedule.trigger.n", "", gateway.HeaderRequestID, request); !strings.Contains(string(m.Data), request) {
			t.Errorf("the same request: %s", m.Data)
		}
	}
}
