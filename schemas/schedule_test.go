package schemas_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/dartwing/jobledger/schemas"
)

// a tick's job id is a token, and no two of schedule, generation and tick share one, whatever the names.
func TestTickJobID(t *testing.T) {
	type tick struct {
		name string
		gen  int
		at   int64
	}
	rapid.Check(t, func(t *rapid.T) {
		seen := map[schemas.JobID]tick{}
		for range 50 {
			x := tick{rapid.StringMatching(`[a-c0-1_-]{1,64}`).Draw(t, "name"), rapid.IntRange(1, 12).Draw(t, "generation"), rapid.Int64Range(0, 3).Draw(t, "tick")}
			id := schemas.TickJobID(x.name, x.gen, time.Unix(x.at, 0))
			if err := schemas.CheckToken("job id", string(id)); err != nil || schemas.CheckCallerJobID(string(id)) == nil {
				t.Fatalf("%s: %v; a caller may not choose it", id, err)
			}
			if had, taken := seen[id]; taken && had != x {
				t.Fatalf("%s is of %v and of %v", id, had, x)
			}
			seen[id] = x
		}
	})
	if id := schemas.TickJobID("nightly", 1, time.Date(2026, 11, 25, 22, 0, 0, 0, time.FixedZone("", 3600))); id != "_s-nightly-1-20261125T210000Z" {
		t.Errorf("a tick is named %s", id)
	}
	if id := schemas.TickJobID(strings.Repeat("n", schemas.TokenMax), 1e9, time.Now()); len(id) > schemas.TokenMax {
		t.Errorf("%s has %d bytes", id, len(id))
	}
}

// settings that no schedule can have are refused with a reason.
func TestScheduleSettings(t *testing.T) {
	at := time.Date(2026, 1, 1, 0, 0, 0, 1, time.UTC)
	good := func() schemas.ScheduleSettings {
		return schemas.ScheduleSettings{Org: "acme", Name: "n", Generation: 1, Cron: "@daily", Job: schemas.JobTemplate{Type: "t"}}
	}
	for _, tc := range []struct {
		want   string // of the error; empty: none
		change func(s *schemas.ScheduleSettings)
	}{
		{"", func(s *schemas.ScheduleSettings) {}},
		{"", func(s *schemas.ScheduleSettings) { s.Missed, s.MissedMax = schemas.MissedAll, 7 }},
		{"one of", func(s *schemas.ScheduleSettings) { s.Cron = "" }},
		{"one of", func(s *schemas.ScheduleSettings) { s.EveryMS = 1000 }},
		{"zone goes with", func(s *schemas.ScheduleSettings) { s.Cron, s.EveryMS, s.Zone = "", 1000, "UTC" }},
		{"interval", func(s *schemas.ScheduleSettings) { s.Cron, s.EveryMS = "", 999 }},
		{"whole seconds", func(s *schemas.ScheduleSettings) { s.Cron, s.EveryMS = "", 1500 }},
		{"offset", func(s *schemas.ScheduleSettings) { s.Cron, s.EveryMS, s.OffsetMS = "", 2000, 2000 }},
		{"whole second", func(s *schemas.ScheduleSettings) { s.Cron, s.At = "", &at }},
		{"missed policy", func(s *schemas.ScheduleSettings) { s.Missed = "never" }},
		{"overlap policy", func(s *schemas.ScheduleSettings) { s.Overlap = "never" }},
		{"use overlap allow", func(s *schemas.ScheduleSettings) { s.Missed, s.Overlap = schemas.MissedAll, schemas.OverlapSkip }},
		{"missed all only", func(s *schemas.ScheduleSettings) { s.MissedMax = 3 }},
		{"jitter", func(s *schemas.ScheduleSettings) { s.JitterMS = -1 }},
		{"type", func(s *schemas.ScheduleSettings) { s.Job.Type = "" }},
		{"args", func(s *schemas.ScheduleSettings) { s.Job.Args = json.RawMessage("{") }},
		{"args", func(s *schemas.ScheduleSettings) {
			s.Job.Args = json.RawMessage(`"` + strings.Repeat("x", schemas.ScheduleArgsMax) + `"`)
		}},
		{"priority", func(s *schemas.ScheduleSettings) { s.Job.Priority = "urgent" }},
		{"timeout", func(s *schemas.ScheduleSettings) { s.Job.Override = &schemas.Override{TimeoutMS: new(schemas.Millis)} }},
		{"schedule", func(s *schemas.ScheduleSettings) { s.Name = "a.b" }},
		{"generation", func(s *schemas.ScheduleSettings) { s.Generation = 0 }},
	} {
		s := good()
		tc.change(&s)
		err := (&schemas.ScheduleSet{Settings: s}).Validate()
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%+v: %v, want %q", s, err, tc.want)
		}
	}
}

// the jitter of a schedule is below what was asked for, and the same on every server.
func TestScheduleDelay(t *testing.T) {
	s := schemas.ScheduleSettings{Org: "acme", Name: "n", JitterMS: 60_000}
	other := s
	other.Name = "m"
	if d := s.Delay(); d != s.Delay() || d < 0 || d >= time.Minute || d == other.Delay() {
		t.Errorf("delays %s and %s", s.Delay(), other.Delay())
	}
}

// Intervals and single times come back as they were stored.
func TestScheduleForms(t *testing.T) {
	at := time.Date(2026, 12, 1, 9, 0, 0, 0, time.UTC)
	base := schemas.ScheduleSettings{Org: "acme", Name: "n", Generation: 1, Job: schemas.JobTemplate{Type: "t"}}
	every, once := base, base
	every.EveryMS, every.OffsetMS, once.At = 600_000, 60_000, &at
	for _, s := range []schemas.ScheduleSettings{every, once} {
		set := &schemas.ScheduleSet{Settings: s}
		m, err := schemas.NewEvent(set.Place(), set).Encode()
		if err != nil {
			t.Fatal(err)
		}
		e, err := schemas.Decode(m.Subject, m.Header, m.Data, 1, at)
		if err != nil || !reflect.DeepEqual(e.Data, schemas.Data(set)) {
			t.Errorf("stored %+v, read %+v (%v)", set, e, err)
		}
	}
}
