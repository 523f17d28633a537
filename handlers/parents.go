package handlers

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// ParentResultsMax bounds the results that one command is given in its context file, in bytes together.
	ParentResultsMax = schemas.PayloadMax
	// HTTPParentsMax bounds what a service is told of its job's parents: it stands in a header.
	HTTPParentsMax = HTTPCheckpointMax

	headerParents          = "jobledger-parents"
	headerParentsSignature = "jobledger-parents-signature"
)

// ErrNoParent is returned by ParentResult for a job that is not one of the attempt's parents.
var ErrNoParent = errors.New("no such parent")

// Parent is a job that the attempt's job waited for.
type Parent struct {
	ID         schemas.JobID
	Generation int
	// State is how it ended: Completed, or, where the edge says that the job runs all the same, Canceled or
	// DeadLettered. A job whose parents were waived may find one that has not ended, or none. StateNone is also one whose
	// history was removed since its time was over.
	State schemas.State
	// Result is what it returned, byte for byte; nil if nothing, or if that is kept by reference: see ParentResult. Of a
	// batch that was canceled, or is a dead letter, it is the BatchResult of what it has come to.
	Result json.RawMessage
	// Ref names the result where it is too large for an event.
	Ref *schemas.ObjectRef

	job *ledger.Job
}

// ParentResult returns what a parent returned, wherever it is kept; nil if it returned nothing, or did not complete.
// The first call for a result kept by reference reads it. The error is ErrNoParent, that of ctx, or one that Classify
// knows: of a result that is gone, permanent, else transient.
func (a *Attempt) ParentResult(ctx context.Context, id schemas.JobID) (json.RawMessage, error) {
	for i := range a.Parents {
		p := &a.Parents[i]
		if p.ID != id {
			continue
		}
		if p.Ref == nil || a.host.result == nil {
			return p.Result, nil
		}
		return a.host.result(ctx, p.job)
	}
	return nil, fmt.Errorf("%w: %s", ErrNoParent, id)
}

// fetchParents reads how the job's parents ended, before the handler is called. They are of the job's own org, for
// their subjects are made with it.
func (r *running) fetchParents(ctx context.Context) error {
	job := r.latest()
	if len(job.Spec.Parents) == 0 {
		return nil
	}
	wait, cancel := context.WithTimeout(ctx, argsWait)
	defer cancel()
	parents, err := r.s.w.cfg.Ledger.Parents(wait, job, job.Fence.Seq)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return &marked{err: err, class: schemas.ClassTransient, code: CodeParentsUnavailable}
	}
	r.a.Parents = make([]Parent, len(parents))
	for i, p := range parents {
		r.a.Parents[i] = Parent{ID: p.ID, Generation: p.Generation, State: p.State, job: p.Job}
		switch {
		case p.State == schemas.StateCompleted:
			r.a.Parents[i].Result, r.a.Parents[i].Ref = p.Job.Result, p.Job.ResultRef
		case p.Job != nil && p.State.Finished():
			r.a.Parents[i].Result = batchSoFar(p.Job)
		}
	}
	return nil
}

// parentResult reads a result that is kept by reference.
func (r *running) parentResult(ctx context.Context, parent *ledger.Job) (json.RawMessage, error) {
	wait, cancel := context.WithTimeout(ctx, argsWait)
	defer cancel()
	result, err := r.s.w.cfg.Ledger.Result(wait, parent)
	switch {
	case err == nil:
		return result, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	m := &marked{err: fmt.Errorf("result of parent %s: %w", parent.ID, err), class: schemas.ClassPermanent, code: CodeParentResultMissing}
	if !errors.Is(err, ledger.ErrPayloadMissing) && !errors.Is(err, ledger.ErrPayloadCorrupt) && !errors.Is(err, ledger.ErrPayloadForeign) {
		m.class, m.code = schemas.ClassTransient, CodeParentsUnavailable
	}
	return nil, m
}

// parentFacts is what a command or a service is told of the parents: their results as far as they fit into max bytes
// together, how each ended, and the sizes of results that were left out.
type parentFacts struct {
	results []schemas.RawField
	States  map[schemas.JobID]schemas.State `json:"parent_states,omitempty"`
	Omitted map[schemas.JobID]int64         `json:"parents_omitted,omitempty"`
}

func (a *Attempt) parentFacts(ctx context.Context, most int) (*parentFacts, error) {
	f := &parentFacts{States: make(map[schemas.JobID]schemas.State), Omitted: make(map[schemas.JobID]int64)}
	left := int64(most)
	for i := range a.Parents {
		p := &a.Parents[i]
		f.States[p.ID] = p.State
		size := int64(len(p.Result))
		if p.Ref != nil {
			size = p.Ref.Bytes
		}
		if size > left {
			f.Omitted[p.ID] = size
			continue
		}
		result, err := a.ParentResult(ctx, p.ID)
		if err != nil {
			return nil, err
		}
		left -= size
		f.results = append(f.results, schemas.RawField{Name: string(p.ID), Value: nullIfEmpty(result)})
	}
	return f, nil
}

// json is the object of all that, with fields before it; "parents" is null for a job without parents.
func (f *parentFacts) json(fields ...schemas.RawField) ([]byte, error) {
	parents := json.RawMessage("null")
	if len(f.States) > 0 {
		var err error
		if parents, err = schemas.SpliceJSON(struct{}{}, f.results...); err != nil {
			return nil, err
		}
	}
	return schemas.SpliceJSON(f, append(fields, schemas.RawField{Name: "parents", Value: parents})...)
}

func nullIfEmpty(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return json.RawMessage("null")
	}
	return raw
}

// addParents tells the service of the job's parents. What does not fit into a header the service can read from the
// ledger by the parent's id.
func (h *HTTP) addParents(ctx context.Context, req *http.Request, a *Attempt) error {
	if len(a.Parents) == 0 {
		return nil
	}
	for _, most := range []int{HTTPParentsMax, 0} {
		f, err := a.parentFacts(ctx, most)
		if err != nil {
			return err
		}
		body, err := f.json()
		if err != nil {
			return err
		}
		if len(body) > HTTPParentsMax {
			continue
		}
		req.Header.Set(headerParents, base64.StdEncoding.EncodeToString(body))
		if len(h.Secrets) > 0 {
			req.Header.Set(headerParentsSignature, Signature(h.Secrets, time.Now(), a.ID, a.Number, body))
		}
		return nil
	}
	h.logger(a).Warn("the job has more parents than an HTTP header holds: the service is told of none",
		zap.Int("parents", len(a.Parents)), zap.Int("max", HTTPParentsMax))
	return nil
}
