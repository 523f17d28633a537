package handlers

import "time"

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
