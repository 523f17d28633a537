package handlers

import (
	"context"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// A batch may last for days, and may be paused for as long. While it runs, all events behind its beginning stay in the hot
// ledger (DESIGN D13), and one of the server's BatchSlots is taken. So it gives its slot back from time to time: its
// checkpoint is kept, no attempt is consumed, and the next attempt goes on as after a restart of the server.

// yields reports whether the batch is to give its slot back now, else until when that need not be asked again.
func (r *batchRun) yields(ctx context.Context, now time.Time) (bool, time.Time) {
	if why, _ := r.paused(now.Add(r.ahead)); why == "" {
		r.pausedAt = time.Time{}
	} else if r.pausedAt.IsZero() {
		r.pausedAt = now
	}
	at := r.begun.Add(r.b.cfg.RunMax)
	if !now.Before(at) {
		return true, at
	}
	if r.pausedAt.IsZero() {
		return false, at
	}
	end := r.pausedAt.Add(r.b.cfg.PausedMax)
	if !now.Before(end) {
		if r.held(ctx, now) {
			return true, end
		}
		r.pausedAt, end = now, now.Add(r.b.cfg.PausedMax)
	}
	return false, earlier(at, end)
}

// held reports whether what pauses the batch also keeps the leader from starting it: one that is paused as a group of
// items alone would come straight back.
func (r *batchRun) held(ctx context.Context, now time.Time) bool {
	j := &ledger.Job{Org: r.org, ID: r.id, Spec: schemas.Submitted{Type: ledger.BatchType, Queue: ledger.SystemQueue}}
	by, err := r.b.l.Held(ctx, j, now.Add(r.ahead), now)
	return err == nil && by != ""
}

// earlier is the earlier of two times; a zero one is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
