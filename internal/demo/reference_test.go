package demo_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/internal/demo"
	"github.com/dartwing/jobledger/schemas"
)

func secs(s float64) *float64 { return &s }

// Shows R-28: 5 s unless told otherwise, also when told 0.
func TestSampleDuration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			in   *float64
			want time.Duration
		}{{nil, 5 * time.Second}, {secs(0), 0}, {secs(0.3), 300 * time.Millisecond}} {
			start, a := time.Now(), call()
			got, err := demo.Sample(t.Context(), a, demo.SampleArgs{Seconds: c.in})
			if err != nil || time.Since(start) != c.want || got.Seconds != c.want.Seconds() || got.Attempt != 1 {
				t.Errorf("%v: %+v, %v after %v", c.want, got, err, time.Since(start))
			}
			if p := a.LastProgress(); p == nil || p.Percent != 90 || p.Message != "step 10 of 10" {
				t.Errorf("last progress %+v: want the tenth step's", p)
			}
		}
	})
}

func TestSampleFailsFirstAttempts(t *testing.T) {
	in := demo.SampleArgs{Seconds: secs(0), FailFirst: 2}
	for attempt := 1; attempt <= 4; attempt++ {
		c := call()
		c.Number = attempt
		_, err := demo.Sample(t.Context(), c, in)
		if (err != nil) != (attempt <= 2) || err != nil && handlers.Classify(err, nil).Error.Class != schemas.ClassTransient {
			t.Errorf("attempt %d: %v", attempt, err)
		}
	}
}

// The chosen percents come true over many seeds, and one seed and attempt always has the same fate.
func TestSamplePercents(t *testing.T) {
	const seeds = 10_000
	transient, forGood := 0, 0
	for seed := range uint64(seeds) {
		in := demo.SampleArgs{Seconds: secs(0), TransientPercent: 30, PermanentPercent: 10, Seed: seed + 1}
		_, err := demo.Sample(t.Context(), call(), in)
		_, again := demo.Sample(t.Context(), call(), in)
		if (err == nil) != (again == nil) || err != nil && err.Error() != again.Error() {
			t.Fatalf("seed %d: %v, then %v", seed+1, err, again)
		}
		switch {
		case err == nil:
		case permanent(err):
			forGood++
		default:
			transient++
		}
	}
	if math.Abs(float64(transient)/seeds-0.30) > 0.02 || math.Abs(float64(forGood)/seeds-0.10) > 0.02 {
		t.Errorf("of %d: %d transient, %d permanent; want about 30 %% and 10 %%", seeds, transient, forGood)
	}
}

// Attempts of one seed are independent: half of those that fail once succeed next.
func TestSampleAttemptsDiffer(t *testing.T) {
	failed, thenFine := 0, 0
	for seed := range uint64(2000) {
		in := demo.SampleArgs{Seconds: secs(0), TransientPercent: 50, Seed: seed + 1}
		first, second := call(), call()
		second.Number = 2
		if _, err := demo.Sample(t.Context(), first, in); err != nil {
			failed++
			if _, err := demo.Sample(t.Context(), second, in); err == nil {
				thenFine++
			}
		}
	}
	if share := float64(thenFine) / float64(failed); share < 0.45 || share > 0.55 {
		t.Errorf("%d of %d failed seeds succeed at the second attempt: want about half", thenFine, failed)
	}
}

// Without a seed, jobs differ from each other.
func TestSampleWithoutSeedDiffersByJob(t *testing.T) {
	failed := 0
	for i := range 200 {
		c := call()
		c.ID = schemas.JobID(fmt.Sprintf("job-%d", i))
		if _, err := demo.Sample(t.Context(), c, demo.SampleArgs{Seconds: secs(0), TransientPercent: 50}); err != nil {
			failed++
		}
	}
	if failed < 60 || failed > 140 {
		t.Errorf("%d of 200 jobs failed: want about half", failed)
	}
}

func TestReferenceArgsOutsideRange(t *testing.T) {
	for _, in := range []demo.SampleArgs{
		{Seconds: secs(-1)}, {Seconds: secs(1e9)}, {Seconds: secs(math.NaN())}, {TransientPercent: -1}, {PermanentPercent: 101},
		{TransientPercent: 60, PermanentPercent: 60}, {FailFirst: -1},
	} {
		_, err := demo.Sample(t.Context(), call(), in)
		wantPermanent(t, err)
	}
	for _, in := range []demo.LongRunningArgs{{Ticks: -1}, {Ticks: 1_000_001}, {TickSeconds: secs(-1)}, {TickSeconds: secs(math.Inf(1))}} {
		_, err := demo.LongRunning(t.Context(), call(), in)
		wantPermanent(t, err)
	}
}

// Shows R-28: 600 ticks of a second, and R-29: progress up to 100.
func TestLongRunningDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, a := time.Now(), call()
		got, err := demo.LongRunning(t.Context(), a, demo.LongRunningArgs{})
		if err != nil || got.Ticks != 600 || time.Since(start) != 600*time.Second {
			t.Errorf("%+v, %v after %v", got, err, time.Since(start))
		}
		if p := a.LastProgress(); p == nil || p.Percent != 100 || p.Message != "tick 600 of 600" {
			t.Errorf("last progress %+v", p)
		}
	})
}

// A later attempt goes on where the checkpoint of the earlier one stands; one that makes no sense counts for nothing.
func TestLongRunningResumes(t *testing.T) {
	for checkpoint, want := range map[string]time.Duration{
		"": 10 * time.Second, `{"done":4}`: 6 * time.Second, `{"done":10}`: 0,
		`{"done":11}`: 10 * time.Second, `{"done":-1}`: 10 * time.Second, `"x"`: 10 * time.Second, `null`: 10 * time.Second,
	} {
		synctest.Test(t, func(t *testing.T) {
			a := call()
			if checkpoint != "" {
				a.Checkpoint = json.RawMessage(checkpoint)
			}
			start := time.Now()
			got, err := demo.LongRunning(t.Context(), a, demo.LongRunningArgs{Ticks: 10, TickSeconds: secs(1)})
			if err != nil || got.Ticks != 10 || time.Since(start) != want {
				t.Errorf("from %q: %+v, %v after %v, want %v", checkpoint, got, err, time.Since(start), want)
			}
		})
	}
}

// Canceled in the middle, a reference job ends at once with the context's error.
func TestReferenceTypesEndWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 1200*time.Millisecond)
		defer cancel()
		start := time.Now()
		if _, err := demo.Sample(ctx, call(), demo.SampleArgs{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Sample: %v", err)
		}
		if _, err := demo.LongRunning(ctx, call(), demo.LongRunningArgs{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("LongRunning: %v", err)
		}
		if _, err := demo.Echo(ctx, call()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Echo: %v", err)
		}
		if took := time.Since(start); took != 1200*time.Millisecond {
			t.Errorf("ended %v after the start, want at the deadline", took)
		}
	})
}

func TestEchoIsByteForByte(t *testing.T) {
	for _, args := range []string{`{"n":9007199254740993}`, `{ "b":1,"a":[1.0, 1e2] }`, `null`, `"é"`} {
		a := call()
		a.Args = json.RawMessage(args)
		if got, err := demo.Echo(t.Context(), a); err != nil || string(got) != args {
			t.Errorf("%s comes back as %s, %v", args, got, err)
		}
	}
}
