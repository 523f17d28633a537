package dispatcher

import (
	"cmp"
	stdheap "container/heap"
	"fmt"
	"slices"

	"github.com/dartwing/jobledger/internal/ticks"
	"github.com/dartwing/jobledger/schemas"
)

// core makes the core that an image is of. All that waits is among what is ready: what a gate keeps from starting
// waits at it again when somebody has looked.
func (m *image) core(times Times) (*Core, error) {
	c := NewCore(times)
	c.position, c.positionID, c.first, c.now = m.at.Seq, m.at.ID, m.first, m.now
	c.cellStart, c.cell, c.stray = m.cellStart, m.cell, m.stray
	for _, p := range m.ahead {
		c.ahead[p.Seq] = p.ID
	}
	m.giveRules(c)
	m.giveGates(c)
	lanes := m.giveLanes(c)
	if err := m.giveTimers(c, lanes); err != nil {
		return nil, err
	}
	m.giveActives(c)
	m.giveTables(c)
	if err := m.giveFamily(c); err != nil {
		return nil, err
	}
	d := &c.dissolution
	d.scanning, d.scan = m.dissolved.scanning, m.dissolved.scan
	for _, g := range m.dissolved.gone {
		d.gone[g.org] = g.by
	}
	for _, org := range m.dissolved.orgs {
		c.seekDissolved(org)
	}
	for i := range m.schedules {
		s := m.schedules[i].schedule
		s.wake = never
		s.plan, _ = ticks.For(&s.was) // as when it was folded
		c.schedules.byKey[s.key] = &s
		if s.lastID != 0 {
			c.schedules.byJob[s.lastID] = &s
		}
		stdheap.Push(&c.schedules.due, &s)
	}
	for i := range m.early {
		t := m.early[i].earlyTick
		c.schedules.early.byKey[m.early[i].key], c.schedules.early.byJob[t.id] = &t, &t
	}
	for _, h := range m.held {
		c.restore(c.laneAt(h.place), h.job)
	}
	m.giveIdle(c)
	for _, l := range lanes {
		if l.jobs.n > 0 {
			c.show(l)
		}
	}
	c.armSchedules()
	m.tidy(c)
	return c, nil
}

func (m *image) giveRules(c *Core) {
	s, r := &c.settings, &m.rules
	for _, o := range r.Orgs {
		s.orgs[o.Name] = o
	}
	for _, q := range r.Queues {
		s.queues[q.Name] = q
	}
	for _, t := range r.Types {
		s.types[t.Name] = &typeRules{t.Running, t.RunningPerOrg, t.Start, t.Breaker}
	}
	for _, x := range r.Resources {
		s.resources[x.Name] = x
	}
	for _, h := range r.Holds {
		if at, ok := scopeOf(h.Scope); ok {
			s.holds[at] = h
			if at.odd() && at != (scope{}) {
				c.odd++
				c.ref(at)
			}
		}
	}
}

// giveGates makes the gates, with the rules in force, and gives them what they remember.
func (m *image) giveGates(c *Core) {
	c.configure(c.root)
	for i := range m.gates {
		x := &m.gates[i]
		g := c.gate(x.scope)
		g.full, g.barredTo = x.full, x.barredTo
		if x.broken && g.breaker != nil {
			rule := g.breaker.rule
			*g.breaker = x.breaker
			g.breaker.rule = rule
			if g.breaker.open {
				c.broken[g.scope] = true
			}
		}
		if g.wake = x.wake; g.wake != 0 {
			c.wakes.push(wakening{g.wake, g})
		}
	}
	for _, w := range m.wakes {
		c.wakes.push(wakening{w.due, &gate{scope: w.scope, barredTo: w.barredTo, wake: w.due}})
	}
}

// laneAt returns a lane, made when it is the first.
func (c *Core) laneAt(p lanePlace) *lane {
	h := schemas.Head{Queue: p.queue, Type: p.typ, Priority: priorities[p.level], Resource: p.resource}
	return c.lane(p.org, &h, p.batch)
}

func (m *image) giveLanes(c *Core) []*lane {
	for _, x := range m.queues {
		q := &queue{name: x.name, now: x.now, order: x.order, turns: make(map[schemas.OrgID]*turn, len(x.turns)), depths: newDepths()}
		if set := c.settings.queues[x.name]; set != nil {
			q.weights = set.Weights
		}
		c.queues[x.name] = q
		for _, t := range x.turns {
			q.turns[t.org] = &turn{org: t.org, key: t.key, picks: t.picks, last: t.last}
		}
	}
	lanes := make([]*lane, len(m.lanes))
	for i := range m.lanes {
		x := &m.lanes[i]
		l := c.laneAt(x.place)
		l.jobs = fifo{chunks: x.chunks, n: x.n}
		c.add(l, x.n)
		lanes[i] = l
	}
	return lanes
}

// giveIdle lists the turns of orgs that have nothing waiting, in the order in which they are looked at to be forgotten.
func (m *image) giveIdle(c *Core) {
	for i := range m.queues {
		x := &m.queues[i]
		q := c.queues[x.name]
		slices.SortStableFunc(x.turns, func(a, b imageTurn) int { return cmp.Compare(a.idle, b.idle) })
		for _, last := range []bool{false, true} { // those that were not listed come last
			for _, t := range x.turns {
				if made := q.turns[t.org]; made != nil && (t.idle == 0) == last && (made.nodes == 0 || t.idle > 0) {
					made.idle = true
					q.idle = append(q.idle, made)
				}
			}
		}
	}
}

func (m *image) giveTimers(c *Core, lanes []*lane) error {
	c.slots = make([]*lane, max(1, len(m.slots)))
	for i, at := range m.slots {
		switch {
		case at == 0 && i > 0:
			c.freeSlots = append(c.freeSlots, uint32(i))
		case at == 0:
		case i == 0 || at > uint64(len(lanes)):
			return fmt.Errorf("%w: a timer's lane is missing", errDamaged)
		default:
			c.slots[i] = lanes[at-1]
			c.slots[i].slot = uint32(i)
		}
	}
	c.timers.items = m.timers
	for _, t := range m.timers {
		if t.slot == 0 {
			c.deadlineTimes++
			continue
		}
		if int(t.slot) >= len(c.slots) || c.slots[t.slot] == nil {
			return fmt.Errorf("%w: a timer's lane is missing", errDamaged)
		}
		l := c.slots[t.slot]
		l.timers++
		l.node.timers++
		l.depth().timers++
	}
	return nil
}

func (m *image) giveActives(c *Core) {
	for i := range m.actives {
		x := &m.actives[i]
		a := x.active
		probe := a.stake.probe
		a.pair = c.pair(x.queue, x.typ)
		a.stake = c.stakeFor(a.pair, a.org, x.resource)
		a.stake.probe = probe
		a.pair.active++
		a.named, a.heard, a.work, a.offers = c.clock.now, false, 0, 0
		if a.running {
			a.stake.enliven(true)
			a.session = c.session(x.session)
			a.session.add(1, 0)
			c.fences[a.fence.Seq] = &a
		} else if !a.shelved {
			a.pair.queued++
		}
		c.active[a.id] = &a
	}
}

func (m *image) giveTables(c *Core) {
	c.tombs = make(map[schemas.Seq]tomb, len(m.tombs))
	for _, t := range m.tombs {
		c.tombs[t.id] = t.tomb
	}
	c.moved = make(map[schemas.Seq]schemas.Seq, len(m.moved))
	for _, x := range m.moved {
		c.moved[x.id] = x.to
	}
	c.deadlines = make(map[schemas.Seq]deadline, len(m.deadlines))
	for _, d := range m.deadlines {
		c.deadlines[d.id] = d.deadline
	}
	t := &c.dedup
	t.byKey, t.byJob = make(map[dedupKey]blocker, len(m.blockers)), make(map[schemas.Seq]dedupKey, len(m.blockers))
	for _, b := range m.blockers {
		t.byKey[b.key], t.byJob[b.id] = b.blocker, b.key
	}
	t.old = m.old
	for _, x := range m.doomed {
		t.doomed[x.id] = x.to
	}
}

func (m *image) giveFamily(c *Core) error {
	t := &c.family
	t.children = make(map[schemas.Seq]*child, len(m.children))
	for i := range m.children {
		x := &m.children[i]
		ch := x.child
		if x.failed {
			of := x.of
			ch.failed = &of
		}
		t.children[ch.id] = &ch
	}
	t.parents = make(map[parentKey]*parent, len(m.parents))
	for i := range m.parents {
		x := &m.parents[i]
		p := &parent{key: x.key, at: x.at, known: x.known, edges: make([]edge, len(x.edges))}
		for j, e := range x.edges {
			ch := t.children[e.child]
			if ch == nil || ch.left {
				return fmt.Errorf("%w: a child is missing", errDamaged)
			}
			ch.open++
			p.edges[j] = edge{child: ch, on: e.on}
		}
		t.parents[p.key] = p
	}
	return nil
}

// tidy forgets what nobody names: what was held by decisions and handlers only, and gates that remember nothing.
func (m *image) tidy(c *Core) {
	for name, q := range c.queues {
		if q.pairs == 0 {
			delete(c.queues, name)
		}
	}
	for s, g := range c.gates {
		switch {
		case g.refs > 0:
		case g.forgettable(c.now):
			delete(c.gates, s)
		default:
			c.retired = append(c.retired, g)
		}
	}
}
