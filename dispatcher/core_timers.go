package dispatcher

import (
	"math"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// timer is one due time: 24 bytes. With a slot it is a waiting job (not-before, retry) that will enter the
// lane of that slot; without, the start-by deadline of the job id.
type timer struct {
	due   int64 // stream time, ns
	id    schemas.Seq
	after uint32 // entry.at less id; deltaMax: see Core.moved
	slot  uint32 // index into Core.slots, 0 for a deadline
}

// deltaMax stands for every distance that does not fit.
const deltaMax = math.MaxUint32

// earlier orders timers by due time, then by age: those due together enter their lanes oldest first.
func earlier(a, b timer) bool {
	if a.due != b.due {
		return a.due < b.due
	}
	return a.id < b.id
}

// entryOf is the waiting job of a timer.
func (c *Core) entryOf(t timer) entry {
	if t.after == deltaMax {
		return entry{id: t.id, at: c.moved[t.id]}
	}
	return entry{id: t.id, at: t.id + schemas.Seq(t.after)}
}

// hold gives a lane that timers will enter a slot, which keeps it from being dropped.
func (c *Core) hold(l *lane) uint32 {
	l.timers++
	l.node.timers++
	l.depth().timers++
	if l.timers > 1 {
		return l.slot
	}
	if n := len(c.freeSlots); n > 0 {
		l.slot = c.freeSlots[n-1]
		c.freeSlots = c.freeSlots[:n-1]
		c.slots[l.slot] = l
		return l.slot
	}
	l.slot = uint32(len(c.slots))
	c.slots = append(c.slots, l)
	return l.slot
}

// release undoes one hold and returns the lane.
func (c *Core) release(slot uint32) *lane {
	l := c.slots[slot]
	l.node.timers--
	l.depth().timers--
	if l.timers--; l.timers == 0 {
		c.slots[slot] = nil
		c.freeSlots = append(c.freeSlots, slot)
	}
	return l
}

// deadline is a job's latest start.
type deadline struct {
	due   int64
	at    schemas.Seq // an event of the job, from which the host learns its name
	fired bool        // has passed; looked at again whenever the job begins to wait
}

// wakeAt has a waiting job enter its lane at due; one whose org was deleted at once, since it is not to start.
func (c *Core) wakeAt(due int64, l *lane, e entry) {
	if c.gone(l.node.org) {
		c.enter(l, e)
		return
	}
	c.begun(e)
	after := uint32(deltaMax)
	if d := e.at - e.id; d < deltaMax {
		after = uint32(d)
	} else {
		c.moved[e.id] = e.at
	}
	c.timers.push(timer{due: due, id: e.id, after: after, slot: c.hold(l)})
}

func (c *Core) setDeadline(id, at schemas.Seq, due int64) {
	if old, ok := c.deadlines[id]; ok && old.due == due {
		old.at = at
		c.deadlines[id] = old
		return
	}
	c.deadlines[id] = deadline{due: due, at: at}
	c.armDeadline(id, due)
}

func (c *Core) armDeadline(id schemas.Seq, due int64) {
	c.timers.push(timer{due: due, id: id})
	c.deadlineTimes++
	// Jobs that finished leave their deadline's timer behind; they must not outnumber the living.
	if c.deadlineTimes > tombsSwept && c.deadlineTimes > 2*len(c.deadlines) {
		c.timers.filter(func(t timer) bool {
			if t.slot != 0 {
				return true
			}
			d, ok := c.deadlines[t.id]
			if ok && d.due == t.due {
				return true
			}
			c.deadlineTimes--
			return false
		})
	}
}

// rearm looks again at a deadline that passed while the job was running.
func (c *Core) rearm(id schemas.Seq) {
	if d, ok := c.deadlines[id]; ok && d.fired {
		c.armDeadline(id, d.due)
	}
}

// fireMax bounds the timers that one Decide looks at, so that a million due together hold up nobody for long.
const fireMax = 10_000

// fire moves what is due into lanes and returns at most max deadlines that passed.
func (c *Core) fire(now time.Time, max int) (out []Decision) {
	for n := 0; n < fireMax && c.timers.len() > 0 && c.timers.top().due <= now.UnixNano() && len(out) < max; n++ {
		t := c.timers.pop()
		if t.slot != 0 {
			l, e := c.release(t.slot), c.entryOf(t)
			if !c.void(l, e) {
				c.enter(l, e)
			} else {
				c.drop(l)
			}
			continue
		}
		c.deadlineTimes--
		if d, ok := c.expire(t); ok {
			out = append(out, d)
		}
	}
	return out
}

// expire decides about a job whose deadline has passed: nothing if it runs, or is about to.
func (c *Core) expire(t timer) (Decision, bool) {
	d, ok := c.deadlines[t.id]
	if !ok || d.due != t.due {
		return Decision{}, false
	}
	d.fired = true
	c.deadlines[t.id] = d
	a := c.active[t.id]
	if _, flying := c.flights[t.id]; flying || a != nil && (a.running || a.mute) {
		return Decision{}, false
	}
	out := Decision{Kind: DecideExpire, ID: t.id, At: d.at}
	if a != nil {
		out.Org, out.Job = a.org, a.job
	}
	return c.fly(out, &flight{}), true
}

// Wake returns the stream time at which the next timer is due, zero if there is none.
func (c *Core) Wake() time.Time {
	if c.timers.len() == 0 {
		return time.Time{}
	}
	return time.Unix(0, c.timers.top().due)
}

func laterOf(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
