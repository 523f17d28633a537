package dispatcher

import (
	"cmp"
	"slices"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// An org that was deleted is dissolved: the leader dead-letters its unfinished jobs one after the other, at a
// pace that leaves the others theirs. Nothing is kept of how far it has come but the jobs themselves: a leader that
// takes over finds in its fold who is left, and goes on.
//
//   - What is Queued or Running is found by the sweep, which looks at all of it anyhow.
//   - What waits in lanes is taken out of them, oldest lane first; what waits for a time is brought into its lane
//     before, a stretch of the timers at each Decide.
//   - What waits for parents is left to its edges: its parents are the same org's, so they end too, and then it is
//     dead-lettered or canceled with them, or let into its lane.
//   - Its schedules fire no more, and the offers of its Queued jobs are taken back at once.

// DissolveRate is how many jobs of deleted orgs are dead-lettered in a second, at most: the pace of a person's bulk.
const DissolveRate = 500

const (
	dissolveEvery = int64(time.Second / DissolveRate)
	// dissolvingMax bounds the decisions in flight, and what is decided at once after a pause.
	dissolvingMax = 32
)

// dissolution is what is to be done about deleted orgs.
type dissolution struct {
	gone   map[schemas.OrgID]schemas.EventID // deleted orgs, by the event that deleted them
	orgs   []*dissolving                     // those that may have jobs in lanes or behind timers, as they were found
	byOrg  map[schemas.OrgID]*dissolving
	active []*active // Queued and Running jobs that the latest sweep found
	flying int       // decisions in flight
	next   int64     // stream time before which no further job is taken
	// Timers are looked through from the first to the last, and again while one is left: a heap moves its elements.
	scanning bool
	scan     int // the timer to be looked at next
	walked   int // lanes looked at in search of those with entries, ever
}

// dissolving is a deleted org that may have jobs in lanes or behind timers.
type dissolving struct {
	org schemas.OrgID
	// lanes had entries when they were looked for, the oldest first; they are looked for again when all are empty: an
	// org may have as many lanes as jobs.
	lanes []agedLane
}

// agedLane is a lane by the age that its head had.
type agedLane struct {
	at   schemas.Seq
	lane *lane
}

// first returns the first of its lanes that still has entries, and forgets those before it.
func (x *dissolving) first() *lane {
	for ; len(x.lanes) > 0; x.lanes = x.lanes[1:] {
		if l := x.lanes[0].lane; l.jobs.n > 0 {
			return l
		}
	}
	x.lanes = nil
	return nil
}

func newDissolution() dissolution {
	return dissolution{gone: make(map[schemas.OrgID]schemas.EventID), byOrg: make(map[schemas.OrgID]*dissolving)}
}

// gone reports whether an org was deleted.
func (c *Core) gone(org schemas.OrgID) bool {
	if len(c.dissolution.gone) == 0 {
		return false
	}
	_, ok := c.dissolution.gone[org]
	return ok
}

// setGone folds whether an org is deleted. The ledger lets nobody undo it; a version before this one might.
func (c *Core) setGone(e *schemas.Event, set *schemas.OrgSet) {
	org := set.Settings.Name
	switch {
	case e.Subject != set.Place(): // it is not this org's to say
	case set.Settings.State != schemas.OrgDeleted:
		delete(c.dissolution.gone, org)
	case !c.gone(org):
		c.dissolution.gone[org] = e.ID
		c.seekDissolved(org)
		c.dissolution.scanning, c.dissolution.scan = true, 0
		c.sweepAt = 0
	}
}

// seekDissolved has an org's waiting jobs looked for.
func (c *Core) seekDissolved(org schemas.OrgID) {
	d := &c.dissolution
	if d.byOrg[org] == nil {
		x := &dissolving{org: org}
		d.byOrg[org] = x
		d.orgs = append(d.orgs, x)
	}
}

// dissolve gives out the ends of jobs whose org was deleted.
func (c *Core) dissolve(now time.Time, max int) (out []Decision) {
	d := &c.dissolution
	if len(d.gone) == 0 {
		return nil
	}
	c.wakeDissolved()
	if earliest := now.UnixNano() - dissolvingMax*dissolveEvery; d.next < earliest {
		d.next = earliest
	}
	room := min(max, dissolvingMax-d.flying, int((now.UnixNano()-d.next)/dissolveEvery))
	give := func(x Decision, f *flight) {
		x.Kind, x.By = DecideDissolve, d.gone[x.Org]
		out = append(out, c.fly(x, f))
		d.flying++
		d.next += dissolveEvery
	}
	for len(d.active) > 0 && len(out) < room {
		a := d.active[0]
		d.active = d.active[1:]
		if _, flying := c.flights[a.id]; !flying && c.active[a.id] == a && !a.mute && c.gone(a.org) {
			give(Decision{ID: a.id, At: a.at, Org: a.org, Job: a.job}, &flight{})
		}
	}
	// To find lanes costs a look at every pair and at the org's lanes: after a start all orgs ever deleted are looked at, once.
	for i, looks := 0, 0; i < len(d.orgs) && len(out) < room && looks < fireMax; looks++ {
		x := d.orgs[i]
		l := x.first()
		if l == nil {
			looks += c.findLanes(x)
			l = x.first()
		}
		switch gone := c.gone(x.org); {
		case gone && l != nil:
			if e := c.take(l); !c.void(l, e) {
				at := c.movedTo(&e)
				give(Decision{ID: e.id, At: at, Org: x.org}, &flight{held: true, lane: l, job: e})
			}
			continue
		case gone && c.hasTimers(x.org):
			d.scanning = true
			i++ // until those are found, others need not wait
			continue
		case gone:
			c.forgetNodes(x.org)
		}
		d.orgs = slices.Delete(d.orgs, i, i+1)
		delete(d.byOrg, x.org)
	}
	return out
}

// movedTo is the event that an entry that was taken out is to be read from.
func (c *Core) movedTo(e *entry) schemas.Seq {
	if at, ok := c.moved[e.id]; ok {
		e.at = at
		delete(c.moved, e.id)
	}
	return e.at
}

// findLanes lists the lanes of a deleted org that have entries, and returns how many pairs and lanes it looked at.
func (c *Core) findLanes(x *dissolving) (looks int) {
	looks = len(c.pairs)
	for _, p := range c.pairs {
		n := p.nodes[x.org]
		if n == nil || n.jobs == 0 {
			continue
		}
		looks += len(n.lanes)
		c.dissolution.walked += len(n.lanes)
		for _, l := range n.lanes {
			if l.jobs.n > 0 {
				x.lanes = append(x.lanes, agedLane{l.jobs.head().at, l})
			}
		}
	}
	slices.SortFunc(x.lanes, func(a, b agedLane) int { return cmp.Compare(a.at, b.at) })
	return looks
}

// hasTimers reports whether jobs of an org wait for a time.
func (c *Core) hasTimers(org schemas.OrgID) bool {
	for _, p := range c.pairs {
		if n := p.nodes[org]; n != nil && n.timers > 0 {
			return true
		}
	}
	return false
}

// wakeDissolved looks through a stretch of the timers and has the jobs of deleted orgs enter their lanes.
func (c *Core) wakeDissolved() {
	d := &c.dissolution
	if !d.scanning {
		return
	}
	for range fireMax {
		if d.scan >= c.timers.len() {
			d.scan, d.scanning = 0, false
			return
		}
		t := c.timers.items[d.scan]
		if t.slot == 0 || !c.gone(c.slots[t.slot].node.org) {
			d.scan++
			continue
		}
		c.timers.remove(d.scan)
		if l, e := c.release(t.slot), c.entryOf(t); c.void(l, e) {
			c.drop(l)
		} else {
			c.enter(l, e)
		}
	}
}

// forgetNodes forgets the nodes of an org that has nothing waiting any more. They wait at gates that no one opens, or
// in heaps of pairs that nobody may serve.
func (c *Core) forgetNodes(org schemas.OrgID) {
	for _, p := range c.pairs {
		n := p.nodes[org]
		if n == nil {
			continue
		}
		is := func(o *node) bool { return o == n }
		if g := n.at; g != nil {
			g.nodes, g.strangers = slices.DeleteFunc(g.nodes, is), slices.DeleteFunc(g.strangers, is)
			n.at = nil
		}
		if n.listed {
			p.ready.filter(func(s seat) bool { return s.node != n })
		}
		c.unlist(n)
	}
}

// foundDissolved takes what a sweep found Queued or Running of deleted orgs.
func (c *Core) foundDissolved(found []*active) {
	slices.SortFunc(found, func(a, b *active) int { return cmp.Compare(a.id, b.id) })
	c.dissolution.active = found
}
