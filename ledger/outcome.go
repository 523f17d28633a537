package ledger

import (
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// Outcome ends the attempt that Fence names. Decide judges what follows from class,
// budget and deadline; the outcome of an attempt that is no longer the current one becomes a late_result
// or nothing if it would repeat what is stored.
type Outcome struct {
	Fence      schemas.Fence
	Generation int
	Attempt    int
	// Kind is completed, failed, timed_out, canceled or released: what the attempt came to.
	Kind       schemas.EventName
	Result     []byte
	ResultRef  *schemas.ObjectRef
	Error      *schemas.JobError // of failed and timed_out
	RetryAfter time.Duration     // asked for by the remote side; the longer of it and the backoff holds
	Reason     string            // of canceled and released
	Forced     bool              // canceled: the grace ended first
	Duration   time.Duration
	Progress   *schemas.Progress
	Now        time.Time // stream time, for the deadline
}

func (c *Outcome) decide(j *Job) (schemas.Data, error) {
	switch c.Kind {
	case schemas.EventCompleted, schemas.EventFailed, schemas.EventTimedOut, schemas.EventCanceled, schemas.EventReleased:
	default:
		return nil, fmt.Errorf("%q is no outcome of an attempt", c.Kind)
	}
	if j.State != schemas.StateRunning || j.Fence != c.Fence {
		return c.late(j)
	}
	if j.CancelRequested && c.Kind != schemas.EventCompleted {
		return c.canceled(j), nil // whatever it came to: the cancel stands
	}
	switch c.Kind {
	case schemas.EventCompleted:
		return &schemas.Completed{AttemptHead: j.AttemptHead(), DurationMS: c.duration(),
			Progress: c.Progress, Result: c.Result, ResultRef: c.ResultRef}, nil
	case schemas.EventReleased:
		return &schemas.Released{AttemptHead: j.AttemptHead(), Cause: c.Reason, Progress: c.Progress}, nil
	case schemas.EventCanceled:
		return c.canceled(j), nil
	}
	return c.failed(j), nil
}

// late keeps an outcome that came after its attempt had ended, once per attempt. A repeat of the accepted
// outcome, and a release (which holds no result), are nothing to keep. A repeat is known for the
// latest attempt that ended; that of an older one is kept as if it were new, and changes as little.
func (c *Outcome) late(j *Job) (schemas.Data, error) {
	repeat := j.LastFence == c.Fence && j.LastOutcome == c.Kind
	kept := slices.Contains(j.Late, c.Fence.Seq)
	if repeat || kept || c.Kind == schemas.EventReleased {
		return nil, nil
	}
	if c.Fence.IsZero() || c.Attempt < 1 || c.Generation < 1 {
		return nil, ErrStaleAttempt // it names no attempt to keep it under
	}
	h := schemas.AttemptHead{Head: j.Head(), Attempt: c.Attempt, Fence: c.Fence}
	h.Generation = c.Generation
	return &schemas.LateResult{AttemptHead: h, Outcome: c.Kind, Error: c.Error, ResultRef: c.ResultRef, Result: c.Result}, nil
}

func (c *Outcome) canceled(j *Job) schemas.Data {
	reason := c.Reason
	if j.CancelRequested && (reason == "" || c.Kind != schemas.EventCanceled) {
		reason = j.CancelReason // not why it failed or was released
	}
	if reason == "" && !j.CancelRequested {
		reason = "the handler canceled it" // required: nobody else asked
	}
	return &schemas.Canceled{Head: j.Head(), Attempt: j.Attempt, Fence: j.Fence, Outcome: c.Kind, Reason: reason,
		Forced: c.Forced, Error: c.Error, DurationMS: c.duration(), Progress: c.Progress}
}

func (c *Outcome) failed(j *Job) schemas.Data {
	failure := c.failure()
	reason, delay := judge(j, failure.Class, c.RetryAfter, c.Now)
	if reason != "" {
		return &schemas.DeadLettered{Head: j.Head(), Attempt: j.Attempt, Fence: j.Fence, Outcome: c.Kind, Reason: reason,
			Error: &failure, DurationMS: c.duration(), Progress: c.Progress}
	}
	if c.Kind == schemas.EventTimedOut {
		return &schemas.TimedOut{AttemptHead: j.AttemptHead(), Error: failure, DelayMS: schemas.MillisOf(delay),
			DurationMS: c.duration(), Progress: c.Progress}
	}
	return &schemas.Failed{AttemptHead: j.AttemptHead(), Error: failure, DelayMS: schemas.MillisOf(delay),
		DurationMS: c.duration(), Progress: c.Progress}
}

// failure is the error as it is stored: what was not given is filled in, and counted as unclassified.
func (c *Outcome) failure() schemas.JobError {
	switch {
	case c.Error == nil && c.Kind == schemas.EventTimedOut:
		return schemas.JobError{Class: schemas.ClassTimeout, Message: "the attempt passed its timeout"}
	case c.Error == nil:
		return schemas.JobError{Class: schemas.ClassUnclassified, Message: "no error was given"}
	}
	e := *c.Error
	if e.Class == "" {
		e.Class = schemas.ClassUnclassified
	}
	return e
}

func (c *Outcome) duration() schemas.Millis { return schemas.MillisOf(max(c.Duration, 0)) }

// judge says what follows a failed attempt: a reason to bury the job, or the delay until its retry.
func judge(j *Job, class schemas.ErrorClass, retryAfter time.Duration, now time.Time) (schemas.DeadReason, time.Duration) {
	if class == schemas.ClassPermanent {
		return schemas.DeadPermanentError, 0
	}
	n := j.Used + 1
	if n >= j.Policy.MaxAttempts {
		return schemas.DeadRetriesExhausted, 0
	}
	delay := min(max(RetryDelay(j.ID, n, j.Policy.Backoff), retryAfter), schemas.RetryAfterMax)
	if !j.Deadline.IsZero() && now.Add(delay).After(j.Deadline) {
		return schemas.DeadExpired, 0
	}
	return "", delay
}

// RetryDelay is the backoff before retry n (from 1) of a job: base * factor^(n-1) with a jitter of 20 % up
// or down computed from the job id and n, so that replays agree, clamped to the floor and the cap; or the
// n-th delay of an explicit list, as it is.
func RetryDelay(id schemas.JobID, n int, b schemas.Backoff) time.Duration {
	if len(b.ListMS) > 0 {
		return b.ListMS[min(n, len(b.ListMS))-1].Duration()
	}
	base, factor, ceiling := b.BaseMS.Duration(), b.Factor, b.CapMS.Duration()
	if base == 0 {
		base = schemas.BackoffBase
	}
	if factor == 0 {
		factor = schemas.BackoffFactor
	}
	if ceiling == 0 {
		ceiling = schemas.BackoffCap
	}
	d := float64(base) * math.Pow(factor, float64(n-1)) * jitter(id, n)
	floor := min(schemas.BackoffFloor, ceiling)
	return time.Duration(math.Min(math.Max(d, float64(floor)), float64(ceiling)))
}

// jitter is a factor from 0.8 to 1.2 that depends on id and n alone. The last bytes of an FNV hash hardly move
// it, so it is mixed: else all retries of a job would be late, or early, alike.
func jitter(id schemas.JobID, n int) float64 {
	hash := fnv.New64a()
	hash.Write([]byte(id))
	hash.Write([]byte(strconv.Itoa(n)))
	const steps = 1 << 20
	return 0.8 + 0.4*float64(mix(hash.Sum64())%steps)/(steps-1)
}

// mix spreads the bits of h over all of them (MurmurHash3, fmix64).
func mix(h uint64) uint64 {
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// Lose closes the attempt of a holder that was silent for a lease, by the order of R-226.
type Lose struct {
	Fence      schemas.Fence
	Cause      schemas.LossCause
	OrgDeleted bool
}

func (c *Lose) decide(j *Job) (schemas.Data, error) {
	if j.State != schemas.StateRunning || j.Fence != c.Fence {
		return nil, ErrStaleAttempt
	}
	gone := c.Cause == schemas.LossWorkerGone
	bury := &schemas.DeadLettered{Head: j.Head(), Attempt: j.Attempt, Fence: j.Fence, Cause: c.Cause,
		Error: &schemas.JobError{Class: schemas.ClassLost, Code: string(c.Cause), Message: lossMessage(c.Cause)}}
	switch {
	case c.OrgDeleted:
		bury.Reason = schemas.DeadOrgDeleted
	case j.CancelRequested:
		return forced(j), nil
	case gone && j.Losses+1 >= j.Policy.PoisonLimit, !gone && j.CellLosses+1 >= schemas.CellLossesMax:
		bury.Reason = schemas.DeadPoison
	case gone && j.Used+1 >= j.Policy.MaxAttempts:
		bury.Reason = schemas.DeadRetriesExhausted
	default:
		return &schemas.Lost{AttemptHead: j.AttemptHead(), Cause: c.Cause}, nil
	}
	return bury, nil
}

// Overrun closes an attempt at its hard limit, timeout + margin, when its worker has not.
type Overrun struct {
	Fence schemas.Fence
	Now   time.Time
}

func (c *Overrun) decide(j *Job) (schemas.Data, error) {
	if j.State != schemas.StateRunning || j.Fence != c.Fence {
		return nil, ErrStaleAttempt
	}
	if j.CancelRequested {
		return forced(j), nil
	}
	o := Outcome{Kind: schemas.EventTimedOut, Duration: c.Now.Sub(j.StartedAt), Now: c.Now, Error: &schemas.JobError{
		Class: schemas.ClassTimeout, Code: "hard_limit", Message: "the attempt passed its hard limit and its worker did not end it"}}
	return o.failed(j), nil
}

// EndCancel is phase two of a cancel by the dispatcher, when the worker has not ended the attempt in time.
type EndCancel struct{ Fence schemas.Fence }

func (c *EndCancel) decide(j *Job) (schemas.Data, error) {
	if j.State != schemas.StateRunning || j.Fence != c.Fence {
		return nil, ErrStaleAttempt
	}
	if !j.CancelRequested {
		return nil, refuse(j, "end the cancel of", "nobody asked for one")
	}
	return forced(j), nil
}

// forced ends the attempt of a job whose cancel was requested, without its worker's word.
func forced(j *Job) schemas.Data {
	return &schemas.Canceled{Head: j.Head(), Attempt: j.Attempt, Fence: j.Fence, Reason: j.CancelReason, Forced: true}
}
