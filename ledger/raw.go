package ledger

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/google/uuid"

	"github.com/dartwing/jobledger/schemas"
)

// A raw submission is one whose sender waits for no answer: a message without a reply subject (R-10, INTERFACE 4). It is
// judged as any other; but what would be refused is recorded, with why, since nobody would hear of the refusal: a job that is
// Submitted, is never queued, and is dead-lettered as rejected by the leader. So it is found, its owner sees
// it, and submits it again when what was wrong is mended. It is neither retried nor resubmitted: what is recorded need not be
// what was asked for (refusedSpec), and would run without the parents, the times or the principal that were meant.

const (
	// refusedDeadline is the start-by of such a job. It makes the leader look at once, also one of a version that knows of
	// no refusals, which says expired.
	refusedDeadline = schemas.Millis(1)
	// refusedText is about how much of a refusal's text is kept, in bytes.
	refusedText = 1000
)

// SubmitRaw is Submit for a sender who hears of nothing: what would be refused is recorded in a job of its own, whose
// receipt is returned. problem is what was wrong with the request before it could be taken apart, nil if nothing. The error
// is that of what cannot be recorded, since it has no valid org or type, or as the ledger does not answer: nothing is
// stored, or it is not known whether (ErrUnknown).
func (l *Ledger) SubmitRaw(ctx context.Context, r SubmitRequest, problem error) (Receipt, error) {
	if problem == nil {
		receipt, err := l.Submit(ctx, r)
		if err == nil || AsError(err).Code == CodeDuplicate { // its work is in the ledger: nothing was refused
			return receipt, nil
		}
		problem = err
	}
	e := AsError(problem)
	switch e.Code {
	case CodeUnavailable, CodeInternal:
		return Receipt{}, e
	}
	if schemas.CheckToken("org", string(r.Org)) != nil || schemas.CheckToken("type", string(r.Type)) != nil {
		return Receipt{}, e
	}
	ctx, cancel := withSettleTimeout(ctx)
	defer cancel()
	s := &submission{l: l, org: r.Org, meta: r.Meta, request: r.RequestID, spec: r.refusedSpec(e)}
	id := schemas.NewJobID()
	if r.RequestID != uuid.Nil { // its own id may be another's
		id = schemas.JobID(r.RequestID.String())
	}
	event, err := s.begin(&Job{Org: r.Org, ID: id})
	if err != nil {
		return Receipt{}, coded(err)
	}
	if err := l.Append(ctx, event, 0); err != nil {
		return Receipt{}, coded(err)
	}
	return s.accepted(event), nil
}

// refusedSpec is what is recorded: what was asked for as far as an event can hold it, without what it waits for.
func (r *SubmitRequest) refusedSpec(e *Error) schemas.Submitted {
	refused := &schemas.Refusal{Code: string(e.Code), Field: e.Field, Message: strings.ToValidUTF8(e.Message[:min(len(e.Message), refusedText)], "")}
	spec := r.spec(&schemas.TypeSettings{})
	spec.Parents, spec.NotBefore, spec.DelayMS, spec.Deadline = nil, nil, 0, nil
	spec.DeadlineMS, spec.Refused, spec.Args = refusedDeadline, refused, recordable(r.Args)
	one := spec
	one.Generation = 1
	if one.Validate() == nil {
		return spec
	}
	return schemas.Submitted{Type: r.Type, Queue: schemas.QueueDefault, Priority: schemas.PriorityNormal, DeadlineMS: refusedDeadline,
		Refused: refused, Args: spec.Args}
}

// recordable is args as an event can hold them: as they came, or as a text where they are no JSON; nothing of what is
// too large.
func recordable(args json.RawMessage) json.RawMessage {
	if len(args) == 0 {
		return json.RawMessage("{}")
	}
	if schemas.CheckJSON("args", args) != nil {
		text, err := json.Marshal(string(args)) // bytes that are no UTF-8 are replaced
		if err != nil {
			return json.RawMessage("null")
		}
		args = text
	}
	if len(args) > schemas.ArgsMax {
		return json.RawMessage("null")
	}
	return args
}

// CodePolicy is the error of a job that was rejected for what its type's policy came to, and may be retried when that is
// mended: all others that are rejected were refused at the door.
const CodePolicy = "policy"

// RefusedAtDoor says why a job that was refused when it was submitted is not run as it is recorded.
func RefusedAtDoor(r *schemas.Refusal) string {
	return "it was refused when it was submitted (" + r.Code + "), and what is recorded need not be all that was asked for: submit it again"
}
