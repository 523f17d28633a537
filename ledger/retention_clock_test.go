package ledger_test

import (
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// A clock that is ahead for a while removes nothing; what is over goes when that has been so for a day, and at once when
// somebody asks for it.
func TestRemoverClockAhead(t *testing.T) {
	t.Parallel()
	r := newRetained(t, 400)
	r.make("a", "t", "done")
	r.make("a", "t", "waiting")
	r.cancelAll()
	var err error
	if r.rem, err = ledger.NewRemover(ledger.RemoverConfig{Ledger: r.Ledger, Logger: zap.NewNop(),
		Now: func() time.Time { return time.Now().Add(r.ahead) }}); err != nil {
		t.Fatal(err)
	}
	for _, look := range []struct {
		ahead time.Duration
		goes  bool
	}{
		{2 * 365 * day, false}, // the clock is ahead
		{0, false},
		{91 * day, false}, // now it is over
		{91*day + 23*time.Hour, false},
		{365 * day, true}, // two looks, however far apart
	} {
		r.ahead = look.ahead
		plan, err := r.rem.Look(t.Context())
		if err != nil || (plan.Segments > 0) != look.goes {
			t.Errorf("after %v: removed %+v, %v", look.ahead, plan, err)
		}
	}
}

// What the ledger itself says of the time: that of the last commit which is far enough behind the newest.
func TestSettledAt(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		ends []time.Duration
		want time.Duration // less than 0: none
	}{
		"no commit":       {nil, -1},
		"one":             {[]time.Duration{0}, -1},
		"a day apart":     {[]time.Duration{0, 24 * time.Hour}, 0},
		"nearly":          {[]time.Duration{0, 23 * time.Hour}, -1},
		"many":            {[]time.Duration{0, time.Hour, 2 * time.Hour, 27 * time.Hour}, 2 * time.Hour},
		"ahead for once":  {[]time.Duration{0, time.Hour, 365 * day}, time.Hour},
		"ahead for a day": {[]time.Duration{0, 365 * day, 366 * day}, 365 * day},
	} {
		t.Run(name, func(t *testing.T) {
			ends := make([]time.Time, len(c.ends))
			for i, d := range c.ends {
				ends[i] = begin.Add(d)
			}
			want := time.Time{}
			if c.want >= 0 {
				want = begin.Add(c.want)
			}
			if got := ledger.SettledAt(ends, day); !got.Equal(want) {
				t.Errorf("%v, want %v", got, want)
			}
		})
	}
}

// What ended by a clock that was years behind is kept for its time: it cannot have ended before what stands before it.
func TestRetentionClockBehind(t *testing.T) {
	t.Parallel()
	r := newRetained(t, 400)
	r.make("a", "t", "done")
	waits := r.make("a", "t", "waiting")
	r.leave()

	since := time.Now()
	r.arch.Clock(func(at time.Time) time.Time {
		if at.After(since) {
			at = at.Add(-2 * 365 * day)
		}
		return at
	})
	r.make("a", "t", "done")
	r.make("a", "t", "resolved")
	r.do(waits, &ledger.Cancel{Reason: "not wanted"})
	waits.over, waits.again, waits.state = true, true, schemas.StateCanceled
	r.leave()
	r.arch.Clock(nil)
	r.make("a", "t", "canceled")
	r.leave()
	for _, ahead := range []time.Duration{0, 89 * day} {
		r.ahead = ahead
		if plan := r.look(); plan.Segments != 0 {
			t.Errorf("day %d: removed %+v", r.days(), plan)
		}
	}
	r.ahead = 91 * day
	r.look()
	for _, j := range r.jobs {
		r.gone(j)
	}
}
