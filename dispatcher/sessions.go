package dispatcher

import (
	"cmp"
	"slices"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// leaseClock runs only while this process does and is connected (DESIGN D7): silence that nobody could
// have broken is held against no worker.
type leaseClock struct {
	now    time.Duration // lease time
	seen   time.Duration // monotonic time of the latest call
	paused bool
}

// stepMax is the longest time between two calls that counts. The host calls many times a second; a longer
// gap means that the process was stopped or starved.
const stepMax = time.Second

// advance returns the lease time at mono.
func (l *leaseClock) advance(mono time.Duration) time.Duration {
	if step := mono - l.seen; step > 0 {
		l.seen = mono
		if !l.paused {
			l.now += min(step, stepMax)
		}
	}
	return l.now
}

// Pause stops all leases, as when the connection is lost.
func (c *Core) Pause(mono time.Duration) {
	c.clock.advance(mono)
	c.clock.paused = true
}

// Resume lets them run on.
func (c *Core) Resume(mono time.Duration) {
	c.clock.advance(mono)
	c.clock.paused = false
}

// Paused reports whether leases stand still.
func (c *Core) Paused() bool { return c.clock.paused }

// sessionsMax bounds the sessions a core knows; a beat of one more is not answered.
const sessionsMax = 10_000

// slotsMax bounds what one session can claim to have, so that a wrong number queues no flood.
const slotsMax = 10_000

// session is one worker process.
type session struct {
	id      schemas.SessionID
	heard   time.Duration // lease time of its latest beat
	alive   bool          // has beaten within a lease, and is not leaving
	since   bool          // has beaten since the latest cell_started
	pool    *pool         // nil if not alive or draining
	slots   int
	running int  // its attempts by the ledger
	hung    int  // handlers that outlive their attempts, by its latest beat
	settled bool // has beaten with the present epoch
	// stays are what such handlers hold of limits, by fence.
	stays map[schemas.Seq]*stay
}

func (c *Core) session(id schemas.SessionID) *session {
	s, ok := c.sessions[id]
	if !ok {
		s = &session{id: id}
		c.sessions[id] = s
	}
	return s
}

// add counts attempts and hung handlers on the session's slots.
func (s *session) add(running, hung int) {
	s.running += running
	s.hung += hung
	if s.pool != nil {
		s.pool.busy += running + hung
	}
}

// join moves the session into a pool, nil for none.
func (c *Core) join(s *session, p *pool, slots int) {
	if old := s.pool; old != nil {
		old.sessions--
		old.slots -= s.slots
		old.busy -= s.running + s.hung
		if old != p {
			c.dropPool(old)
		}
	}
	s.pool, s.slots = p, slots
	if p != nil {
		p.sessions++
		p.slots += slots
		p.busy += s.running + s.hung
	}
}

// Knows reports whether the session has beaten lately.
func (c *Core) Knows(id schemas.SessionID) bool {
	s, ok := c.sessions[id]
	return ok && s.alive
}

// Beat folds a worker's sign of life, heard at mono; false if there is no room for another session.
func (c *Core) Beat(b *ledger.Beat, mono time.Duration) bool {
	now := c.clock.advance(mono)
	if _, ok := c.sessions[b.Session]; !ok && len(c.sessions) >= sessionsMax {
		return false
	}
	s := c.session(b.Session)
	s.heard, s.alive, s.since = now, !b.Leaving, true
	s.settled = b.Epoch >= c.epoch
	hung := 0
	var over map[schemas.Seq]*ledger.AttemptRef // those that have ended
	for i, ref := range b.Attempts {
		if ref.Hung {
			hung++
		}
		if a, ok := c.fences[ref.Fence.Seq]; ok && a.fence == ref.Fence && a.session == s {
			a.named, a.heard = now, true
		} else if !ok && ref.Fence.Seq <= c.position {
			if over == nil {
				over = make(map[schemas.Seq]*ledger.AttemptRef)
			}
			over[ref.Fence.Seq] = &b.Attempts[i]
		}
	}
	s.add(0, hung-s.hung)
	c.outlived(s, over)
	if b.Leaving {
		c.clearStays(s)
	}
	if b.Leaving || b.Draining || b.Slots <= 0 || len(b.Serves) == 0 {
		c.join(s, nil, 0)
		return true
	}
	c.join(s, c.poolOf(b.Serves), min(b.Slots, slotsMax))
	return true
}

// Answer is what the leader says to a beat: which of its fences are canceled or no longer valid. A fence
// above the position may be newer than this fold and is never called invalid.
func (c *Core) Answer(b *ledger.Beat) ledger.BeatAnswer {
	out := ledger.BeatAnswer{Epoch: c.epoch, Position: c.position}
	for _, ref := range b.Attempts {
		a, ok := c.fences[ref.Fence.Seq]
		switch {
		case ok && a.fence == ref.Fence:
			if a.cancelAt != 0 {
				out.Canceled = append(out.Canceled, ref.Fence.Seq)
			}
		case ref.Fence.Seq <= c.position && !ref.Hung:
			out.Invalid = append(out.Invalid, ref.Fence.Seq)
		}
	}
	return out
}

// expireSessions takes the slots of sessions that were silent for a lease out of the count, and forgets
// those that hold no attempt.
func (c *Core) expireSessions(now time.Duration) {
	if now < c.sessionsAt {
		return
	}
	c.sessionsAt = now + c.times.Sweep
	var silent []*session
	for _, s := range c.sessions {
		if now-s.heard >= c.times.Lease || !s.alive {
			silent = append(silent, s)
		}
	}
	slices.SortFunc(silent, func(a, b *session) int { return cmp.Compare(a.id, b.id) })
	for _, s := range silent {
		s.alive = false
		c.join(s, nil, 0)
		c.clearStays(s)
		if s.running == 0 {
			delete(c.sessions, s.id)
		}
	}
}

// cellStarted folds the start of a cell: whoever has not beaten since may have died with it. One that was folded before
// is told again when its event leaves the hot ledger.
func (c *Core) cellStarted(at schemas.Seq) {
	if at <= c.cellStart {
		return
	}
	c.cellStart = at
	for _, s := range c.sessions {
		s.since = false
	}
}

// causeOf says what the holder of a lost attempt died of: of the cell's restart, if it claimed before the
// cell started and was never heard since (DESIGN D7).
func (c *Core) causeOf(a *active) schemas.LossCause {
	if a.fence.Seq < c.cellStart && !a.session.since {
		return schemas.LossCellRestart
	}
	return schemas.LossWorkerGone
}
