package schemas

import (
	"encoding/json"
	"errors"
	"fmt"
)

// Validate implements Data.
func (s *Submitted) Validate() error {
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
	case s.Resource != "" && CheckToken("resource", s.Resource) != nil:
		return CheckToken("resource", s.Resource)
	case len(s.Args) > ArgsMax:
		return fmt.Errorf("args are %d bytes: at most %d are stored inline", len(s.Args), ArgsMax)
	case len(s.Parents) > ParentsMax:
		return fmt.Errorf("%d parents: at most %d are allowed; use a batch for more", len(s.Parents), ParentsMax)
	case len(s.Tags) > TagsMax:
		return fmt.Errorf("%d tags: at most %d are allowed", len(s.Tags), TagsMax)
	case len(s.Key) > KeyMax:
		return fmt.Errorf("idempotency key is %d bytes: at most %d are allowed", len(s.Key), KeyMax)
	case s.DelayMS < 0 || s.DeadlineMS < 0 || s.DelayMS.Duration() > NotBeforeMax:
		return fmt.Errorf("delay and deadline must lie between 0 and %s", NotBeforeMax)
	case len(s.Reason) > ReasonMax:
		return fmt.Errorf("reason is %d bytes: at most %d are allowed", len(s.Reason), ReasonMax)
	}
	for k, v := range s.Tags {
		if err := CheckToken("tag", k); err != nil {
			return err
		}
		if len(v) > TagMax {
			return fmt.Errorf("tag %s is %d bytes long: at most %d are allowed", k, len(v), TagMax)
		}
	}
	return nil
}

// Validate implements Data.
func (q *Queued) Validate() error {
	if err := q.Policy.Validate(); err != nil {
		return err
	}
	return q.Head.Validate()
}

// Validate implements Data.
func (r *Running) Validate() error {
	if r.Attempt < 1 || r.Session == "" {
		return errors.New("attempt and session must be given")
	}
	return r.Head.Validate()
}

// Validate implements Data.
func (c *Completed) Validate() error {
	if len(c.Result) > ResultMax {
		return fmt.Errorf("result is %d bytes: at most %d are stored inline", len(c.Result), ResultMax)
	}
	return c.AttemptHead.Validate()
}

// Validate implements Data.
func (f *Failed) Validate() error { return validateRetry(&f.AttemptHead, f.DelayMS) }

// Validate implements Data.
func (t *TimedOut) Validate() error { return validateRetry(&t.AttemptHead, t.DelayMS) }

func validateRetry(h *AttemptHead, delay Millis) error {
	if delay < 0 || delay.Duration() > RetryAfterMax {
		return fmt.Errorf("retry delay %s is outside 0 to %s", delay.Duration(), RetryAfterMax)
	}
	return h.Validate()
}

// Validate implements Data.
func (c *Canceled) Validate() error { return c.Head.Validate() }

// Validate implements Data.
func (d *DeadLettered) Validate() error {
	if err := d.Reason.Validate(); err != nil {
		return err
	}
	return d.Head.Validate()
}

// Validate implements Data.
func (l *Lost) Validate() error {
	if l.Cause != LossWorkerGone && l.Cause != LossCellRestart {
		return fmt.Errorf("cause of loss %q is unknown", l.Cause)
	}
	return l.AttemptHead.Validate()
}

// Validate implements Data.
func (r *Resolved) Validate() error { return validateNote(&r.Head, r.Note) }

// Validate implements Data.
func (i *Ignored) Validate() error { return validateNote(&i.Head, i.Note) }

func validateNote(h *Head, note string) error {
	if note == "" {
		return errors.New("a note is required")
	}
	return h.Validate()
}

// Validate implements Data.
func (c *Carried) Validate() error {
	if len(c.Job.Spec.Args) > 0 || len(c.Job.Result) > 0 || len(c.Job.Checkpoint) > 0 {
		return errors.New("args, result and checkpoint stand beside the job, not in it")
	}
	return c.Head.Validate()
}

// Validate implements Data.
func (c *CellStarted) Validate() error {
	if c.Cell == "" {
		return errors.New("cell id is empty")
	}
	return nil
}

// Validate implements Data.
func (l *LeaderElected) Validate() error {
	if l.Server == "" || l.Cell == "" {
		return errors.New("server and cell ids must be given")
	}
	return nil
}

// Validate implements Data.
func (t *TypeSet) Validate() error { return t.Settings.Validate() }

// CheckJSON reports bytes that are not exactly one JSON value; what names them in the message.
func CheckJSON(what string, b []byte) error {
	if json.Valid(b) {
		return nil
	}
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return fmt.Errorf("%s are not valid JSON: %w", what, err)
	}
	return fmt.Errorf("%s are not valid JSON", what)
}
