package ledger

import (
	"errors"
	"fmt"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// Command asks for a transition of one job. The commands of this package are all there are.
type Command interface {
	// decide returns the event to append to a job in state j, or nil when the command is already true and
	// nothing is to be written.
	decide(j *Job) (schemas.Data, error)
}

// ErrNotFound: the job has no event in the ledger.
var ErrNotFound = errors.New("no such job")

// ErrRemoved: what is left of the job is no beginning, since what was before was removed from the archive when its time
// was over. It is an ErrNotFound.
var ErrRemoved = fmt.Errorf("%w any more: its history is past its retention and removed", ErrNotFound)

// ErrUnreadable: the job holds an event that a newer version wrote; this binary shows it and decides
// nothing upon it (DESIGN D8). Use a newer binary.
var ErrUnreadable = errors.New("job holds an event that this version cannot read")

// ErrStaleAttempt: the command speaks for an attempt, or an offer, that is no longer the job's current
// one. Nothing is to be done; the newer attempt is untouched.
var ErrStaleAttempt = errors.New("attempt is not the job's current one")

// StateError reports a command that the job's state does not allow (invalid_state of R-720).
type StateError struct {
	State   schemas.State
	Command string // what was asked, as a verb
	Why     string // what about the job forbids it, where the state alone does not; may be empty
}

// Error implements error.
func (e *StateError) Error() string {
	s := fmt.Sprintf("cannot %s a job that is %s", e.Command, e.State)
	if e.Why != "" {
		s += ": " + e.Why
	}
	return s
}

func refuse(j *Job, command, why string) error {
	return &StateError{State: j.State, Command: command, Why: why}
}

// Decide is the one decision function of every writer: it returns the event that carries out c on
// a job in state j, nil if c is already true, or why it cannot be. It never changes j.
func Decide(j *Job, c Command) (schemas.Data, error) {
	if j.Unreadable {
		return nil, ErrUnreadable
	}
	if _, begins := c.(*Begin); !begins && !j.Exists() {
		return nil, ErrNotFound // only submitted can create a job
	}
	data, err := c.decide(j)
	if err != nil || data == nil {
		return nil, err
	}
	if _, legal := Next(j.State, j.CancelRequested, data.Name()); !legal {
		panic(fmt.Sprintf("ledger: decided %s in state %s (cancel requested: %t)", data.Name(), j.State, j.CancelRequested))
	}
	return data, nil
}

// Begin starts a generation of a job. Spec.Generation and Spec.From are filled in; times are
// stored as UTC.
type Begin struct{ Spec schemas.Submitted }

func (c *Begin) decide(j *Job) (schemas.Data, error) {
	if j.Exists() && !j.State.Finished() {
		return nil, refuse(j, "submit again", "")
	}
	s := c.Spec
	s.From, s.Generation = j.State, j.Generation+1
	s.NotBefore, s.Deadline = utc(s.NotBefore), utc(s.Deadline)
	return &s, nil
}

// Queue makes a job claimable under Policy. A deadline that has passed at Now dead-letters
// the job instead. The caller has seen to the gates that lie outside the job: parents, holds, limits.
type Queue struct {
	Policy schemas.Policy
	Epoch  schemas.Seq
	Now    time.Time // stream time
	RunNow bool      // skips the rest of a backoff, never a not-before
}

func (c *Queue) decide(j *Job) (schemas.Data, error) {
	wait := j.NotBefore
	switch j.State {
	case schemas.StateSubmitted:
	case schemas.StateRetrying:
		if !c.RunNow && j.RetryAt.After(wait) {
			wait = j.RetryAt
		}
	default:
		return nil, refuse(j, "queue", "")
	}
	if expired(j, c.Now) {
		return &schemas.DeadLettered{Head: j.Head(), Reason: schemas.DeadExpired}, nil
	}
	if wait.After(c.Now) {
		return nil, refuse(j, "queue", "it may not start before "+wait.UTC().Format(time.RFC3339Nano))
	}
	return &schemas.Queued{Head: j.Head(), Policy: c.Policy, Used: j.Used, Epoch: c.Epoch}, nil
}

// Claim begins the next attempt for a worker's session. Generation and Submitted are the
// offer's: an offer of an earlier life claims nothing (DESIGN D1). Denied says that the right to run it was lost: the job
// is dead-lettered in place of being claimed.
type Claim struct {
	Generation int
	Submitted  schemas.Seq
	Session    schemas.SessionID
	Worker     string
	Denied     bool
}

func (c *Claim) decide(j *Job) (schemas.Data, error) {
	if j.Generation != c.Generation || j.SubmittedSeq != c.Submitted {
		return nil, ErrStaleAttempt
	}
	if j.State != schemas.StateQueued {
		return nil, refuse(j, "claim", "")
	}
	if c.Denied {
		return (&DeadLetter{Reason: schemas.DeadPermanentError, Error: RightDenied()}).decide(j)
	}
	return &schemas.Running{Head: j.Head(), Attempt: j.Attempt + 1, Session: c.Session, Worker: c.Worker}, nil
}

// Cancel ends a job from every unfinished state. DuplicateOf marks a duplicate, which
// is found before it is queued (DESIGN D4).
//
// Cascade cancels the jobs that wait for it, too, and those that wait for them, whatever their edges say.
// It is the dispatcher that does it, when it reads the event: one that is stored needs nobody's help.
type Cancel struct {
	Reason      string
	DuplicateOf *schemas.JobRef
	Cascade     bool
}

func (c *Cancel) decide(j *Job) (schemas.Data, error) {
	if c.DuplicateOf != nil && j.State != schemas.StateSubmitted && j.State != schemas.StateCanceled {
		return nil, refuse(j, "cancel as a duplicate", "")
	}
	reason := c.Reason
	if c.DuplicateOf != nil && reason == "" {
		reason = ReasonDuplicate
	}
	switch j.State {
	case schemas.StateSubmitted, schemas.StateQueued, schemas.StateRetrying:
		return &schemas.Canceled{Head: j.Head(), Reason: reason, DuplicateOf: c.DuplicateOf, Cascade: c.Cascade}, nil
	case schemas.StateRunning:
		if j.CancelRequested && c.Cascade {
			return nil, refuse(j, "cancel", "it was asked to stop already, without cascade: cancel those that wait for it")
		}
		if j.CancelRequested {
			return nil, nil
		}
		return &schemas.CancelRequested{AttemptHead: j.AttemptHead(), Reason: c.Reason, Cascade: c.Cascade}, nil
	case schemas.StateCanceled:
		return nil, nil
	}
	return nil, refuse(j, "cancel", "")
}

// DeadLetter buries a job that must not run or whose org is gone. Attempts
// that end badly are buried by Outcome, Lose and Overrun.
type DeadLetter struct {
	Reason schemas.DeadReason
	Error  *schemas.JobError
}

func (c *DeadLetter) decide(j *Job) (schemas.Data, error) {
	allowed := false
	switch c.Reason {
	case schemas.DeadRejected, schemas.DeadDependencyFailed:
		allowed = j.State == schemas.StateSubmitted
	case schemas.DeadExpired, schemas.DeadPermanentError:
		allowed = j.State == schemas.StateSubmitted || j.State == schemas.StateQueued || j.State == schemas.StateRetrying
	case schemas.DeadOrgDeleted:
		allowed = !j.State.Finished()
	}
	if !allowed {
		return nil, refuse(j, "dead-letter", string(c.Reason))
	}
	d := &schemas.DeadLettered{Head: j.Head(), Reason: c.Reason, Error: c.Error}
	if j.State == schemas.StateRunning {
		d.Attempt, d.Fence = j.Attempt, j.Fence
	}
	return d, nil
}

// Retry gives a canceled or dead-lettered job a fresh budget; a retrying job runs now. What was refused
// when it was submitted is not retried (RefusedAtDoor).
type Retry struct {
	Reason       string
	Deadline     *time.Time // required once the old deadline has passed
	WaiveParents bool       // for good: a job that does not wait for its parents never will again
	Epoch        schemas.Seq
	Now          time.Time // stream time
}

func (c *Retry) decide(j *Job) (schemas.Data, error) {
	if j.State != schemas.StateRetrying && j.State != schemas.StateCanceled && j.State != schemas.StateDeadLettered {
		return nil, refuse(j, "retry", "")
	}
	if j.Spec.Refused != nil {
		return nil, refuse(j, "retry", RefusedAtDoor(j.Spec.Refused))
	}
	if c.Deadline != nil && !c.Deadline.After(c.Now) {
		return nil, refuse(j, "retry", "the new deadline has passed already")
	}
	if c.Deadline == nil && expired(j, c.Now) {
		return nil, refuse(j, "retry", "its deadline "+j.Deadline.UTC().Format(time.RFC3339)+" has passed: give a new one")
	}
	if j.State != schemas.StateRetrying {
		deadline := utc(c.Deadline)
		if deadline == nil && !j.Deadline.IsZero() {
			deadline = utc(&j.Deadline) // repeated: a fold without a map of all jobs has forgotten it with the finish
		}
		r := &schemas.Retried{Head: j.Head(), Reason: c.Reason, Deadline: deadline}
		if r.WaivedParents = c.WaiveParents || j.ParentsWaived; !r.WaivedParents {
			r.Parents = j.Spec.Parents
		}
		return r, nil
	}
	if c.Deadline != nil {
		return nil, refuse(j, "retry", "a new deadline can be given once it has finished")
	}
	return (&Queue{Policy: j.Policy, Epoch: c.Epoch, Now: c.Now, RunNow: true}).decide(j)
}

// Resolve closes a dead letter with a note, as resolved or as ignored.
type Resolve struct {
	Note   string
	Ignore bool
}

func (c *Resolve) decide(j *Job) (schemas.Data, error) {
	if j.State != schemas.StateDeadLettered {
		return nil, refuse(j, "resolve", "")
	}
	if c.Note == "" {
		return nil, errors.New("a note is required")
	}
	if c.Ignore {
		if j.Resolution == schemas.ResolutionIgnored {
			return nil, nil
		}
		return &schemas.Ignored{Head: j.Head(), Note: c.Note}, nil
	}
	if j.Resolution == schemas.ResolutionResolved {
		return nil, nil
	}
	return &schemas.Resolved{Head: j.Head(), Note: c.Note}, nil
}

// Carry repeats the whole folded state. A running job cannot be carried: it is refused, and what
// would be purged under it has to wait for its outcome.
type Carry struct{}

func (*Carry) decide(j *Job) (schemas.Data, error) {
	if j.State == schemas.StateRunning {
		return nil, refuse(j, "carry", "")
	}
	c := &schemas.Carried{Head: j.Head(), Job: *j, Args: j.Spec.Args, Result: j.Result, Checkpoint: j.Checkpoint}
	c.Job.Spec.Args, c.Job.Result, c.Job.Checkpoint = nil, nil, nil
	return c, nil
}

func expired(j *Job, now time.Time) bool { return !j.Deadline.IsZero() && now.After(j.Deadline) }

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}
