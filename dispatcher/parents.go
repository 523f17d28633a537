package dispatcher

import (
	"context"
	"errors"
	"strings"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// errWaits: the job waits for a parent again.
var errWaits = errors.New("a parent has not ended")

// Codes of the error that a job bears whose parent failed.
const (
	codeParentCanceled = "parent_canceled"
	codeParentDead     = "parent_dead_lettered"
	codeParentUnknown  = "parent_unknown"
)

// parentNamed begins the text that says so.
const parentNamed = "parent "

// lookUp answers how a parent stands.
func (h *Host) lookUp(ctx context.Context, d *Decision) Result {
	end, err := h.l.Ending(ctx, d.Org, schemas.JobRef{ID: d.Parent.ID, Generation: d.Parent.Generation}, d.At)
	switch {
	case err == nil:
		h.counters.ParentsRead.Add(1)
		return Result{Outcome: Stored, Ending: end}
	case errors.Is(err, ledger.ErrUnreadable):
		return Result{Outcome: Unreadable}
	}
	return h.failed(*d, nil, err)
}

// parentsStand holds a decision to queue a job to its parents, where the job has moved on since the core decided: a
// wait that was canceled and retried meanwhile is another wait, for the same parents. Otherwise the core's word
// stands, and costs nothing: it released the job by what is in the ledger.
func (h *Host) parentsStand(ctx context.Context, j *ledger.Job, d *Decision) error {
	if len(j.Spec.Parents) == 0 || j.ParentsWaived || j.State != schemas.StateSubmitted || j.LastSeq == d.At {
		return nil
	}
	parents, err := h.l.Parents(ctx, j, d.At)
	if err != nil {
		return err
	}
	for _, p := range parents {
		if p.Judge(p.OnFailure) != ledger.EdgeSatisfied {
			return errWaits
		}
	}
	return nil
}

// dependency is how a job ends whose parent failed, as its edge says, in the name of whoever ended the parent
// . The parent's own subject is asked: it may have been given another chance meanwhile, or the job
// itself may have, with other parents still to end; then nothing is done, and the core looks the parents up again.
func (h *Host) dependency(ctx context.Context, j *ledger.Job, d *Decision) (ledger.Command, ledger.Meta, error) {
	if j.ParentsWaived {
		return nil, ledger.Meta{}, errGone // retried in spite of them
	}
	end, err := h.l.Ending(ctx, j.Org, schemas.JobRef{ID: d.Parent.ID, Generation: d.Parent.Generation}, max(d.At, d.Of))
	switch {
	case errors.Is(err, ledger.ErrUnreadable):
		return nil, ledger.Meta{}, errGone
	case err != nil:
		return nil, ledger.Meta{}, err
	case !d.fails(end):
		return nil, ledger.Meta{}, errGone
	}
	meta := ledger.Meta{Actor: end.Job.CancelBy}
	if end.Event != nil {
		meta.CausationID = string(end.Event.ID)
	}
	return d.endOfChild(end), meta, nil
}

// fails reports whether the parent, as it stands, ends the child still.
func (d *Decision) fails(end *ledger.Ending) bool {
	if d.Cascade {
		return end.State == schemas.StateCanceled || end.Job.CancelRequested
	}
	return end.Judge(d.Parent.OnFailure) == ledger.EdgeFailed
}

// endOfChild is the command.
func (d *Decision) endOfChild(end *ledger.Ending) ledger.Command {
	code, text := codeParentUnknown, parentNamed+string(d.Parent.ID)+" is not in the ledger"
	switch end.State {
	case schemas.StateDeadLettered:
		code, text = codeParentDead, parentNamed+string(d.Parent.ID)+" was dead-lettered: "+string(end.Job.DeadReason)
	case schemas.StateNone:
	default:
		code, text = codeParentCanceled, parentNamed+string(d.Parent.ID)+" was canceled"
		// A reason that names a parent itself is not repeated, or those of a chain would grow.
		why := end.Job.CancelReason
		if why != "" && !strings.HasPrefix(why, parentNamed) && len(text)+len(why) < schemas.ReasonMax-2 {
			text += ": " + why
		}
	}
	if d.Parent.OnFailure == schemas.ParentCancel {
		return &ledger.Cancel{Reason: text, Cascade: d.Cascade}
	}
	return &ledger.DeadLetter{Reason: schemas.DeadDependencyFailed,
		Error: &schemas.JobError{Class: schemas.ClassPermanent, Code: code, Message: text}}
}
