package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"time"
)

// Limits of the reference types.
const (
	sampleDefault  = 5 * time.Second
	durationMax    = 24 * time.Hour  // the longest timeout a type may have
	sampleSteps    = 10              // progress reports of a sample
	ticksDefault   = 600
	tickDefault    = time.Second
	ticksMax       = 1_000_000
	percentMax     = 100
	secondsPerUnit = float64(time.Second)
)

// SampleArgs are the arguments of a sample job. The percents are of attempts: transient + permanent is at most 100.
type SampleArgs struct {
	Seconds          *float64 `json:"seconds,omitempty"`           // how long it runs; absent: 5
	FailFirst        int      `json:"fail_first,omitempty"`        // this many attempts fail transiently, then none
	TransientPercent int      `json:"transient_percent,omitempty"` // chance of an attempt to fail so that a retry may help
	PermanentPercent int      `json:"permanent_percent,omitempty"` // chance to fail for good
	Seed             uint64   `json:"seed,omitempty"`              // same seed, same attempt, same fate; 0: the job's id decides
}

// SampleResult is the result of a sample job.
type SampleResult struct {
	Attempt int     `json:"attempt"` // the one that succeeded
	Seconds float64 `json:"seconds"`
}

// Sample runs for a while and then succeeds or fails by its arguments. It fails at the end, so that a failing
// attempt is as long as a good one.
func Sample(ctx context.Context, c Call, in SampleArgs) (SampleResult, error) {
	d := sampleDefault
	if in.Seconds != nil {
		if !(*in.Seconds >= 0 && *in.Seconds <= durationMax.Seconds()) { // so written, NaN is refused too
			return SampleResult{}, permanentf("seconds %v is outside 0 to %v", *in.Seconds, durationMax.Seconds())
		}
		d = time.Duration(*in.Seconds * secondsPerUnit)
	}
	if in.TransientPercent < 0 || in.PermanentPercent < 0 || in.TransientPercent+in.PermanentPercent > percentMax || in.FailFirst < 0 {
		return SampleResult{}, permanentf("transient_percent %d, permanent_percent %d, fail_first %d: none may be negative, the percents sum to 100 at most",
			in.TransientPercent, in.PermanentPercent, in.FailFirst)
	}
	for step := range sampleSteps {
		c.progress(step*percentMax/sampleSteps, fmt.Sprintf("step %d of %d", step+1, sampleSteps))
		if err := pause(ctx, d/sampleSteps); err != nil {
			return SampleResult{}, err
		}
	}
	roll := in.roll(c)
	switch {
	case roll < in.PermanentPercent:
		return SampleResult{}, permanentf("attempt %d failed for good, as asked (permanent_percent %d)", c.Attempt, in.PermanentPercent)
	case roll < in.PermanentPercent+in.TransientPercent:
		return SampleResult{}, fmt.Errorf("attempt %d failed, as asked (transient_percent %d)", c.Attempt, in.TransientPercent)
	case c.Attempt <= in.FailFirst:
		return SampleResult{}, fmt.Errorf("attempt %d failed, as asked (fail_first %d)", c.Attempt, in.FailFirst)
	}
	return SampleResult{Attempt: c.Attempt, Seconds: d.Seconds()}, nil
}

// roll throws a hundred-sided die for the attempt: 0 to 99, always the same for one seed and attempt number.
func (in SampleArgs) roll(c Call) int {
	h := fnv.New64a()
	if in.Seed != 0 {
		_, _ = fmt.Fprintf(h, "seed %d", in.Seed) // a hash cannot fail
	} else {
		_, _ = fmt.Fprintf(h, "job %s/%s", c.Org, c.Job)
	}
	_, _ = fmt.Fprintf(h, " attempt %d", c.Attempt)
	x := h.Sum64()
	x ^= x >> 32 // FNV's last bytes move its high bits little: mix, or neighbouring attempts share their fate
	x *= 0x9e3779b97f4a7c15
	return int((x >> 32) % percentMax)
}

// Echo returns its arguments, byte for byte.
func Echo(ctx context.Context, args json.RawMessage) (json.RawMessage, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !json.Valid(args) {
		return nil, &PermanentError{errors.New("the arguments are not JSON")}
	}
	return args, nil
}

// LongRunningArgs are the arguments of a long-running job.
type LongRunningArgs struct {
	Ticks       int      `json:"ticks,omitempty"`        // 0: 600
	TickSeconds *float64 `json:"tick_seconds,omitempty"` // absent: 1
}

// LongRunningResult is the result of a long-running job.
type LongRunningResult struct {
	Ticks int `json:"ticks"`
}

// LongRunning ticks and reports each tick. checkpoint, if not nil, is called with the ticks done so far, and from is
// what an earlier attempt handed to it: those ticks are not run again.
func LongRunning(ctx context.Context, c Call, in LongRunningArgs, from int, checkpoint func(done int) error) (LongRunningResult, error) {
	ticks := in.Ticks
	if ticks == 0 {
		ticks = ticksDefault
	}
	tick := tickDefault
	if in.TickSeconds != nil {
		if !(*in.TickSeconds >= 0 && *in.TickSeconds <= durationMax.Seconds()) {
			return LongRunningResult{}, permanentf("tick_seconds %v is outside 0 to %v", *in.TickSeconds, durationMax.Seconds())
		}
		tick = time.Duration(*in.TickSeconds * secondsPerUnit)
	}
	if ticks < 1 || ticks > ticksMax {
		return LongRunningResult{}, permanentf("ticks %d is outside 1 to %d", in.Ticks, ticksMax)
	}
	for done := max(from, 0); done < ticks; done++ {
		if err := pause(ctx, tick); err != nil {
			return LongRunningResult{}, err
		}
		c.progress((done+1)*percentMax/ticks, fmt.Sprintf("tick %d of %d", done+1, ticks))
		if checkpoint != nil {
			if err := checkpoint(done + 1); err != nil {
				return LongRunningResult{}, fmt.Errorf("checkpoint of tick %d: %w", done+1, err)
			}
		}
	}
	return LongRunningResult{Ticks: ticks}, nil
}

// pause waits for d or for the end of ctx, whose error it returns.
func pause(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil || d <= 0 {
		return err
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
