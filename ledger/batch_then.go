package ledger

import (
	"cmp"
	"context"
	"strconv"

	"github.com/dartwing/jobledger/schemas"
)

// A batch may name one job that is to run when it has ended, however it ended: its callback (R-09, BatchSpec.Then). It is
// an ordinary job that waits for the batch as its parent, under an id that is used once for ever; so nothing but the
// parent's end starts it, and whoever submits it again finds it.
//
// Whoever submits a batch stores the batch, then its callback, and answers when both are there. If it dies between the
// two, nobody was told that the batch is accepted; its handler stores the callback before the first item all the same.

// BatchThenID is the id of a batch's callback, one for each generation of the batch.
func BatchThenID(org schemas.OrgID, batch schemas.JobID, generation int) schemas.JobID {
	return schemas.JobID(schemas.ReservedPrefix + "c" + shortHash(string(org), string(batch), strconv.Itoa(generation)))
}

// SubmitThen stores the callback of a batch, or finds it, whatever became of it. The job runs as principal unless the
// batch says otherwise. Errors as of Submit.
func (l *Ledger) SubmitThen(ctx context.Context, org schemas.OrgID, batch schemas.JobID, generation int, then *BatchItem, principal string, m Meta) (Receipt, error) {
	r := thenRequest(org, then, principal, m)
	r.ID, r.once = BatchThenID(org, batch, generation), true
	r.Parents = []schemas.ParentRef{{ID: batch, Generation: generation, OnFailure: schemas.ParentRun}}
	r.Meta.CausationID, r.Meta.CorrelationID = cmp.Or(m.CausationID, string(batch)), cmp.Or(m.CorrelationID, string(batch))
	return l.Submit(ctx, r)
}

func thenRequest(org schemas.OrgID, then *BatchItem, principal string, m Meta) SubmitRequest {
	m.EventID = "" // that of the batch
	return SubmitRequest{Org: org, Type: then.Type, Args: then.Args, Queue: then.Queue, Priority: then.Priority, Resource: then.Resource,
		Principal: cmp.Or(then.Principal, principal), Tags: then.Tags, Override: then.Override, Meta: m}
}

// checkThen refuses a callback that would be refused when the batch is stored already.
func (l *Ledger) checkThen(ctx context.Context, then *BatchItem, r *SubmitRequest) error {
	one := thenRequest(r.Org, then, r.Principal, r.Meta)
	one.RegisterUnknown, one.NoLimits = r.RegisterUnknown, true // it is the batch that has passed the door
	_, err := l.prepare(ctx, &one)
	return inThen(err)
}

// inThen says of an error about the callback that it is.
func inThen(err error) error {
	e := AsError(err)
	if e == nil {
		return nil
	}
	field := "then"
	if e.Field != "" {
		field += "." + e.Field
	}
	said := *e
	said.Field, said.Cause = field, err
	return said.with(DetailField, field)
}

// storeThen stores the callback of a batch that has been stored, or found, just now.
func (l *Ledger) storeThen(ctx context.Context, batch Receipt, spec *BatchSpec, r *SubmitRequest) error {
	if spec == nil { // the args are another batch's, by reference
		j, err := l.Fold(ctx, batch.Org, batch.ID)
		if err != nil {
			return err
		}
		args, err := l.Args(ctx, j)
		if err != nil {
			return err
		}
		if spec, err = DecodeBatch(args); err != nil {
			return err
		}
	}
	if spec.Then == nil {
		return nil
	}
	_, err := l.SubmitThen(ctx, batch.Org, batch.ID, batch.Generation, spec.Then, r.Principal, r.Meta)
	return err
}
