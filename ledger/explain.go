package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// SubjectExplain takes an ExplainRequest; the leader answers with an Explanation, from the same state that decides
// (DESIGN D5). Standbys do not answer.
const SubjectExplain = "jl.explain"

// ExplainRequest asks why a job does not start. Whoever asks has folded the job and says what it is, so that the
// leader answers without a read.
type ExplainRequest struct {
	Org       schemas.OrgID     `json:"org"`
	Job       schemas.JobID     `json:"job"`
	Submitted schemas.Seq       `json:"submitted"` // of the generation: Job.SubmittedSeq
	Queue     schemas.QueueName `json:"queue"`
	Type      schemas.TypeName  `json:"type"`
	Priority  schemas.Priority  `json:"priority"`
	Resource  string            `json:"resource,omitempty"`
	Batch     string            `json:"batch,omitempty"`
}

// Where a job stands in the dispatcher (Explanation.Place).
const (
	PlaceLane      = "lane"      // it may start when its turn comes and nothing blocks it
	PlaceTimer     = "timer"     // it waits for its time: not-before, or the delay of a retry
	PlaceParents   = "parents"   // it waits for other jobs
	PlaceDuplicate = "duplicate" // it is about to be canceled as a duplicate
	PlaceDeciding  = "deciding"  // a decision about it is on its way
	PlaceQueued    = "queued"    // it is Queued: a worker may claim it, or it is not offered (Blockers)
	PlaceRunning   = "running"   // it runs
	PlaceUnknown   = "unknown"   // the leader's fold does not hold it: it has finished, or its event is not folded yet
)

// Explanation says where an unfinished job stands and all that keeps it from starting. A job that nothing blocks and
// that waits in its lane waits for its turn: Ahead, Slots and Free say for how long.
type Explanation struct {
	Epoch    schemas.Seq `json:"epoch"`
	Position schemas.Seq `json:"position"` // of the leader's fold
	Now      time.Time   `json:"now"`      // stream time
	Place    string      `json:"place"`
	// Ahead is how many jobs stand before it in its lane (same org, queue, type, priority and resource); meaningful
	// in PlaceLane only. AheadMore: there are more, they were not counted.
	Ahead     int  `json:"ahead"`
	AheadMore bool `json:"ahead_more,omitempty"`
	// Due is when its timer fires, in PlaceTimer; zero if it is not known.
	Due time.Time `json:"due,omitzero"`
	// Workers that are alive and serve its queue and type, with their slots, and how many of those are free.
	Workers int `json:"workers"`
	Slots   int `json:"slots"`
	Free    int `json:"free"`
	// Blockers are all rules that would keep the job from starting now; empty: none does.
	Blockers []Blocker `json:"blockers,omitempty"`
	// EarliestStart is the latest of the Blockers' Until, when every blocker has one; zero if it is not known.
	EarliestStart time.Time `json:"earliest_start,omitzero"`
}

// BlockerKind says what sort of rule blocks.
type BlockerKind string

// The kinds of blockers.
const (
	BlockLimit     BlockerKind = "limit"      // as many run as may: Used of Limit
	BlockRate      BlockerKind = "rate"       // as many started as may: Rate; the next one at Until
	BlockHold      BlockerKind = "hold"       // paused by a person
	BlockSuspended BlockerKind = "suspended"  // its org is suspended
	BlockDeleted   BlockerKind = "deleted"    // its org is deleted
	BlockOwner     BlockerKind = "owner"      // its queue belongs to another org
	BlockBreaker   BlockerKind = "breaker"    // its type fails too often for this org
	BlockUnsettled BlockerKind = "unsettled"  // a limit of one, and workers have not told a new leader what still runs
	BlockNoWorker  BlockerKind = "no_worker"  // no live worker serves its queue and type
	BlockNoRoom    BlockerKind = "no_room"    // all slots of its workers are taken
	BlockDelay     BlockerKind = "not_before" // its time has not come: Until
	BlockRight     BlockerKind = "right"      // whether its principal may still run it cannot be found out
	BlockParents   BlockerKind = "parents"    // jobs it depends on have not finished
)

// Blocker is one rule that keeps a job from starting, with the setting a person could change.
type Blocker struct {
	Kind BlockerKind `json:"kind"`
	// Scope says what the rule counts or stands on, such as "org acme, queue bulk"; "everything" for the whole cell.
	Scope schemas.HoldScope `json:"scope"`
	// Setting is the key in CONFIG of the document that holds the rule, such as "org.acme", with its author there;
	// empty for a rule that is no setting. An org that was never set has its defaults: its key is named all the same.
	Setting string `json:"setting,omitempty"`
	// Field is the field of the setting, such as "max_running".
	Field string `json:"field,omitempty"`
	Limit int    `json:"limit,omitempty"` // of BlockLimit
	Used  int    `json:"used,omitempty"`  // of BlockLimit: Queued and Running now
	// Rate is that of BlockRate.
	Rate *schemas.Rate `json:"rate,omitempty"`
	// Until is when the blocker ends by itself; zero if that is not known.
	Until time.Time `json:"until,omitzero"`
	// State of BlockBreaker: "open", or "half_open" while a probe is on its way.
	State string `json:"state,omitempty"`
}

// Explain asks the leader why an unfinished job does not start. j is the job's present fold. The error is an *Error
// with code unavailable when no leader answers before ctx ends.
func (l *Ledger) Explain(ctx context.Context, j *Job) (*Explanation, error) {
	body, err := json.Marshal(&ExplainRequest{Org: j.Org, Job: j.ID, Submitted: j.SubmittedSeq, Queue: j.Spec.Queue, Type: j.Spec.Type,
		Priority: j.Spec.Priority, Resource: j.Spec.Resource, Batch: j.Spec.Batch})
	if err != nil {
		return nil, fmt.Errorf("encode request to explain: %w", err)
	}
	m, err := l.Conn().RequestWithContext(ctx, SubjectExplain, body)
	if err != nil {
		return nil, Errorf(CodeUnavailable, "no leader explains job %s: %v", j.ID, err)
	}
	x := new(Explanation)
	if err := json.Unmarshal(m.Data, x); err != nil {
		return nil, fmt.Errorf("explanation does not decode: %w", err)
	}
	return x, nil
}
