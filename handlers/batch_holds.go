package handlers

import (
	"cmp"
	"context"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// A batch submits nothing while a hold stands on it, or on the item that would be next, or while its org is suspended
// what it would submit could only wait.

// batchHolds are all holds, as their latest events left them.
type batchHolds struct {
	latest map[string]heldScope // by the scope's id; as many as there are scopes in the ledger
	on     []schemas.HoldSettings
}

// heldScope is a hold with the sequence that it was set at.
type heldScope struct {
	seq schemas.Seq
	set schemas.HoldSettings
}

// set takes a hold, unless it has taken a later one of its scope.
func (h *batchHolds) set(at schemas.Seq, s schemas.HoldSettings) {
	id := s.Scope.ID()
	if h.latest[id].seq >= at {
		return
	}
	if h.latest == nil {
		h.latest = make(map[string]heldScope)
	}
	h.latest[id] = heldScope{at, s}
	h.on = nil
	for _, l := range h.latest {
		if l.set.On {
			h.on = append(h.on, l.set)
		}
	}
}

// over reports whether a hold covers a job at a stream time, and when the last that does ends by itself; zero where that
// does not.
func (h *batchHolds) over(org schemas.OrgID, queue schemas.QueueName, typ schemas.TypeName, resource, batch string, now time.Time) (held bool, until time.Time) {
	for i := range h.on {
		s := &h.on[i]
		if !s.InForce(now) || !s.Scope.Matches(org, queue, typ, resource, batch) {
			continue
		}
		if s.Until == nil {
			return true, time.Time{}
		}
		if held = true; s.Until.After(until) {
			until = *s.Until
		}
	}
	return held, until
}

// hold takes a hold.
func (b *Batches) hold(e *schemas.Event) {
	d, ok := e.Data.(*schemas.HoldSet)
	if !ok {
		return
	}
	b.mu.Lock()
	b.holds.set(e.Seq, d.Settings)
	b.mu.Unlock()
	b.stir()
}

// org tells the batches of an org how that stands.
func (b *Batches) org(e *schemas.Event, d *schemas.OrgSet) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.runs {
		if r.org == d.Settings.Name {
			r.orgSet(e.Seq, d.Settings.Parked())
		}
	}
}

// stir makes all batches look.
func (b *Batches) stir() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range b.runs {
		r.stir()
	}
}

// orgSet notes whether the org is suspended, as of an event.
func (r *batchRun) orgSet(at schemas.Seq, parked bool) {
	r.mu.Lock()
	if at > r.orgAt {
		r.orgAt, r.orgParked = at, parked
	}
	r.mu.Unlock()
	r.stir()
}

// lookAtOrg reads how the org stands; later events tell of changes.
func (r *batchRun) lookAtOrg(ctx context.Context) error {
	return r.each(ctx, []int{0}, func(ctx context.Context, _ int) error {
		e, err := r.b.l.Setting(ctx, ledger.KindOrg, string(r.org))
		if err == nil && e != nil {
			r.orgSet(e.Seq, e.Data.(*schemas.OrgSet).Settings.Parked())
		}
		return err
	}, func() {})
}

// paused says why the whole batch submits nothing at a stream time, empty if it may; and until when, zero where it is not known.
func (r *batchRun) paused(at time.Time) (why string, until time.Time) {
	r.mu.Lock()
	parked := r.orgParked
	r.mu.Unlock()
	if parked {
		return "its org is suspended", time.Time{}
	}
	r.b.mu.Lock()
	defer r.b.mu.Unlock()
	held, until := r.b.holds.over(r.org, ledger.SystemQueue, ledger.BatchType, "", string(r.id), at)
	if held {
		why = "paused"
	}
	return why, until
}

// free is how many of the next n items no hold stands on, until the first that one does; and until when that stands.
func (r *batchRun) free(ctx context.Context, n int, at time.Time) (int, time.Time) {
	r.b.mu.Lock()
	none := len(r.b.holds.on) == 0
	r.b.mu.Unlock()
	if none {
		return n, time.Time{}
	}
	next := r.s.peek(n, len(r.spec.Items))
	for k, i := range next {
		item := r.spec.Item(i)
		queue := cmp.Or(item.Queue, r.queueOf(ctx, item.Type))
		r.b.mu.Lock()
		held, until := r.b.holds.over(r.org, queue, item.Type, item.Resource, string(r.id), at)
		r.b.mu.Unlock()
		if held {
			return k, until
		}
	}
	return len(next), time.Time{}
}

// queueOf is the queue of items that name none. Of a type that cannot be read it is a guess: its submit tells.
func (r *batchRun) queueOf(ctx context.Context, typ schemas.TypeName) schemas.QueueName {
	t, err := r.b.l.Type(ctx, typ)
	if err != nil {
		return schemas.QueueDefault
	}
	return cmp.Or(t.Queue, schemas.QueueDefault)
}
