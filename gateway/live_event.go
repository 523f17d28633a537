package gateway

import (
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Push says what a LiveEvent is: the names of, and PushReset.
type Push string

// What is pushed.
const (
	PushStatus   Push = "job_status_changed"
	PushProgress Push = "job_progress" // has no position, and only the latest is told
	PushHold     Push = "hold_changed"
	// PushFinished stands for PushStatus of an end, where notices are followed.
	PushFinished Push = "job_finished"
	// PushLimit and PushDeadLetters are alerts: they have no position, and are told to those who follow an org without a filter,
	// PushDeadLetters only to those who follow all of it.
	PushLimit       Push = "job_limit_warning"
	PushDeadLetters Push = "dlq_alert"
	// PushReset: events were lost because the subscription was too slow. Whoever shows something reads it again; what
	// follows begins behind Seq.
	PushReset Push = "reset"
)

// LiveEvent is one thing that happened, as subscribers hear of it. Subscriptions share them: nobody changes one.
type LiveEvent struct {
	Push       Push                   `json:"push"`
	Seq        *schemas.Seq           `json:"seq"` // null of progress
	EventID    *schemas.EventID       `json:"event_id"`
	Time       time.Time              `json:"time"` // the ledger's clock; of progress the server's
	Org        *schemas.OrgID         `json:"org"`
	ID         *schemas.JobID         `json:"id"`
	Type       *schemas.TypeName      `json:"type"`
	Queue      *schemas.QueueName     `json:"queue"`
	Event      schemas.EventName      `json:"event"`
	From       *schemas.State         `json:"from"`
	To         *schemas.State         `json:"to"` // as the event says, where it is legal
	Reason     *string                `json:"reason"`
	Generation *int                   `json:"generation"`
	Attempt    *int                   `json:"attempt"`
	RetryAt    *time.Time             `json:"retry_at"`
	Error      *LiveError             `json:"error"`
	Actor      *string                `json:"actor"`
	Progress   *ledger.RecordProgress `json:"progress"`
	Hold       *schemas.HoldSettings  `json:"hold"`
	Alert      *LiveAlert             `json:"alert,omitempty"`
	Result     *string                `json:"result,omitempty"` // of job_finished: the path of a completed job's result over HTTP
	// Fence and N, of progress, order what an attempt reports: those of a later attempt have a greater Fence, and N rises.
	Fence *schemas.Seq `json:"fence,omitempty"`
	N     uint64       `json:"n,omitempty"`

	priority schemas.Priority
}

// LiveError is what an attempt failed of, in short.
type LiveError struct {
	Class   schemas.ErrorClass `json:"class"`
	Code    string             `json:"code"`
	Message string             `json:"message"` // liveErrorMax bytes of it
}

// liveErrorMax is how much of an error's message is told.
const liveErrorMax = 512

// liveEventOf returns what is told of an entry; nil for nothing.
func liveEventOf(e *ledger.Entry) *LiveEvent {
	if e.Err != nil {
		return nil
	}
	switch d := e.Data.(type) {
	case *schemas.Carried:
		return nil // nothing happened
	case *schemas.HoldSet:
		ev := statusOf(e)
		settings := d.Settings
		ev.Push, ev.Hold = PushHold, &settings
		if settings.Scope.Org != "" {
			ev.Org = &settings.Scope.Org
		}
		return &ev.LiveEvent
	}
	if e.Job == "" {
		return nil
	}
	ev := statusOf(e)
	switch d := e.Data.(type) {
	case *schemas.Submitted:
		ev.queue, ev.Queue, ev.priority = d.Queue, &ev.queue, d.Priority
	case schemas.JobData:
		ev.queue, ev.Queue, ev.priority = d.Common().Queue, &ev.queue, d.Common().Priority
	}
	switch d := e.Data.(type) {
	case *schemas.Failed:
		ev.failed(&d.Error, e.Time.Add(d.DelayMS.Duration()))
	case *schemas.TimedOut:
		ev.failed(&d.Error, e.Time.Add(d.DelayMS.Duration()))
	case *schemas.DeadLettered:
		ev.failed(d.Error, time.Time{})
	case *schemas.Canceled:
		ev.failed(d.Error, time.Time{})
	}
	return &ev.LiveEvent
}

// liveRoom is an event with what it points to, in one allocation. These are copies: to point into an event would keep all of
// it, args included, for as long as the ring lasts.
type liveRoom struct {
	LiveEvent
	seq   schemas.Seq
	id    schemas.EventID
	queue schemas.QueueName
	actor string
}

func statusOf(e *ledger.Entry) *liveRoom {
	h := ledger.LineOf(e)
	r := &liveRoom{seq: e.Seq, id: e.ID, actor: h.Actor}
	r.LiveEvent = LiveEvent{Push: PushStatus, Seq: &r.seq, EventID: &r.id, Time: h.Time, Org: h.Org, ID: h.ID, Type: h.Type, Event: h.Event,
		From: h.From, To: h.To, Reason: h.Reason, Generation: h.Generation, Attempt: h.Attempt, Actor: &r.actor}
	return r
}

// ptr points to a copy.
func ptr[T any](v T) *T { return &v }

func (ev *LiveEvent) failed(err *schemas.JobError, retry time.Time) {
	if err != nil {
		ev.Error = &LiveError{Class: err.Class, Code: err.Code, Message: cut(err.Message, liveErrorMax)}
	}
	if !retry.IsZero() {
		retry = retry.UTC()
		ev.RetryAt = &retry
	}
}

// cut is the beginning of a text, in whole letters.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && s[limit]&0xC0 == 0x80 {
		limit--
	}
	return s[:limit]
}

// size is about what the event occupies.
func (ev *LiveEvent) size() int {
	n := liveOverhead
	if ev.Reason != nil {
		n += len(*ev.Reason)
	}
	if ev.Error != nil {
		n += len(ev.Error.Message)
	}
	return n
}

// plain is a record of what the event itself tells, which is all that plain filters ask about.
func (ev *LiveEvent) plain() ledger.Record {
	r := ledger.Record{Org: *ev.Org, ID: *ev.ID, Priority: ev.priority, SubmittedAt: ev.Time}
	if ev.Type != nil {
		r.Type = *ev.Type
	}
	if ev.Queue != nil {
		r.Queue = *ev.Queue
	}
	if ev.To != nil {
		r.State = *ev.To
	} else if ev.From != nil {
		r.State = *ev.From
	}
	return r
}

// progressEvent tells what an attempt reports.
func progressEvent(p *ledger.LiveProgress, at time.Time) *LiveEvent {
	running := schemas.StateRunning
	return &LiveEvent{Push: PushProgress, Time: at.UTC(), Org: &p.Org, ID: &p.Job, Type: &p.Type, Event: eventProgress, To: &running,
		Generation: &p.Generation, Attempt: &p.Attempt, Progress: p.Record(), Fence: &p.Fence.Seq, N: p.N}
}

// eventProgress stands for an event's name.
const eventProgress schemas.EventName = "progress"
