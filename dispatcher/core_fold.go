package dispatcher

import (
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// fold folds one event. again: Settle has folded it already, and what it does to lanes and timers is not
// done twice; records are folded again, since events before it were seen only now.
//
// An event that is not legal where it stands must change nothing. There is no map of all jobs to
// judge by: an event about a Queued or Running job is judged by its record, and one about a waiting job can
// at worst lead to a decision that the job's own fold refuses.
func (c *Core) fold(e *schemas.Event, again bool) {
	switch d := e.Data.(type) {
	case *schemas.CellStarted:
		c.cellStarted(d.Start(e.Seq))
		c.cell = d.Cell
	case *schemas.Submitted:
		if !again {
			c.submitted(e, d)
		}
	case *schemas.Queued:
		c.queued(e, d, again)
	case *schemas.Running:
		c.running(e, d)
	case *schemas.Released:
		c.requeued(e, &d.AttemptHead, noVerdict, d.Cause == schemas.ReleaseDrain)
	case *schemas.Lost:
		v := bad
		if d.Cause == schemas.LossCellRestart {
			v = noVerdict
		}
		c.requeued(e, &d.AttemptHead, v, true)
	case *schemas.Failed:
		c.retrying(e, &d.AttemptHead, d.DelayMS, again, false)
	case *schemas.TimedOut:
		c.retrying(e, &d.AttemptHead, d.DelayMS, again, true)
	case *schemas.Completed:
		if a := c.ended(e, d.Submitted, d.Fence); a != nil {
			c.vacate(a, e, good, false)
			c.finished(d.Submitted, schemas.StateCompleted)
			c.parentEnded(e, &d.Head, true)
		} else {
			c.parentEnded(e, &d.Head, false)
		}
	case *schemas.Canceled:
		c.closed(e, &d.Head, d.Fence, schemas.StateCanceled, again, noVerdict, d.Forced || d.Outcome == "")
		if d.Cascade {
			c.cascade(e, &d.Head)
		}
		c.parentEnded(e, &d.Head, false)
	case *schemas.DeadLettered:
		v := bad
		if d.Reason == schemas.DeadOrgDeleted || d.Cause == schemas.LossCellRestart {
			v = noVerdict
		}
		c.closed(e, &d.Head, d.Fence, schemas.StateDeadLettered, again, v, d.Outcome != schemas.EventFailed)
		c.parentEnded(e, &d.Head, false)
	case *schemas.CancelRequested:
		c.cancelRequested(e, d)
		if d.Cascade {
			c.cascade(e, &d.Head)
		}
	case *schemas.Retried:
		if !again {
			c.retried(e, d)
		}
	case *schemas.Carried:
		c.carried(e, d)
	case schemas.Setting:
		if !again {
			c.set(e, d)
		}
	case *schemas.BreakerClosed:
		c.closeBreaker(d)
	}
}

func (c *Core) submitted(e *schemas.Event, d *schemas.Submitted) {
	if c.duplicate(e, d) {
		return
	}
	h := schemas.Head{Type: d.Type, Queue: d.Queue, Priority: d.Priority, Resource: d.Resource}
	notBefore, deadline := d.Due(e.Time)
	if !deadline.IsZero() {
		c.setDeadline(e.Seq, e.Seq, deadline.UnixNano())
	}
	job := entry{id: e.Seq, at: e.Seq}
	if len(d.Parents) > 0 {
		c.park(e.Org, &h, job, dueOf(notBefore), d.Parents)
		return
	}
	if notBefore.After(e.Time) {
		c.wakeAt(notBefore.UnixNano(), c.laneOfJob(e, &h), job)
		return
	}
	c.enter(c.laneOfJob(e, &h), job)
}

func (c *Core) queued(e *schemas.Event, d *schemas.Queued, again bool) {
	id := d.Submitted
	if _, ok := c.active[id]; ok {
		return // illegal, or folded already
	}
	a := &active{id: id, org: e.Org, job: e.Job, pair: c.pair(d.Queue, d.Type), at: e.Seq,
		timeout: d.Policy.TimeoutMS.Duration(), grace: d.Policy.GraceMS.Duration()}
	f := c.flights[id]
	switch {
	case f != nil && f.kind == DecideQueue && f.held:
		// Ours: the host publishes the offer in the same breath.
		f.done, f.held = true, false
		a.pool, f.pool = f.pool, nil
		a.stake, f.stake = f.stake, stake{}
		c.toQueued(a, e)
		return
	default:
		c.unwait(id, e.Seq, &d.Head, again)
	}
	// By an operator (run now) or an earlier leader: nobody is known to have offered it. It is Queued whatever the
	// limits say; those of one are judged when it is to be offered.
	a.stake = c.stakeFor(a.pair, a.org, d.Resource)
	a.stake.charge(e.Time.UnixNano())
	if a.pool = a.pair.roomiest(); a.pool != nil {
		a.pool.charged++
	}
	c.toQueued(a, e)
	c.offerNow(a)
}

// toQueued puts a record into the state Queued.
func (c *Core) toQueued(a *active, e *schemas.Event) {
	a.at, a.running, a.queuedAt = e.Seq, false, e.Time.UnixNano()
	a.work, a.offers = 0, 0
	a.offerAt = a.queuedAt + int64(c.times.Reoffer)
	a.shelved = false
	a.pair.queued++
	a.pair.active++
	c.active[a.id] = a
}

// dropActive forgets a record.
func (c *Core) dropActive(a *active) {
	delete(c.active, a.id)
	a.pair.active--
	c.dropPair(a.pair)
}

func (c *Core) offerNow(a *active) {
	if c.leading {
		c.unsent = append(c.unsent, a)
	}
}

// leaveQueued undoes toQueued, but for the record itself.
func (c *Core) leaveQueued(a *active) {
	if !a.shelved {
		a.pair.queued--
	}
	a.shelved = false
	c.uncharge(a)
}

func (c *Core) uncharge(a *active) {
	if a.pool != nil {
		a.pool.charged--
		a.pool = nil
	}
}

func (c *Core) running(e *schemas.Event, d *schemas.Running) {
	a, ok := c.active[d.Submitted]
	if !ok || a.running || e.Seq <= a.at {
		return
	}
	c.leaveQueued(a)
	a.at, a.running, a.work = e.Seq, true, 0 // its worker acks the offer
	a.fence = schemas.Fence{Seq: e.Seq, ID: e.ID}
	a.hardAt = e.Time.Add(a.timeout + schemas.HardLimitMargin).UnixNano()
	a.cancelAt = 0
	a.session = c.session(d.Session)
	a.named, a.heard = c.clock.now, false
	a.stake.enliven(true)
	c.probe(&a.stake, e.Time.UnixNano())
	c.fences[e.Seq] = a
	a.session.add(1, 0)
}

// ended closes a record's attempt and returns it, nil if the event names no current one. What it holds of limits is
// still to be given back: by vacate, or when the job is Queued again.
func (c *Core) ended(e *schemas.Event, id schemas.Seq, fence schemas.Fence) *active {
	a, ok := c.active[id]
	if !ok || !a.running || a.fence != fence || e.Seq <= a.at {
		return nil
	}
	delete(c.fences, a.fence.Seq)
	c.dropActive(a)
	a.session.add(-1, 0)
	if a.session.pool != nil {
		a.session.pool.ends.add(e.Time.UnixNano())
	}
	return a
}

// vacate gives back what an attempt that has ended held of limits. left: its handler may run on; it holds them until
// its session is known to have got rid of it (DESIGN D7).
func (c *Core) vacate(a *active, e *schemas.Event, v verdict, left bool) {
	c.judge(&a.stake, e.Time.UnixNano(), v)
	if left {
		c.stay(a, &a.stake)
		return
	}
	c.giveBack(&a.stake)
}

// requeued folds released and lost: the job is Queued again and has no offer.
func (c *Core) requeued(e *schemas.Event, h *schemas.AttemptHead, v verdict, left bool) {
	a := c.ended(e, h.Submitted, h.Fence)
	if a == nil {
		return
	}
	a.pair = c.pair(h.Queue, h.Type) // the record's own may just have been forgotten
	held := a.stake
	a.stake = c.stakeFor(a.pair, a.org, h.Resource) // before the other is given back, which would let others in
	c.judge(&held, e.Time.UnixNano(), v)
	if left {
		c.stay(a, &held)
	} else {
		c.giveBack(&held)
	}
	a.session, a.fence, a.cancelAt = nil, schemas.Fence{}, 0
	if a.pool = a.pair.roomiest(); a.pool != nil {
		a.pool.charged++
	}
	c.toQueued(a, e)
	c.offerNow(a)
	c.rearm(a.id)
}

// retrying folds failed and timed_out: the job waits for its retry to be due.
func (c *Core) retrying(e *schemas.Event, h *schemas.AttemptHead, delay schemas.Millis, again, left bool) {
	a := c.ended(e, h.Submitted, h.Fence)
	if a == nil {
		return
	}
	c.vacate(a, e, bad, left)
	if again {
		return
	}
	c.wakeAt(e.Time.Add(delay.Duration()).UnixNano(), c.laneOfJob(e, &h.Head), entry{id: h.Submitted, at: e.Seq})
	c.rearm(h.Submitted)
}

// unseen reports whether the job began before the first event this fold has seen. Of such a job the ledger holds, before
// what begins it here (carried, retried), at most the end of an earlier story: that is passed over. So that a second
// carried is told from the first, moved names each unseen job that waits in a lane or a timer, whatever its entry says.
func (c *Core) unseen(id schemas.Seq) bool { return id < c.first }

// begun notes that a job stands in a lane or a timer.
func (c *Core) begun(e entry) {
	if c.unseen(e.id) && !c.waits(e.id) {
		c.moved[e.id] = e.at
	}
}

// waits reports whether an unseen job stands in a lane or a timer.
func (c *Core) waits(id schemas.Seq) bool {
	_, ok := c.moved[id]
	return ok
}

// closed folds canceled and dead_lettered, from whatever state they name.
func (c *Core) closed(e *schemas.Event, h *schemas.Head, fence schemas.Fence, to schemas.State, again bool, v verdict, left bool) {
	id := h.Submitted
	switch h.From {
	case schemas.StateRunning:
		a := c.ended(e, id, fence)
		if a == nil {
			return
		}
		c.vacate(a, e, v, left)
	case schemas.StateQueued:
		a, ok := c.active[id]
		if !ok || a.running || e.Seq <= a.at {
			return
		}
		c.leaveQueued(a)
		c.dropActive(a)
		c.giveBack(&a.stake)
		if f := c.flights[id]; f != nil {
			f.orphan = true // an offer may be on its way
		}
		c.removeOffer(a.work)
	case schemas.StateSubmitted, schemas.StateRetrying:
		if _, ok := c.active[id]; ok {
			return
		}
		c.unwait(id, e.Seq, h, again)
	}
	c.finished(id, to)
}

// unwait removes a job that waited until the event at, wherever it waits: in a flight's hand, with its
// parents, in a lane or a timer.
func (c *Core) unwait(id, at schemas.Seq, h *schemas.Head, again bool) {
	f, ch := c.flights[id], c.family.children[id]
	switch {
	case ch != nil:
		c.unpark(ch)
	case f != nil && (f.held || f.kind == DecideQueue):
		f.held = false
	case c.dedup.doomed[id] != 0: // in no lane
	case c.unseen(id) && !c.waits(id): // nor is one whose beginning left the ledger
	case !again:
		c.bury(id, at, h)
	}
}

// finished forgets what is kept of a job for as long as it is unfinished.
func (c *Core) finished(id schemas.Seq, as schemas.State) {
	delete(c.deadlines, id)
	c.dedupState(id, as)
}

func (c *Core) cancelRequested(e *schemas.Event, d *schemas.CancelRequested) {
	a, ok := c.active[d.Submitted]
	if !ok || !a.running || a.fence != d.Fence {
		return
	}
	a.cancelAt = e.Time.Add(a.grace + c.times.CancelMargin).UnixNano()
	if c.leading {
		c.notes = append(c.notes, Decision{Kind: DecideSignal, ID: a.id, Org: a.org, Job: a.job, Fence: a.fence, Session: a.session.id})
	}
}

func (c *Core) retried(e *schemas.Event, d *schemas.Retried) {
	if _, ok := c.active[d.Submitted]; ok {
		return
	}
	if d.Deadline != nil {
		c.setDeadline(d.Submitted, e.Seq, d.Deadline.UnixNano())
	}
	c.dedupState(d.Submitted, schemas.StateSubmitted)
	job := entry{id: d.Submitted, at: e.Seq}
	if len(d.Parents) > 0 {
		c.park(e.Org, &d.Head, job, 0, d.Parents)
		return
	}
	c.enter(c.laneOfJob(e, &d.Head), job)
}

// carried folds a job's whole state. To a fold that has seen the job it says only from where to read it
// from now on; to one that begins after the purge it is the job's first event (DESIGN D13). What it says of times is
// absolute, so one that comes again changes nothing but that place.
func (c *Core) carried(e *schemas.Event, d *schemas.Carried) {
	id := d.Submitted
	c.dedupCarried(e, d)
	if d.From.Finished() {
		return
	}
	if !d.Job.Deadline.IsZero() {
		c.setDeadline(id, e.Seq, d.Job.Deadline.UnixNano())
	}
	f := c.flights[id]
	switch {
	case c.active[id] != nil:
	case d.From == schemas.StateQueued:
		a := &active{id: id, org: e.Org, job: e.Job, pair: c.pair(d.Queue, d.Type),
			timeout: d.Job.Policy.TimeoutMS.Duration(), grace: d.Job.Policy.GraceMS.Duration()}
		a.stake = c.stakeFor(a.pair, a.org, d.Resource)
		c.toQueued(a, e)
		c.offerNow(a)
	case c.dedup.doomed[id] != 0: // in no lane
	case c.carriedChild(id, e.Seq):
	case f != nil && f.held:
		// Its writer reads the subject again when the append is refused; if nothing comes of that, it is put back so.
		f.job.at = e.Seq
	case !c.unseen(id), c.waits(id):
		c.moved[id] = e.Seq
	case len(d.Job.Spec.Parents) > 0 && d.From == schemas.StateSubmitted && !d.Job.ParentsWaived:
		c.park(e.Org, &d.Head, entry{id: id, at: e.Seq}, dueOf(d.Job.NotBefore), d.Job.Spec.Parents)
	default:
		due := laterOf(d.Job.NotBefore, d.Job.RetryAt)
		c.wakeAt(due.UnixNano(), c.laneOfJob(e, &d.Head), entry{id: id, at: e.Seq})
	}
}

// dueOf is a due time of a child, 0 if there is none.
func dueOf(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}
