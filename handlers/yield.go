package handlers

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// errYield, returned by a handler of this package, hands its job back without consuming an attempt, as a drain does: it
// is offered again at once, or when what holds it is over. A handler that may run for days does so from time to time:
// while it runs, nothing that is in the ledger behind its job's beginning can leave for the archive (DESIGN D13).
var errYield = errors.New("the handler gives its slot back for now")

// carryWait is how long the ledger may take to carry a job that was handed back.
const carryWait = 10 * time.Second

// errMoved: the job does not stand where it was handed back.
var errMoved = errors.New("the job has moved on")

// carry has the ledger begin the job anew where it stands, now that it does not run for a moment, so that what is behind
// its old beginning may leave while it runs again. Who is faster, as a worker that has claimed it already, or somebody who
// canceled it, has it stay as it is: nothing is wrong then, and the next yield tries again.
func (r *running) carry() {
	ctx, cancel := context.WithTimeout(r.s.settle, carryWait)
	defer cancel()
	meant := func(j *ledger.Job) error {
		if j.State != schemas.StateQueued || j.LastFence != r.a.Fence {
			return errMoved
		}
		return nil
	}
	_, _, err := r.s.w.cfg.Ledger.DoIf(ctx, r.a.Org, r.a.ID, meant, &ledger.Carry{}, ledger.Meta{})
	if err != nil {
		r.s.log.Debug("a job that was handed back was not carried", append(r.fields(), zap.Error(err))...)
	}
}
