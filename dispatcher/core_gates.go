package dispatcher

import (
	"math"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// How limits, rates, holds and breakers are kept (R-16 to R-19; DESIGN D5).
//
// Each is a rule about all jobs of some scope: of an org, of an org in a queue, of a type. A gate is all rules of one
// scope, and a job starts when every gate before it is open. Which gates stand before a job depends only on its lane:
//
//	of the pair:    everything · its queue · its type · both
//	of the node:    its org · org and queue · org and type · all three
//	of the strand:  its resource, for all or for its org; and with queue, type
//	of the lane:    the batch whose items its jobs are
//
// A shut gate of a pair is a look whenever the pair is: there are few pairs. What a shut gate of a node or strand
// keeps from starting leaves the heaps of what is ready and waits at the gate, so that a decision costs nothing for
// those that are blocked, however many. When the gate has room, whoever waits there is looked at again: all nodes,
// which are of one org; and of the strands, which may be of all orgs, in each pair the one whose org was served
// least (see line).

// scope names what a gate stands before: the jobs that match every part given.
type scope struct {
	org      schemas.OrgID
	queue    schemas.QueueName
	typ      schemas.TypeName
	resource string
	batch    string // ledger.BatchKey
}

// scopeOf is the scope of a hold. One on a batch is on its items: false where it cannot be told which these are, as
// another org's batch may have the same id, or where it names more, which nobody can ask for.
func scopeOf(h schemas.HoldScope) (s scope, ok bool) {
	s = scope{org: h.Org, queue: h.Queue, typ: h.Type, resource: h.Resource}
	if h.Batch == "" {
		return s, true
	}
	ok = s == scope{org: h.Org} && h.Org != ""
	s.batch = ledger.BatchKey(h.Org, schemas.JobID(h.Batch))
	return s, ok
}

// matches reports whether the scope covers a job.
func (s scope) matches(org schemas.OrgID, q schemas.QueueName, t schemas.TypeName, resource, batch string) bool {
	return (s.org == "" || s.org == org) && (s.queue == "" || s.queue == q) && (s.typ == "" || s.typ == t) &&
		(s.resource == "" || s.resource == resource) && (s.batch == "" || s.batch == batch)
}

func (s scope) holdScope() schemas.HoldScope {
	return schemas.HoldScope{Org: s.org, Queue: s.queue, Type: s.typ, Resource: s.resource}
}

// orgScope is what an org's own settings bind a job by. Jobs that servers run themselves, such as batches, take no place
// among the org's running ones: a batch would keep its items from the places that it waits for them to have.
func orgScope(org schemas.OrgID, q schemas.QueueName, t schemas.TypeName) scope {
	if q == ledger.SystemQueue {
		return scope{org: org, queue: q, typ: t}
	}
	return scope{org: org}
}

// odd reports that a scope can only have holds: no setting counts or limits its jobs, so no job's stake names it.
func (s scope) odd() bool {
	switch {
	case s.batch != "":
		return true
	case s.resource != "":
		return s.queue != "" || s.typ != ""
	case s.queue != "":
		return s.typ != ""
	}
	return s == scope{}
}

// forever is the end of a bar that somebody has to lift.
const forever = math.MaxInt64

// gate is all rules about one scope, and who waits for them.
type gate struct {
	scope scope
	refs  int // pairs, nodes, strands and stakes that name it: it is kept while there are any
	used  int // stakes: what counts as Queued or Running
	live  int // of them: those that run, or that a worker may be about to start
	max   int // 0: no limit

	rate *schemas.Rate // nil: none
	full int64         // stream time at which the bucket of rate holds all its tokens again

	barredTo int64 // stream time at which a hold, or the org's suspension, ends; 0: none
	weight   int   // of an org: its share; 0: the default
	owner    schemas.OrgID
	breaker  *breaker // of an org and type; nil: none

	nodes     []*node
	strangers []*node // of a queue: nodes of orgs that do not own it
	lines     map[*pair]*line
	lanes     []*lane // of a batch
	wake      int64   // due time of its entry in Core.wakes, 0 if it has none
}

// gate returns the gate of a scope, made on first sight.
func (c *Core) gate(s scope) *gate {
	g, ok := c.gates[s]
	if !ok {
		g = c.newGate(s)
		c.gates[s] = g
	}
	return g
}

// newGate makes a gate that nobody knows yet, with the rules in force.
func (c *Core) newGate(s scope) *gate {
	g := &gate{scope: s}
	c.configure(g)
	return g
}

func (c *Core) ref(s scope) *gate {
	g := c.gate(s)
	g.refs++
	return g
}

// unref undoes one ref. A gate that nobody names goes at once, unless it remembers something that time will void.
func (c *Core) unref(g *gate) {
	if g.refs--; g.refs > 0 {
		return
	}
	if g.forgettable(c.now) {
		delete(c.gates, g.scope)
		return
	}
	c.retired = append(c.retired, g)
}

// forgettable reports that a gate nobody names holds nothing but settings.
func (g *gate) forgettable(now int64) bool {
	return g.full <= now && (g.breaker == nil || g.breaker.idle(now))
}

// retireEvery is the time between two looks at gates that are only kept for what they remember.
const retireEvery = int64(10 * time.Second)

// retire forgets gates that nobody names once they remember nothing.
func (c *Core) retire() {
	if c.now < c.retireAt {
		return
	}
	c.retireAt = c.now + retireEvery
	kept := c.retired[:0]
	for _, g := range c.retired {
		switch {
		case g.refs > 0 || c.gates[g.scope] != g: // in use again, and retired anew when that ends
		case g.forgettable(c.now):
			delete(c.gates, g.scope)
		default:
			kept = append(kept, g)
		}
	}
	clear(c.retired[len(kept):])
	c.retired = kept
}

// shut reports whether a gate keeps one more job from starting.
func (c *Core) shut(g *gate) bool {
	return g.max > 0 && (g.used >= g.max || g.max == 1 && c.unsettled) || c.barred(g) || g.rate != nil && g.nextStart() > c.now
}

// barred reports whether a gate keeps its jobs from workers, be they Queued already: limits and rates do not.
func (c *Core) barred(g *gate) bool {
	return g.barredTo > c.now || g.breaker != nil && g.breaker.shut(c.now)
}

// opensAt is when a shut gate may open without an event, 0 if only an event opens it.
func (c *Core) opensAt(g *gate) (at int64) {
	if g.barredTo > c.now && g.barredTo != forever {
		at = g.barredTo
	}
	if g.breaker != nil && g.breaker.shut(c.now) {
		at = max(at, g.breaker.until)
	}
	if g.rate != nil {
		at = max(at, g.nextStart())
	}
	if at <= c.now {
		return 0
	}
	return at
}

// stakeGates is how many gates count a job: of its queue, its type, its org, org and queue, org and type, and of its
// resource for all and for its org.
const stakeGates = 7

// stake is one job's share of the limits: held from the decision to queue it until its attempt has ended and its
// handler has returned.
type stake struct {
	gates [stakeGates]*gate // those of the resource are nil for a job without one
	live  bool
	probe bool // of the breaker of its org and type
}

// The places of gates in a stake.
const (
	ofQueue = iota
	ofType
	ofOrg
	ofOrgQueue
	ofOrgType
	ofResource
	ofOrgResource
)

// stakeOf takes a stake for a job in a lane.
func (c *Core) stakeOf(l *lane) stake {
	n := l.node
	st := stake{gates: [stakeGates]*gate{n.pair.gates[0], n.pair.gates[1], n.gates[0], n.gates[1], n.gates[2]}}
	if l.strand != nil {
		st.gates[ofResource], st.gates[ofOrgResource] = l.strand.gates[0], l.strand.gates[1]
	}
	c.occupy(&st)
	return st
}

// stakeFor takes a stake for a job that was in no lane of this core.
func (c *Core) stakeFor(p *pair, org schemas.OrgID, resource string) stake {
	q, t := p.queue.name, p.typ
	st := stake{gates: [stakeGates]*gate{p.gates[0], p.gates[1],
		c.gate(orgScope(org, q, t)), c.gate(scope{org: org, queue: q}), c.gate(scope{org: org, typ: t})}}
	if resource != "" {
		st.gates[ofResource], st.gates[ofOrgResource] = c.gate(scope{resource: resource}), c.gate(scope{resource: resource, org: org})
	}
	c.occupy(&st)
	return st
}

func (c *Core) occupy(st *stake) {
	for _, g := range st.gates {
		if g != nil {
			g.used++
			g.refs++
		}
	}
}

func (st *stake) held() bool { return st.gates[ofOrg] != nil }

// enliven says that a worker may start, or runs, the job of a stake.
func (st *stake) enliven(live bool) {
	if st.live == live || !st.held() {
		return
	}
	st.live = live
	by := 1
	if !live {
		by = -1
	}
	for _, g := range st.gates {
		if g != nil {
			g.live += by
		}
	}
}

// giveBack gives a stake back, and lets in who waited for it.
func (c *Core) giveBack(st *stake) {
	st.enliven(false)
	c.endProbe(st)
	gates := st.gates
	*st = stake{}
	for _, g := range gates {
		if g == nil {
			continue
		}
		g.used--
		c.letIn(g)
		c.unref(g)
	}
}

// charge takes a token of every rate for a start at a stream time.
func (st *stake) charge(at int64) {
	for _, g := range st.gates {
		if g != nil && g.rate != nil {
			g.take(at)
		}
	}
}

// refund gives tokens back for a start that did not happen.
func (st *stake) refund() {
	for _, g := range st.gates {
		if g != nil && g.rate != nil {
			g.full -= g.interval()
		}
	}
}
