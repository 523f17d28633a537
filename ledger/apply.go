package ledger

import (
	"slices"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// Apply folds one event of j's subject into j and reports whether it was legal there. An illegal event
// changes nothing but the last position and the count of illegal events. An event at or below the
// last position was folded before and is skipped. Events must come in ledger order.
//
// A carried event begins a fold whose older events have left for the archive; later ones are folded on top.
// On a job that holds an event this binary cannot decode, legality cannot be judged: nothing is called illegal.
//
// Apply never consults settings, clocks or rights: what an event means is in the event.
func Apply(j *Job, e *schemas.Event) bool {
	if e.Seq <= j.LastSeq {
		return true
	}
	if c, ok := e.Data.(*schemas.Carried); ok && !j.Exists() {
		restore(j, e, c)
		touch(j, e)
		return true
	}
	to, legal := Next(j.State, j.CancelRequested, e.Name())
	legal = legal && (fits(j, e.Data) || reborn(j, e))
	switch {
	case legal:
		change(j, e)
		j.State = to
	case !j.Unreadable:
		j.Illegal++
	}
	touch(j, e)
	return legal || j.Unreadable
}

// Skip folds a message that Decode refused: the expectation moves on whatever it was (DESIGN D1); an event
// of ours that this binary cannot decode makes the job read-only for it (DESIGN D8).
func Skip(j *Job, e *schemas.Event, ours bool) {
	if e.Seq <= j.LastSeq {
		return
	}
	j.Unreadable = j.Unreadable || ours
	touch(j, e)
}

func touch(j *Job, e *schemas.Event) {
	j.LastSeq, j.LastID, j.LastAt = e.Seq, e.ID, e.Time
	j.Emptied = false
}

// reborn reports whether a submitted begins another first generation of an id whose earlier life ended and had left
// LEDGER: it was stored on an empty subject. Whether that life may run is for the leader to judge, by what ARCHIVE holds
// (DESIGN D13).
func reborn(j *Job, e *schemas.Event) bool {
	s, ok := e.Data.(*schemas.Submitted)
	return ok && e.First && s.From == schemas.StateNone && s.Generation == 1 && j.State.Finished()
}

// fits checks what the table cannot see: the event is about this generation, and an outcome names the
// current attempt. Append's expectation makes a misfit impossible for our writers; a restore or a foreign
// writer can still leave one.
func fits(j *Job, data schemas.Data) bool {
	switch d := data.(type) {
	case *schemas.Submitted:
		// The first one here may be of any generation: the earlier ones may be in the archive (DESIGN D13).
		return !j.Exists() || d.Generation == j.Generation+1
	case *schemas.LateResult:
		return true // its attempt is by nature not the current one, perhaps of an earlier generation
	case *schemas.Running:
		return d.Generation == j.Generation && d.Attempt == j.Attempt+1
	case *schemas.Canceled:
		return d.Generation == j.Generation && d.Fence == j.Fence
	case *schemas.DeadLettered:
		return d.Generation == j.Generation && d.Fence == j.Fence
	case interface{ Named() *schemas.AttemptHead }:
		h := d.Named()
		return h.Generation == j.Generation && h.Fence == j.Fence && h.Attempt == j.Attempt
	case schemas.JobData:
		return d.Common().Generation == j.Generation
	}
	return false
}

// change folds a legal event. The state itself is set by the caller from the table.
func change(j *Job, e *schemas.Event) {
	switch d := e.Data.(type) {
	case *schemas.Submitted:
		begin(j, e, d)
	case *schemas.Queued:
		j.Policy, j.QueuedAt = d.Policy, e.Time
		clearRetry(j)
	case *schemas.Running:
		j.Attempt, j.StartedAt = d.Attempt, e.Time
		j.Fence = schemas.Fence{Seq: e.Seq, ID: e.ID}
		j.Session, j.Worker = d.Session, d.Worker
		j.Progress = nil // that of an earlier attempt would pass for this one's
	case *schemas.Completed:
		endAttempt(j, e)
		j.Losses, j.CellLosses = 0, 0
		j.Result, j.ResultRef, j.Error = d.Result, d.ResultRef, nil
		j.Progress, j.Checkpoint = d.Progress, nil // nothing is left to resume
		finish(j, e)
	case *schemas.Failed:
		retryLater(j, e, &d.Error, d.DelayMS, d.Progress)
	case *schemas.TimedOut:
		retryLater(j, e, &d.Error, d.DelayMS, d.Progress)
	case *schemas.CancelRequested:
		j.CancelRequested, j.CancelBy, j.CancelReason = true, e.Actor, d.Reason
	case *schemas.Canceled:
		cancel(j, e, d)
	case *schemas.DeadLettered:
		bury(j, e, d)
	case *schemas.Released:
		endAttempt(j, e)
		j.Progress = d.Progress
		if d.Cause != schemas.ReleaseLateClaim { // else no handler ran: no sign that the job spares its worker
			j.Losses, j.CellLosses = 0, 0
		}
		j.QueuedAt = e.Time
	case *schemas.Lost:
		endAttempt(j, e)
		countLoss(j, d.Cause)
		j.Error = &schemas.JobError{Class: schemas.ClassLost, Code: string(d.Cause), Message: lossMessage(d.Cause)}
		j.QueuedAt = e.Time
	case *schemas.Retried:
		retried(j, d)
	case *schemas.Resolved:
		j.Resolution, j.ResolvedBy, j.ResolvedAt, j.Note = schemas.ResolutionResolved, e.Actor, e.Time, d.Note
	case *schemas.Ignored:
		j.Resolution, j.ResolvedBy, j.ResolvedAt, j.Note = schemas.ResolutionIgnored, e.Actor, e.Time, d.Note
	case *schemas.LateResult:
		if !slices.Contains(j.Late, d.Fence.Seq) {
			// Clip: a carried event and copies of the fold may share the old array.
			j.Late = append(slices.Clip(j.Late[max(0, len(j.Late)-schemas.LateMax+1):]), d.Fence.Seq)
		}
	case *schemas.Checkpointed:
		checkpoint(j, d)
	case *schemas.Carried:
		// The state it repeats is the state folded so far, and from here on LEDGER tells it.
		j.Archived = false
	}
}

// begin starts a generation. Of earlier ones there remain the marks of illegal and unreadable events, and
// what tells a repeated or second late outcome of their attempts; nothing where they had left LEDGER, so that a fold
// that begins here says the same.
func begin(j *Job, e *schemas.Event, d *schemas.Submitted) {
	if e.First {
		*j = Job{}
	}
	*j = Job{
		Org: e.Org, ID: e.Job, Generation: d.Generation, Spec: *d,
		SubmittedSeq: e.Seq, SubmittedID: e.ID, SubmittedAt: e.Time, SubmittedBy: e.Actor,
		CausationID: e.CausationID, CorrelationID: e.CorrelationID,
		Traceparent: e.Traceparent, Tracestate: e.Tracestate,
		LastFence: j.LastFence, LastOutcome: j.LastOutcome, Late: j.Late,
		Illegal: j.Illegal, Unreadable: j.Unreadable,
	}
	j.NotBefore, j.Deadline = d.Due(e.Time)
}

// restore loads the state that a carried event holds. Where the job stands is the subject's to say; a
// message before it that could not be read stays a reason not to decide.
func restore(j *Job, e *schemas.Event, c *schemas.Carried) {
	unreadable := j.Unreadable
	*j = c.Job
	j.Org, j.ID, j.Unreadable = e.Org, e.Job, unreadable
	j.Spec.Args, j.Result, j.Checkpoint = c.Args, c.Result, c.Checkpoint
}

// endAttempt closes the current attempt: from here its fence is worth nothing.
func endAttempt(j *Job, e *schemas.Event) {
	if !j.Fence.IsZero() {
		j.LastFence, j.LastOutcome = j.Fence, outcomeOf(e.Data)
	}
	j.Fence, j.Session = schemas.Fence{}, ""
}

// outcomeOf is what the worker said the attempt came to, else the name of the event that ended it.
func outcomeOf(data schemas.Data) schemas.EventName {
	switch d := data.(type) {
	case *schemas.Canceled:
		if d.Outcome != "" {
			return d.Outcome
		}
	case *schemas.DeadLettered:
		if d.Outcome != "" {
			return d.Outcome
		}
	}
	return data.Name()
}

func finish(j *Job, e *schemas.Event) {
	j.FinishedAt, j.CancelRequested = e.Time, false
	clearRetry(j)
}

func clearRetry(j *Job) { j.RetryAt = time.Time{} }

func retryLater(j *Job, e *schemas.Event, err *schemas.JobError, delay schemas.Millis, p *schemas.Progress) {
	endAttempt(j, e)
	j.Used++
	j.Losses, j.CellLosses = 0, 0
	j.Error, j.Progress = err, p
	j.RetryAt = e.Time.Add(delay.Duration())
}

func cancel(j *Job, e *schemas.Event, d *schemas.Canceled) {
	if !j.CancelRequested { // the one who asked first stays named
		j.CancelBy, j.CancelReason = e.Actor, d.Reason
	}
	j.CancelForced, j.DuplicateOf = d.Forced, d.DuplicateOf
	if d.Error != nil {
		j.Error = d.Error
	}
	if d.Progress != nil {
		j.Progress = d.Progress
	}
	endAttempt(j, e)
	finish(j, e)
}

func bury(j *Job, e *schemas.Event, d *schemas.DeadLettered) {
	if !d.Fence.IsZero() { // an attempt ended with it
		endAttempt(j, e)
		switch {
		case d.Cause != "":
			countLoss(j, d.Cause)
		case d.Reason != schemas.DeadOrgDeleted:
			j.Used++
		}
	}
	if d.Error != nil {
		j.Error = d.Error
	}
	if d.Progress != nil {
		j.Progress = d.Progress
	}
	j.DeadReason, j.Resolution = d.Reason, schemas.ResolutionOpen
	finish(j, e)
}

// countLoss counts a loss towards budget and poison; a loss through which the cell did not live only
// towards ten in a row.
func countLoss(j *Job, cause schemas.LossCause) {
	if cause == schemas.LossCellRestart {
		j.CellLosses++
		return
	}
	j.CellLosses = 0
	j.Losses++
	j.Used++
}

// retried gives a fresh budget and keeps numbering and history.
func retried(j *Job, d *schemas.Retried) {
	j.Used, j.Losses, j.CellLosses = 0, 0, 0
	j.DeadReason, j.Resolution, j.Note = "", "", ""
	j.ResolvedBy, j.ResolvedAt = schemas.Actor{}, time.Time{}
	j.CancelBy, j.CancelReason, j.CancelForced, j.DuplicateOf = schemas.Actor{}, "", false, nil
	j.FinishedAt, j.ParentsWaived = time.Time{}, d.WaivedParents
	if d.Deadline != nil {
		j.Deadline = d.Deadline.UTC()
	}
}

func lossMessage(c schemas.LossCause) string {
	if c == schemas.LossCellRestart {
		return "the cell restarted and the worker did not come back"
	}
	return "the worker was silent for a lease"
}
