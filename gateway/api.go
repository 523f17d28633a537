package gateway

import (
	"encoding/json"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Bounds of the protocol.
const (
	LimitDefault = 20  // items of a list page
	LimitMax     = 100 // at most
	// WaitMax is how long one wait request is held; a client that waits longer asks again.
	WaitMax = 30 * time.Second
)

// SubmitReply says which job stands for a submission.
type SubmitReply struct {
	ID        schemas.JobID `json:"id"`
	Org       schemas.OrgID `json:"org"`
	Seq       schemas.Seq   `json:"seq"` // of its submitted
	Duplicate bool          `json:"duplicate"`
	State     schemas.State `json:"state"`
}

// HistoryRequest asks for a page of a job's history. The zero value asks for the first.
type HistoryRequest struct {
	Cursor string `json:"cursor,omitempty"`
}

// History is a page of a job's events, oldest first. A page is bounded by its size, not by a number.
type History struct {
	Items   []ledger.HistoryLine `json:"items"`
	Next    *string              `json:"next"`
	AsOfSeq schemas.Seq          `json:"as_of_seq"`
}

// WaitRequest says how long to hold the request, at most WaitMax; zero means WaitMax.
type WaitRequest struct {
	TimeoutMS schemas.Millis `json:"timeout_ms,omitempty"`
}

// ResultReply is a completed job's result. Where it is kept by reference and large, Result is null: it is read page
// by page, with PayloadRequest.
type ResultReply struct {
	ID     schemas.JobID      `json:"id"`
	Bytes  int64              `json:"bytes"`
	Ref    *schemas.ObjectRef `json:"ref"`
	Result json.RawMessage    `json:"result"` // byte for byte as written
}

// ListRequest asks for jobs, newest first.
type ListRequest struct {
	Filter
	Limit int `json:"limit,omitempty"` // LimitDefault if 0
	// Sort is one of Sorts, the greatest and the latest first, or with ":asc" behind it the least and the earliest. Empty:
	// SortSubmitted. By any other a list of more jobs than can be looked at for a page is refused.
	Sort   string `json:"sort,omitempty"`
	Cursor string `json:"cursor,omitempty"`
	// MinSeq waits until the list includes what was stored up to this sequence.
	MinSeq schemas.Seq `json:"min_seq,omitempty"`
}

// List is a page of records without args, result, steps and attempts.
type List struct {
	Items   []ledger.Record `json:"items"`
	Next    *string         `json:"next"`
	AsOfSeq schemas.Seq     `json:"as_of_seq"` // the list holds everything up to here, and perhaps more
}

// Ways to group counts.
const (
	ByState = "state"
	ByType  = "type"
	ByQueue = "queue"
)

// CountRequest asks how many jobs stand where. Filters as in ListRequest. What is asked beyond state, type and queue, by
// which counters are kept, costs a look at every job that is counted, and needs a server whose index serves.
type CountRequest struct {
	By     string              `json:"by,omitempty"` // ByState if empty; ByType, ByQueue, ByError, class, reason, priority, owner, batch, tag:NAME
	State  []schemas.State     `json:"state,omitempty"`
	Type   []schemas.TypeName  `json:"type,omitempty"`
	Queue  []schemas.QueueName `json:"queue,omitempty"`
	Where  string              `json:"where,omitempty"`
	MinSeq schemas.Seq         `json:"min_seq,omitempty"`
}

// Count is exact at AsOfSeq. By state every state is listed, else only what has jobs.
type Count struct {
	By              string      `json:"by"`
	Total           int64       `json:"total"`
	Items           []CountItem `json:"items"`
	DeadLettersOpen int64       `json:"dead_letters_open"`
	// FailureRate is the part of the dead letters among those counted that completed or are dead letters; null: none did.
	FailureRate *float64    `json:"failure_rate"`
	AsOfSeq     schemas.Seq `json:"as_of_seq"`
	// Where is that of the request in its canonical form: what was counted by. A server of a version before it says nothing.
	Where string `json:"where,omitempty"`
}

// CountItem is one group.
type CountItem struct {
	Key   string `json:"key"`
	Count int64  `json:"count"`
}

// Type is a kind of job with the policy in force. In an add, what is null or missing takes the engine's
// default, and what follows Schema is ignored.
type Type struct {
	Name         schemas.TypeName  `json:"name"`
	DisplayName  string            `json:"display_name"`
	Description  string            `json:"description"`
	Enabled      *bool             `json:"enabled"` // null: yes
	Queue        schemas.QueueName `json:"queue"`
	Priority     schemas.Priority  `json:"priority"`
	RunTimeoutS  *float64          `json:"run_timeout_s"`
	GraceS       *float64          `json:"grace_s"`
	MaxAttempts  *int              `json:"max_attempts"`
	PoisonLimit  *int              `json:"poison_limit"`
	Backoff      *Backoff          `json:"backoff"`
	Dedup        *string           `json:"dedup"`          // strict, in_flight, singleton, off
	DedupWindowS *float64          `json:"dedup_window_s"` // 0 is off
	Reuse        string            `json:"reuse"`          // finished, failed, never
	Exclusive    bool              `json:"exclusive"`
	Permission   string            `json:"permission"`
	// Limits: 0 or null is none. Rates are of each org.
	MaxRunning       int              `json:"max_running"`
	MaxRunningPerOrg int              `json:"max_running_per_org"`
	StartRate        *schemas.Rate    `json:"start_rate"`
	SubmitRate       *schemas.Rate    `json:"submit_rate"`
	Breaker          *schemas.Breaker `json:"breaker"`
	DisabledOrgs     []schemas.OrgID  `json:"disabled_orgs"` // orgs that may not submit it
	// RetentionDays is how long history is kept behind the finish of its job; 0: as the org says, else the cell.
	RetentionDays int             `json:"retention_days"`
	Schema        json.RawMessage `json:"schema"`

	Workers *int         `json:"workers"` // null until presence is kept
	Stats   *TypeStats   `json:"stats"`   // in the asking org, of an info; null where there are none
	Seq     *schemas.Seq `json:"seq"`     // of the event that set it
	Actor   *string      `json:"updated_by"`
	At      *time.Time   `json:"updated_at"`
	// Reason of the change: given with an add, told by an info.
	Reason *string `json:"reason"`
}

// Backoff is the wait before a retry: base, factor and cap, or a list.
type Backoff struct {
	BaseS  float64   `json:"base_s,omitempty"`
	Factor float64   `json:"factor,omitempty"`
	CapS   float64   `json:"cap_s,omitempty"`
	ListS  []float64 `json:"list_s,omitempty"`
}

// Types are all registered types, by name.
type Types struct {
	Items   []Type      `json:"items"`
	Next    *string     `json:"next"`
	AsOfSeq schemas.Seq `json:"as_of_seq"`
}
