package dispatcher

import (
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Of a job that is Queued and unclaimed when a hold is laid, the offer is taken back, and made again when the hold
// has ended (R-18, DESIGN D7). It keeps its state and what it holds of limits; its room in a pool goes to others. The
// same is done to a job whose breaker has opened, and to one under a limit of one that was Queued while another such
// job was: the limit is judged again at every offer (DESIGN D6).

// offerable reports whether a Queued job may be offered now, and shelves it or takes it back accordingly.
func (c *Core) offerable(a *active) bool {
	if c.kept(a) || !c.alone(&a.stake) {
		c.shelve(a)
		return false
	}
	if a.shelved {
		a.shelved = false
		a.pair.queued++
		if a.pool = a.pair.roomiest(); a.pool != nil {
			a.pool.charged++
		}
	}
	a.stake.enliven(true)
	c.probe(&a.stake, c.now)
	return true
}

// shelve takes a Queued job out of what workers are expected to claim.
func (c *Core) shelve(a *active) {
	if !a.shelved {
		a.shelved = true
		a.pair.queued--
		c.uncharge(a)
	}
	c.removeOffer(a.work)
	a.work, a.offers = 0, 0
	a.offerAt = 0 // at once, when nothing is against it any more
	a.stake.enliven(false)
	c.endProbe(&a.stake)
}

// kept reports whether a hold, a suspended org or a breaker keeps a job from workers.
func (c *Core) kept(a *active) bool {
	if c.barred(c.root) {
		return true
	}
	for i, g := range a.stake.gates {
		if g != nil && c.barred(g) && !(i == ofOrgType && a.stake.probe && g.barredTo <= c.now) {
			return true
		}
	}
	if c.odd == 0 {
		return false
	}
	q, t := a.pair.queue.name, a.pair.typ
	if c.oddBar(scope{queue: q, typ: t}) != nil || c.oddBar(scope{org: a.org, queue: q, typ: t}) != nil {
		return true
	}
	if b := ledger.BatchOf(a.job); b != "" && c.oddBar(scope{org: a.org, batch: b}) != nil {
		return true
	}
	r := a.resource()
	if r == "" {
		return false
	}
	for _, s := range oddStrand(a.org, q, t, r) {
		if c.oddBar(s) != nil {
			return true
		}
	}
	return false
}

// alone reports whether no limit of one is against offering a job: no other job under it runs, is about to, or has
// left a handler behind, and this leader knows of all that do.
func (c *Core) alone(st *stake) bool {
	own := 0
	if st.live {
		own = 1
	}
	for _, g := range st.gates {
		if g != nil && g.max == 1 && (c.unsettled || g.live > own) {
			return false
		}
	}
	return true
}

// recall takes back the offers of Queued jobs in a scope that a hold was laid on, or whose breaker opened.
func (c *Core) recall(s scope) {
	var kept []*active
	for _, a := range c.active {
		if a.matches(s) {
			kept = append(kept, a)
		}
	}
	sortActive(kept)
	for _, a := range kept {
		c.recallIf(a)
	}
}

// recallIf takes back the offer of a Queued job that is kept from workers.
func (c *Core) recallIf(a *active) {
	if !a.running && !a.shelved && c.kept(a) {
		c.shelve(a)
	}
}

func (a *active) matches(s scope) bool {
	return s.matches(a.org, a.pair.queue.name, a.pair.typ, a.resource(), ledger.BatchOf(a.job))
}

func (a *active) resource() string {
	if g := a.stake.gates[ofResource]; g != nil {
		return g.scope.resource
	}
	return ""
}

// unsettle begins an epoch: what workers still run is known only when they have beaten (DESIGN D6).
func (c *Core) unsettle(lease time.Duration) {
	c.unsettled, c.leadAt = true, lease
	for _, s := range c.sessions {
		s.settled = false
	}
}

// settleDown looks whether all that workers run is known: every session knows the epoch, so it takes no offer of an
// earlier one, or was silent for a lease, so its attempts are lost and it has stopped what a limit of one was on.
func (c *Core) settleDown(lease time.Duration) {
	if !c.unsettled {
		return
	}
	if lease < c.leadAt+c.times.Lease {
		// A core that has not listened for a lease cannot know who hangs in a handler of an attempt that ended.
		if c.stray && lease < c.times.Lease {
			return
		}
		for _, s := range c.sessions {
			if !s.settled && (s.alive || s.running > 0 || len(s.stays) > 0) {
				return
			}
		}
	}
	c.unsettled = false
	for _, g := range c.gates {
		if g.max == 1 {
			c.letIn(g)
		}
	}
}

// stay is a stake that a handler holds which may have outlived its attempt.
type stay struct {
	stake stake
	sure  bool // a beat after the attempt's end is proof: one before had named it
}

// stay leaves an attempt's stake with its session, until a beat does not name it any more, or the session is gone.
func (c *Core) stay(a *active, st *stake) {
	c.stray = true
	s := a.session
	if s.stays == nil {
		s.stays = make(map[schemas.Seq]*stay, 1)
	}
	c.endProbe(st) // its verdict is in
	s.stays[a.fence.Seq] = &stay{stake: *st, sure: a.heard}
	*st = stake{}
}

// outlived folds what a beat says about handlers that outlive their attempts: those named keep what they hold.
func (c *Core) outlived(s *session, named map[schemas.Seq]*ledger.AttemptRef) {
	for fence, ref := range named {
		if s.stays[fence] == nil && ref.Type != "" { // its end was folded before this core heard of the session
			if s.stays == nil {
				s.stays = make(map[schemas.Seq]*stay, 1)
			}
			p := c.pair(ref.Queue, ref.Type)
			st := &stay{stake: c.stakeFor(p, ref.Org, ref.Resource)}
			st.stake.enliven(true)
			s.stays[fence] = st
			c.dropPair(p)
		}
	}
	for fence, st := range s.stays {
		switch {
		case named[fence] != nil:
			st.sure = true
		case !st.sure: // the beat may have been on its way since before the claim
			st.sure = true
		default:
			delete(s.stays, fence)
			c.giveBack(&st.stake)
		}
	}
}

// clearStays gives back what handlers of a session hold that is gone.
func (c *Core) clearStays(s *session) {
	for fence, st := range s.stays {
		delete(s.stays, fence)
		c.giveBack(&st.stake)
	}
}
