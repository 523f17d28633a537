package ledger

import (
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// Sample is what one event adds to the statistics of its job's counter. The zero Sample adds nothing.
type Sample struct {
	Submitted, Started, Completed, Dead bool
	// Ended: an attempt was completed, failed, timed out, lost, or dead-lettered its job; Failed: all but the first. Canceled
	// and released attempts are neither.
	Ended, Failed bool
	// Wait, Run and Total are durations, of events that tell them. Wait is that of a job's first attempt, from when
	// it could run to its start; of a job with parents nobody says from when. Run is that of a completed attempt, by its
	// worker's clock; Total from submitted to the end.
	Wait, Run, Total          time.Duration
	HasWait, HasRun, HasTotal bool
	RanMS                     int64 // of any attempt, by its worker's clock; what a lost one ran nobody says
	In, Out                   int64 // bytes of args and of results
}

// sampled is what tells a sample, of the job before the event.
type sampled struct {
	state                schemas.State
	attempt              int
	parents              bool
	submitted, notBefore time.Time
}

func sampledOf(j *Job) sampled {
	return sampled{state: j.State, attempt: j.Attempt, parents: len(j.Spec.Parents) > 0, submitted: j.SubmittedAt, notBefore: j.NotBefore}
}

// sample is what a legal event tells.
func (b *sampled) sample(e *schemas.Event) (s Sample) {
	switch d := e.Data.(type) {
	case *schemas.Submitted:
		s.Submitted, s.In = true, int64(len(d.Args))
		if d.ArgsRef != nil {
			s.In = d.ArgsRef.Bytes
		}
	case *schemas.Running:
		s.Started = true
		if b.attempt == 0 && !b.parents {
			ready := b.submitted
			if b.notBefore.After(ready) {
				ready = b.notBefore
			}
			s.Wait, s.HasWait = between(ready, e.Time), true
		}
	case *schemas.Completed:
		s.Ended, s.Completed, s.RanMS = true, true, int64(d.DurationMS)
		s.Run, s.HasRun = d.DurationMS.Duration(), true
		s.Total, s.HasTotal = between(b.submitted, e.Time), true
		s.Out = int64(len(d.Result))
		if d.ResultRef != nil {
			s.Out = d.ResultRef.Bytes
		}
	case *schemas.Failed:
		s.Ended, s.Failed, s.RanMS = true, true, int64(d.DurationMS)
	case *schemas.TimedOut:
		s.Ended, s.Failed, s.RanMS = true, true, int64(d.DurationMS)
	case *schemas.Lost:
		s.Ended, s.Failed = true, true
	case *schemas.DeadLettered:
		s.Dead, s.RanMS = true, int64(d.DurationMS)
		s.Total, s.HasTotal = between(b.submitted, e.Time), true
		s.Ended = b.state == schemas.StateRunning && d.Reason != schemas.DeadOrgDeleted
		s.Failed = s.Ended
	case *schemas.Canceled:
		s.RanMS = int64(d.DurationMS)
		s.Total, s.HasTotal = between(b.submitted, e.Time), true
	}
	return s
}

// between is not below zero where the server's clock was set back.
func between(from, to time.Time) time.Duration { return max(to.Sub(from), 0) }
