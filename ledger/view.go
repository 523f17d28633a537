package ledger

import (
	"encoding/json"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// Record is a job as every reader sees it (INTERFACE 2.5). Every key is present, null where there is no
// value; a record in a list, and the document in BucketJobs, leaves out args, result, checkpoint_bytes, steps
// and attempts.
type Record struct {
	ID          schemas.JobID     `json:"id"`
	Org         schemas.OrgID     `json:"org"`
	Type        schemas.TypeName  `json:"type"`
	Queue       schemas.QueueName `json:"queue"`
	State       schemas.State     `json:"state"`
	Reason      *string           `json:"reason"` // see ReasonAt for jobs that wait
	Priority    schemas.Priority  `json:"priority"`
	Attempt     int               `json:"attempt"`      // 0 before the first running
	MaxAttempts *int              `json:"max_attempts"` // null until the first queued fixes it, unless the submit chose it
	Progress    *RecordProgress   `json:"progress"`
	Error       *RecordError      `json:"error"` // of the latest attempt that failed
	SubmittedAt time.Time         `json:"submitted_at"`
	QueuedAt    *time.Time        `json:"queued_at"`  // of the latest attempt
	StartedAt   *time.Time        `json:"started_at"` // of the latest attempt
	FinishedAt  *time.Time        `json:"finished_at"`
	RetryAt     *time.Time        `json:"retry_at"`
	SubmittedBy *string           `json:"submitted_by"` // actor
	Parents     []RecordParent    `json:"parents"`
	Seq         schemas.Seq       `json:"seq"`      // last message folded
	EventID     schemas.EventID   `json:"event_id"` // of that message: sequences can be given out again (DESIGN D2)

	Generation    int                `json:"generation"`
	SubmittedSeq  schemas.Seq        `json:"submitted_seq"` // of this generation's submitted; lists are ordered by it
	AttemptsUsed  int                `json:"attempts_used"` // what counts against max_attempts
	RunTimeoutS   *float64           `json:"run_timeout_s"` // null until the first queued fixes it, unless the submit chose it
	Flags         []string           `json:"flags"`
	Owner         *string            `json:"owner"` // whom the job runs as
	Tags          map[string]string  `json:"tags"`
	Batch         *string            `json:"batch"`
	Key           *string            `json:"key"` // the caller's idempotency key
	NotBefore     *time.Time         `json:"not_before"`
	Deadline      *time.Time         `json:"deadline"`
	Worker        *string            `json:"worker"` // of the latest attempt
	Cancel        *RecordCancel      `json:"cancel"`
	CanceledAt    *time.Time         `json:"canceled_at"`
	Resolution    *RecordResolution  `json:"resolution"`
	ArgsRef       *schemas.ObjectRef `json:"args_ref"`
	ResultRef     *schemas.ObjectRef `json:"result_ref"`
	Children      []schemas.JobRef   `json:"children"` // null: they are asked for by themselves (gateway.Client.Children), and lag like a list
	CorrelationID *string            `json:"correlation_id"`
	CausationID   *string            `json:"causation_id"`
	// TraceID is that of the trace context that the submit brought, or made, where one job is read; missing: it has none.
	TraceID  *string         `json:"trace_id,omitzero"`
	Attempts []AttemptRecord `json:"attempts,omitzero"`
	// CheckpointBytes is the size of the checkpoint that a later attempt would resume from, 0 where there is none.
	CheckpointBytes *int `json:"checkpoint_bytes,omitzero"`

	Args   json.RawMessage `json:"args,omitzero"`   // byte for byte as submitted; use Encode
	Result json.RawMessage `json:"result,omitzero"` // byte for byte as written; use Encode
}

// RecordParent is a job that the job waits for, or waited for. State is how the life named stands, where one job is
// read; a life that the ledger does not know has an empty one.
type RecordParent struct {
	schemas.ParentRef
	State *schemas.State `json:"state,omitzero"`
}

// Flags of a Record.
const (
	FlagCancelRequested = "cancel_requested" // running, and asked to stop
	FlagIllegal         = "illegal_events"   // holds events that were not legal where they stand
	FlagUnreadable      = "unreadable"       // holds an event of a newer version: read-only here (DESIGN D8)
)

// Reasons a Record gives beside those of schemas.DeadReason.
const (
	ReasonScheduled       = "scheduled"         // not_before lies ahead
	ReasonWaitingOnParent = "waiting_on_parent" // a parent is unfinished
	ReasonPaused          = "paused"            // a hold, its org's suspension or a breaker stands on it
	ReasonLimited         = "limited"           // as many run, or started, as may
	ReasonReady           = "ready"             // waits for a free slot
	ReasonUnserved        = "unserved"          // would be ready, or is queued, and no worker serves its type in its queue
	ReasonDuplicate       = "duplicate"         // canceled: stands for an earlier job (DESIGN D4)
	ReasonCanceled        = "canceled"          // canceled because somebody asked
)

// RecordProgress is the latest progress of a job.
type RecordProgress struct {
	Percent int            `json:"percent"`
	Message *string        `json:"message"`
	Steps   []schemas.Step `json:"steps,omitzero"`
}

// RecordError is what an attempt failed of. A stack stands in the history only.
type RecordError struct {
	Class        schemas.ErrorClass `json:"class"`
	Code         *string            `json:"code"`
	Message      string             `json:"message"`
	Cause        *string            `json:"cause"`
	RemoteStatus *int               `json:"remote_status"`
}

// RecordCancel says who asked for a cancel, and why.
type RecordCancel struct {
	Actor       *string         `json:"actor"`
	Reason      *string         `json:"reason"`
	Forced      bool            `json:"forced"` // the grace ended before the handler did
	DuplicateOf *schemas.JobRef `json:"duplicate_of"`
}

// RecordResolution is what became of a dead letter.
type RecordResolution struct {
	State schemas.Resolution `json:"state"`
	Note  *string            `json:"note"`
	Actor *string            `json:"actor"`
	At    *time.Time         `json:"at"`
}

// RecordOf is the record of j without attempts, which are of its history. It is a pure function of the fold.
func RecordOf(j *Job) Record {
	r := summaryOf(j)
	r.Args, r.Result = orNull(j.Spec.Args), orNull(j.Result)
	checkpoint := len(j.Checkpoint)
	r.CheckpointBytes = &checkpoint
	if r.Progress != nil {
		r.Progress.Steps = append([]schemas.Step{}, j.Progress.Steps...)
	}
	return r
}

// Encode returns the record as JSON with args and result byte for byte.
func (r *Record) Encode() ([]byte, error) {
	c := *r
	c.Args, c.Result = nil, nil
	return schemas.SpliceJSON(&c, schemas.RawField{Name: "args", Value: r.Args}, schemas.RawField{Name: "result", Value: r.Result})
}

// ReasonAt says why the job stands where it does, at stream time now: the stored reason, or, for a
// submitted job, the first of scheduled, waiting_on_parent and ready that its record can tell. A
// stored document must not depend on the clock, hence it is computed by whoever reads. The record does not
// know its parents' states: a caller that does passes whether all of them are satisfied. Nor does it know the
// workers: whoever does says ReasonUnserved instead of ReasonReady.
func (r *Record) ReasonAt(now time.Time, parentsDone bool) string {
	switch {
	case r.Reason != nil:
		return *r.Reason
	case r.State != schemas.StateSubmitted:
		return ""
	case r.NotBefore != nil && r.NotBefore.After(now):
		return ReasonScheduled
	case len(r.Parents) > 0 && !parentsDone:
		return ReasonWaitingOnParent
	}
	return ReasonReady
}

func recordParents(refs []schemas.ParentRef) []RecordParent {
	out := make([]RecordParent, len(refs))
	for i, p := range refs {
		out[i].ParentRef = p
	}
	return out
}

func summaryOf(j *Job) Record {
	s := &j.Spec
	r := Record{
		ID: j.ID, Org: j.Org, Type: s.Type, Queue: s.Queue, State: j.State, Reason: opt(StoredReason(j)),
		Priority: s.Priority, Attempt: j.Attempt,
		SubmittedAt: j.SubmittedAt.UTC(), QueuedAt: when(j.QueuedAt), StartedAt: when(j.StartedAt),
		FinishedAt: when(j.FinishedAt), RetryAt: when(j.RetryAt), SubmittedBy: opt(j.SubmittedBy.String()),
		Parents: recordParents(s.Parents), Seq: j.LastSeq, EventID: j.LastID,
		Generation: j.Generation, SubmittedSeq: j.SubmittedSeq, AttemptsUsed: j.Used, Flags: flags(j),
		Owner: opt(j.Principal()), Tags: s.Tags, Batch: opt(s.Batch), Key: opt(s.Key),
		NotBefore: when(j.NotBefore), Deadline: when(j.Deadline), Worker: opt(j.Worker),
		ArgsRef: s.ArgsRef, ResultRef: j.ResultRef,
		CorrelationID: opt(j.CorrelationID), CausationID: opt(j.CausationID),
	}
	attempts, timeout := policyOf(j)
	r.MaxAttempts, r.RunTimeoutS = attempts, opt(timeout.Duration().Seconds())
	r.Progress, r.Error, r.Cancel, r.Resolution = progressOf(j), errorOf(j.Error), cancelOf(j), resolutionOf(j)
	if j.State == schemas.StateCanceled {
		r.CanceledAt = r.FinishedAt
	}
	return r
}

// policyOf is what the latest queued fixed, or before it what the submit chose; nil and 0 where neither did.
func policyOf(j *Job) (attempts *int, timeout schemas.Millis) {
	attempts, timeout = opt(j.Policy.MaxAttempts), j.Policy.TimeoutMS
	if o := j.Spec.Override; o != nil && attempts == nil {
		attempts = o.MaxAttempts
		if o.TimeoutMS != nil {
			timeout = *o.TimeoutMS
		}
	}
	return attempts, timeout
}

// progressOf leaves the steps out.
func progressOf(j *Job) *RecordProgress {
	if j.Progress == nil {
		return nil
	}
	return &RecordProgress{Percent: j.Progress.Percent, Message: opt(j.Progress.Message)}
}

func cancelOf(j *Job) *RecordCancel {
	if !j.CancelRequested && j.State != schemas.StateCanceled {
		return nil
	}
	return &RecordCancel{Actor: opt(j.CancelBy.String()), Reason: opt(j.CancelReason), Forced: j.CancelForced, DuplicateOf: j.DuplicateOf}
}

func resolutionOf(j *Job) *RecordResolution {
	if j.Resolution == "" {
		return nil
	}
	return &RecordResolution{State: j.Resolution, Note: opt(j.Note), Actor: opt(j.ResolvedBy.String()), At: when(j.ResolvedAt)}
}

// StoredReason is why a job ended as it did, of dead letters and canceled jobs; else empty.
func StoredReason(j *Job) string {
	switch {
	case j.State == schemas.StateDeadLettered:
		return string(j.DeadReason)
	case j.State != schemas.StateCanceled:
		return ""
	case j.DuplicateOf != nil:
		return ReasonDuplicate
	}
	return ReasonCanceled
}

func flags(j *Job) []string {
	f := []string{}
	if j.CancelRequested {
		f = append(f, FlagCancelRequested)
	}
	if j.Illegal > 0 {
		f = append(f, FlagIllegal)
	}
	if j.Unreadable {
		f = append(f, FlagUnreadable)
	}
	return f
}

func errorOf(e *schemas.JobError) *RecordError {
	if e == nil {
		return nil
	}
	return &RecordError{Class: e.Class, Code: opt(e.Code), Message: e.Message, Cause: opt(e.Cause), RemoteStatus: opt(e.RemoteStatus)}
}

// opt is nil for the zero value, which in a fold means that there is none.
func opt[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

func when(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func orNull(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("null")
	}
	return raw
}
