package schemas

import (
	"encoding/json"
	"fmt"
	"time"
)

// Data is the body of one event. The types below are all of them; each is used as a pointer.
type Data interface {
	// Name is the event's short name.
	Name() EventName
	// Validate reports data that no correct writer produces, or that is over a limit.
	Validate() error
	// wellFormed is the part of Validate that folds rely on.
	wellFormed() error
}

// JobData is the data of a job event other than submitted: it repeats what folds need, so that none has
// to keep a map of all jobs (DESIGN, Events).
type JobData interface {
	Data
	Common() *Head
}

// Head stands in every job event after submitted.
type Head struct {
	From       State     `json:"from"`     // state before this event
	Type       TypeName  `json:"type"`     // as in submitted
	Queue      QueueName `json:"queue"`    // as in submitted
	Priority   Priority  `json:"priority"` // as in submitted
	Resource   string    `json:"resource,omitempty"`
	Generation int       `json:"generation"` // life of a re-used id, from 1
	Submitted  Seq       `json:"submitted"`  // sequence of this generation's submitted: the job's identity in lanes
}

// Common returns h itself.
func (h *Head) Common() *Head { return h }

// AttemptHead is a Head for events about one attempt.
type AttemptHead struct {
	Head
	Attempt int   `json:"attempt"` // number of the attempt, from 1, rising within a generation
	Fence   Fence `json:"fence"`   // the attempt's running event
}

// Named returns h itself; it tells events about one attempt from others.
func (h *AttemptHead) Named() *AttemptHead { return h }

// JobRef names another job of the same org.
type JobRef struct {
	ID         JobID `json:"id"`
	Generation int   `json:"generation,omitempty"`
}

// ParentRef is an edge to a parent, with what its failure means.
type ParentRef struct {
	ID         JobID  `json:"id"`
	Generation int    `json:"generation"`
	OnFailure  string `json:"on_failure,omitempty"` // fail (default), cancel, run
}

// What a parent that was canceled or dead-lettered means for its child; empty is ParentFail.
const (
	ParentFail   = "fail"   // dead-letter it as dependency_failed
	ParentCancel = "cancel" // cancel it
	ParentRun    = "run"    // run it anyway
)

// ObjectRef names a payload kept in an object store because it is over the inline limit.
type ObjectRef struct {
	Bucket string `json:"bucket"`
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Step is one line of a job's checklist.
type Step struct {
	Name  string `json:"name"`
	State string `json:"state"` // pending, in_progress, done
}

// Progress is the latest progress of an attempt.
type Progress struct {
	Percent int    `json:"percent"` // 0 to 100
	Message string `json:"message,omitempty"`
	Steps   []Step `json:"steps,omitempty"`
}

// JobError is what an attempt failed of. Texts are bounded by ErrorTextMax.
type JobError struct {
	Class        ErrorClass `json:"class"`
	Code         string     `json:"code,omitempty"`
	Message      string     `json:"message"`
	Cause        string     `json:"cause,omitempty"`
	RemoteStatus int        `json:"remote_status,omitempty"`
	Stack        string     `json:"stack,omitempty"`
}

// Submitted begins a job's generation. Everything a worker needs is in it, so that no
// second write is needed for the job to run.
type Submitted struct {
	From       State             `json:"from,omitempty"` // empty, or the finished state of the generation before
	Type       TypeName          `json:"type"`
	Queue      QueueName         `json:"queue"`
	Priority   Priority          `json:"priority"`
	Resource   string            `json:"resource,omitempty"`
	Generation int               `json:"generation"`
	Principal  string            `json:"principal,omitempty"` // whom the job runs as, when it is not the actor
	Hash       string            `json:"hash,omitempty"`      // content hash of (type, canonical args), base64url, 22 characters
	Key        string            `json:"key,omitempty"`       // the caller's idempotency key
	Dedup      DedupPolicy       `json:"dedup,omitempty"`
	WindowMS   Millis            `json:"dedup_window_ms,omitempty"`
	NotBefore  *time.Time        `json:"not_before,omitempty"` // a time a person asked for
	DelayMS    Millis            `json:"delay_ms,omitempty"`   // due = stream time + delay
	Deadline   *time.Time        `json:"deadline,omitempty"`   // start-by, a time a person asked for
	DeadlineMS Millis            `json:"deadline_ms,omitempty"`
	Parents    []ParentRef       `json:"parents,omitempty"`
	Batch      string            `json:"batch,omitempty"`
	Schedule   string            `json:"schedule,omitempty"` // that made it
	Tick       *time.Time        `json:"tick,omitempty"`     // the time of the schedule that it is for; nil: run by hand
	Tags       map[string]string `json:"tags,omitempty"`
	Override   *Override         `json:"override,omitempty"`
	Reason     string            `json:"reason,omitempty"`
	Refused    *Refusal          `json:"refused,omitempty"` // why it is not to run: it is dead-lettered as rejected
	ArgsRef    *ObjectRef        `json:"args_ref,omitempty"`
	Args       json.RawMessage   `json:"args,omitempty"`
}

// Refusal says why a submission was refused whose sender waits for no answer: it is recorded all the same.
type Refusal struct {
	Code    string `json:"code"`            // one of R-720
	Field   string `json:"field,omitempty"` // the argument at fault, if one is
	Message string `json:"message"`
}

// Queued makes a job claimable. It fixes the effective policy.
type Queued struct {
	Head
	Policy Policy `json:"policy"`
	Used   int    `json:"used"`  // budget used so far
	Epoch  Seq    `json:"epoch"` // sequence of the leader event of who decided
}

// Running is a claim: one conditional append with one winner. Its sequence and event id are the fence.
type Running struct {
	Head
	Attempt int       `json:"attempt"`
	Session SessionID `json:"session"`
	Worker  string    `json:"worker"`
}

// Completed ends a job well.
type Completed struct {
	AttemptHead
	DurationMS Millis          `json:"duration_ms"`
	Progress   *Progress       `json:"progress,omitempty"`
	ResultRef  *ObjectRef      `json:"result_ref,omitempty"`
	Result     json.RawMessage `json:"result,omitempty"`
}

// Failed is an attempt that will be retried: it carries the failure and the delay together, so that no
// retry can be forgotten.
type Failed struct {
	AttemptHead
	Error      JobError  `json:"error"`
	DelayMS    Millis    `json:"delay_ms"` // retry due = stream time + delay
	DurationMS Millis    `json:"duration_ms"`
	Progress   *Progress `json:"progress,omitempty"`
}

// TimedOut is an attempt that passed its timeout or hard limit and will be retried.
type TimedOut struct {
	AttemptHead
	Error      JobError  `json:"error"`
	DelayMS    Millis    `json:"delay_ms"`
	DurationMS Millis    `json:"duration_ms"`
	Progress   *Progress `json:"progress,omitempty"`
}

// Canceled ends a job because somebody asked, or as a duplicate.
type Canceled struct {
	Head
	Attempt     int       `json:"attempt,omitempty"` // the attempt it ended, if any
	Fence       Fence     `json:"fence,omitzero"`
	Outcome     EventName `json:"outcome,omitempty"` // what the worker said the attempt came to; empty if it said nothing
	Reason      string    `json:"reason,omitempty"`
	Forced      bool      `json:"forced,omitempty"`  // the grace ended before the handler did
	Cascade     bool      `json:"cascade,omitempty"` // the jobs that wait for this one are canceled, too
	DuplicateOf *JobRef   `json:"duplicate_of,omitempty"`
	Error       *JobError `json:"error,omitempty"`
	DurationMS  Millis    `json:"duration_ms,omitempty"`
	Progress    *Progress `json:"progress,omitempty"` // the last that the worker knew, if it ended the attempt
}

// DeadLettered ends a job that will not be tried again.
type DeadLettered struct {
	Head
	Attempt    int        `json:"attempt,omitempty"`
	Fence      Fence      `json:"fence,omitzero"`
	Outcome    EventName  `json:"outcome,omitempty"` // failed or timed_out, which it stands for; empty for a silent holder
	Reason     DeadReason `json:"reason"`
	Cause      LossCause  `json:"cause,omitempty"` // for poison and a lost last attempt
	Error      *JobError  `json:"error,omitempty"`
	DurationMS Millis     `json:"duration_ms,omitempty"`
	Progress   *Progress  `json:"progress,omitempty"`
}

// CancelRequested is phase one of canceling a running job.
type CancelRequested struct {
	AttemptHead
	Reason  string `json:"reason,omitempty"`
	Cascade bool   `json:"cascade,omitempty"` // the jobs that wait for this one are canceled, too
}

// Released hands a running job back; the attempt is not consumed.
type Released struct {
	AttemptHead
	Cause    string    `json:"cause"` // drain, cut_off, late_claim, yield
	Progress *Progress `json:"progress,omitempty"`
}

// Why a worker hands a job back (R-213, DESIGN D7).
const (
	ReleaseDrain     = "drain"      // it is stopping
	ReleaseCutOff    = "cut_off"    // its beats were not answered
	ReleaseLateClaim = "late_claim" // the claim settled too late: the handler was never started
	ReleaseYield     = "yield"      // the handler gives its slot back by itself, as a batch does
)

// Lost closes the attempt of a silent holder.
type Lost struct {
	AttemptHead
	Cause LossCause `json:"cause"`
}

// Retried gives a finished job a fresh budget.
type Retried struct {
	Head
	Reason        string     `json:"reason,omitempty"`
	Deadline      *time.Time `json:"deadline,omitempty"`
	WaivedParents bool       `json:"waived_parents,omitempty"`
	// Parents are those it waits for again: repeated, for a fold without a map of all jobs has forgotten them.
	Parents []ParentRef `json:"parents,omitempty"`
}

// Resolved closes a dead letter.
type Resolved struct {
	Head
	Note string `json:"note"`
}

// Ignored closes a dead letter as not worth treating.
type Ignored struct {
	Head
	Note string `json:"note"`
}

// LateResult keeps the outcome of an attempt that was no longer the job's current one.
type LateResult struct {
	AttemptHead
	Outcome   EventName       `json:"outcome"` // what the worker would have written
	Error     *JobError       `json:"error,omitempty"`
	ResultRef *ObjectRef      `json:"result_ref,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
}

// Carried holds the whole folded state, so that older events may leave the hot ledger (R-230, DESIGN D13).
// Job.Spec.Args, Job.Result and Job.Checkpoint stand beside it, byte for byte.
type Carried struct {
	Head
	Job        Job             `json:"job"`
	Args       json.RawMessage `json:"args,omitempty"`
	Result     json.RawMessage `json:"result,omitempty"`
	Checkpoint json.RawMessage `json:"checkpoint,omitempty"`
}

// Checkpointed keeps what a later attempt resumes from. The latest one of a generation stands, whichever
// attempt wrote it; a checkpoint of null takes it away.
type Checkpointed struct {
	AttemptHead
	Checkpoint json.RawMessage `json:"checkpoint"`
}

// CellStarted is appended when a cell's memory streams had to be created: the cell's processes began
// anew, and silence before it is nobody's fault (DESIGN D2, D7). Subject control.cell.start.
type CellStarted struct {
	Cell    string `json:"cell"`    // random id of this start
	Version string `json:"version"` // of the server that provisioned
	// Carried is the sequence of the event that this one repeats, so that it may leave the hot ledger (DESIGN D13):
	// nothing started anew. 0: it is no repetition.
	Carried Seq `json:"carried,omitempty"`
}

// Start is the sequence of the start that an event at seq tells of.
func (c *CellStarted) Start(seq Seq) Seq {
	if c.Carried > 0 {
		return c.Carried
	}
	return seq
}

// LeaderElected opens an epoch: its ledger sequence is the epoch (DESIGN D6). Subject control.cell.leader.
type LeaderElected struct {
	Server string `json:"server"` // id of the winning server process
	Cell   string `json:"cell"`
	// Carried is the epoch that this event repeats, so that the one which opened it may leave the hot ledger (DESIGN
	// D13); it opens none. 0: it is no repetition.
	Carried Seq `json:"carried,omitempty"`
}

// Epoch is the epoch that an event at seq opens, or repeats.
func (l *LeaderElected) Epoch(seq Seq) Seq {
	if l.Carried > 0 {
		return l.Carried
	}
	return seq
}

// TypeSet registers or changes a type. Subject control.cell.type.<name>.
type TypeSet struct {
	Settings TypeSettings `json:"settings"`
	Reason   string       `json:"reason,omitempty"`
}

// Name implements Data.
func (*Submitted) Name() EventName       { return EventSubmitted }
func (*Queued) Name() EventName          { return EventQueued }
func (*Running) Name() EventName         { return EventRunning }
func (*Completed) Name() EventName       { return EventCompleted }
func (*Failed) Name() EventName          { return EventFailed }
func (*TimedOut) Name() EventName        { return EventTimedOut }
func (*Canceled) Name() EventName        { return EventCanceled }
func (*DeadLettered) Name() EventName    { return EventDeadLettered }
func (*CancelRequested) Name() EventName { return EventCancelRequested }
func (*Released) Name() EventName        { return EventReleased }
func (*Lost) Name() EventName            { return EventLost }
func (*Retried) Name() EventName         { return EventRetried }
func (*Resolved) Name() EventName        { return EventResolved }
func (*Ignored) Name() EventName         { return EventIgnored }
func (*LateResult) Name() EventName      { return EventLateResult }
func (*Carried) Name() EventName         { return EventCarried }
func (*Checkpointed) Name() EventName    { return EventCheckpointed }
func (*CellStarted) Name() EventName     { return EventCellStarted }
func (*LeaderElected) Name() EventName   { return EventLeaderElected }
func (*TypeSet) Name() EventName         { return EventTypeSet }
func (*OrgSet) Name() EventName          { return EventOrgSet }
func (*QueueSet) Name() EventName        { return EventQueueSet }
func (*ResourceSet) Name() EventName     { return EventResourceSet }
func (*HoldSet) Name() EventName         { return EventHoldSet }
func (*ScheduleSet) Name() EventName     { return EventScheduleSet }
func (*BreakerClosed) Name() EventName   { return EventBreakerClosed }

// newData returns an empty record for name, or nil if this version does not know the event.
func newData(name EventName) Data {
	switch name {
	case EventSubmitted:
		return new(Submitted)
	case EventQueued:
		return new(Queued)
	case EventRunning:
		return new(Running)
	case EventCompleted:
		return new(Completed)
	case EventFailed:
		return new(Failed)
	case EventTimedOut:
		return new(TimedOut)
	case EventCanceled:
		return new(Canceled)
	case EventDeadLettered:
		return new(DeadLettered)
	case EventCancelRequested:
		return new(CancelRequested)
	case EventReleased:
		return new(Released)
	case EventLost:
		return new(Lost)
	case EventRetried:
		return new(Retried)
	case EventResolved:
		return new(Resolved)
	case EventIgnored:
		return new(Ignored)
	case EventLateResult:
		return new(LateResult)
	case EventCarried:
		return new(Carried)
	case EventCheckpointed:
		return new(Checkpointed)
	case EventCellStarted:
		return new(CellStarted)
	case EventLeaderElected:
		return new(LeaderElected)
	case EventTypeSet:
		return new(TypeSet)
	case EventOrgSet:
		return new(OrgSet)
	case EventQueueSet:
		return new(QueueSet)
	case EventResourceSet:
		return new(ResourceSet)
	case EventHoldSet:
		return new(HoldSet)
	case EventLegalHoldSet:
		return new(LegalHoldSet)
	case EventScheduleSet:
		return new(ScheduleSet)
	case EventTokenSet:
		return new(TokenSet)
	case EventBreakerClosed:
		return new(BreakerClosed)
	case EventNoticesRead:
		return new(NoticesRead)
	case EventUnmasked:
		return new(Unmasked)
	case EventVerified:
		return new(Verified)
	}
	return nil
}

// NewData returns an empty record for name; the error names an event this version does not know.
func NewData(name EventName) (Data, error) {
	if d := newData(name); d != nil {
		return d, nil
	}
	return nil, fmt.Errorf("event %q is unknown to this version", string(name))
}
