package dispatcher

import (
	"maps"
	"slices"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// Core decides what runs next. It is a fold of the ledger plus what workers say about themselves; it has
// no clock, no I/O and no goroutine, so every rule can be shown as a transcript and replayed against a real
// ledger (DESIGN D5). Its owner calls, in any order and from one goroutine:
//
//	Apply(event)             each event of the ledger, in order
//	Beat(beat, mono)         each worker's sign of life
//	Lead(epoch, mono), Follow()
//	Decide(now, mono, max)   what to do; each decision in flight is given out once
//	Settle(decision, result) what became of it
//
// now is stream time; mono is any monotonic clock.
//
// Only jobs that are Queued or Running have a record here, so their number is bounded by the slots of
// workers, and those that wait for parents. Any other waiting job is a 16 byte entry in a lane or a 24 byte timer.
type Core struct {
	times    Times
	position schemas.Seq // last event applied
	// positionID is its event id, empty where a message has none.
	positionID schemas.EventID
	first      schemas.Seq // first event applied: nothing before it was ever seen
	epoch      schemas.Seq // while leading
	leading    bool

	pairs   map[pairKey]*pair
	queues  map[schemas.QueueName]*queue
	waiting int                         // entries in lanes, dead ones included
	tombs   map[schemas.Seq]tomb        // by job: entries that are dead
	moved   map[schemas.Seq]schemas.Seq // by job: the event an entry is to be read from instead; of unseen jobs always
	timers  heap[timer]
	// slots are the lanes that timers will enter; 0 is none. freeSlots are to be used again.
	slots     []*lane
	freeSlots []uint32

	deadlines     map[schemas.Seq]deadline // by job: start-by times of unfinished jobs
	deadlineTimes int                      // entries of timers that are deadlines, void ones included

	dedup     dedupTables
	family    parentTables // jobs that wait for parents
	schedules scheduleTable
	// dissolution is what is left of deleted orgs.
	dissolution dissolution

	settings settings
	gates    map[scope]*gate
	root     *gate          // before everything
	odd      int            // holds in force on scopes that only holds have
	broken   map[scope]bool // gates whose breaker has opened, for metrics; it may have closed since
	retired  []*gate
	retireAt int64
	wakes    heap[wakening]
	now      int64 // stream time of the latest Decide

	// unsettled: this leader does not know yet all that workers still run. Nothing is started under a limit of one.
	unsettled bool
	leadAt    time.Duration // lease time at which the epoch began
	stray     bool          // an attempt may have left a handler behind that no beat was heard of

	active  map[schemas.Seq]*active // Queued and Running jobs
	fences  map[schemas.Seq]*active // Running ones by the sequence of their fence
	unsent  []*active               // Queued ones to be offered at once
	sweepAt int64                   // stream time of the next look at all active jobs

	flights map[schemas.Seq]*flight         // by job: the decision in flight
	flown   uint64                          // number of the latest decision
	ahead   map[schemas.Seq]schemas.EventID // events folded by Settle that Apply will see again
	notes   []Decision                      // hints to be given out by the next Decide

	sessions   map[schemas.SessionID]*session
	pools      []*pool // by key
	clock      leaseClock
	sessionsAt time.Duration // lease time of the next look at all sessions
	cellStart  schemas.Seq   // sequence of the latest cell_started
	cell       string        // the cell's id since then

	stats Stats
}

// NewCore returns a core that has seen nothing.
func NewCore(times Times) *Core {
	c := &Core{
		times: times, dedup: newDedupTables(), family: newParentTables(), schedules: newScheduleTable(), dissolution: newDissolution(), settings: newSettings(),
		gates: make(map[scope]*gate), broken: make(map[scope]bool), slots: []*lane{nil},
		pairs: make(map[pairKey]*pair), queues: make(map[schemas.QueueName]*queue),
		tombs: make(map[schemas.Seq]tomb), moved: make(map[schemas.Seq]schemas.Seq),
		deadlines: make(map[schemas.Seq]deadline),
		active:    make(map[schemas.Seq]*active), fences: make(map[schemas.Seq]*active),
		flights: make(map[schemas.Seq]*flight), ahead: make(map[schemas.Seq]schemas.EventID),
		sessions: make(map[schemas.SessionID]*session),
	}
	c.timers.less = earlier
	c.wakes.less = func(a, b wakening) bool { return a.due < b.due }
	c.root = c.ref(scope{})
	return c
}

// active is the full record of a Queued or Running job.
type active struct {
	id      schemas.Seq
	org     schemas.OrgID
	job     schemas.JobID
	pair    *pair
	stake   stake
	at      schemas.Seq // the event that brought it here
	running bool
	mute    bool // holds an event this binary cannot read: no decision about it (DESIGN D8)
	timeout time.Duration
	grace   time.Duration

	// While Queued.
	pool     *pool  // whose room it takes, nil if nobody's
	work     uint64 // sequence of its offer in WORK, 0 if none is known
	offers   int    // offers made in this stay, for the wait before the next
	offerAt  int64  // stream time of the next offer
	queuedAt int64
	shelved  bool // Queued and not offered: a hold, or a limit of one, is against it

	// While Running.
	fence    schemas.Fence
	session  *session
	named    time.Duration // lease time of the beat that last named it
	heard    bool          // a beat named it
	hardAt   int64         // stream time of the hard limit
	cancelAt int64         // stream time at which the leader ends a requested cancel itself, 0 if none
}

// Position is the sequence of the last event applied.
func (c *Core) Position() schemas.Seq { return c.position }

// Cell is the id of the cell's latest start in the fold, empty if it holds none.
func (c *Core) Cell() string { return c.cell }

// Leading reports whether Decide decides.
func (c *Core) Leading() bool { return c.leading }

// Lead begins an epoch: all leases start afresh (DESIGN D7) and every Queued job is offered again
// (DESIGN D6). The caller's fold has reached the epoch's event.
func (c *Core) Lead(epoch schemas.Seq, mono time.Duration) {
	c.leading, c.epoch = true, epoch
	now := c.clock.advance(mono)
	for _, a := range c.active {
		a.named = now
	}
	c.unsettle(now)
	c.OfferAll()
	c.doomAll()
	c.leadFamily()
	c.armSchedules()
}

// Follow ends the epoch. What was in flight is forgotten: if it was stored, the tail tells.
func (c *Core) Follow() {
	c.leading, c.epoch = false, 0
	// The latest first: each is put back at the front of its lane.
	for _, id := range slices.Backward(slices.Sorted(maps.Keys(c.flights))) {
		c.land(id, c.flights[id])
	}
	c.notes, c.dissolution.flying = nil, 0
	c.followFamily()
}

// OfferAll has every Queued job offered again, as after the loss of WORK.
func (c *Core) OfferAll() {
	c.unsent = c.unsent[:0]
	for _, a := range c.active {
		if !a.running {
			a.work, a.offers = 0, 0
			a.stake.enliven(false)
			c.unsent = append(c.unsent, a)
		}
	}
	sortActive(c.unsent)
}

// Apply folds one event. An event at or below the position is skipped.
func (c *Core) Apply(e *schemas.Event) {
	if e.Seq <= c.position {
		return
	}
	if c.first == 0 {
		c.first = e.Seq
	}
	c.position, c.positionID = e.Seq, e.ID
	_, again := c.ahead[e.Seq]
	delete(c.ahead, e.Seq)
	c.foldSchedules(e, again)
	c.fold(e, again)
}

// Skip passes over a message that is not an event, or one that this binary cannot read: the job it stands
// on, if it is Queued or Running, is decided upon no more (DESIGN D8).
func (c *Core) Skip(e *schemas.Event, ours bool) {
	if e.Seq <= c.position {
		return
	}
	if c.first == 0 {
		c.first = e.Seq
	}
	c.position, c.positionID = e.Seq, e.ID
	if !ours || e.Job == "" {
		return
	}
	for _, a := range c.active {
		if a.org == e.Org && a.job == e.Job {
			a.mute = true
			c.uncharge(a)
		}
	}
}

// Holds reports whether the job is Queued or Running here, or a decision about it is in flight: its offer
// may stand in WORK. It is O(active): for the reconciler, not for the loop.
func (c *Core) Holds(id schemas.Seq) (queued, running bool) {
	if _, ok := c.flights[id]; ok {
		return true, false
	}
	a, ok := c.active[id]
	return ok && !a.running, ok && a.running
}

// Stats counts what the core holds and did.
type Stats struct {
	Waiting, Timers, Parked, Duplicates, Queued, Running, InFlight int // now
	Tombs, Schedules                                               int
	Sessions, Slots, Busy                                          int
	Decided, Refused, Failed                                       uint64 // decisions since the start
	Swept                                                          uint64 // sweeps of dead entries
	Ticks                                                          uint64 // of schedules, that made a job
}

// Stats returns the counters.
func (c *Core) Stats() Stats {
	s := c.stats
	s.Waiting, s.Timers, s.Parked, s.Tombs = c.waiting, c.timers.len(), len(c.family.children), len(c.tombs)
	s.Running, s.Duplicates = len(c.fences), len(c.dedup.doomed)
	s.Queued = len(c.active) - s.Running
	s.InFlight, s.Sessions = c.InFlight(), len(c.sessions)
	s.Schedules, s.Ticks = len(c.schedules.byKey), c.schedules.fired
	for _, p := range c.pools {
		s.Slots += p.slots
		s.Busy += p.busy
	}
	return s
}
