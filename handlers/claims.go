package handlers

import (
	"time"

	"go.uber.org/zap"
)

// A claim that took too long to settle is released, and its job is offered again at once (DESIGN D7). Where the ledger is so
// slow that all of a worker's claims are late, one behind the other in its queue, no handler would ever start, and the claims
// and releases alone would keep the ledger as slow. So a worker whose claim was late has fewer under way at once, pulls
// nothing for a while, and comes back to all its slots one claim in time after the other.

const (
	// latePauseMin and latePauseMax bound the pause after a late claim: it doubles with each, until one is in time. Well below
	// the 5 s in which dispatch must resume.
	latePauseMin = 500 * time.Millisecond
	latePauseMax = 4 * time.Second
)

// claims are those of a worker that are under way. The pool's mu guards them.
type claims struct {
	out   int           // from the arrival of an offer until its claim, or what was done instead, is settled
	most  int           // so many may be; 0: as many as there are slots
	cut   time.Time     // when the latest late claim was
	pause time.Duration // the latest; 0 when a claim was in time since
	until time.Time     // nothing is pulled before
}

// room is how many more claims may be under way, of so many as slots allow.
func (c *claims) room(free int, now time.Time) int {
	switch {
	case now.Before(c.until):
		return 0
	case c.most == 0:
		return free
	}
	return min(free, c.most-c.out)
}

// full reports whether no further claim may be under way.
func (c *claims) full() bool { return c.most > 0 && c.out >= c.most }

// inTime takes note of a claim that was in time.
func (c *claims) inTime(slots int) {
	c.pause = 0
	if c.most == 0 {
		return
	}
	if c.most++; c.most >= slots {
		c.most = 0
	}
}

// late takes note of a claim that was late, and returns how long nothing is to be pulled. Those that were under way with it
// tell nothing new: 0.
func (c *claims) late(sent, now time.Time) time.Duration {
	if !sent.After(c.cut) {
		return 0
	}
	c.cut, c.most = now, max(1, c.out/2)
	c.pause = min(max(2*c.pause, latePauseMin), latePauseMax)
	// Other workers have met the same. The clock is as good as any generator, and repeats where time is simulated.
	wait := c.pause/2 + time.Duration(now.UnixNano())%(c.pause/2)
	c.until = now.Add(wait)
	return wait
}

// claimed tells that a claim is settled, or that none was made; started: it was, and in time.
func (p *pool) claimed(started bool) {
	p.mu.Lock()
	p.claims.out--
	limited := p.claims.most > 0
	if started {
		p.claims.inTime(p.slots)
	}
	var sends []pull
	if limited { // else there is room for no more than before
		sends = p.plan(time.Now())
	}
	p.mu.Unlock()
	p.send(sends)
}

// late tells that a claim was late that was sent at a time.
func (p *pool) late(sent time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	wait := p.claims.late(sent, time.Now())
	if wait == 0 {
		return
	}
	time.AfterFunc(wait, p.kick)
	p.log.Warn("the ledger is too slow: a claim was late, and fewer are made at once", zap.Int("at_once", p.claims.most), zap.Duration("pause", wait))
}
