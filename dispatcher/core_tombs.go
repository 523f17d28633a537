package dispatcher

import "github.com/dartwing/jobledger/schemas"

// tomb marks entries of a job as dead: those that began to wait before the event at.
type tomb struct {
	at schemas.Seq
	n  int    // dead entries still in a lane or timer
	in *depth // where they count as dead; nil where that is not known
}

// tombsSwept is how many tombs are kept before lanes and timers are swept of dead entries.
const tombsSwept = 4096

// bury marks the entry of a job that left its waiting state by an event we did not decide.
func (c *Core) bury(id, at schemas.Seq, h *schemas.Head) {
	t := tomb{at: at, n: c.tombs[id].n + 1}
	if q := c.queues[h.Queue]; q != nil {
		t.in = &q.depths[levelOf(h.Priority)]
		t.in.dead++
	}
	c.tombs[id] = t
	delete(c.moved, id)
	if len(c.tombs) > tombsSwept && len(c.tombs) > (c.waiting+c.timers.len())/4 {
		c.sweepTombs()
	}
}

// dead reports whether e was buried, and uses up its tomb: the caller drops the entry.
func (c *Core) dead(e entry) bool {
	t, ok := c.tombs[e.id]
	if !ok || e.at > t.at {
		return false
	}
	if t.in != nil {
		t.in.dead--
	}
	if t.n--; t.n <= 0 {
		delete(c.tombs, e.id)
	} else {
		c.tombs[e.id] = t
	}
	return true
}

// sweepTombs removes every dead entry at once, when tombs have become a quarter of all that waits: a tomb
// costs more than the entry it marks, and one that marks nothing (an illegal event) would stay for ever.
func (c *Core) sweepTombs() {
	for _, p := range c.pairs {
		for _, n := range p.nodes {
			for _, l := range n.lanes {
				before := l.jobs.n
				l.jobs.filter(c.alive)
				c.add(l, l.jobs.n-before)
			}
		}
	}
	c.timers.filter(func(t timer) bool {
		if t.slot == 0 || c.alive(c.entryOf(t)) {
			return true
		}
		c.release(t.slot)
		return false
	})
	clear(c.tombs)
	for _, q := range c.queues {
		for i := range q.depths {
			q.depths[i].dead = 0
		}
	}
	c.stats.Swept++
	c.letAllIn() // what waits at gates may be empty now
	for _, p := range c.pairs {
		p.ready.filter(func(s seat) bool { return s.node.jobs > 0 })
		for _, n := range p.nodes {
			if n.jobs == 0 {
				c.unlist(n)
			}
		}
	}
}

// alive reports that no tomb lies on an entry.
func (c *Core) alive(e entry) bool {
	t, ok := c.tombs[e.id]
	return !ok || e.at > t.at
}
