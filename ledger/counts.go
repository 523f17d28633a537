package ledger

import (
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// CountKey names a counter: jobs are counted by org, queue and type.
type CountKey struct {
	Org   schemas.OrgID
	Queue schemas.QueueName
	Type  schemas.TypeName
}

// String is the counter's key in BucketCounts.
func (k CountKey) String() string {
	return string(k.Org) + "." + string(k.Queue) + "." + string(k.Type)
}

// KeyCountsAll is the key in BucketCounts that is no counter: it cannot collide, counters have two dots.
const KeyCountsAll = "all"

// Count is how many jobs stand in each state.
type Count struct {
	Submitted       int64 `json:"submitted"`
	Deferred        int64 `json:"deferred"` // those of Submitted that were to wait for a time or for parents
	Queued          int64 `json:"queued"`
	Running         int64 `json:"running"`
	Retrying        int64 `json:"retrying"`
	Completed       int64 `json:"completed"`
	Canceled        int64 `json:"canceled"`
	DeadLettered    int64 `json:"dead_lettered"`
	DeadLettersOpen int64 `json:"dead_letters_open"` // those of DeadLettered that nobody closed
}

// Of returns the number of jobs in state s.
func (c *Count) Of(s schemas.State) int64 {
	if n := c.state(s); n != nil {
		return *n
	}
	return 0
}

// Total is the number of jobs.
func (c *Count) Total() int64 {
	return c.Submitted + c.Queued + c.Running + c.Retrying + c.Completed + c.Canceled + c.DeadLettered
}

// Waiting is the number of jobs that wait to start, without those that wait for a time or for parents.
func (c *Count) Waiting() int64 { return c.Submitted - c.Deferred + c.Queued }

// Unfinished is the number of jobs that have not ended.
func (c *Count) Unfinished() int64 { return c.Submitted + c.Queued + c.Running + c.Retrying }

// Add adds o to c.
func (c *Count) Add(o Count) {
	for _, s := range schemas.States() {
		*c.state(s) += o.Of(s)
	}
	c.DeadLettersOpen += o.DeadLettersOpen
	c.Deferred += o.Deferred
}

func (c *Count) state(s schemas.State) *int64 {
	switch s {
	case schemas.StateSubmitted:
		return &c.Submitted
	case schemas.StateQueued:
		return &c.Queued
	case schemas.StateRunning:
		return &c.Running
	case schemas.StateRetrying:
		return &c.Retrying
	case schemas.StateCompleted:
		return &c.Completed
	case schemas.StateCanceled:
		return &c.Canceled
	case schemas.StateDeadLettered:
		return &c.DeadLettered
	}
	return nil
}

func (c *Count) move(s Standing, by int64) {
	if n := c.state(s.State); n != nil {
		*n += by
	}
	if s.Open {
		c.DeadLettersOpen += by
	}
	if s.Deferred {
		c.Deferred += by
	}
}

// Standing is all that counting needs to know of a job; the zero Standing is a job that does not exist.
type Standing struct {
	Key   CountKey
	State schemas.State
	Open  bool // an open dead letter
	// Deferred: submitted to wait for a time or for parents, and not queued since. No event tells that the time has
	// come, so it counts as waiting for it until it is queued.
	Deferred bool
}

// StandingOf returns where j stands.
func StandingOf(j *Job) Standing {
	if j == nil || !j.Exists() {
		return Standing{}
	}
	return Standing{
		Key:   CountKey{Org: j.Org, Queue: j.Spec.Queue, Type: j.Spec.Type},
		State: j.State, Open: j.Resolution == schemas.ResolutionOpen,
		Deferred: j.State == schemas.StateSubmitted && (!j.NotBefore.IsZero() || len(j.Spec.Parents) > 0),
	}
}

// StandingBefore is where j, the fold up to e, stands for e to count: nowhere, if e begins another life of an id whose
// earlier one had left LEDGER. That counts as a new job, as it does for whoever knows LEDGER alone.
func StandingBefore(j *Job, e *schemas.Event) Standing {
	if j != nil && reborn(j, e) {
		return Standing{}
	}
	return StandingOf(j)
}

// Counts counts jobs by where they stand now; a re-used id is one job. It is driven by the fold of each
// job, never by what an event claims of its from-state: an illegal event leaves the fold where it was, so
// before equals after and nothing is counted.
type Counts map[CountKey]*Count

// Apply moves one job. It reports whether anything changed, which is also when the counters of both keys did.
func (c Counts) Apply(before, after Standing) bool {
	if before == after {
		return false
	}
	if before.State != schemas.StateNone {
		c.at(before.Key).move(before, -1)
	}
	if after.State != schemas.StateNone {
		c.at(after.Key).move(after, 1)
	}
	return true
}

func (c Counts) at(k CountKey) *Count {
	n := c[k]
	if n == nil {
		n = new(Count)
		c[k] = n
	}
	return n
}

// Total is the sum over all keys.
func (c Counts) Total() Count {
	var t Count
	for _, n := range c {
		t.Add(*n)
	}
	return t
}

// CountDocument is what BucketCounts holds under CountKey.String: exact at its position, and for as long as
// no later event moved a job of that key.
type CountDocument struct {
	Org   schemas.OrgID     `json:"org"`
	Queue schemas.QueueName `json:"queue"`
	Type  schemas.TypeName  `json:"type"`
	schemas.Position
	Count
	// Stats tell what happened lately; null behind StatsKeysMax.
	Stats *Stats `json:"stats"`
}

// CountHead is a CountDocument without its statistics, which are many times as large: for who reads the numbers only, and
// often. JSON of a CountDocument decodes into it, whatever its statistics are.
type CountHead struct {
	Org   schemas.OrgID     `json:"org"`
	Queue schemas.QueueName `json:"queue"`
	Type  schemas.TypeName  `json:"type"`
	schemas.Position
	Count
}

// CountsDocument is what BucketCounts holds under KeyCountsAll. It is written after every document that
// it covers, so whoever reads it first and the counters next sees each at its position or later. A position
// holds for the bucket that was created at the time beside it, and for no other of the same name.
type CountsDocument struct {
	schemas.Position                  // up to here BucketCounts is complete; Totals, Quarantined and Illegal are exact at it
	CountsBucket     time.Time        `json:"counts_bucket"` // versions before 0.1.0 say nothing
	Jobs             schemas.Position `json:"jobs"`          // up to here BucketJobs is complete
	JobsBucket       time.Time        `json:"jobs_bucket"`
	JobsRevision     uint64           `json:"jobs_revision"` // documents above it may be ahead of Jobs
	Config           schemas.Position `json:"config"`        // up to here BucketConfig is complete
	ConfigBucket     time.Time        `json:"config_bucket"`
	Totals           Count            `json:"totals"`
	Quarantined      int64            `json:"quarantined"` // messages on the ledger's subjects that no fold can read
	Illegal          int64            `json:"illegal"`     // events that were not legal where they stand
	// DocumentTTLMS is the shortest time after their finish for which documents of finished jobs were kept since
	// BucketJobs was created, in ms; 0: all of them are there.
	DocumentTTLMS schemas.Millis `json:"document_ttl_ms"`
	Form          string         `json:"form"` // ViewsForm of who wrote the views; versions before 0.1.0 say nothing
}

// SettingDocument is what BucketConfig holds under a schemas.Setting's Key: the latest settings of a type, an org,
// a queue, with who set them (DESIGN D11). S is what the setting's Stored returns.
type SettingDocument[S any] struct {
	Settings S `json:"settings"`
	schemas.Position
	Actor     string    `json:"actor"`
	Reason    string    `json:"reason"`
	UpdatedAt time.Time `json:"updated_at"`
}

// TypeDocument is the document of a type.
type TypeDocument = SettingDocument[schemas.TypeSettings]

// SettingOf is the document that a setting's event makes.
func SettingOf(e *schemas.Event, set schemas.Setting) *SettingDocument[any] {
	return &SettingDocument[any]{Settings: set.Stored(), Position: schemas.Position{Seq: e.Seq, ID: e.ID},
		Actor: e.Actor.String(), Reason: set.Why(), UpdatedAt: e.Time}
}

// TypeKey is a type's key in BucketConfig.
func TypeKey(t schemas.TypeName) string { return "type." + string(t) }
