package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// argsWait is how long args kept by reference may take to come before the attempt fails and is tried again.
	argsWait = 2 * time.Minute
	// refusedWait is how long an object store may refuse a result, as one that is full does, before the attempt
	// fails: its slot is needed, and a later attempt may find room. A store that does not answer at all is waited
	// for like the ledger.
	refusedWait = 30 * time.Second
)

// fetchArgs reads args that are kept by reference, before the handler is called. It changes nothing where
// they stand in the event.
func (r *running) fetchArgs(ctx context.Context) error {
	job := r.latest()
	if job.Spec.ArgsRef == nil {
		return nil
	}
	wait, cancel := context.WithTimeout(ctx, argsWait)
	defer cancel()
	args, err := r.s.w.cfg.Ledger.Args(wait, job)
	if err == nil {
		r.a.Args = args
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	m := &marked{err: err, class: schemas.ClassPermanent}
	switch {
	case errors.Is(err, ledger.ErrPayloadMissing):
		m.code = CodeArgsMissing
	case errors.Is(err, ledger.ErrPayloadCorrupt), errors.Is(err, ledger.ErrPayloadForeign):
		m.code = CodeArgsCorrupt
	default:
		m.class, m.code = schemas.ClassTransient, CodeArgsUnavailable
	}
	return m
}

// parcel is a result over the inline limit on its way. nil stands for a result inside the event.
type parcel struct {
	result json.RawMessage
	event  schemas.EventID // will name it: of this outcome alone, so no other attempt ever writes under it

	ref     *schemas.ObjectRef // nil: not stored yet
	at      time.Time          // when the upload began
	refused time.Time          // since when the store answers that it will not have it
}

// pack takes a result that is too large for the event out of the outcome.
func pack(o *ledger.Outcome) *parcel {
	if len(o.Result) <= schemas.ResultMax {
		return nil
	}
	p := &parcel{result: o.Result, event: schemas.NewEventID()}
	o.Result = nil
	return p
}

// deliver stores the result, unless it is stored and so young that the event may follow. If this process dies
// behind it, the attempt is lost and the object an orphan.
func (p *parcel) deliver(r *running, o *ledger.Outcome) error {
	if p.ref == nil || !r.s.w.cfg.Ledger.IsFresh(p.at) {
		p.at = time.Now()
		ref, err := r.s.w.cfg.Ledger.StoreResult(r.s.settle, r.a.Org, r.a.ID, p.event, p.result)
		if err != nil {
			if p.refused.IsZero() && errors.Is(err, ledger.ErrPayloadRefused) {
				p.refused = p.at
			}
			return err
		}
		p.ref = ref
	}
	o.ResultRef = p.ref
	return nil
}

// send stores an outcome, its result first where that is kept by reference.
func (r *running) send(o *ledger.Outcome, p *parcel) (*schemas.Event, error) {
	var meta ledger.Meta
	if p != nil {
		if err := p.deliver(r, o); err != nil {
			return nil, err
		}
		meta.EventID = p.event
	}
	_, e, err := r.do(r.s.settle, o, meta)
	if p != nil && err == nil && e != nil && !r.s.w.cfg.Ledger.IsFresh(p.at) {
		// This process was suspended between the two, perhaps for longer than the collector waits.
		if err := p.deliver(r, o); err != nil {
			r.s.log.Error("a result whose event is stored could not be stored again", append(r.fields(), zap.Error(err))...)
		}
	}
	return e, err
}

// hopeless reports that the store refuses the result and goes on doing so.
func (p *parcel) hopeless(err error, patience time.Duration) bool {
	return p != nil && errors.Is(err, ledger.ErrPayloadRefused) && time.Since(p.refused) > patience
}

// unkept is what stands for an outcome whose result cannot be kept: the work was done, and is to be done again.
func (r *running) unkept(o *ledger.Outcome, err error) *ledger.Outcome {
	return &ledger.Outcome{Fence: o.Fence, Generation: o.Generation, Attempt: o.Attempt, Kind: schemas.EventFailed, Progress: o.Progress,
		Duration: o.Duration, Now: o.Now, Error: &schemas.JobError{Class: schemas.ClassTransient, Code: CodeResultNotStored,
			Message: cut("the result could not be stored: "+err.Error(), causeMax)}}
}
