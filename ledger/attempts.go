package ledger

import (
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// AttemptRecord is one attempt of a job as its history tells it. Keys without value are null.
type AttemptRecord struct {
	Attempt    int                `json:"attempt"`
	Generation int                `json:"generation"`
	Worker     string             `json:"worker"`
	StartedAt  time.Time          `json:"started_at"`
	FinishedAt *time.Time         `json:"finished_at"` // null while it runs
	Outcome    *schemas.EventName `json:"outcome"`     // the event that ended it
	Error      *RecordError       `json:"error"`
	Fence      schemas.Fence      `json:"fence"`
	// CheckpointBytes is the size of the last checkpoint it saved; null: it saved none.
	CheckpointBytes *int `json:"checkpoint_bytes"`
}

// AttemptList folds a job's history into its attempts, oldest first. The attempts before a carried event
// are in the archive.
type AttemptList []AttemptRecord

// Apply folds e, a legal event of the job: an illegal one began and ended nothing.
func (l *AttemptList) Apply(e *schemas.Event) {
	switch d := e.Data.(type) {
	case *schemas.Running:
		*l = append(*l, AttemptRecord{Attempt: d.Attempt, Generation: d.Generation, Worker: d.Worker,
			StartedAt: e.Time, Fence: schemas.Fence{Seq: e.Seq, ID: e.ID}})
	case *schemas.Checkpointed:
		if a := l.at(d.Fence); a != nil {
			n := len(d.Checkpoint)
			a.CheckpointBytes = &n
		}
	case *schemas.Completed:
		l.end(e, d.Fence, nil)
	case *schemas.Failed:
		l.end(e, d.Fence, &d.Error)
	case *schemas.TimedOut:
		l.end(e, d.Fence, &d.Error)
	case *schemas.Canceled:
		l.end(e, d.Fence, d.Error)
	case *schemas.DeadLettered:
		l.end(e, d.Fence, d.Error)
	case *schemas.Released:
		l.end(e, d.Fence, nil)
	case *schemas.Lost:
		l.end(e, d.Fence, &schemas.JobError{Class: schemas.ClassLost, Code: string(d.Cause), Message: lossMessage(d.Cause)})
	}
}

func (l *AttemptList) end(e *schemas.Event, fence schemas.Fence, err *schemas.JobError) {
	if a := l.at(fence); a != nil {
		name := e.Name()
		a.FinishedAt, a.Outcome, a.Error = when(e.Time), &name, errorOf(err)
	}
}

// at is the attempt that fence names, nil if there is none.
func (l *AttemptList) at(fence schemas.Fence) *AttemptRecord {
	for i := len(*l) - 1; i >= 0; i-- {
		if a := &(*l)[i]; a.Fence == fence {
			return a
		}
	}
	return nil
}
