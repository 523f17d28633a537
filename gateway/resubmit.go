package gateway

import (
	"context"
	"encoding/json"

	"github.com/google/uuid"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// ResubmitRequest makes a new job from an old one, in whatever state that is: same type, queue, priority,
// resource, tags, principal and overrides. Its times, parents and batch belong to the old one. A raw submission that was
// refused is invalid_state: what is recorded of it need not be what was asked for.
type ResubmitRequest struct {
	Reason string `json:"reason"` // required
	// Args in place of the old ones; absent: the same, byte for byte.
	Args json.RawMessage `json:"args,omitempty"`
}

// ResubmitReply says which job is the new one.
type ResubmitReply struct {
	SubmitReply
	From schemas.JobID `json:"from"`
}

// resubmit submits without content id: the operator wants it to run again. The new job's causation is
// the old one's submitted, its correlation the first job of the chain.
func (g *Gateway) resubmit(ctx context.Context, r *request) ([]byte, error) {
	var req ResubmitRequest
	if err := r.decode(&req); err != nil {
		return nil, err
	}
	if err := checkReason("reason", req.Reason, true); err != nil {
		return nil, err
	}
	h, err := g.read(ctx, r.org, r.job())
	if err != nil {
		return nil, err
	}
	old := h.Job
	if err := resubmittable(old); err != nil {
		return nil, err
	}
	submit := ledger.SubmitRequest{
		Org: r.org, Type: old.Spec.Type, Queue: old.Spec.Queue, Priority: old.Spec.Priority, Resource: old.Spec.Resource,
		Tags: old.Spec.Tags, Override: old.Spec.Override, Args: old.Spec.Args, ArgsRef: old.Spec.ArgsRef,
		Reason: req.Reason, NoDedup: true,
		Meta: ledger.Meta{Actor: g.actor(ctx), CausationID: string(old.SubmittedID), CorrelationID: old.CorrelationID},
	}
	if submit.Meta.CorrelationID == "" {
		submit.Meta.CorrelationID = string(old.ID)
	}
	if p := old.Principal(); p != g.actor(ctx).String() {
		submit.Principal = p
	}
	args, leave, err := g.args(ctx, r, req.Args)
	defer leave()
	if err == nil {
		err = g.refuseMask(ctx, submit.Type, args)
	}
	if err != nil {
		return nil, err
	}
	if len(args) > 0 {
		submit.Args, submit.ArgsRef = args, nil
	}
	if id, err := uuid.Parse(options(r.headers).one(HeaderRequestID)); err == nil {
		submit.RequestID = id // only what the caller can repeat is an identity
	}
	if submit.ArgsRef != nil {
		leave, err := g.enterLarge(ctx)
		if err != nil {
			return nil, err
		}
		defer leave()
	}
	again := g.l.Submit
	if submit.Type == ledger.BatchType { // a new batch, whose items are new jobs
		submit.Type, submit.Queue, again = "", "", g.batchOf(r)
	}
	if err := g.authorizeSubmit(ctx, &submit); err != nil {
		return nil, err
	}
	receipt, err := again(ctx, submit)
	if err == nil {
		err = g.notOthers(ctx, receipt)
	}
	if err != nil {
		return nil, err
	}
	return json.Marshal(ResubmitReply{From: old.ID, SubmitReply: SubmitReply{ID: receipt.ID, Org: receipt.Org, Seq: receipt.Seq,
		Duplicate: receipt.Duplicate, State: receipt.State}})
}

// resubmittable refuses a job whose submit is not known as it was meant.
func resubmittable(j *ledger.Job) error {
	if j.Unreadable {
		return ledger.AsError(ledger.ErrUnreadable)
	}
	if refused := j.Spec.Refused; refused != nil {
		e := ledger.Errorf(ledger.CodeInvalidState, "cannot resubmit job %s: %s", j.ID, ledger.RefusedAtDoor(refused))
		e.Details = map[string]any{"state": j.State}
		return e
	}
	return nil
}
