package dispatcher

import (
	"slices"

	"github.com/dartwing/jobledger/schemas"
)

// image is what a core has folded, as flat tables that share nothing with it which it still changes: the core works on
// while an image is written. Making one costs a copy of each table but the entries of lanes, whose chunks are only ever
// added to: it is what stops the loop.
//
// It is the fold of a core that does not lead and has heard no beat, as one that has just begun would have. What belongs
// to an epoch or to beats is not in it: entries in the hands of a decision are back at the front of their lanes, rates
// have the tokens of such decisions back, and gates count the jobs that are Queued or Running in the ledger.
type image struct {
	at        schemas.Position // last event applied
	ahead     []schemas.Position
	first     schemas.Seq
	now       int64
	cellStart schemas.Seq
	cell      string
	stray     bool

	rules     imageRules
	gates     []imageGate
	wakes     []imageWake // of gates that nobody names any more
	queues    []imageQueue
	lanes     []imageLane
	slots     []uint64 // by slot: 1 and the index of its lane, 0 for none
	timers    []timer
	held      []imageHeld
	actives   []imageActive
	tombs     []imageTomb
	moved     []imageMoved
	deadlines []imageDeadline
	blockers  []imageBlocker
	old       []dedupAge
	doomed    []imageMoved
	children  []imageChild
	parents   []imageParent
	schedules []imageSchedule
	early     []imageEarly
	dissolved imageDissolved
}

// imageRules are the settings in force; the pointers are to what events brought, which nobody changes.
type imageRules struct {
	Orgs      []*schemas.OrgSettings
	Queues    []*schemas.QueueSettings
	Types     []imageType
	Resources []*schemas.ResourceSettings
	Holds     []*schemas.HoldSettings
}

type imageType struct {
	Name                   schemas.TypeName
	Running, RunningPerOrg int
	Start                  *schemas.Rate
	Breaker                *schemas.Breaker
}

// imageGate is what a gate remembers beside its settings. What it counts is told by the active jobs.
type imageGate struct {
	scope          scope
	full, barredTo int64
	wake           int64
	broken         bool // it has a breaker
	breaker        breaker
}

type imageWake struct {
	scope         scope
	due, barredTo int64
}

type imageQueue struct {
	name       schemas.QueueName
	now, order uint64
	turns      []imageTurn
}

type imageTurn struct {
	org   schemas.OrgID
	key   turnKey
	picks uint64
	last  [levels]uint64
	idle  int // its place among those that are to be forgotten, 0 if it is not
}

// lanePlace names a lane.
type lanePlace struct {
	queue    schemas.QueueName
	typ      schemas.TypeName
	org      schemas.OrgID
	level    int
	resource string
	batch    string
}

type imageLane struct {
	place  lanePlace
	chunks [][]entry
	n      int // entries
}

// imageHeld is an entry that a decision in flight took out of its lane.
type imageHeld struct {
	id    schemas.Seq // of the flight
	place lanePlace
	job   entry
}

// imageActive is a Queued or Running job.
type imageActive struct {
	active
	queue    schemas.QueueName
	typ      schemas.TypeName
	resource string
	session  schemas.SessionID
}

type imageTomb struct {
	id schemas.Seq
	tomb
}

type imageMoved struct{ id, to schemas.Seq }

type imageDeadline struct {
	id schemas.Seq
	deadline
}

type imageBlocker struct {
	key dedupKey
	blocker
}

type imageChild struct {
	child
	failed bool
	of     failure
}

type imageParent struct {
	key   parentKey
	at    schemas.Seq
	known bool
	edges []imageEdge
}

type imageEdge struct {
	child schemas.Seq
	on    string
}

type imageSchedule struct {
	schedule
}

// imageEarly is a tick of a schedule that is not known yet.
type imageEarly struct {
	key scheduleKey
	earlyTick
}

type imageDissolved struct {
	gone     []imageGone
	orgs     []schemas.OrgID
	scanning bool
	scan     int
}

type imageGone struct {
	org schemas.OrgID
	by  schemas.EventID
}

// image takes one.
func (c *Core) image() *image {
	m := &image{at: schemas.Position{Seq: c.position, ID: c.positionID}, first: c.first, now: c.now, cellStart: c.cellStart,
		cell: c.cell, stray: c.stray}
	for seq, id := range c.ahead {
		m.ahead = append(m.ahead, schemas.Position{Seq: seq, ID: id})
	}
	m.takeRules(&c.settings)
	m.takeGates(c)
	m.takeLanes(c)
	m.timers = slices.Clone(c.timers.items)
	m.takeActives(c)
	m.takeTables(c)
	m.takeFamily(&c.family)
	for _, s := range c.schedules.byKey {
		m.schedules = append(m.schedules, imageSchedule{*s})
	}
	for key, t := range c.schedules.early.byKey {
		m.early = append(m.early, imageEarly{key, *t})
	}
	d := &c.dissolution
	m.dissolved.scanning, m.dissolved.scan = d.scanning, d.scan
	for org, by := range d.gone {
		m.dissolved.gone = append(m.dissolved.gone, imageGone{org, by})
	}
	for _, x := range d.orgs {
		m.dissolved.orgs = append(m.dissolved.orgs, x.org)
	}
	return m
}

func (m *image) takeRules(s *settings) {
	r := &m.rules
	for _, o := range s.orgs {
		r.Orgs = append(r.Orgs, o)
	}
	for _, q := range s.queues {
		r.Queues = append(r.Queues, q)
	}
	for n, t := range s.types {
		r.Types = append(r.Types, imageType{n, t.running, t.runningPerOrg, t.start, t.breaker})
	}
	for _, x := range s.resources {
		r.Resources = append(r.Resources, x)
	}
	for _, h := range s.holds {
		r.Holds = append(r.Holds, h)
	}
}

// takeGates takes the gates without what flights have of them.
func (m *image) takeGates(c *Core) {
	starts, probes := make(map[*gate]int), make(map[*gate]int)
	for _, f := range c.flights {
		if !f.stake.held() {
			continue
		}
		for _, g := range f.stake.gates {
			if g != nil && g.rate != nil {
				starts[g]++
			}
		}
		if f.stake.probe {
			probes[f.stake.gates[ofOrgType]]++
		}
	}
	m.gates = make([]imageGate, 0, len(c.gates))
	for _, g := range c.gates {
		x := imageGate{scope: g.scope, full: g.full, barredTo: g.barredTo, wake: g.wake, broken: g.breaker != nil}
		if n := starts[g]; n > 0 {
			x.full -= int64(n) * g.interval()
		}
		if x.broken {
			x.breaker = *g.breaker
			x.breaker.probes = max(0, x.breaker.probes-probes[g])
		}
		m.gates = append(m.gates, x)
	}
	for _, w := range c.wakes.items {
		if g := w.gate; g.wake == w.due && g.barredTo != 0 && c.gates[g.scope] != g {
			m.wakes = append(m.wakes, imageWake{g.scope, w.due, g.barredTo})
		}
	}
}

// takeLanes takes whose turn it is, and what waits.
func (m *image) takeLanes(c *Core) {
	for _, q := range c.queues {
		x := imageQueue{name: q.name, now: q.now, order: q.order, turns: make([]imageTurn, 0, len(q.turns))}
		idle := make(map[*turn]int, len(q.idle))
		for i, t := range q.idle {
			idle[t] = i + 1
		}
		for _, t := range q.turns {
			x.turns = append(x.turns, imageTurn{t.org, t.key, t.picks, t.last, idle[t]})
		}
		m.queues = append(m.queues, x)
	}
	m.slots = make([]uint64, len(c.slots))
	var chunks [][]entry // of all lanes: one list of them, not one for each
	for _, p := range c.pairs {
		for _, n := range p.nodes {
			for _, l := range n.lanes {
				if l.jobs.n == 0 && l.timers == 0 {
					continue // forgotten when somebody looks
				}
				from := len(chunks)
				chunks = l.jobs.appendTo(chunks)
				m.lanes = append(m.lanes, imageLane{place: l.place(), chunks: chunks[from:len(chunks):len(chunks)], n: l.jobs.n})
				if l.timers > 0 {
					m.slots[l.slot] = uint64(len(m.lanes))
				}
			}
		}
	}
	for id, f := range c.flights {
		if f.held {
			m.held = append(m.held, imageHeld{id, f.lane.place(), f.job})
		}
	}
}

func (l *lane) place() lanePlace {
	return lanePlace{l.node.pair.queue.name, l.node.pair.typ, l.node.org, l.level, l.resource, l.batch}
}

// appendTo appends the queue's entries, in order. Those in its chunks are shared: they stay as they are, whatever is
// done to the queue.
func (f *fifo) appendTo(chunks [][]entry) [][]entry {
	if len(f.front) > 0 {
		front := slices.Clone(f.front)
		slices.Reverse(front)
		chunks = append(chunks, front)
	}
	from := f.read
	for _, chunk := range f.chunks {
		chunks = append(chunks, chunk[from:len(chunk):len(chunk)])
		from = 0
	}
	return chunks
}

func (m *image) takeActives(c *Core) {
	m.actives = make([]imageActive, 0, len(c.active))
	for _, a := range c.active {
		x := imageActive{active: *a, queue: a.pair.queue.name, typ: a.pair.typ, resource: a.resource()}
		if a.session != nil {
			x.session = a.session.id
		}
		x.active.pair, x.active.pool, x.active.session = nil, nil, nil
		x.active.stake = stake{probe: a.stake.probe}
		m.actives = append(m.actives, x)
	}
}

func (m *image) takeTables(c *Core) {
	m.tombs = make([]imageTomb, 0, len(c.tombs))
	for id, t := range c.tombs {
		m.tombs = append(m.tombs, imageTomb{id, t})
	}
	m.moved = make([]imageMoved, 0, len(c.moved))
	for id, to := range c.moved {
		m.moved = append(m.moved, imageMoved{id, to})
	}
	m.deadlines = make([]imageDeadline, 0, len(c.deadlines))
	for id, d := range c.deadlines {
		m.deadlines = append(m.deadlines, imageDeadline{id, d})
	}
	m.blockers = make([]imageBlocker, 0, len(c.dedup.byKey))
	for key, b := range c.dedup.byKey {
		m.blockers = append(m.blockers, imageBlocker{key, b})
	}
	m.old = slices.Clone(c.dedup.old)
	for id, of := range c.dedup.doomed {
		m.doomed = append(m.doomed, imageMoved{id, of})
	}
}

func (m *image) takeFamily(t *parentTables) {
	m.children = make([]imageChild, 0, len(t.children))
	for _, ch := range t.children {
		x := imageChild{child: *ch}
		if ch.failed != nil {
			x.failed, x.of = true, *ch.failed
		}
		x.child.failed = nil
		m.children = append(m.children, x)
	}
	m.parents = make([]imageParent, 0, len(t.parents))
	for _, p := range t.parents {
		x := imageParent{key: p.key, at: p.at, known: p.known, edges: make([]imageEdge, 0, len(p.edges)-p.gone)}
		for _, e := range p.edges {
			if !e.child.left {
				x.edges = append(x.edges, imageEdge{e.child.id, e.on})
			}
		}
		m.parents = append(m.parents, x)
	}
}
