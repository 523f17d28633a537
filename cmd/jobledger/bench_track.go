package main

import (
	"sync"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// benchActor is who submits the jobs of a measurement.
var benchActor = schemas.Actor{Type: "user", ID: "bench"}

// flowJob is what a measurement knows of one job. All times but the
// acknowledgement are the ledger's.
type flowJob struct {
	acknowledged bool
	state        schemas.State
	submitted    time.Time
	started      time.Time // of the first attempt
	finished     time.Time
	ended        []schemas.Fence // attempts that have an outcome
}

// flowTrack folds what the ledger says of a measurement's jobs. It holds one
// entry for each job submitted.
type flowTrack struct {
	orgs map[schemas.OrgID]bool // read only

	mu         sync.Mutex
	jobs       map[schemas.JobID]*flowJob
	events     int64
	duplicates int64
	acked      int
	done       int           // acknowledged and finished
	submits    []float64     // milliseconds
	submitting time.Duration // 0 until all submits have ended
	first      time.Time     // the earliest submitted
	began      time.Time     // the earliest start
	last       time.Time     // the latest finish
}

func newFlowTrack(orgs []schemas.OrgID) *flowTrack {
	t := &flowTrack{orgs: map[schemas.OrgID]bool{}, jobs: map[schemas.JobID]*flowJob{}}
	for _, o := range orgs {
		t.orgs[o] = true
	}
	return t
}

func (t *flowTrack) job(id schemas.JobID) *flowJob {
	j := t.jobs[id]
	if j == nil {
		j = &flowJob{}
		t.jobs[id] = j
	}
	return j
}

// acknowledged notes a submit that returned; its event may have been read
// already.
func (t *flowTrack) acknowledged(id schemas.JobID, took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.submits = append(t.submits, milliseconds(took))
	j := t.job(id)
	if j.acknowledged {
		return
	}
	j.acknowledged = true
	t.acked++
	if j.state.Finished() {
		t.done++
	}
}

func (t *flowTrack) submitsEnded(took time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.submitting = max(took, 1)
}

// event folds one entry of the ledger, ours or not.
func (t *flowTrack) event(e *ledger.Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e.Err != nil || !t.orgs[e.Org] {
		return
	}
	t.events++
	j := t.job(e.Job)
	if f := outcomeOf(e.Data); !f.IsZero() {
		t.outcome(j, f)
	}
	to, legal := ledger.Next(j.state, false, e.Name())
	if !legal {
		return // the fold ignores it too
	}
	j.state = to
	switch e.Name() {
	case schemas.EventSubmitted:
		j.submitted = e.Time
		if t.first.IsZero() {
			t.first = e.Time
		}
	case schemas.EventRunning:
		if j.started.IsZero() {
			j.started = e.Time
		}
		if t.began.IsZero() {
			t.began = e.Time
		}
	}
	if to.Finished() && j.finished.IsZero() {
		j.finished = e.Time
		t.last = e.Time // events come in the ledger's order
		if j.acknowledged {
			t.done++
		}
	}
}

// outcome counts outcomes beyond an attempt's first, legal or not: a writer
// that produced one is at fault even where the fold ignores it.
func (t *flowTrack) outcome(j *flowJob, f schemas.Fence) {
	for _, ended := range j.ended {
		if ended == f {
			t.duplicates++
			return
		}
	}
	j.ended = append(j.ended, f)
}

// outcomeOf is the attempt that an event ends; the zero Fence if it ends none.
// A late_result is kept beside the outcome and is none; a request to cancel and
// a checkpoint are of an attempt that goes on.
func outcomeOf(data schemas.Data) schemas.Fence {
	switch d := data.(type) {
	case *schemas.LateResult, *schemas.CancelRequested, *schemas.Checkpointed:
		return schemas.Fence{}
	case *schemas.Canceled:
		return d.Fence
	case *schemas.DeadLettered:
		return d.Fence
	case interface{ Named() *schemas.AttemptHead }:
		return d.Named().Fence
	}
	return schemas.Fence{}
}
