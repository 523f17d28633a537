package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

	"github.com/dartwing/jobledger/handlers"
)

// Limits of the reference types.
const (
	sampleDefault  = 5 * time.Second
	durationMax    = 24 * time.Hour  // the longest timeout a type may have
	sampleSteps    = 10              // progress reports of a sample
	ticksDefault   = 600
	tickDefault    = time.Second
	ticksMax       = 1_000_000
	keepEvery      = time.Second // between checkpoints of a long-running job, whatever its ticks
	percentMax     = 100
	secondsPerUnit = float64(time.Second)
)

// SampleArgs are the arguments of a sample job. The percents are of attempts: transient + permanent is at most 100.
type SampleArgs struct {
	Seconds          *float64 `json:"seconds,omitempty"`           // how long it runs; absent: 5
	FailFirst        int      `json:"fail_first,omitempty"`        // this many attempts fail transiently, then none
	HangFirst        int      `json:"hang_first,omitempty"`        // this many attempts work until they are told to stop
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
func Sample(ctx context.Context, a *handlers.Attempt, in SampleArgs) (SampleResult, error) {
	d := sampleDefault
	if in.Seconds != nil {
		if !(*in.Seconds >= 0 && *in.Seconds <= durationMax.Seconds()) { // so written, NaN is refused too
			return SampleResult{}, permanentf("seconds %v is outside 0 to %v", *in.Seconds, durationMax.Seconds())
		}
		d = time.Duration(*in.Seconds * secondsPerUnit)
	}
	if in.TransientPercent < 0 || in.PermanentPercent < 0 || in.TransientPercent+in.PermanentPercent > percentMax || in.FailFirst < 0 || in.HangFirst < 0 {
		return SampleResult{}, permanentf("transient_percent %d, permanent_percent %d, fail_first %d, hang_first %d: none may be negative, the percents sum to 100 at most",
			in.TransientPercent, in.PermanentPercent, in.FailFirst, in.HangFirst)
	}
	if a.Number <= in.HangFirst {
		report(a, 0, "waiting for something that does not come")
		<-ctx.Done() // a timeout, as a rule
		return SampleResult{}, ctx.Err()
	}
	for step := range sampleSteps {
		report(a, step*percentMax/sampleSteps, fmt.Sprintf("step %d of %d", step+1, sampleSteps))
		if err := pause(ctx, d/sampleSteps); err != nil {
			return SampleResult{}, err
		}
	}
	roll := in.roll(a)
	switch {
	case roll < in.PermanentPercent:
		return SampleResult{}, permanentf("attempt %d failed for good, as asked (permanent_percent %d)", a.Number, in.PermanentPercent)
	case roll < in.PermanentPercent+in.TransientPercent:
		return SampleResult{}, handlers.Transient(fmt.Errorf("attempt %d failed, as asked (transient_percent %d)", a.Number, in.TransientPercent))
	case a.Number <= in.FailFirst:
		return SampleResult{}, handlers.Transient(fmt.Errorf("attempt %d failed, as asked (fail_first %d)", a.Number, in.FailFirst))
	}
	return SampleResult{Attempt: a.Number, Seconds: d.Seconds()}, nil
}

// roll throws a hundred-sided die for the attempt: 0 to 99, always the same for one seed and attempt number.
func (in SampleArgs) roll(a *handlers.Attempt) int {
	h := fnv.New64a()
	if in.Seed != 0 {
		_, _ = fmt.Fprintf(h, "seed %d", in.Seed) // a hash cannot fail
	} else {
		_, _ = fmt.Fprintf(h, "job %s/%s", a.Org, a.ID)
	}
	_, _ = fmt.Fprintf(h, " attempt %d", a.Number)
	x := h.Sum64()
	x ^= x >> 32 // FNV's last bytes move its high bits little: mix, or neighbouring attempts share their fate
	x *= 0x9e3779b97f4a7c15
	return int((x >> 32) % percentMax)
}

// Echo returns its arguments, byte for byte.
func Echo(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return a.Args, nil
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

// longCheckpoint is what a long-running job keeps for its next attempt.
type longCheckpoint struct {
	Done int `json:"done"` // ticks
}

// LongRunning ticks, reports each tick and checkpoints one a second: a later attempt goes on after the last one kept.
func LongRunning(ctx context.Context, a *handlers.Attempt, in LongRunningArgs) (LongRunningResult, error) {
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
	kept := time.Now()
	for done := resumeAt(a.Checkpoint, ticks); done < ticks; {
		if err := pause(ctx, tick); err != nil {
			return LongRunningResult{}, err
		}
		done++
		report(a, done*percentMax/ticks, fmt.Sprintf("tick %d of %d", done, ticks))
		if time.Since(kept) < keepEvery {
			continue
		}
		kept = time.Now()
		if err := keep(ctx, a, done); err != nil {
			return LongRunningResult{}, fmt.Errorf("checkpoint of tick %d: %w", done, err)
		}
	}
	return LongRunningResult{Ticks: ticks}, nil
}

// keep stores how far a job is. Dying before that runs the latest ticks once more; a tick has no effect outside.
func keep(ctx context.Context, a *handlers.Attempt, done int) error {
	value, err := json.Marshal(longCheckpoint{Done: done})
	if err != nil {
		return err
	}
	err = a.SaveCheckpoint(ctx, value)
	if errors.Is(err, handlers.ErrNoCheckpoints) || errors.Is(err, handlers.ErrCheckpointBudget) {
		return nil // it can go on without
	}
	return err
}

// resumeAt returns the ticks that an earlier attempt has done; 0 where raw does not say so.
func resumeAt(raw json.RawMessage, ticks int) int {
	var kept longCheckpoint
	if err := json.Unmarshal(raw, &kept); err != nil || kept.Done < 0 || kept.Done > ticks {
		return 0
	}
	return kept.Done
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
