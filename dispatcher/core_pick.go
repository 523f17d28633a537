package dispatcher

import "time"

// How a job is picked (R-15, R-16; DESIGN D5). A pool with room asks its queues in turn. Within a queue the
// org that was served least goes first, in virtual time: that is weighted round robin whose quantum is one
// start, exact over all types the org has in the queue. Within the org the highest priority goes first, but
// a priority that was passed over agePicks times goes before it, so each keeps at least 5 % of the org's
// starts. Within the priority the job that has waited longest goes first.
//
// What limits, rates, holds and breakers keep from starting is passed over, and its org's turn goes to the next: see
// core_gates.go.
//
// The cost is O(pairs of the pool x log(orgs waiting)); neither waiting jobs count, nor idle or blocked orgs.

// agePicks is how often a waiting priority is passed over before it is served: 1 start in 20 is 5 %.
const agePicks = 19

// pick takes the next job for a pool, or reports that nothing waits for it.
func (c *Core) pick(p *pool, now time.Time) (picked, bool) {
	for range p.queues {
		pairs := p.queues[p.next]
		p.next = (p.next + 1) % len(p.queues)
		for {
			t := c.leastServed(pairs, now)
			if t == nil {
				break
			}
			if got, ok := c.pickOf(t, pairs, now); ok {
				return got, true
			}
		}
	}
	return picked{}, false
}

// picked is a job that was taken out of its lane to be queued.
type picked struct {
	lane  *lane
	job   entry
	stake stake
}

// leastServed returns whose turn it is among the orgs that wait for one of the pairs, which share a queue.
func (c *Core) leastServed(pairs []*pair, now time.Time) *turn {
	var best *turn
	for _, p := range pairs {
		if p.full(now) || c.pairBar(p) != nil {
			continue
		}
		if n := c.front(p); n != nil && (best == nil || n.turn.key.before(best.key)) {
			best = n.turn
		}
	}
	return best
}

// front returns the node at the top of the pair's heap, with its true key.
func (c *Core) front(p *pair) *node {
	for p.ready.len() > 0 {
		s := &p.ready.items[0]
		n := s.node
		switch {
		case n.jobs == 0:
			p.ready.pop()
			c.unlist(n)
		case n.shown == 0: // all its strands wait at gates
			p.ready.pop()
			n.listed = false
		case s.key != n.turn.key: // served meanwhile, through this pair or another: keys only grow
			s.key = n.turn.key
			p.ready.fixTop()
		default:
			g := c.nodeBar(n)
			if g == nil {
				return n
			}
			p.ready.pop()
			n.listed = false
			c.parkNode(n, g)
		}
	}
	return nil
}

// unlist forgets a node that was taken out of its pair's heap because nothing waits in its lanes. Those that
// jobs will enter from timers stay.
func (c *Core) unlist(n *node) {
	n.listed = false
	n.ready, n.shown = [levels]heap[*lane]{}, 0
	for key, l := range n.lanes {
		l.listed = false
		if l.timers == 0 {
			delete(n.lanes, key)
			c.leaveStrand(l)
		} else if l.strand != nil {
			c.handOn(l.strand) // others wait for it while it waits for time
		}
	}
	c.dropNode(n)
}

// nodeOf returns what an org has waiting in the pair, nil if nothing. As a rule it is at the front: the search for whose
// turn it is has just brought it there.
func (p *pair) nodeOf(t *turn) *node {
	if p.ready.len() > 0 && p.ready.top().node.turn == t {
		return p.ready.top().node
	}
	return p.nodes[t.org]
}

// pickOf takes the org's next job among the pairs; false if it only had dead or blocked entries there.
func (c *Core) pickOf(t *turn, pairs []*pair, now time.Time) (picked, bool) {
	var best [levels]*lane // the longest waiting of each priority
	var has [levels]bool
	for _, p := range pairs {
		n := p.nodeOf(t)
		if n == nil || p.full(now) || n.at != nil || c.pairBar(p) != nil || c.nodeBar(n) != nil {
			continue
		}
		for level := range levels {
			if l := c.oldest(n, level); l != nil && (best[level] == nil || l.key < best[level].key) {
				best[level], has[level] = l, true
			}
		}
	}
	level := t.level(has)
	if level < 0 {
		return picked{}, false
	}
	l := best[level]
	got := picked{lane: l, job: c.take(l), stake: c.stakeOf(l)}
	got.stake.charge(c.now)
	got.stake.enliven(true)
	c.probe(&got.stake, c.now)
	q := l.node.pair.queue
	q.now = max(q.now, t.key.served)
	q.order++
	t.key = turnKey{served: t.key.served + c.cost(l.node), order: q.order}
	for len(t.batons) > 0 { // its turn is over: the next in each line may be before it now
		c.handOn(t.batons[len(t.batons)-1])
	}
	q.forget()
	return got, true
}

// oldest returns the node's lane of a level whose head has waited longest, without dead entries before it.
func (c *Core) oldest(n *node, level int) *lane {
	h := &n.ready[level]
	for h.len() > 0 {
		l := h.top()
		if l.strand != nil && (l.strand.at != nil || c.blocked(l.strand)) {
			n.hide(level)
			continue
		}
		if g := c.laneBar(l); g != nil {
			n.hide(level)
			c.parkLane(l, g)
			continue
		}
		for l.jobs.n > 0 && c.void(l, l.jobs.head()) {
			c.take(l)
		}
		switch {
		case l.jobs.n == 0:
			n.hide(level)
			if s := l.strand; s != nil && s.baton != nil && s.empty() {
				c.handOn(s)
			}
			c.drop(l)
		case l.key != l.jobs.head().at:
			l.key = l.jobs.head().at
			h.fixTop()
		default:
			return l
		}
	}
	return nil
}

// blocked has a strand wait at a gate that keeps it from starting, if there is one.
func (c *Core) blocked(s *strand) bool {
	g := c.strandBar(s)
	if g != nil {
		c.parkStrand(s, g)
	}
	return g != nil
}

// laneBar returns the gate of a hold on the batch whose items a lane has, nil if there is none.
func (c *Core) laneBar(l *lane) *gate {
	if l.batch == "" || c.odd == 0 {
		return nil
	}
	return c.oddBar(scope{org: l.node.org, batch: l.batch})
}

// empty reports that a strand has nothing that may be among what is ready.
func (s *strand) empty() bool {
	for _, l := range s.lanes {
		if l.at == nil && l.jobs.n > 0 {
			return false
		}
	}
	return true
}

// level chooses the priority of the org's next start among those it has, -1 if it has none.
func (t *turn) level(has [levels]bool) int {
	best := -1
	for l, ok := range has {
		if ok && t.picks-t.last[l] >= agePicks && (best < 0 || t.last[l] < t.last[best]) {
			best = l
		}
	}
	for l := levels - 1; best < 0 && l >= 0; l-- {
		if has[l] {
			best = l
		}
	}
	if best >= 0 {
		t.picks++
		t.last[best] = t.picks
	}
	return best
}
