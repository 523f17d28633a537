package sim_test

import (
	"context"
	"slices"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// The limits of a run. ledger.Verify counts at its end what ran at once under each; the one of press, under which jobs run
// strictly one by one, is held to the handlers themselves (DESIGN D6).
const (
	press        = "press"
	orgRunning   = 6
	queueRunning = 7
	plainRunning = 4
)

// settings are what the client puts before it asks for anything.
func (w *world) settings() []schemas.Setting {
	window, grace, running := schemas.Millis(3000), schemas.Millis(1000), orgRunning
	backoff := schemas.Backoff{ListMS: []schemas.Millis{300, 900, 1500}}
	why := "simulation"
	return []schemas.Setting{
		&schemas.OrgSet{Settings: schemas.OrgSettings{Name: testOrg, MaxRunning: &running}, Reason: why},
		&schemas.QueueSet{Settings: schemas.QueueSettings{Name: schemas.QueueDefault, MaxRunning: queueRunning}, Reason: why},
		&schemas.ResourceSet{Settings: schemas.ResourceSettings{Name: press, MaxRunning: 1}, Reason: why},
		&schemas.TypeSet{Settings: schemas.TypeSettings{Name: typePlain, TimeoutMS: 5000, GraceMS: &grace, Backoff: backoff, PoisonLimit: 2, WindowMS: &window,
			MaxRunningPerOrg: plainRunning}, Reason: why},
		&schemas.TypeSet{Settings: schemas.TypeSettings{Name: typeOnce, TimeoutMS: 7000, GraceMS: &grace, Backoff: backoff, PoisonLimit: 1, WindowMS: &window,
			Exclusive: true, Breaker: &schemas.Breaker{MinAttempts: 3, WindowMS: 20_000, CooldownMS: 2000, ReopenMS: 1000}}, Reason: why},
	}
}

// putSettings stores them, once there is a ledger.
func (w *world) putSettings(ctx context.Context, l *ledger.Ledger) error {
	for _, set := range w.settings() {
		for {
			_, err := l.Put(ctx, ledger.Meta{}, set.Place(), func(schemas.Setting) (schemas.Setting, error) { return set, nil })
			if err == nil || w.orgGone(err) { // another client has put them before
				break
			}
			if err := wait(ctx, time.Second); err != nil {
				return err
			}
		}
	}
	return nil
}

// hold is one that is in force.
type hold struct {
	scope schemas.HoldScope
	seq   uint64
}

// judgeControl follows control events.
func (w *world) judgeControl(m *message) {
	w.net.hits.control(m)
	e, err := decode(m)
	if err != nil {
		w.truth.fail("event %d cannot be read: %v", m.seq, err)
		return
	}
	w.net.trace.note("== %d %s", m.seq, m.subject)
	if d, ok := e.Data.(*schemas.HoldSet); ok {
		if delete(w.truth.holds, m.subject); d.Settings.On {
			w.truth.holds[m.subject] = hold{d.Settings.Scope, m.seq}
		}
	}
}

// held returns the hold that was laid on a job before one of its events, and is in force; 0: none.
func (w *world) held(j *ledger.Job, since schemas.Seq) uint64 {
	for _, subject := range sortedKeys(w.truth.holds) {
		h := w.truth.holds[subject]
		if h.seq < uint64(since) && h.scope.Matches(j.Org, j.Spec.Queue, j.Spec.Type, j.Spec.Resource, j.Spec.Batch) {
			return h.seq
		}
	}
	return 0
}

// judgeQueued: nobody queues a job under a hold that was laid before the event which the job waits behind. Whoever decides
// upon that event has folded the hold; but one that the leader wrote itself, which takes effect before what stands in
// front of it is read.
func (w *world) judgeQueued(j *ledger.Job, before seat, seq uint64) {
	if w.net.engine.writer.role != "server" || before.role == "server" {
		return
	}
	if h := w.held(j, before.seq); h != 0 {
		w.truth.fail("%s is queued at %d under the hold of %d, which was laid before %d", j.ID, seq, h, before.seq)
	}
}

// judgeOffer: nobody offers a job that came to be Queued under a hold, by somebody else's event.
func (w *world) judgeOffer(m *message) {
	o, err := ledger.DecodeOffer(m.data)
	if err != nil {
		w.truth.fail("offer on %s cannot be read: %v", m.subject, err)
		return
	}
	j := w.net.hits.fold(schemas.JobSubject(o.Job.Org, o.Job.ID).String())
	at := w.truth.seats[j.ID]
	if j.State != schemas.StateQueued || at.role == "server" || o.Job.LastSeq != at.seq {
		return
	}
	if h := w.held(j, at.seq); h != 0 {
		w.truth.fail("%s is offered, Queued by %d, under the hold of %d", j.ID, at.seq, h)
	}
}

// seat is where a job stands: the event that brought it there, and the role of who wrote that.
type seat struct {
	seq  schemas.Seq
	role string
}

// judgeAlone: a handler under the limit of one starts when no other one is left, be its attempt closed or not.
func (w *world) judgeAlone(s *seen) {
	w.truth.mu.Lock()
	before := slices.DeleteFunc(w.truth.alone, func(o *pressing) bool { return o.returned || o.party.crashed || o.party.hasEnded() })
	w.truth.mu.Unlock()
	for _, o := range before {
		w.truth.fail("%s starts %s under a limit of one, and the handler of %s has not returned on %s", s.party, s.a.ID, o.id, o.party.name)
	}
	w.truth.alone = append(before, s.alone)
}

// pressing is a handler under the limit of one.
type pressing struct {
	id       schemas.JobID
	party    *party
	returned bool // guarded by truth.mu
}
