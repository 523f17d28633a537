package ledger

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// A bulk is an ordinary job of a reserved type in SystemQueue, as a batch is: each server's own worker does to the
// jobs that were chosen when it was asked for what was asked, by the commands that one job alone is given. So it outlives
// who asked, and its progress, cancel, audit and fail-over are those of every job.
const (
	// BulkType is the type of the jobs that are bulks. It is registered by the first of them.
	BulkType = schemas.TypeName(schemas.ReservedPrefix + "bulk")
	// BulkMax is how many jobs one bulk reaches.
	BulkMax = 10_000
	// BulkRateDefault is how many jobs a second a bulk acts upon unless it says: enough to be done soon, few enough that
	// the system does not notice (ENGINE 8).
	BulkRateDefault = 500
	// BulkRateMax bounds what a bulk may ask for.
	BulkRateMax = 10_000
	// BulkErrorsMax is how many jobs a bulk names that it left as they were, the first of them.
	BulkErrorsMax = 20
	// bulkArgsInline is how large the args of a bulk may be that stand in its event: everyone who reads the job reads that.
	bulkArgsInline = 32 << 10
)

// TagBulkAction is the tag that says what a bulk does.
const TagBulkAction = "action"

// BulkSpec is what a bulk is to do: the args of its job.
type BulkSpec struct {
	Action string          `json:"action"`
	IDs    []schemas.JobID `json:"ids"`
	// Filter, if there is one, is what the jobs must match still when it is their turn. It is the gateway's.
	Filter       json.RawMessage `json:"filter,omitempty"`
	Reason       string          `json:"reason,omitempty"`
	Note         string          `json:"note,omitempty"`
	As           string          `json:"as,omitempty"`
	Deadline     *time.Time      `json:"deadline,omitempty"`
	WaiveParents bool            `json:"waive_parents,omitempty"`
	Cascade      bool            `json:"cascade,omitempty"`
	// Rate is how many jobs a second, at most; 0: BulkRateDefault.
	Rate int `json:"rate,omitempty"`
	// Matched and Eligible are what was counted when the jobs were chosen.
	Matched  int `json:"matched"`
	Eligible int `json:"eligible"`
}

// Begin is what a bulk has come to before it does anything.
func (b *BulkSpec) Begin() BulkCounts {
	return BulkCounts{Action: b.Action, Jobs: len(b.IDs), Matched: b.Matched, Eligible: b.Eligible, Skipped: b.Matched - b.Eligible,
		Errors: []BulkError{}}
}

// BulkCounts are what a bulk has come to: its result. Matched = Done + Skipped + Failed, and what it has not come to or was
// never to come to, as more matched than BulkMax.
type BulkCounts struct {
	Action   string `json:"action"`
	Jobs     int    `json:"jobs"` // that were chosen
	Matched  int    `json:"matched"`
	Eligible int    `json:"eligible"`
	Done     int    `json:"done"`
	Skipped  int    `json:"skipped"` // not eligible, gone, or no longer matching: nothing was tried
	Failed   int    `json:"failed"`  // refused
	// Why counts those of the chosen jobs that were left as they were, by the code of the refusal or the reason of the skip.
	Why    map[string]int `json:"why,omitempty"`
	Errors []BulkError    `json:"errors"` // the first BulkErrorsMax of them
}

// BulkError is a job that a bulk left as it was.
type BulkError struct {
	ID      schemas.JobID `json:"id"`
	Skipped string        `json:"skipped,omitempty"` // why nothing was tried; empty: it was refused
	Code    Code          `json:"code,omitempty"`
	Message string        `json:"message,omitempty"`
}

// BulkState is how far a bulk is: its checkpoint.
type BulkState struct {
	BulkCounts
	Next int   `json:"next"`           // jobs from here on were never tried
	Open []int `json:"open,omitempty"` // below Next, and to be tried again
	// Clean is the attempt that had come exactly so far when it handed the bulk back; 0: one that may have gone further.
	Clean int `json:"clean,omitempty"`
}

// BulkStateOf is how far a bulk is that has begun: as of its end, or its last checkpoint. False: its args alone say what it
// is to do.
func BulkStateOf(j *Job) (s BulkState, ok bool) {
	if j.State == schemas.StateCompleted {
		ok = json.Unmarshal(j.Result, &s.BulkCounts) == nil && s.Action != ""
		s.Next = s.Jobs
		return s, ok
	}
	return s, len(j.Checkpoint) > 0 && json.Unmarshal(j.Checkpoint, &s) == nil && s.Action != ""
}

func (b *BulkSpec) check() error {
	switch n := len(b.IDs); {
	case n == 0:
		return badField("ids", errors.New("a bulk without jobs has nothing to do"))
	case n > BulkMax:
		return badField("ids", fmt.Errorf("%d jobs: a bulk reaches %d at most", n, BulkMax))
	case b.Rate < 0 || b.Rate > BulkRateMax:
		return badField("rate", fmt.Errorf("%d jobs a second: give 1 to %d", b.Rate, BulkRateMax))
	}
	return nil
}

// SubmitBulk stores a bulk under an id, or finds it: who has no answer asks again with the same. What is asked for is the
// caller's to judge. Errors are those of Submit.
func (l *Ledger) SubmitBulk(ctx context.Context, org schemas.OrgID, id schemas.JobID, spec *BulkSpec, m Meta) (Receipt, error) {
	if err := spec.check(); err != nil {
		return Receipt{}, coded(err)
	}
	args, err := json.Marshal(spec)
	if err != nil {
		return Receipt{}, coded(err)
	}
	if err := l.registerBulkType(ctx, m); err != nil {
		return Receipt{}, coded(err)
	}
	return l.Submit(ctx, SubmitRequest{Org: org, ID: id, Type: BulkType, Args: args, Reason: cmp.Or(spec.Reason, spec.Note),
		Tags: map[string]string{TagBulkAction: spec.Action}, Meta: m, NoLimits: true, system: true, inline: bulkArgsInline})
}

func (l *Ledger) registerBulkType(ctx context.Context, m Meta) error {
	return l.registerSystemType(ctx, m, "registered by the first bulk", schemas.TypeSettings{
		Name: BulkType, DisplayName: "Bulk", Description: "cancels, retries or resolves many jobs at a pace"})
}
