package dispatcher

import (
	"github.com/dartwing/jobledger/schemas"
)

// How much waits in a queue, and since when, is asked for by people and alarms all the time: it is kept as lanes change,
// and never counted.

// depth is what waits in one queue at one priority.
type depth struct {
	lanes  int // entries of lanes, dead ones included
	timers int // entries of timers that will enter them, dead ones included
	dead   int // of both together: nobody knows which of the two an entry stands in that was buried
	// aged are lanes by what their first entry is at least. A key may be too old: what was taken is not looked for before
	// somebody asks. It may be too young for a lane whose first entry died and whose next one is older, as one that is
	// retried: until that comes to its turn. Each lane with entries has a seat, but for one whose first entries were all dead when it was looked at.
	aged heap[agedSeat]
	room int // of aged, before it is rid of seats that are no more
}

// agedSeat is a lane among those of its depth. It is void if its key is not the lane's any more.
type agedSeat struct {
	at   schemas.Seq
	lane *lane
}

const (
	// agedMin is how many seats a depth has before it is worth looking for void ones.
	agedMin = 64
	// agedDead is how many dead entries at the head of a lane are looked over.
	agedDead = 64
	// agedLooks bounds the seats that one look for the oldest puts right. Each was made wrong by a job that started, so
	// there are more only if thousands started since the last look.
	agedLooks = 4096
)

func newDepth() depth {
	return depth{aged: heap[agedSeat]{less: func(a, b agedSeat) bool { return a.at < b.at }}, room: agedMin}
}

func newDepths() *[levels]depth {
	return &[levels]depth{newDepth(), newDepth(), newDepth(), newDepth()}
}

// depth is where a lane counts.
func (l *lane) depth() *depth { return &l.node.pair.queue.depths[l.level] }

// add counts entries of a lane, or takes them off.
func (c *Core) add(l *lane, n int) {
	l.node.jobs += n
	l.node.turn.jobs += n
	l.node.pair.jobs += n
	c.waiting += n
	d := l.depth()
	d.lanes += n
	if l.jobs.n > 0 {
		d.age(l)
	}
}

// age gives a lane a seat by its head, unless it has one that is as old.
func (d *depth) age(l *lane) {
	at := l.jobs.head().at
	if l.aged && l.agedAt <= at {
		return
	}
	if d.aged.len() >= d.room {
		d.aged.filter(func(s agedSeat) bool {
			if !s.valid() {
				return false
			}
			s.lane.aged = s.lane.jobs.n > 0
			return s.lane.aged
		})
		d.room = max(agedMin, 2*d.aged.len())
	}
	l.aged, l.agedAt = true, at
	d.aged.push(agedSeat{at, l})
}

func (s agedSeat) valid() bool { return s.lane.aged && s.lane.agedAt == s.at }

// longest is the event that made the longest waiting entry wait; false if none waits, or none was found within looks.
func (c *Core) longest(d *depth, looks *int) (schemas.Seq, bool) {
	for ; d.aged.len() > 0 && *looks > 0; *looks-- {
		s := d.aged.top()
		if !s.valid() {
			d.aged.pop()
			continue
		}
		at, ok := s.lane.jobs.firstOf(agedDead, c.alive)
		switch {
		case !ok:
			s.lane.aged = false
			d.aged.pop()
		case at != s.at:
			s.lane.agedAt = at
			d.aged.items[0].at = at
			d.aged.fixTop()
		default:
			return at, true
		}
	}
	return 0, false
}

// firstOf returns where the first entry began to wait that is of the kind wanted, looking at no more than max.
func (f *fifo) firstOf(max int, is func(entry) bool) (schemas.Seq, bool) {
	n := 0
	for i := len(f.front) - 1; i >= 0 && n < max; i-- {
		if is(f.front[i]) {
			return f.front[i].at, true
		}
		n++
	}
	from := f.read
	for _, chunk := range f.chunks {
		for _, e := range chunk[from:] {
			if n++; n > max {
				return 0, false
			}
			if is(e) {
				return e.at, true
			}
		}
		from = 0
	}
	return 0, false
}

// waiting is how many jobs wait in lanes. Of those that ended meanwhile no more are counted than may stand in timers.
func (d *depth) waiting() int { return d.lanes - max(0, min(d.lanes, d.dead-d.timers)) }
