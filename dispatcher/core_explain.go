package dispatcher

import (
	"time"

	"github.com/dartwing/jobledger/ledger"
)

// Explain says where a job stands and what keeps it from starting at stream time now. It costs a look along the
// job's lane, bounded by aheadMax: it is for people, not for the loop.
func (c *Core) Explain(q *ledger.ExplainRequest, now time.Time) *ledger.Explanation {
	x := &ledger.Explanation{Epoch: c.epoch, Position: c.position, Now: now.UTC(), Place: c.placeOf(q)}
	p := c.pairs[pairKey{q.Queue, q.Type}]
	if x.Place == ledger.PlaceLane {
		x.Ahead, _, x.AheadMore = c.laneOf(q).jobs.before(q.Submitted, aheadMax)
	}
	if p != nil {
		for _, pool := range p.pools {
			x.Workers += pool.sessions
			x.Slots += pool.slots
			x.Free += pool.free()
		}
	}
	switch {
	case x.Place == ledger.PlaceParents:
		x.Blockers = append(x.Blockers, ledger.Blocker{Kind: ledger.BlockParents})
	case x.Place == ledger.PlaceTimer:
		x.Blockers = append(x.Blockers, ledger.Blocker{Kind: ledger.BlockDelay})
	}
	waits := x.Place != ledger.PlaceRunning && x.Place != ledger.PlaceUnknown
	switch {
	case waits && x.Workers == 0:
		x.Blockers = append(x.Blockers, ledger.Blocker{Kind: ledger.BlockNoWorker})
	case waits && x.Free == 0:
		x.Blockers = append(x.Blockers, ledger.Blocker{Kind: ledger.BlockNoRoom})
	}
	if waits {
		x.Blockers = append(x.Blockers, c.blockers(q, x.Place == ledger.PlaceQueued, now.UnixNano())...)
	}
	for i, b := range x.Blockers {
		if b.Until.IsZero() || i > 0 && x.EarliestStart.IsZero() {
			x.EarliestStart = time.Time{}
			break
		}
		x.EarliestStart = laterOf(x.EarliestStart, b.Until)
	}
	return x
}

// placeOf finds a job by its identity. A waiting one has no record: what is in no other place is in its lane, or
// behind a timer.
func (c *Core) placeOf(q *ledger.ExplainRequest) string {
	id := q.Submitted
	_, parked := c.family.children[id]
	_, doomed := c.dedup.doomed[id]
	a := c.active[id]
	switch {
	case a != nil && a.running:
		return ledger.PlaceRunning
	case a != nil:
		return ledger.PlaceQueued
	case parked:
		return ledger.PlaceParents
	case doomed:
		return ledger.PlaceDuplicate
	case c.flights[id] != nil:
		return ledger.PlaceDeciding
	}
	if l := c.laneOf(q); l != nil {
		if _, found, more := l.jobs.before(id, aheadMax); found || more {
			return ledger.PlaceLane
		}
		if l.timers > 0 {
			return ledger.PlaceTimer
		}
	}
	return ledger.PlaceUnknown
}

// aheadMax bounds the entries of a lane that one explanation looks at: a third of a millisecond.
const aheadMax = 100_000

// laneOf returns the lane a job would wait in, nil if there is none.
func (c *Core) laneOf(q *ledger.ExplainRequest) *lane {
	p := c.pairs[pairKey{q.Queue, q.Type}]
	if p == nil || p.nodes[q.Org] == nil {
		return nil
	}
	return p.nodes[q.Org].lanes[laneKey{levelOf(q.Priority), q.Resource, ledger.BatchOf(q.Job)}]
}
