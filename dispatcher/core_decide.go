package dispatcher

import (
	"cmp"
	"slices"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Times are the core's durations. Tests use shorter ones.
type Times struct {
	Lease        time.Duration // silence after which an attempt is lost
	Reoffer      time.Duration // after which an unclaimed Queued job is offered again (DESIGN D7); doubles up to eightfold
	CancelMargin time.Duration // added to a type's grace before the leader ends a cancel itself
	Sweep        time.Duration // between looks at all Queued and Running jobs
}

// DefaultTimes are those of the design.
func DefaultTimes() Times {
	return Times{Lease: ledger.Lease, Reoffer: time.Second, CancelMargin: 5 * time.Second, Sweep: 250 * time.Millisecond}
}

// Kind says what a decision asks for.
type Kind uint8

// The kinds. Those before DecideRemove are settled; it and what follows are hints and are not.
const (
	DecideQueue      Kind = iota + 1 // append queued, then offer
	DecideOffer                      // offer a Queued job (again)
	DecideExpire                     // dead-letter a job whose deadline passed
	DecideLose                       // close the attempt of a silent holder
	DecideOverrun                    // close an attempt at its hard limit
	DecideEndCancel                  // close an attempt whose cancel nobody carried out
	DecideDuplicate                  // cancel a job whose work another one stands for
	DecideLookup                     // read how a parent stands
	DecideDependency                 // end a job whose parent failed: dead-letter it or cancel it
	DecideTick                       // submit the job of a schedule's tick
	DecideDissolve                   // dead-letter a job whose org was deleted
	DecideRemove                     // remove an offer from WORK by its sequence
	DecideSignal                     // tell a session that a cancel was requested
)

// Decision is one thing to do about one job.
type Decision struct {
	Kind Kind
	N    uint64        // number of the decision, for Settle
	ID   schemas.Seq   // the job's identity: sequence of its submitted
	At   schemas.Seq   // an event of the job: where the host learns its id when Job is empty
	Org  schemas.OrgID // empty only where Job is
	Job  schemas.JobID // empty for jobs that wait

	Fence   schemas.Fence     // of lose, overrun, end cancel, signal
	Cause   schemas.LossCause // of lose
	Of      schemas.Seq       // of duplicate: an event of the job that blocks it; of dependency: what ended the parent, 0 if that is not known
	Parent  schemas.ParentRef // of lookup and dependency
	Cascade bool              // of dependency: because a cancel was asked for with all that wait
	Session schemas.SessionID // of signal
	Work    uint64            // of remove: WORK sequence
	Alone   bool              // of queue and offer: the job is under a limit of one
	By      schemas.EventID   // of dissolve: the event that deleted the org

	// Of tick: ID is the event that the schedule began with, At the settings in force, and Job the earlier tick's
	// job that this one replaces, if any.
	Schedule string
	Tick     time.Time
}

// Outcome says what became of a decision.
type Outcome uint8

// The outcomes.
const (
	// Stored: Result.Event is in the ledger; of an offer, the offer stands in WORK.
	Stored Outcome = iota + 1
	// Gone: the job's own fold says that the decision is moot. The tail brings or brought the reason.
	Gone
	// Later: the job may not be queued before Result.Until.
	Later
	// Unreadable: the job holds an event this binary cannot decode; nothing is decided about it any more.
	Unreadable
	// Failed: nothing is known to be stored; decide again.
	Failed
)

// Result settles a decision.
type Result struct {
	Outcome Outcome
	Event   *schemas.Event // what was stored; nil for an offer
	Work    uint64         // WORK sequence of the offer that stands, 0 if none
	Until   time.Time      // of Later
	Ending  *ledger.Ending // of a look-up
}

// flight is a decision that was given out and not settled.
type flight struct {
	n    uint64
	kind Kind
	// held: lane and job are an entry taken out, to be put back if the decision fails.
	held bool
	// met: the entry was not the reason of the decision: it came to the fore during the flight, and is put back
	// whatever becomes of that.
	met  bool
	lane *lane
	job  entry
	pool *pool // whose room it takes
	// stake is its share of the limits, until it is folded as Queued.
	stake stake
	// done: the queued event was folded. orphan: the job left Queued unclaimed, so an offer that was on its
	// way is to be removed.
	done, orphan bool
}

// fly gives a decision out.
func (c *Core) fly(d Decision, f *flight) Decision {
	c.flown++
	d.N, f.n, f.kind = c.flown, c.flown, d.Kind
	c.flights[d.ID] = f
	c.stats.Decided++
	return d
}

// land forgets a flight and puts back what it took.
func (c *Core) land(id schemas.Seq, f *flight) {
	delete(c.flights, id)
	if f.pool != nil {
		f.pool.charged--
		f.pool = nil
	}
	if f.stake.held() { // it was not queued
		f.stake.refund()
		c.giveBack(&f.stake)
	}
	if f.held {
		c.restore(f.lane, f.job)
	}
}

// void reports whether an entry must not be decided upon, and keeps what has to be kept of it; the caller
// drops it.
func (c *Core) void(l *lane, e entry) bool {
	if c.dead(e) {
		return true
	}
	if _, ok := c.active[e.id]; ok {
		return true // Queued or Running already: a second entry of the same job
	}
	if f, ok := c.flights[e.id]; ok {
		if !f.held {
			f.held, f.met, f.lane, f.job = true, true, l, e
		}
		return true
	}
	return false
}

// Decide returns at most max decisions due at stream time now; mono is the caller's monotonic clock. None
// is returned twice before it is settled. A core that does not lead decides nothing.
func (c *Core) Decide(now time.Time, mono time.Duration, max int) []Decision {
	lease := c.clock.advance(mono)
	c.now = now.UnixNano()
	c.expireSessions(lease)
	c.retire()
	if !c.leading {
		return nil
	}
	c.settleDown(lease)
	c.awaken()
	out := c.notes
	c.notes = nil
	out = append(out, c.fire(now, max)...)
	out = append(out, c.doom(max-len(out))...)
	out = append(out, c.endChildren(max-len(out))...)
	out = append(out, c.lookUp(max-len(out))...)
	out = append(out, c.tick(now, max-len(out))...)
	out = append(out, c.offer(now, max-len(out))...)
	out = append(out, c.sweep(now, lease, max-len(out))...)
	out = append(out, c.dissolve(now, max-len(out))...)
	return append(out, c.admit(now, max-len(out))...)
}

// offer gives out the offers that are due at once.
func (c *Core) offer(now time.Time, max int) (out []Decision) {
	for len(c.unsent) > 0 && len(out) < max {
		a := c.unsent[0]
		c.unsent = c.unsent[1:]
		if _, flying := c.flights[a.id]; !flying && c.active[a.id] == a && !a.running && !a.mute && a.work == 0 && c.offerable(a) {
			out = append(out, c.offerOf(a, now))
		}
	}
	return out
}

func (c *Core) offerOf(a *active, now time.Time) Decision {
	const doublings = 3
	a.offerAt = now.UnixNano() + int64(c.times.Reoffer)<<min(a.offers, doublings)
	a.offers++
	return c.fly(Decision{Kind: DecideOffer, ID: a.id, At: a.at, Org: a.org, Job: a.job, Alone: a.stake.limitOne()}, &flight{})
}

// sweep looks at every Queued and Running job: leases, hard limits, cancels, offers that nobody took. Their
// number is bounded by slots, which makes a scan cheaper than timers that nearly always turn out void.
func (c *Core) sweep(now time.Time, lease time.Duration, max int) (out []Decision) {
	if now.UnixNano() < c.sweepAt || max <= 0 {
		return nil
	}
	var due, dissolved []*active
	for _, a := range c.active {
		switch _, flying := c.flights[a.id]; {
		case flying || a.mute:
		case c.gone(a.org): // before all else, a silent holder too
			dissolved = append(dissolved, a)
		case c.due(a, now.UnixNano(), lease):
			due = append(due, a)
		}
	}
	c.foundDissolved(dissolved)
	sortActive(due)
	for _, a := range due[:min(max, len(due))] {
		out = append(out, c.close(a, now, lease))
	}
	if len(due) <= max {
		c.sweepAt = now.Add(c.times.Sweep).UnixNano()
	}
	return out
}

// due reports whether something is to be decided about a now.
func (c *Core) due(a *active, now int64, lease time.Duration) bool {
	if a.running {
		return c.silent(a, lease) || now >= a.hardAt || a.cancelAt != 0 && now >= a.cancelAt
	}
	if a.pool != nil && a.pool.free() > 0 && now-a.queuedAt >= int64(c.times.Reoffer) {
		// Slots are free and yet nobody took it: it must not keep others from them.
		c.uncharge(a)
	}
	return now >= a.offerAt && c.offerable(a)
}

func (c *Core) silent(a *active, lease time.Duration) bool { return lease-a.named >= c.times.Lease }

// close decides what due found, by the order of R-226: the lease first.
func (c *Core) close(a *active, now time.Time, lease time.Duration) Decision {
	if !a.running {
		return c.offerOf(a, now)
	}
	d := Decision{Kind: DecideOverrun, ID: a.id, At: a.at, Org: a.org, Job: a.job, Fence: a.fence}
	switch {
	case c.silent(a, lease):
		d.Kind, d.Cause = DecideLose, c.causeOf(a)
	case a.cancelAt != 0 && now.UnixNano() >= a.cancelAt:
		d.Kind = DecideEndCancel
	}
	return c.fly(d, &flight{})
}

// admit queues jobs while pools have room: late, so that fairness and priority are decided when a slot
// turns over and not when a job arrives (DESIGN D5).
func (c *Core) admit(now time.Time, max int) (out []Decision) {
	for progress := true; progress && len(out) < max; {
		progress = false
		for _, p := range c.pools {
			if len(out) >= max || p.room(now) <= 0 {
				continue
			}
			got, ok := c.pick(p, now)
			if !ok {
				continue
			}
			l, e := got.lane, got.job
			progress = true
			p.charged++
			d := Decision{Kind: DecideQueue, ID: e.id, At: c.movedTo(&e), Org: l.node.org, Alone: got.stake.limitOne()}
			out = append(out, c.fly(d, &flight{held: true, lane: l, job: e, pool: p, stake: got.stake}))
		}
	}
	return out
}

// Settle tells what became of a decision. A stored event takes effect at once; the Apply that brings it
// later is recognised by its sequence.
func (c *Core) Settle(d Decision, r Result) {
	if d.Kind == DecideLookup {
		c.settleLookup(d, r)
		return
	}
	f, ok := c.flights[d.ID]
	if !ok || f.n != d.N {
		return // of an earlier epoch: the tail tells
	}
	switch r.Outcome {
	case Stored:
		c.stored(d, r)
	case Gone, Unreadable:
		c.stats.Refused++
		f.held = f.held && f.met && r.Outcome == Gone
		if a := c.active[d.ID]; a != nil && r.Outcome == Unreadable {
			a.mute = true
			c.uncharge(a)
		}
	case Later:
		if f.held {
			f.held = false
			c.wakeAt(r.Until.UnixNano(), c.lane(f.lane.node.org, f.lane.head(), f.lane.batch), f.job)
		}
	case Failed:
		c.stats.Failed++
	}
	c.land(d.ID, f)
	switch f.kind {
	case DecideDuplicate:
		c.landDuplicate(d.ID, r.Outcome)
	case DecideTick:
		c.landTick(&d, &r)
	case DecideDependency:
		c.landDependency(d.ID, r.Outcome)
	case DecideDissolve:
		c.dissolution.flying--
	}
	if f.kind == DecideQueue || r.Outcome == Failed {
		c.rearm(d.ID) // a deadline that passed during the flight
	}
	a := c.active[d.ID]
	switch queued := a != nil && !a.running; {
	case queued && r.Work != 0:
		a.work = r.Work
		c.recallIf(a)
	case queued && f.done && r.Outcome == Gone:
		c.offerNow(a) // somebody else's queued event was taken for ours
	case f.orphan:
		c.removeOffer(r.Work)
	}
}

func (c *Core) stored(d Decision, r Result) {
	if r.Event == nil || r.Event.Seq <= c.position {
		return
	}
	if _, ok := c.ahead[r.Event.Seq]; !ok {
		c.ahead[r.Event.Seq] = r.Event.ID
		c.fold(r.Event, false)
	}
}

func (c *Core) removeOffer(work uint64) {
	if work != 0 && c.leading {
		c.notes = append(c.notes, Decision{Kind: DecideRemove, Work: work})
	}
}

func sortActive(as []*active) {
	slices.SortFunc(as, func(a, b *active) int { return cmp.Compare(a.id, b.id) })
}
