package schemas

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/dartwing/jobledger/internal/plainjson"
)

// Two questions are asked of a record. wellFormed: do folds understand it? It is asked on decode too, so it
// may never grow stricter, or events already written would become unreadable. Validate: wellFormed, and
// within the limits of REQUIREMENTS 5? It is asked on encode alone, because today's limits must not change
// what past events mean.

func (s *Submitted) wellFormed() error {
	for _, err := range []error{
		CheckToken("type", string(s.Type)),
		CheckToken("queue", string(s.Queue)),
		s.Priority.Validate(),
	} {
		if err != nil {
			return err
		}
	}
	switch {
	case s.Generation < 1:
		return errors.New("generation must be above 0")
	case s.From != StateNone && !s.From.Finished():
		return fmt.Errorf("a generation cannot follow state %q", s.From)
	case s.DelayMS < 0 || s.DeadlineMS < 0 || s.WindowMS < 0:
		return errors.New("delay, deadline and dedup window may not be negative")
	case s.Refused != nil && s.Refused.Code == "":
		return errors.New("a refusal has a code")
	}
	if err := wellFormedParents(s.Parents); err != nil {
		return err
	}
	return s.Dedup.Validate()
}

// Validate implements Data.
func (s *Submitted) Validate() error {
	if err := s.wellFormed(); err != nil {
		return err
	}
	switch {
	case s.Resource != "" && CheckToken("resource", s.Resource) != nil:
		return CheckToken("resource", s.Resource)
	case s.Schedule != "" && CheckToken("schedule", s.Schedule) != nil:
		return CheckToken("schedule", s.Schedule)
	case s.Tick != nil && (s.Schedule == "" || !s.Tick.Equal(s.Tick.Truncate(TickResolution))):
		return errors.New("a tick is a whole second of a schedule")
	case len(s.Args) > ArgsMax:
		return fmt.Errorf("args are %d bytes: at most %d are stored inline", len(s.Args), ArgsMax)
	case s.Refused != nil && len(s.Refused.Message) > ErrorTextMax:
		return fmt.Errorf("the refusal's text is %d bytes: at most %d are stored", len(s.Refused.Message), ErrorTextMax)
	case len(s.Parents) > ParentsMax:
		return tooManyParents(len(s.Parents))
	case len(s.Tags) > TagsMax:
		return fmt.Errorf("%d tags: at most %d are allowed", len(s.Tags), TagsMax)
	case s.DelayMS.Duration() > NotBeforeMax || s.DeadlineMS.Duration() > NotBeforeMax:
		return fmt.Errorf("delay and deadline must lie between 0 and %s", NotBeforeMax)
	}
	for _, err := range []error{
		checkText("idempotency key", s.Key, KeyMax),
		checkText("principal", s.Principal, KeyMax),
		checkText("batch", s.Batch, TokenMax),
		checkText("reason", s.Reason, ReasonMax),
		s.Override.validate(),
	} {
		if err != nil {
			return err
		}
	}
	for k, v := range s.Tags {
		if err := CheckToken("tag", k); err != nil {
			return err
		}
		if err := checkText("tag "+k, v, TagMax); err != nil {
			return err
		}
	}
	return nil
}

func wellFormedParents(parents []ParentRef) error {
	for i := range parents {
		if err := parents[i].wellFormed(); err != nil {
			return err
		}
	}
	return nil
}

func tooManyParents(n int) error {
	return fmt.Errorf("%d parents: at most %d are allowed; use a batch for more", n, ParentsMax)
}

func (p *ParentRef) wellFormed() error {
	if err := CheckToken("parent", string(p.ID)); err != nil {
		return err
	}
	if p.Generation < 1 {
		return fmt.Errorf("parent %s has no generation", p.ID)
	}
	switch p.OnFailure {
	case "", ParentFail, ParentCancel, ParentRun:
		return nil
	}
	return fmt.Errorf("reaction %q to a failed parent is unknown: use fail, cancel or run", p.OnFailure)
}

func (h *Head) wellFormed() error {
	if err := CheckToken("type", string(h.Type)); err != nil {
		return err
	}
	if err := CheckToken("queue", string(h.Queue)); err != nil {
		return err
	}
	if h.Generation < 1 || h.Submitted == 0 {
		return errors.New("generation and submitted must be above 0")
	}
	return h.Priority.Validate()
}

// Validate reports a head that no correct writer produces.
func (h *Head) Validate() error { return h.wellFormed() }

func (h *AttemptHead) wellFormed() error {
	if h.Attempt < 1 || h.Fence.Seq == 0 || h.Fence.ID == "" {
		return errors.New("attempt and fence must be given")
	}
	return h.Head.wellFormed()
}

// Validate reports an attempt that no correct writer names.
func (h *AttemptHead) Validate() error { return h.wellFormed() }

func (q *Queued) wellFormed() error {
	if q.Policy.TimeoutMS <= 0 || q.Policy.GraceMS < 0 || q.Policy.MaxAttempts < 1 || q.Policy.PoisonLimit < 1 || q.Used < 0 {
		return errors.New("policy and used must be given")
	}
	return q.Head.wellFormed()
}

// Validate implements Data.
func (q *Queued) Validate() error {
	if err := q.wellFormed(); err != nil {
		return err
	}
	return q.Policy.Validate()
}

func (r *Running) wellFormed() error {
	if r.Attempt < 1 || r.Session == "" {
		return errors.New("attempt and session must be given")
	}
	return r.Head.wellFormed()
}

// Validate implements Data.
func (r *Running) Validate() error {
	if err := r.wellFormed(); err != nil {
		return err
	}
	return checkText("worker", r.Worker, KeyMax)
}

// Validate implements Data.
func (c *Completed) Validate() error {
	if len(c.Result) > ResultMax {
		return fmt.Errorf("result is %d bytes: at most %d are stored inline", len(c.Result), ResultMax)
	}
	return c.wellFormed()
}

func (f *Failed) wellFormed() error { return wellFormedRetry(&f.AttemptHead, f.DelayMS) }

// Validate implements Data.
func (f *Failed) Validate() error { return validateRetry(&f.AttemptHead, &f.Error, f.DelayMS) }

func (t *TimedOut) wellFormed() error { return wellFormedRetry(&t.AttemptHead, t.DelayMS) }

// Validate implements Data.
func (t *TimedOut) Validate() error { return validateRetry(&t.AttemptHead, &t.Error, t.DelayMS) }

func wellFormedRetry(h *AttemptHead, delay Millis) error {
	if delay < 0 {
		return errors.New("retry delay may not be negative")
	}
	return h.wellFormed()
}

func validateRetry(h *AttemptHead, failure *JobError, delay Millis) error {
	if err := wellFormedRetry(h, delay); err != nil {
		return err
	}
	if delay.Duration() > RetryAfterMax {
		return fmt.Errorf("retry delay %s is outside 0 to %s", delay.Duration(), RetryAfterMax)
	}
	return failure.validate()
}

// validate bounds the texts of an error together; a nil error is one that was not given.
func (e *JobError) validate() error {
	if e == nil {
		return nil
	}
	if n := len(e.Code) + len(e.Message) + len(e.Cause) + len(e.Stack); n > ErrorTextMax {
		return fmt.Errorf("error texts are %d bytes: at most %d are stored inline", n, ErrorTextMax)
	}
	return nil
}

// ended checks what canceled and dead_lettered say of the attempt that ended with them: all or nothing.
func ended(attempt int, fence Fence, outcome EventName) error {
	if (attempt > 0) == fence.IsZero() || fence.IsZero() && outcome != "" {
		return errors.New("attempt and fence must be given together, the outcome only with them")
	}
	return nil
}

func (c *Canceled) wellFormed() error {
	if err := ended(c.Attempt, c.Fence, c.Outcome); err != nil {
		return err
	}
	return c.Head.wellFormed()
}

// Validate implements Data.
func (c *Canceled) Validate() error {
	if err := c.wellFormed(); err != nil {
		return err
	}
	if err := checkText("reason", c.Reason, ReasonMax); err != nil {
		return err
	}
	return c.Error.validate()
}

func (d *DeadLettered) wellFormed() error {
	if err := ended(d.Attempt, d.Fence, d.Outcome); err != nil {
		return err
	}
	if err := d.Reason.Validate(); err != nil {
		return err
	}
	if d.Cause != "" {
		if err := d.Cause.Validate(); err != nil {
			return err
		}
	}
	return d.Head.wellFormed()
}

// Validate implements Data.
func (d *DeadLettered) Validate() error {
	if err := d.wellFormed(); err != nil {
		return err
	}
	return d.Error.validate()
}

// Validate implements Data.
func (c *CancelRequested) Validate() error { return validateReason(c.wellFormed(), c.Reason) }

// Validate implements Data.
func (r *Released) Validate() error { return validateReason(r.wellFormed(), r.Cause) }

func (l *Lost) wellFormed() error {
	if err := l.Cause.Validate(); err != nil {
		return err
	}
	return l.AttemptHead.wellFormed()
}

// Validate implements Data.
func (l *Lost) Validate() error { return l.wellFormed() }

func (r *Retried) wellFormed() error {
	if err := wellFormedParents(r.Parents); err != nil {
		return err
	}
	return r.Head.wellFormed()
}

// Validate implements Data.
func (r *Retried) Validate() error {
	if len(r.Parents) > ParentsMax {
		return tooManyParents(len(r.Parents))
	}
	return validateReason(r.wellFormed(), r.Reason)
}

func (r *Resolved) wellFormed() error { return needNote(&r.Head, r.Note) }

// Validate implements Data.
func (r *Resolved) Validate() error { return validateReason(r.wellFormed(), r.Note) }

func (i *Ignored) wellFormed() error { return needNote(&i.Head, i.Note) }

// Validate implements Data.
func (i *Ignored) Validate() error { return validateReason(i.wellFormed(), i.Note) }

func needNote(h *Head, note string) error {
	if note == "" {
		return errors.New("a note is required")
	}
	return h.wellFormed()
}

func validateReason(wellFormed error, reason string) error {
	if wellFormed != nil {
		return wellFormed
	}
	return checkText("reason", reason, ReasonMax)
}

// Validate implements Data.
func (l *LateResult) Validate() error {
	if err := l.wellFormed(); err != nil {
		return err
	}
	if len(l.Result) > ResultMax {
		return fmt.Errorf("result is %d bytes: at most %d are stored inline", len(l.Result), ResultMax)
	}
	return l.Error.validate()
}

func (c *Carried) wellFormed() error {
	j := &c.Job
	if len(j.Spec.Args) > 0 || len(j.Result) > 0 || len(j.Checkpoint) > 0 {
		return errors.New("args, result and checkpoint stand beside the job, not in it")
	}
	if j.State == StateNone || j.State == StateRunning || j.Unreadable {
		return fmt.Errorf("a job that is %q (unreadable: %t) cannot be carried", j.State, j.Unreadable)
	}
	if c.From != j.State || c.Generation != j.Generation || c.Submitted != j.SubmittedSeq {
		return errors.New("the event and the job it carries do not agree")
	}
	return c.Head.wellFormed()
}

// Validate implements Data.
func (c *Carried) Validate() error { return c.wellFormed() }

func (c *Checkpointed) wellFormed() error {
	if len(c.Checkpoint) == 0 {
		return errors.New("the checkpoint is missing")
	}
	return c.AttemptHead.wellFormed()
}

// Validate implements Data.
func (c *Checkpointed) Validate() error {
	if len(c.Checkpoint) > CheckpointMax {
		return fmt.Errorf("checkpoint is %d bytes: at most %d are kept", len(c.Checkpoint), CheckpointMax)
	}
	return c.wellFormed()
}

func (c *CellStarted) wellFormed() error {
	if c.Cell == "" {
		return errors.New("cell id is empty")
	}
	return nil
}

// Validate implements Data.
func (c *CellStarted) Validate() error { return c.wellFormed() }

func (l *LeaderElected) wellFormed() error {
	if l.Server == "" || l.Cell == "" {
		return errors.New("server and cell ids must be given")
	}
	return nil
}

// Validate implements Data.
func (l *LeaderElected) Validate() error { return l.wellFormed() }

func (t *TypeSet) wellFormed() error { return t.Settings.wellFormed() }

// Validate implements Data.
func (t *TypeSet) Validate() error { return validateReason(t.Settings.Validate(), t.Reason) }

func checkText(what, s string, limit int) error {
	if len(s) > limit {
		return fmt.Errorf("%s is %d bytes: at most %d are allowed", what, len(s), limit)
	}
	return nil
}

// CheckJSON reports bytes that are not exactly one JSON value in UTF-8; what names them in the message.
func CheckJSON(what string, b []byte) error {
	if plainjson.ASCII(b) || json.Valid(b) && utf8.Valid(b) {
		return nil
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return fmt.Errorf("%s are not valid JSON: %w", what, err)
	}
	return fmt.Errorf("%s are not valid JSON: they are not UTF-8", what)
}
