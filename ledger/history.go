package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// JobHistory is the whole story of one job, with what it amounts to.
type JobHistory struct {
	Job      *Job
	Attempts AttemptList
	Entries  []*Entry // every message on the job's subject, in ledger order, those in ARCHIVE too
	Illegal  []bool   // whether the entry of the same index is an event that was not legal where it stands
}

// History reads a job's story as the stream's leader knows it, what left for ARCHIVE included. The error
// is ErrNotFound when neither holds an event of ours.
func (l *Ledger) History(ctx context.Context, org schemas.OrgID, id schemas.JobID) (*JobHistory, error) {
	s, err := l.wholeStory(ctx, org, id)
	if err != nil {
		return nil, fmt.Errorf("history of %s.%s: %w", org, id, err)
	}
	h := historyOf(org, id, s.entries)
	l.passOver(h)
	if !h.Job.Exists() && !h.Job.Unreadable {
		return nil, l.missing(s.entries)
	}
	h.Job.Archived, h.Job.Emptied = s.archived(h.Job), s.emptied
	return h, nil
}

// historyOf is the history that a job's entries amount to.
func historyOf(org schemas.OrgID, id schemas.JobID, entries []*Entry) *JobHistory {
	h := &JobHistory{Job: &Job{Org: org, ID: id}, Attempts: AttemptList{}, Entries: entries, Illegal: make([]bool, len(entries))}
	for i, e := range entries {
		if !e.ApplyTo(h.Job) {
			h.Illegal[i] = true
		} else if e.Err == nil {
			h.Attempts.Apply(e.Event)
		}
	}
	return h
}

// Lines are the job's events as `job history` shows them; foreign messages are none.
func (h *JobHistory) Lines() []HistoryLine {
	lines := make([]HistoryLine, 0, len(h.Entries))
	for i, e := range h.Entries {
		if errors.Is(e.Err, schemas.ErrForeign) {
			continue
		}
		line := LineOf(e)
		line.Illegal = h.Illegal[i]
		lines = append(lines, line)
	}
	return lines
}

// HistoryLine is one event as it is shown (INTERFACE 2.5): one line of `job history`, and of `log replay`
// with Org, ID and Type besides.
type HistoryLine struct {
	Seq        schemas.Seq       `json:"seq"`
	Time       time.Time         `json:"time"` // the ledger's clock
	Event      schemas.EventName `json:"event"`
	Actor      string            `json:"actor"` // who did it; the component that writes this event where nobody else is named
	Generation *int              `json:"generation"`
	Attempt    *int              `json:"attempt"` // of events about one attempt
	From       *schemas.State    `json:"from"`    // state before, as the event says; null before the first
	To         *schemas.State    `json:"to"`      // state after, where it is legal
	Reason     *string           `json:"reason"`
	// Illegal: the event was not legal where it stands and changed nothing. Only a history knows.
	Illegal bool `json:"illegal,omitempty"`
	// Quarantined says why this version cannot read the event.
	Quarantined string `json:"quarantined,omitempty"`

	place
	// Data is the event's body, byte for byte but for line breaks between its values; null if it is not JSON.
	Data json.RawMessage `json:"data"`
}

// place says where an event stands.
type place struct {
	Org  *schemas.OrgID    `json:"org"`  // null for a control event, but for one about a job
	ID   *schemas.JobID    `json:"id"`   // as Org
	Type *schemas.TypeName `json:"type"` // null where the event is about no type
}

// lineRoom is what a line points to: one allocation in place of one a field, for a server makes a line of every event.
type lineRoom struct {
	org                 schemas.OrgID
	id                  schemas.JobID
	kind                schemas.TypeName
	from, to            schemas.State
	generation, attempt int
}

// kept keeps v in a place, and points to it; nil for nothing.
func kept[T comparable](place *T, v T) *T {
	if *place = v; v == *new(T) {
		return nil
	}
	return place
}

// LineOf describes e, which must not be a foreign message. It needs no fold: what it tells is in the event.
func LineOf(e *Entry) HistoryLine {
	room := new(lineRoom)
	line := HistoryLine{Seq: e.Seq, Time: e.Time.UTC(), Event: e.Name(), Actor: actorOf(e.Event),
		place: place{Org: kept(&room.org, e.Org), ID: kept(&room.id, e.Job)}, Data: oneLine(e.Body)}
	if e.Err != nil {
		line.Quarantined = e.Err.Error()
		ceType := ceTypeOf(e)
		line.Event = schemas.EventName(ceType[strings.LastIndexByte(ceType, '.')+1:])
		return line
	}
	switch d := e.Data.(type) {
	case *schemas.Submitted:
		line.Generation, line.Type, line.From = kept(&room.generation, d.Generation), kept(&room.kind, d.Type), kept(&room.from, d.From)
	case schemas.JobData:
		head := d.Common()
		line.Generation, line.Type, line.From = kept(&room.generation, head.Generation), kept(&room.kind, head.Type), kept(&room.from, head.From)
	case *schemas.TypeSet:
		line.Type = kept(&room.kind, d.Settings.Name)
	case *schemas.Unmasked: // it is about one job all the same
		line.Type, line.Org, line.ID = kept(&room.kind, d.Type), kept(&room.org, d.Org), kept(&room.id, d.Job)
	}
	line.To = kept(&room.to, toOf(room.from, e))
	line.Attempt = kept(&room.attempt, attemptOf(e.Data))
	line.Reason = reasonOf(e.Data)
	return line
}

// toOf is the state that follows, none where nothing legal does. Whether a cancel was requested decides only what is legal, so
// both rows of running are tried.
func toOf(from schemas.State, e *Entry) schemas.State {
	if e.Control != "" {
		return schemas.StateNone
	}
	for _, requested := range [2]bool{false, true} {
		if to, ok := Next(from, requested, e.Name()); ok {
			return to
		}
	}
	return schemas.StateNone
}

func attemptOf(data schemas.Data) int {
	switch d := data.(type) {
	case *schemas.Running:
		return d.Attempt
	case *schemas.Canceled:
		return d.Attempt
	case *schemas.DeadLettered:
		return d.Attempt
	case interface{ Named() *schemas.AttemptHead }:
		return d.Named().Attempt
	}
	return 0
}

// reasonOf is why the event happened, where it says so.
func reasonOf(data schemas.Data) *string {
	switch d := data.(type) {
	case *schemas.Submitted:
		return opt(d.Reason)
	case *schemas.Canceled:
		return opt(d.Reason)
	case *schemas.DeadLettered:
		return opt(string(d.Reason))
	case *schemas.CancelRequested:
		return opt(d.Reason)
	case *schemas.Released:
		return opt(d.Cause)
	case *schemas.Lost:
		return opt(string(d.Cause))
	case *schemas.Retried:
		return opt(d.Reason)
	case *schemas.Resolved:
		return opt(d.Note)
	case *schemas.Ignored:
		return opt(d.Note)
	case schemas.Setting:
		return opt(d.Why())
	case *schemas.BreakerClosed:
		return opt(d.Reason)
	case *schemas.Unmasked:
		return opt(d.Reason)
	}
	return nil
}

// Components that write events in nobody's name (INTERFACE 5).
const (
	actorDispatcher = "system:dispatcher"
	actorWorker     = "system:worker"
	actorPublisher  = "system:publisher"
	actorServer     = "system:server"
)

// actorOf names who did it: the stored actor, else the component that the event's name implies.
func actorOf(e *schemas.Event) string {
	if e.Actor != (schemas.Actor{}) || e.Data == nil {
		return e.Actor.String()
	}
	switch d := e.Data.(type) {
	case *schemas.Submitted:
		return actorPublisher
	case *schemas.Running, *schemas.Completed, *schemas.Failed, *schemas.TimedOut, *schemas.Released, *schemas.LateResult,
		*schemas.Checkpointed:
		return actorWorker
	case *schemas.Canceled:
		if d.Outcome != "" {
			return actorWorker
		}
	case *schemas.DeadLettered:
		if d.Outcome != "" {
			return actorWorker
		}
	case *schemas.CellStarted, *schemas.LeaderElected, *schemas.BreakerClosed, *schemas.Unmasked, schemas.Setting:
		return actorServer
	}
	return actorDispatcher
}
