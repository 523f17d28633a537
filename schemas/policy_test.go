package schemas_test

import (
	"math"
	"testing"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// TestEffectivePolicy shows the precedence of REQUIREMENTS 5: job override, type, engine default; and that
// absent and zero differ.
func TestEffectivePolicy(t *testing.T) {
	minute, zero := schemas.MillisOf(time.Minute), schemas.Millis(0)
	list := schemas.Backoff{ListMS: []schemas.Millis{0, 1000}}
	for name, c := range map[string]struct {
		t    *schemas.TypeSettings
		o    *schemas.Override
		want func(*schemas.Policy)
	}{
		"engine default": {nil, nil, func(*schemas.Policy) {}},
		"empty type":     {&schemas.TypeSettings{}, &schemas.Override{}, func(*schemas.Policy) {}},
		"type": {&schemas.TypeSettings{TimeoutMS: minute, MaxAttempts: 2, PoisonLimit: 1}, nil,
			func(p *schemas.Policy) { p.TimeoutMS, p.MaxAttempts, p.PoisonLimit = minute, 2, 1 }},
		"override wins": {&schemas.TypeSettings{TimeoutMS: minute, MaxAttempts: 2}, &schemas.Override{MaxAttempts: ptr(9), TimeoutMS: ptr(2 * minute)},
			func(p *schemas.Policy) { p.TimeoutMS, p.MaxAttempts = 2*minute, 9 }},
		"no grace":                      {&schemas.TypeSettings{GraceMS: &zero}, nil, func(p *schemas.Policy) { p.GraceMS = 0 }},
		"grace never above the timeout": {&schemas.TypeSettings{TimeoutMS: 2000}, nil, func(p *schemas.Policy) { p.TimeoutMS, p.GraceMS = 2000, 2000 }},
		"list sets attempts":            {&schemas.TypeSettings{Backoff: list}, nil, func(p *schemas.Policy) { p.Backoff, p.MaxAttempts = list, 3 }},
		"list of an override": {&schemas.TypeSettings{MaxAttempts: 9}, &schemas.Override{Backoff: &list},
			func(p *schemas.Policy) { p.Backoff, p.MaxAttempts = list, 3 }},
		"attempts beside a list": {nil, &schemas.Override{Backoff: &list, MaxAttempts: ptr(5)}, func(p *schemas.Policy) { p.Backoff, p.MaxAttempts = list, 5 }},
	} {
		want := schemas.DefaultPolicy()
		c.want(&want)
		got := c.t.Effective(c.o)
		if got.TimeoutMS != want.TimeoutMS || got.GraceMS != want.GraceMS || got.MaxAttempts != want.MaxAttempts ||
			got.PoisonLimit != want.PoisonLimit || len(got.Backoff.ListMS) != len(want.Backoff.ListMS) {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
}

// TestTypeSettingsRefused shows that values no job could run under are refused at registration.
func TestTypeSettingsRefused(t *testing.T) {
	hour := schemas.MillisOf(time.Hour)
	for name, s := range map[string]schemas.TypeSettings{
		"no name":                 {},
		"name of two tokens":      {Name: "a.b"},
		"queue of two tokens":     {Name: "t", Queue: "a b"},
		"unknown priority":        {Name: "t", Priority: "urgent"},
		"unknown dedup":           {Name: "t", Dedup: "always"},
		"unknown reuse":           {Name: "t", Reuse: "sometimes"},
		"window over an hour":     {Name: "t", WindowMS: ptr(hour + 1)},
		"timeout under a second":  {Name: "t", TimeoutMS: 999},
		"timeout over a day":      {Name: "t", TimeoutMS: 25 * hour},
		"timeout that wraps":      {Name: "t", TimeoutMS: math.MaxInt64/1000 + 1},
		"grace over the timeout":  {Name: "t", TimeoutMS: 1000, GraceMS: ptr(schemas.Millis(1001))},
		"12 attempts":             {Name: "t", MaxAttempts: 12},
		"negative attempts":       {Name: "t", MaxAttempts: -1},
		"poison above attempts":   {Name: "t", MaxAttempts: 2, PoisonLimit: 3},
		"shrinking backoff":       {Name: "t", Backoff: schemas.Backoff{Factor: 0.5}},
		"backoff that explodes":   {Name: "t", Backoff: schemas.Backoff{Factor: 101}},
		"backoff is not a number": {Name: "t", Backoff: schemas.Backoff{Factor: math.NaN()}},
		"cap over a day":          {Name: "t", Backoff: schemas.Backoff{CapMS: 25 * hour}},
		"delay over a day":        {Name: "t", Backoff: schemas.Backoff{ListMS: []schemas.Millis{25 * hour}}},
		"11 delays":               {Name: "t", Backoff: schemas.Backoff{ListMS: make([]schemas.Millis, 11)}},
	} {
		if err := s.Validate(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	ok := schemas.TypeSettings{Name: "t", TimeoutMS: 1000, GraceMS: ptr(schemas.Millis(0)), MaxAttempts: 1, PoisonLimit: 1, WindowMS: &hour,
		Backoff: schemas.Backoff{Factor: 1, CapMS: 24 * hour, ListMS: make([]schemas.Millis, 10)}}
	if err := ok.Validate(); err != nil {
		t.Error(err)
	}
}

// TestDue shows R-11: of an absolute and a relative time the later start and the earlier deadline hold.
func TestDue(t *testing.T) {
	early, late := aTime.Add(time.Minute), aTime.Add(time.Hour)
	zone := time.FixedZone("x", 3600)
	for name, c := range map[string]struct {
		s                   schemas.Submitted
		notBefore, deadline time.Time
	}{
		"none":     {},
		"relative": {schemas.Submitted{DelayMS: 60_000, DeadlineMS: 3_600_000}, early, late},
		"absolute": {schemas.Submitted{NotBefore: ptr(early.In(zone)), Deadline: ptr(late.In(zone))}, early, late},
		"both":     {schemas.Submitted{DelayMS: 60_000, NotBefore: &late, DeadlineMS: 3_600_000, Deadline: &early}, late, early},
		"both, relative wins": {schemas.Submitted{DelayMS: 3_600_000, NotBefore: &early, DeadlineMS: 60_000, Deadline: &late},
			late, early},
	} {
		notBefore, deadline := c.s.Due(aTime)
		if notBefore != c.notBefore || deadline != c.deadline {
			t.Errorf("%s: %s, %s, want %s, %s", name, notBefore, deadline, c.notBefore, c.deadline)
		}
	}
}

// TestMillis shows that conversions neither shorten a wait nor wrap.
func TestMillis(t *testing.T) {
	for d, want := range map[time.Duration]schemas.Millis{0: 0, 1: 1, time.Millisecond: 1, time.Millisecond + 1: 2, -time.Nanosecond: 0,
		math.MaxInt64: math.MaxInt64/1_000_000 + 1} {
		if got := schemas.MillisOf(d); got != want {
			t.Errorf("%d ns are %d ms, want %d", d, got, want)
		}
	}
	for m, want := range map[schemas.Millis]time.Duration{1: time.Millisecond, math.MaxInt64: math.MaxInt64 / 1_000_000 * 1_000_000,
		math.MinInt64: -(math.MaxInt64 / 1_000_000 * 1_000_000)} {
		if got := m.Duration(); got != want {
			t.Errorf("%d ms are %d ns, want %d", m, got, want)
		}
	}
}

// TestIds shows what an id, an actor and a subject may be (R-317, INTERFACE 2.1).
func TestIds(t *testing.T) {
	for s, ok := range map[string]bool{"a": true, "Az09-_": true, "": false, "a.b": false, "a b": false, "ü": false, "*": false, ">": false, "a\n": false} {
		if err := schemas.CheckToken("id", s); (err == nil) != ok {
			t.Errorf("token %q: %v", s, err)
		}
	}
	if schemas.CheckToken("id", string(make([]byte, schemas.TokenMax+1))) == nil || schemas.CheckCallerJobID("_tick") == nil || schemas.CheckCallerJobID("tick_") != nil {
		t.Error("length or reserved prefix")
	}
	for s, ok := range map[string]bool{"user:ada": true, "system:a:b": true, "user:": false, "ada": false, "robot:x": false, "": false} {
		a, err := schemas.ParseActor(s)
		if (err == nil) != ok || ok && a.String() != s {
			t.Errorf("actor %q: %v, %v", s, a, err)
		}
	}
	for _, s := range []string{"jobs.acme.job-1", "control.cell.type.echo"} {
		if at, err := schemas.ParseSubject(s); err != nil || at.String() != s {
			t.Errorf("subject %q: %v, %v", s, at, err)
		}
	}
}
