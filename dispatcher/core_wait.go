package dispatcher

import (
	"slices"

	"github.com/dartwing/jobledger/schemas"
)

// strand is what one org has waiting for one (queue, type) and one resource: lanes that share the gates of the resource.
// Lanes without a resource have none.
type strand struct {
	node     *node
	resource string
	gates    [2]*gate // of the resource, for all orgs and for this one
	lanes    []*lane

	at    *gate   // where it waits, nil if nowhere
	key   turnKey // its place there: the key its org had, never too great
	baton *line
}

// line is the strands of one pair that wait at one gate. They may be of many orgs: not all of them are looked at when
// the gate has room, but the one whose org was served least. It holds the baton, and hands it on as soon as its org
// was served through whatever lane, or it proves blocked elsewhere or empty. So as long as the gate has room, one of
// those who wait stands among what is ready, and it is the first of them: a start is never given to an org while
// another one whose turn is before has a job that may start, and room is never left while somebody waits.
type line struct {
	gate    *gate
	pair    *pair
	strands heap[*strand]
	holder  *strand
}

func (c *Core) strandOf(n *node, resource string) *strand {
	if resource == "" {
		return nil
	}
	s, ok := n.strands[resource]
	if !ok {
		s = &strand{node: n, resource: resource, gates: [2]*gate{c.ref(scope{resource: resource}), c.ref(scope{resource: resource, org: n.org})}}
		if n.strands == nil {
			n.strands = make(map[string]*strand, 1)
		}
		n.strands[resource] = s
	}
	return s
}

// leaveStrand takes a dropped lane out of its strand, and drops the strand after the last.
func (c *Core) leaveStrand(l *lane) {
	s := l.strand
	if s == nil {
		return
	}
	s.lanes = slices.DeleteFunc(s.lanes, func(o *lane) bool { return o == l })
	c.dropStrand(s)
}

func (c *Core) dropStrand(s *strand) {
	if len(s.lanes) > 0 || s.at != nil || s.node.strands[s.resource] != s {
		return
	}
	delete(s.node.strands, s.resource)
	c.handOn(s)
	for _, g := range s.gates {
		c.unref(g)
	}
	c.dropNode(s.node)
}

// pairBar returns a shut gate that stands before a whole pair, nil if there is none.
func (c *Core) pairBar(p *pair) *gate {
	for _, g := range [...]*gate{c.root, p.gates[0], p.gates[1]} {
		if c.shut(g) {
			return g
		}
	}
	return c.oddBar(scope{queue: p.queue.name, typ: p.typ})
}

// nodeBar returns a shut gate that stands before all jobs of a node, nil if there is none.
func (c *Core) nodeBar(n *node) *gate {
	for _, g := range n.gates {
		if c.shut(g) {
			return g
		}
	}
	if g := n.pair.gates[0]; g.foreign(n.org) {
		return g
	}
	return c.oddBar(scope{org: n.org, queue: n.pair.queue.name, typ: n.pair.typ})
}

// strandBar returns a shut gate that stands before a strand, nil if there is none.
func (c *Core) strandBar(s *strand) *gate {
	for _, g := range s.gates {
		if c.shut(g) {
			return g
		}
	}
	if c.odd == 0 {
		return nil
	}
	for _, sc := range oddStrand(s.node.org, s.node.pair.queue.name, s.node.pair.typ, s.resource) {
		if g := c.oddBar(sc); g != nil {
			return g
		}
	}
	return nil
}

// oddStrand lists the scopes of a resource that can only have holds.
func oddStrand(org schemas.OrgID, q schemas.QueueName, t schemas.TypeName, resource string) [6]scope {
	return [...]scope{
		{queue: q, resource: resource}, {typ: t, resource: resource}, {queue: q, typ: t, resource: resource},
		{org: org, queue: q, resource: resource}, {org: org, typ: t, resource: resource}, {org: org, queue: q, typ: t, resource: resource},
	}
}

// oddBar returns the gate of a scope that can only have a hold, if there is one.
func (c *Core) oddBar(s scope) *gate {
	if c.odd == 0 {
		return nil
	}
	if g := c.gates[s]; g != nil && c.barred(g) {
		return g
	}
	return nil
}

// parkNode has a node that was taken out of its pair's heap wait at a gate. The batons of its strands go to others.
func (c *Core) parkNode(n *node, g *gate) {
	n.at = g
	if g.foreign(n.org) {
		g.strangers = append(g.strangers, n)
	} else {
		g.nodes = append(g.nodes, n)
		c.armGate(g)
	}
	for i := 0; i < len(n.turn.batons); {
		if s := n.turn.batons[i]; s.node == n {
			c.handOn(s)
			continue
		}
		i++
	}
}

// parkStrand has a strand wait at a gate. Its lanes leave their heaps when they come to the top.
func (c *Core) parkStrand(s *strand, g *gate) {
	c.handOn(s)
	p := s.node.pair
	l := g.lines[p]
	if l == nil {
		l = &line{gate: g, pair: p}
		l.strands.less = func(a, b *strand) bool { return a.key.before(b.key) }
		if g.lines == nil {
			g.lines = make(map[*pair]*line, 1)
		}
		g.lines[p] = l
	}
	s.at, s.key = g, s.node.turn.key
	l.strands.push(s)
	c.armGate(g)
}

// handOn takes the baton from a strand and gives it to the next.
func (c *Core) handOn(s *strand) {
	l := s.baton
	if l == nil {
		return
	}
	s.baton, l.holder = nil, nil
	t := s.node.turn
	for i, o := range t.batons {
		if o == s {
			last := len(t.batons) - 1
			t.batons[i] = t.batons[last]
			t.batons = t.batons[:last]
			break
		}
	}
	c.pass(l)
}

// pass gives the baton of a line to the first strand in it, if its gate has room.
func (c *Core) pass(l *line) {
	if h := l.holder; h != nil && c.overtaken(l) {
		c.handOn(h) // it stays among what is ready, as nobody may be left to let it in
		return
	}
	for l.holder == nil && l.strands.len() > 0 {
		if c.shut(l.gate) {
			c.armGate(l.gate)
			return
		}
		s := l.strands.top()
		if s.key != s.node.turn.key {
			s.key = s.node.turn.key // keys only grow
			l.strands.fixTop()
			continue
		}
		l.strands.pop()
		if c.showStrand(s) && s.node.at == nil {
			s.baton, l.holder = l, s
			s.node.turn.batons = append(s.node.turn.batons, s)
		} // else it is looked at when its node is
	}
	if l.strands.len() == 0 && l.holder == nil {
		delete(l.gate.lines, l.pair)
	}
}

// overtaken reports that one who waits in a line with room is before its holder: it came to wait when the gate was shut
// and the holder, whose turn was later, had not been looked at yet.
func (c *Core) overtaken(l *line) bool {
	if c.shut(l.gate) {
		return false
	}
	for l.strands.len() > 0 {
		s := l.strands.top()
		if s.key == s.node.turn.key {
			return s.key.before(l.holder.node.turn.key)
		}
		s.key = s.node.turn.key // keys only grow
		l.strands.fixTop()
	}
	return false
}

// showStrand puts a strand that waited at a gate back among what is ready; false if nothing is left of it.
func (c *Core) showStrand(s *strand) bool {
	s.at = nil
	if len(s.lanes) == 0 {
		c.dropStrand(s)
		return false
	}
	any := false
	for _, l := range s.lanes {
		if l.at == nil && l.jobs.n > 0 {
			c.show(l)
			any = true
		}
	}
	return any
}

// letIn looks again at who waits at a gate that may have room now.
func (c *Core) letIn(g *gate) {
	if !g.waitedAt() || c.shut(g) {
		return
	}
	nodes := g.nodes
	g.nodes = nil
	c.freeNodes(nodes)
	c.freeLanes(g)
	for _, l := range g.lines {
		c.pass(l)
	}
}

// waitedAt reports whether anybody waits at the gate for it to have room.
func (g *gate) waitedAt() bool { return len(g.nodes) > 0 || len(g.lines) > 0 || len(g.lanes) > 0 }

// parkLane has a lane that was taken out of its heap wait at the gate of its batch.
func (c *Core) parkLane(l *lane, g *gate) {
	l.at = g
	g.lanes = append(g.lanes, l)
	c.armGate(g)
	if s := l.strand; s != nil && s.baton != nil && s.empty() {
		c.handOn(s)
	}
}

// freeLanes puts the lanes of a batch back among what is ready.
func (c *Core) freeLanes(g *gate) {
	lanes := g.lanes
	g.lanes = nil
	for _, l := range lanes {
		l.at = nil
		if l.jobs.n == 0 {
			c.drop(l)
		} else if l.free() {
			c.show(l)
		}
	}
}

// freeNodes puts nodes that waited at a gate back among what is ready.
func (c *Core) freeNodes(nodes []*node) {
	for _, n := range nodes {
		n.at = nil
		if n.jobs == 0 {
			c.unlist(n)
			continue
		}
		c.showNode(n)
	}
}

// letAllIn looks again at everything that waits at gates.
func (c *Core) letAllIn() {
	for _, g := range c.gates {
		nodes := append(g.nodes, g.strangers...)
		g.nodes, g.strangers = nil, nil
		c.freeNodes(nodes)
		c.freeLanes(g)
		for p, l := range g.lines {
			for l.strands.len() > 0 {
				c.showStrand(l.strands.pop())
			}
			if l.holder == nil {
				delete(g.lines, p)
			}
		}
	}
}

// foreign reports whether a queue belongs to another org.
func (g *gate) foreign(org schemas.OrgID) bool { return g.owner != "" && g.owner != org }

// lift takes from the orgs of a scope what they did not use while they were kept from starting by hand: like those
// that were idle they saved up no turns. Who waits for a limit or a rate keeps its place; the limit bounds what it
// can make of it. It looks at every org: holds end by hand, or once.
//
// Turns that come later this way are no longer the first of those that wait in a line, as after a start.
func (c *Core) lift(s scope) {
	var later []*strand
	for name, q := range c.queues {
		if s.queue != "" && s.queue != name {
			continue
		}
		if s.org != "" {
			if t := q.turns[s.org]; t != nil {
				later = t.catchUp(q, later)
			}
			continue
		}
		for _, t := range q.turns {
			later = t.catchUp(q, later)
		}
	}
	for _, s := range later { // once all turns are what they will be
		c.handOn(s)
	}
}

// catchUp takes from an org the turns that it saved up. It adds the strands that hold a baton to those that are to hand
// it on.
func (t *turn) catchUp(q *queue, later []*strand) []*strand {
	if t.key.served >= q.now {
		return later
	}
	t.key.served = q.now
	return append(later, t.batons...)
}

// wakening is a gate to be looked at when time has passed.
type wakening struct {
	due  int64
	gate *gate
}

// armGate has a shut gate looked at when it may open by itself.
func (c *Core) armGate(g *gate) {
	if at := c.opensAt(g); at > 0 && (g.wake == 0 || at < g.wake) {
		g.wake = at
		c.wakes.push(wakening{at, g})
	}
}

// awaken looks at gates whose time has come.
func (c *Core) awaken() {
	for n := 0; n < fireMax && c.wakes.len() > 0 && c.wakes.top().due <= c.now; n++ {
		w := c.wakes.pop()
		if w.gate.wake != w.due {
			continue // armed for an earlier time since
		}
		w.gate.wake = 0
		if to := w.gate.barredTo; to != 0 && to <= c.now {
			w.gate.barredTo = 0
			c.lift(w.gate.scope)
		}
		if w.gate.waitedAt() {
			if c.shut(w.gate) {
				c.armGate(w.gate)
				continue
			}
			c.letIn(w.gate)
		}
	}
}
