package schemas

import (
	"encoding/json"
	"time"
)

// Job is the folded state of one job: what its events amount to. Only ledger.Apply changes one. It is
// plain data: carried events and offers hold it as it is. Times are stream times.
type Job struct {
	Org        OrgID `json:"org"`
	ID         JobID `json:"id"`
	Generation int   `json:"generation"`

	State           State      `json:"state"`
	CancelRequested bool       `json:"cancel_requested,omitempty"` // written Running! in REQUIREMENTS 4
	DeadReason      DeadReason `json:"dead_reason,omitempty"`
	Resolution      Resolution `json:"resolution,omitempty"`

	// Spec is the submitted event of this generation: type, queue, args and what the caller asked for.
	Spec          Submitted `json:"spec"`
	SubmittedSeq  Seq       `json:"submitted_seq"` // identity, also after the event left the hot ledger
	SubmittedID   EventID   `json:"submitted_id"`
	SubmittedAt   time.Time `json:"submitted_at"`
	SubmittedBy   Actor     `json:"submitted_by,omitzero"`
	CausationID   string    `json:"causation_id,omitempty"`
	CorrelationID string    `json:"correlation_id,omitempty"`
	Traceparent   string    `json:"traceparent,omitempty"`
	Tracestate    string    `json:"tracestate,omitempty"`
	NotBefore     time.Time `json:"not_before,omitzero"` // earliest start
	Deadline      time.Time `json:"deadline,omitzero"`   // latest start

	Policy     Policy `json:"policy,omitzero"`       // of the latest queued
	Attempt    int    `json:"attempt"`               // number of the latest attempt; 0 before the first
	Used       int    `json:"used"`                  // budget used since submitted or retried
	Losses     int    `json:"losses,omitempty"`      // worker_gone losses in a row
	CellLosses int    `json:"cell_losses,omitempty"` // cell_restart losses in a row

	Fence       Fence     `json:"fence,omitzero"` // the current attempt; zero unless running
	Session     SessionID `json:"session,omitempty"`
	Worker      string    `json:"worker,omitempty"`
	LastFence   Fence     `json:"last_fence,omitzero"`    // the latest attempt that ended, of any generation
	LastOutcome EventName `json:"last_outcome,omitempty"` // what its worker said it came to, else the event that ended it
	Late        []Seq     `json:"late,omitempty"`         // fences that left a late_result, of any generation; the latest LateMax

	QueuedAt   time.Time `json:"queued_at,omitzero"`  // of the latest attempt
	StartedAt  time.Time `json:"started_at,omitzero"` // of the latest attempt
	FinishedAt time.Time `json:"finished_at,omitzero"`
	RetryAt    time.Time `json:"retry_at,omitzero"` // while retrying

	CancelBy     Actor     `json:"cancel_by,omitzero"`
	CancelReason string    `json:"cancel_reason,omitempty"`
	CancelForced bool      `json:"cancel_forced,omitempty"`
	DuplicateOf  *JobRef   `json:"duplicate_of,omitempty"`
	ResolvedBy   Actor     `json:"resolved_by,omitzero"`
	ResolvedAt   time.Time `json:"resolved_at,omitzero"`
	Note         string    `json:"note,omitempty"`
	// ParentsWaived: an operator retried the job in spite of its parents.
	ParentsWaived bool `json:"parents_waived,omitempty"`

	Error      *JobError       `json:"error,omitempty"` // of the latest attempt that failed
	Progress   *Progress       `json:"progress,omitempty"`
	ResultRef  *ObjectRef      `json:"result_ref,omitempty"`
	Result     json.RawMessage `json:"result,omitempty"`
	Checkpoint json.RawMessage `json:"checkpoint,omitempty"`

	// Last* name the subject's last message, whatever it is, in LEDGER or in ARCHIVE: see Expect (DESIGN D1).
	LastSeq Seq       `json:"last_seq"`
	LastID  EventID   `json:"last_id,omitempty"`
	LastAt  time.Time `json:"last_at,omitzero"`

	Illegal    int  `json:"illegal,omitempty"`    // events that were not legal where they stood: kept and ignored
	Unreadable bool `json:"unreadable,omitempty"` // holds an event of ours this binary cannot decode: read-only (DESIGN D8)

	// Where the job stands, as the reader that folded it found it; no event holds that (DESIGN D13).
	//
	// Archived: no message of LEDGER begins the job, submitted or carried, for what did is in ARCHIVE. Whoever decides upon
	// it appends carried first. Emptied: nothing of it is left in LEDGER at all, so an append expects 0: see Expect.
	Archived bool `json:"-"`
	Emptied  bool `json:"-"`
}

// Expect is the sequence that an append to the job expects: that of the last message on its subject in LEDGER,
// whatever it is, 0 if none is left there (DESIGN D1, D13).
func (j *Job) Expect() Seq {
	if j.Emptied {
		return 0
	}
	return j.LastSeq
}

// LateMax bounds Job.Late. An attempt whose late_result was forgotten could leave a second one, which
// changes nothing.
const LateMax = 64

// Exists reports whether any submitted event was folded.
func (j *Job) Exists() bool { return j.State != StateNone }

// Head is the common part of the job's next event.
func (j *Job) Head() Head {
	return Head{From: j.State, Type: j.Spec.Type, Queue: j.Spec.Queue, Priority: j.Spec.Priority,
		Resource: j.Spec.Resource, Generation: j.Generation, Submitted: j.SubmittedSeq}
}

// AttemptHead is the common part of the next event about the current attempt.
func (j *Job) AttemptHead() AttemptHead {
	return AttemptHead{Head: j.Head(), Attempt: j.Attempt, Fence: j.Fence}
}

// Principal is whom the job runs as: the stored principal, else the submitting actor.
func (j *Job) Principal() string {
	if j.Spec.Principal != "" {
		return j.Spec.Principal
	}
	return j.SubmittedBy.String()
}

// Due returns the earliest start and the latest start that s asks for, given its stream time; zero where
// it asks for none. Of an absolute and a relative time the later start and the earlier deadline hold.
func (s *Submitted) Due(at time.Time) (notBefore, deadline time.Time) {
	if s.DelayMS > 0 {
		notBefore = at.Add(s.DelayMS.Duration())
	}
	if s.NotBefore != nil && s.NotBefore.After(notBefore) {
		notBefore = s.NotBefore.UTC()
	}
	if s.DeadlineMS > 0 {
		deadline = at.Add(s.DeadlineMS.Duration())
	}
	if s.Deadline != nil && (deadline.IsZero() || s.Deadline.Before(deadline)) {
		deadline = s.Deadline.UTC()
	}
	return notBefore, deadline
}
