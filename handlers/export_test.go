package handlers

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Hasten shortens the worker's intervals; a zero keeps the real one.
func (w *Worker) Hasten(beatEvery, cutoff, lateClaim time.Duration) {
	set := func(d *time.Duration, to time.Duration) {
		if to > 0 {
			*d = to
		}
	}
	set(&w.times.beatEvery, beatEvery)
	set(&w.times.beatRetry, beatEvery)
	set(&w.times.beatTimeout, 5*beatEvery)
	set(&w.times.cutoff, cutoff)
	set(&w.times.lateClaim, lateClaim)
	set(&w.times.upkeep, beatEvery)
}

// RefuseResultsFor shortens how long an object store may refuse a result.
func (w *Worker) RefuseResultsFor(d time.Duration) { w.times.refusedWait = d }

// StuckAfter shortens the wait for a handler that must run alone and does not stop.
func (w *Worker) StuckAfter(d time.Duration) { w.times.stuckWait = d }

// LookAtHolds sets how old the settings may be by which a job is claimed.
func (w *Worker) LookAtHolds(age time.Duration) { w.times.holdsFresh = age }

// ErrStuck is what Run then returns.
var ErrStuck = errStuck

// PaceAfterRestart is what the pace of a batch, of which nothing is known but what the ledger holds, is told of its items.
func PaceAfterRestart(ctx context.Context, l *ledger.Ledger, org schemas.OrgID, id schemas.JobID, spec *ledger.BatchSpec) ([]time.Time, error) {
	r := newBatchRun(&Batches{l: l, log: zap.NewNop()}, org, id, 1, spec, nil)
	err := r.recover(ctx)
	return r.pace.out, err
}
