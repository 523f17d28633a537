package dispatcher

import (
	stdheap "container/heap"
	"math"
	"time"

	"github.com/dartwing/jobledger/internal/ticks"
	"github.com/dartwing/jobledger/schemas"
)

// Schedules. The fold keeps of each the settings in force and how far its ticks are over; the heap is by
// the time of the next one. Which tick is due is told by package ticks, what becomes of it by the policies here:
//
//   - A tick is fired when a leader's now has reached its time and delay. Firing is a decision that the host
//     carries out as a submit under the tick's own job id, so that a tick makes at most one job whoever fires it.
//   - Several ticks due at once were missed but for the latest, and that too if it is late (MissedGrace).
//   - While its org is suspended none is fired: new work of it parks, and a tick parks best by not being made.
//     Those that passed were missed, when the org is resumed.
//   - A tick is over when its job is in the ledger, or a later tick's is. All ticks are over that were due before
//     the schedule got its present times, or was resumed; and under overlap skip those that were due while the
//     latest tick's job had not ended. All of this is in the ledger, and every fold of it agrees.

// never is later than every due time.
const never = math.MaxInt64

type scheduleKey struct {
	org  schemas.OrgID
	name string
}

// schedule is about 300 bytes, and the bits of its expression.
type schedule struct {
	key  scheduleKey
	born schemas.Seq // the event that it began with: what names it among flights
	set  schemas.Seq // the event in force
	was  schemas.ScheduleSettings
	plan *ticks.Plan // nil: this program cannot read its times

	over int64 // stream time, ns: ticks at or before it are over

	// The latest tick that has a job. open: it has not ended.
	last    int64
	lastJob schemas.JobID
	lastID  schemas.Seq // 0 until its submitted is folded
	open    bool

	retryAt  int64 // the job of a tick could not be submitted
	refusals int   // in a row
	wake     int64
	place    int // in the heap
}

// scheduleTable holds all schedules.
type scheduleTable struct {
	byKey map[scheduleKey]*schedule
	byJob map[schemas.Seq]*schedule // by the job of its latest tick
	early earlyTicks
	due   scheduleHeap // all, by wake
	fired uint64
	// missed are ticks that were more than schemas.MissedGrace late when they were skipped, or made up.
	missed uint64
}

func newScheduleTable() scheduleTable {
	return scheduleTable{byKey: make(map[scheduleKey]*schedule), byJob: make(map[schemas.Seq]*schedule), early: newEarlyTicks()}
}

// scheduleHeap is a heap in which every schedule stands once: a standby, which fires nothing, moves what the
// leader fires.
type scheduleHeap []*schedule

func (h scheduleHeap) Len() int { return len(h) }
func (h scheduleHeap) Less(i, j int) bool {
	if h[i].wake != h[j].wake {
		return h[i].wake < h[j].wake
	}
	return h[i].born < h[j].born
}
func (h scheduleHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i]; h[i].place, h[j].place = i, j }

// Push implements heap.Interface of the standard library.
func (h *scheduleHeap) Push(x any) { s := x.(*schedule); s.place = len(*h); *h = append(*h, s) }

// Pop implements heap.Interface of the standard library.
func (h *scheduleHeap) Pop() any {
	old := *h
	s := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return s
}

// foldSchedules folds what an event means for schedules. It is called once for each event, in ledger order,
// before the event is folded otherwise; again: Settle has done that. An event that is not legal must change
// nothing: see fold.
func (c *Core) foldSchedules(e *schemas.Event, again bool) {
	switch d := e.Data.(type) {
	case *schemas.ScheduleSet:
		c.scheduleSet(e, d)
	case *schemas.Submitted:
		if d.Tick != nil {
			c.tickSubmitted(scheduleKey{e.Org, d.Schedule}, *d.Tick, e.Job, e.Seq, true)
		}
	case *schemas.Completed:
		if again || c.runs(d.Submitted, d.Fence) {
			c.tickEnded(d.Submitted, e.Time)
		}
	case *schemas.Canceled:
		if again || c.mayClose(&d.Head, d.Fence) {
			c.tickEnded(d.Submitted, e.Time)
		}
	case *schemas.DeadLettered:
		if again || c.mayClose(&d.Head, d.Fence) {
			c.tickEnded(d.Submitted, e.Time)
		}
	case *schemas.Retried:
		switch s := c.schedules.byJob[d.Submitted]; {
		case s == nil:
			c.schedules.early.reopened(d.Submitted)
		case again || c.active[d.Submitted] == nil:
			s.open = true
			c.arm(s) // under overlap skip it holds up the next tick again
		}
	case *schemas.Carried:
		if t := d.Job.Spec.Tick; t != nil {
			c.tickSubmitted(scheduleKey{e.Org, d.Job.Spec.Schedule}, *t, e.Job, d.Submitted, !d.From.Finished())
		}
	}
}

// runs reports whether an attempt is the current one of a Running job.
func (c *Core) runs(id schemas.Seq, fence schemas.Fence) bool {
	a := c.active[id]
	return a != nil && a.running && a.fence == fence
}

// mayClose reports whether a job can have been closed from the state that the event names.
func (c *Core) mayClose(h *schemas.Head, fence schemas.Fence) bool {
	a := c.active[h.Submitted]
	switch h.From {
	case schemas.StateRunning:
		return c.runs(h.Submitted, fence)
	case schemas.StateQueued:
		return a != nil && !a.running
	}
	return a == nil
}

// scheduleSet folds settings.
func (c *Core) scheduleSet(e *schemas.Event, d *schemas.ScheduleSet) {
	key := scheduleKey{d.Settings.Org, d.Settings.Name}
	if e.Subject != d.Place() {
		return // it is not this schedule's to say
	}
	s := c.schedules.byKey[key]
	if s != nil && d.Carried != nil && s.was.Generation == d.Settings.Generation && s.was.SameTimes(&d.Settings) {
		s.set = e.Seq // told again, so that the event which set it may leave the hot ledger
		return
	}
	tick, ticked := c.schedules.early.take(key)
	if s != nil && (d.Settings.Removed || s.was.Generation != d.Settings.Generation) {
		c.dropSchedule(s)
		s = nil
	}
	if d.Settings.Removed {
		return
	}
	if s == nil {
		s = &schedule{key: key, born: e.Seq, over: e.Time.UnixNano(), wake: never}
		c.schedules.byKey[key] = s
		stdheap.Push(&c.schedules.due, s)
	}
	if !c.parked(s) {
		s.skipped(e.Time)
	}
	if !s.was.SameTimes(&d.Settings) || s.plan == nil {
		s.over = max(s.over, e.Time.UnixNano())
		s.plan, _ = ticks.For(&d.Settings) // it was read before it was stored; another version may have
	}
	s.set, s.was = e.Seq, d.Settings
	s.was.Job = schemas.JobTemplate{} // the host reads it when it makes a job: args may be large
	s.was.Description = ""
	s.retryAt, s.refusals = 0, 0
	if d.Carried != nil {
		c.resumeSchedule(s, d.Carried)
	}
	if ticked {
		c.resumeTick(s, &tick)
	}
	c.arm(s)
}

// skipped notes that what a leader can have skipped before at stays so, whatever holds the schedule up then and whichever
// policy comes next: the leader left no trace.
func (s *schedule) skipped(at time.Time) {
	if s.was.MissedPolicy() == schemas.MissedSkip && s.plan != nil && !s.waits() {
		s.over = max(s.over, at.Add(-s.was.Delay()-schemas.MissedGrace).UnixNano()-1)
	}
}

func (c *Core) dropSchedule(s *schedule) {
	delete(c.schedules.byKey, s.key)
	delete(c.schedules.byJob, s.lastID)
	stdheap.Remove(&c.schedules.due, s.place)
}

// tickSubmitted notes the job of a tick.
func (c *Core) tickSubmitted(key scheduleKey, tick time.Time, job schemas.JobID, id schemas.Seq, open bool) {
	s := c.schedules.byKey[key]
	at := tick.UnixNano()
	if s == nil {
		c.schedules.early.submitted(key, earlyTick{at: tick, job: job, id: id, open: open})
		return
	}
	if at < s.last || job != schemas.TickJobID(key.name, s.was.Generation, tick) {
		return // of an earlier tick, as one made up by hand, or of an earlier schedule under this name
	}
	if s.lastID != id {
		delete(c.schedules.byJob, s.lastID)
		c.schedules.byJob[id] = s
		s.last, s.lastJob, s.lastID, s.open = at, job, id, open
	}
	s.over = max(s.over, at)
	s.retryAt, s.refusals = 0, 0
	c.arm(s)
}

// tickEnded notes that a job has ended, if it is the latest tick's of a schedule.
func (c *Core) tickEnded(id schemas.Seq, at time.Time) {
	s := c.schedules.byJob[id]
	if s == nil {
		c.schedules.early.ended(id, at)
		return
	}
	if !s.open {
		return
	}
	s.open = false
	if s.was.OverlapPolicy() == schemas.OverlapSkip {
		s.over = max(s.over, at.Add(-s.was.Delay()).UnixNano())
	}
	c.arm(s)
}

// arm has the schedule looked at when its next tick is due.
func (c *Core) arm(s *schedule) {
	wake := int64(never)
	_, flying := c.flights[s.born]
	held := s.was.Paused || s.waits() || c.parked(s)
	if !flying && !held && s.plan != nil {
		if next := s.plan.Next(time.Unix(0, s.over)); !next.IsZero() {
			wake = max(next.Add(s.was.Delay()).UnixNano(), s.retryAt)
		}
	}
	if wake != s.wake {
		s.wake = wake
		stdheap.Fix(&c.schedules.due, s.place)
	}
}

// waits reports whether ticks pass until the latest job has ended.
func (s *schedule) waits() bool { return s.open && s.was.OverlapPolicy() == schemas.OverlapSkip }

// parked reports whether ticks wait for the schedule's org to be resumed.
func (c *Core) parked(s *schedule) bool { return c.settings.orgs[s.key.org].Parked() }

// armSchedulesOf has those of one org looked at, which was suspended or resumed at a time. It passes all schedules: an org
// is suspended by hand.
func (c *Core) armSchedulesOf(org schemas.OrgID, at time.Time) {
	for key, s := range c.schedules.byKey {
		if key.org == org {
			if c.parked(s) {
				s.skipped(at)
			}
			c.arm(s)
		}
	}
}

// armSchedules has every schedule looked at.
func (c *Core) armSchedules() {
	for _, s := range c.schedules.byKey {
		c.arm(s)
	}
}

// tick fires what is due.
func (c *Core) tick(now time.Time, max int) (out []Decision) {
	for len(c.schedules.due) > 0 && len(out) < max {
		s := c.schedules.due[0]
		if s.wake > now.UnixNano() {
			return out
		}
		if t, ok := c.dueTick(s, now); ok {
			d := Decision{Kind: DecideTick, ID: s.born, At: s.set, Org: s.key.org, Schedule: s.key.name, Tick: t}
			if s.open && s.was.OverlapPolicy() == schemas.OverlapReplace {
				d.Job = s.lastJob
			}
			out = append(out, c.fly(d, &flight{}))
		}
		c.arm(s)
	}
	return out
}

// dueTick returns the tick to fire now: the first one that the policy for missed ticks leaves.
func (c *Core) dueTick(s *schedule, now time.Time) (time.Time, bool) {
	until := now.Add(-s.was.Delay())
	due := s.plan.Latest(time.Unix(0, s.over), until, s.was.MadeUp())
	if len(due) == 0 {
		return time.Time{}, false
	}
	if s.was.MissedPolicy() == schemas.MissedSkip && until.Sub(due[0]) > schemas.MissedGrace {
		s.over = until.UnixNano() // a later leader finds it later still
		c.schedules.missed++
		return time.Time{}, false
	}
	return due[0], true
}

// landTick follows up the settlement of a tick.
func (c *Core) landTick(d *Decision, r *Result) {
	s := c.schedules.byKey[scheduleKey{d.Org, d.Schedule}]
	if s == nil || s.born != d.ID {
		return
	}
	at := d.Tick.UnixNano()
	switch r.Outcome {
	case Stored:
		c.schedules.fired++
		if c.now-int64(s.was.Delay())-at > int64(schemas.MissedGrace) {
			c.schedules.missed++
		}
		if at > s.last { // else the tail was faster
			delete(c.schedules.byJob, s.lastID)
			s.last, s.lastJob, s.lastID, s.open = at, schemas.TickJobID(d.Schedule, s.was.Generation, d.Tick), 0, true
		}
		s.over = max(s.over, at)
	case Unreadable:
		s.over = max(s.over, at) // whatever it is, it stands under the tick's id
	case Later:
		// Ever later, a minute at last: what refuses one schedule, such as a disabled type, may refuse a thousand.
		const doublings, most = 4, time.Minute
		pause := min(laterPause<<min(s.refusals, doublings), most)
		s.retryAt = r.Until.Add(pause - laterPause).UnixNano()
		s.refusals++
	}
	c.arm(s)
}

// ScheduleState says how a schedule stands in the fold.
type ScheduleState struct {
	Generation int
	Set        schemas.Seq   // the event in force
	Next       time.Time     // tick; zero if there is none, or none while Waits, Parked or the schedule is paused
	FireAt     time.Time     // when it fires: Next and the schedule's delay
	Last       time.Time     // tick of LastJob; zero if none was fired
	LastJob    schemas.JobID // the latest that a tick made
	Open       bool          // LastJob has not ended
	Waits      bool          // ticks pass until it has
	Parked     bool          // the org is suspended, and ticks that pass were missed when it is resumed; or it was deleted
	Broken     bool          // this program cannot read the schedule's times
	// Carried is what a repetition of its settings says, for a fold that begins there.
	Carried schemas.ScheduleCarried
}

// Schedule returns how a schedule stands; false if there is none.
func (c *Core) Schedule(org schemas.OrgID, name string) (ScheduleState, bool) {
	s := c.schedules.byKey[scheduleKey{org, name}]
	if s == nil {
		return ScheduleState{}, false
	}
	out := ScheduleState{Generation: s.was.Generation, Set: s.set, LastJob: s.lastJob, Open: s.open, Broken: s.plan == nil,
		Waits: s.waits(), Parked: c.parked(s), Carried: s.carry()}
	if s.last != 0 {
		out.Last = time.Unix(0, s.last).UTC()
	}
	if s.plan != nil && !s.was.Paused && !out.Waits && !out.Parked {
		if out.Next = s.plan.Next(time.Unix(0, s.over)); !out.Next.IsZero() {
			out.FireAt = out.Next.Add(s.was.Delay())
		}
	}
	return out, true
}
