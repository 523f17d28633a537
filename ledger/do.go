package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dartwing/jobledger/schemas"
)

// Meta is what an event says about where it came from. All of it is optional.
type Meta struct {
	// Actor is who did it; zero means the component that the event's name implies.
	Actor schemas.Actor
	// CausationID is the causing event or request.
	CausationID string
	// CorrelationID is the root job of a chain; empty takes the job's own, if it has one.
	CorrelationID string
	// Traceparent and Tracestate are the W3C trace context, on submitted and running (INTERFACE 5).
	Traceparent string
	Tracestate  string
	// EventID is the id of the event, for a writer that has stored a payload under it; empty draws a new one. A
	// command that is decided again, because others were faster, keeps it: what was refused is never stored.
	EventID schemas.EventID
}

// event makes the event of data, not yet stored.
func (m *Meta) event(at schemas.Subject, data schemas.Data) *schemas.Event {
	e := schemas.NewEvent(at, data)
	e.Actor, e.CausationID, e.CorrelationID = m.Actor, m.CausationID, m.CorrelationID
	e.Traceparent, e.Tracestate = m.Traceparent, m.Tracestate
	e.ID = cmp.Or(m.EventID, e.ID)
	return e
}

// Do carries out cmd on a job: fold, decide, append, and again from the fold as long as others were faster.
// It returns the job with the event applied; the event is nil when cmd was already true and nothing was to
// be written.
//
// Errors are, or wrap, an *Error: not_found, invalid_state (a *StateError), stale_attempt, and unavailable
// when time ran out: with ReasonOutcomeUnknown (errors.Is ErrUnknown) the event may be stored, else it is
// not. The job, where it is known, is returned with an error too. A ctx without deadline is bounded by
// SettleTimeout.
func (l *Ledger) Do(ctx context.Context, org schemas.OrgID, id schemas.JobID, cmd Command, m Meta) (*Job, *schemas.Event, error) {
	return l.DoIf(ctx, org, id, nil, cmd, m)
}

// DoIf is Do for a job that was chosen by how it looked a moment ago: meant is asked about every fold that is
// decided upon, and its error, if any, is returned in place of a decision. So a command given to all jobs that
// match a filter reaches none that no longer does. meant is not asked about a job that does not exist, and must
// not change what it is given; nil means every job.
func (l *Ledger) DoIf(ctx context.Context, org schemas.OrgID, id schemas.JobID, meant func(*Job) error, cmd Command, m Meta) (*Job, *schemas.Event, error) {
	return l.doSince(ctx, org, id, 0, meant, cmd, m)
}

// doSince is DoIf by a caller who has seen an event of the job at seen.
func (l *Ledger) doSince(ctx context.Context, org schemas.OrgID, id schemas.JobID, seen schemas.Seq, meant func(*Job) error, cmd Command, m Meta) (*Job, *schemas.Event, error) {
	ctx, cancel := withSettleTimeout(ctx)
	defer cancel()
	for try := 0; ; try++ {
		life := l.Life()
		j, err := l.FoldSince(ctx, org, id, seen)
		if errors.Is(err, ErrRemoved) || err != nil && !errors.Is(err, ErrNotFound) { // Decide says what that means
			return nil, nil, coded(err)
		}
		if meant != nil && j.Exists() {
			if err := meant(j); err != nil {
				return j, nil, coded(err)
			}
		}
		after, e, err := l.attempt(ctx, j, life, cmd, m)
		if !errors.Is(err, ErrRefused) {
			return after, e, coded(err)
		}
		if !pause(ctx, try) {
			return j, nil, Errorf(CodeUnavailable, "other writers of job %s.%s were always faster: %v", org, id, err)
		}
	}
}

// DoFrom is Do for a caller that holds a fold of the job: it tries j first, without a read. What j forbids,
// or says is done already, is believed only after a fresh fold. j itself is not changed.
func (l *Ledger) DoFrom(ctx context.Context, j *Job, cmd Command, m Meta) (*Job, *schemas.Event, error) {
	return l.DoHeld(ctx, j, l.Life(), cmd, m)
}

// attempt decides cmd on j and appends the event, if any, once. The job it returns is a copy of j, with the
// event applied if that is stored. life is the ledger's from before j was read.
func (l *Ledger) attempt(ctx context.Context, j *Job, life uint64, cmd Command, m Meta) (*Job, *schemas.Event, error) {
	data, err := Decide(j, cmd)
	if err != nil || data == nil {
		return clone(j), nil, err
	}
	if _, carrying := cmd.(*Carry); !carrying {
		held := j
		if j, err = l.carryFirst(ctx, j, life); err != nil {
			return clone(held), nil, err
		}
		if j != held {
			if data, err = Decide(j, cmd); err != nil || data == nil {
				return clone(j), nil, err
			}
		}
	}
	return l.appendDecided(ctx, j, life, data, m)
}

// appendDecided appends what was decided on j.
func (l *Ledger) appendDecided(ctx context.Context, j *Job, life uint64, data schemas.Data, m Meta) (*Job, *schemas.Event, error) {
	m.CorrelationID = cmp.Or(m.CorrelationID, j.CorrelationID)
	e := m.event(schemas.JobSubject(j.Org, j.ID), data)
	if err := l.append(ctx, e, expectation{schemas.Position{Seq: j.Expect(), ID: j.LastID}, life}); err != nil {
		return clone(j), nil, err
	}
	after := clone(j)
	if !Apply(after, e) {
		// Decide and Apply share one table: an event decided on j is legal on j.
		panic(fmt.Sprintf("ledger: stored %s at %d is illegal in state %s", e.Name(), e.Seq, j.State))
	}
	return after, e, nil
}

// foldAny is Fold for callers to whom a job without any event is no error: Decide says what that means.
func (l *Ledger) foldAny(ctx context.Context, org schemas.OrgID, id schemas.JobID) (*Job, error) {
	j, err := l.Fold(ctx, org, id)
	if errors.Is(err, ErrNotFound) {
		return j, nil
	}
	return j, err
}

// clone copies j for Apply, which replaces what j points to and never changes it, but appends to Late.
func clone(j *Job) *Job {
	c := *j
	c.Late = slices.Clip(c.Late)
	return &c
}

// coded returns err as it is if it holds an *Error, else as one.
func coded(err error) error {
	if err == nil {
		return nil
	}
	var own *Error
	if errors.As(err, &own) {
		return err
	}
	return AsError(err)
}

func isTooLarge(err error) bool {
	var own *Error
	return errors.As(err, &own) && own.Code == CodePayloadTooLarge
}
