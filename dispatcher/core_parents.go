package dispatcher

import (
	"cmp"
	"slices"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Jobs that wait for others (R-13, R-14; DESIGN D5). There is no map of all jobs, so a parent is known here only
// while somebody waits for it: by its name and generation, as submitted stores them. Memory is bounded by the
// edges of the jobs that wait.
//
// A parent that ends behind the child's submitted is seen in the tail. One that ended before it is not, so the
// leader looks every parent up once, in the parent's own subject, read at least as far as this fold had come when
// the first child appeared: between the two nothing can be missed, whichever comes first. Only events that end a
// parent act. A completed one is believed at once, for its attempt is known here to be the current one; any other
// end has the parent looked up, so that an event which was not legal where it stands ends nobody.
//
// A child is released by facts that nothing takes back within its own life, so a fold that is behind can only
// wait longer. Another life (retried) has its own wait; the host sees to it that a decision about one life is not
// carried out on the next (parentsStand).

// parentKey names one life of a job.
type parentKey struct {
	org        schemas.OrgID
	job        schemas.JobID
	generation int
}

// parent is one life of a job that children wait for.
type parent struct {
	key   parentKey
	edges []edge
	gone  int         // edges of children that wait no more
	at    schemas.Seq // a look-up reads at least up to here
	// known: looked up, and it had not ended: the tail tells when it does.
	known bool
	// asked is the number of the look-up in flight, or of the last one; 0: none yet. queued: in Core.ask.
	asked  uint64
	queued bool
}

// edge leads from a parent to a child.
type edge struct {
	child *child
	on    string // what the parent's failure means
}

// child is a job that is Submitted and waits for parents: in no lane and no timer. A carried event leaves it as it
// is, but for where its name is read.
type child struct {
	entry
	org       schemas.OrgID
	head      schemas.Head // what chooses its lane
	notBefore int64        // earliest start, stream time; 0 if none
	refs      []schemas.ParentRef
	open      int // edges whose parent has not ended
	left      bool
	failed    *failure // it is to end, and waits for no parent any more
}

// failure is why a child ends with a parent.
type failure struct {
	parent  schemas.ParentRef
	of      schemas.Seq // the event that ended the parent, or asked for the cascade; 0 if nothing is known of it
	cascade bool
}

// parentTables are the jobs that wait for others.
type parentTables struct {
	children map[schemas.Seq]*child // by job
	parents  map[parentKey]*parent
	ask      []*parent          // to be looked up; while leading
	failing  []*child           // to be ended; while leading
	lookups  map[uint64]*parent // in flight, by number
	ending   int                // ends of children in flight
}

const (
	// lookupsMax bounds the look-ups in flight, so that a hundred thousand of them, as after a fail-over, leave room
	// for other decisions.
	lookupsMax = 32
	// endingMax bounds the ends of children in flight: a parent that fails may have a hundred thousand of them.
	endingMax = 32
)

func newParentTables() parentTables {
	return parentTables{children: make(map[schemas.Seq]*child), parents: make(map[parentKey]*parent), lookups: make(map[uint64]*parent)}
}

// park has a job wait for its parents. due is its earliest start, 0 if that is no gate.
func (c *Core) park(org schemas.OrgID, h *schemas.Head, e entry, due int64, refs []schemas.ParentRef) {
	ch := &child{entry: e, org: org, notBefore: due, refs: refs,
		head: schemas.Head{Type: h.Type, Queue: h.Queue, Priority: h.Priority, Resource: h.Resource}}
	c.family.children[e.id] = ch
	for i := range refs {
		c.edge(ch, &refs[i], parentKey{org, refs[i].ID, refs[i].Generation})
	}
}

func (c *Core) edge(ch *child, ref *schemas.ParentRef, key parentKey) {
	p := c.family.parents[key]
	if p == nil {
		p = &parent{key: key, at: c.position}
		c.family.parents[key] = p
		c.askFor(p)
	}
	p.edges = append(p.edges, edge{child: ch, on: ref.OnFailure})
	ch.open++
}

// askFor has a parent looked up. A look-up in flight is void: what it reads may be older.
func (c *Core) askFor(p *parent) {
	delete(c.family.lookups, p.asked)
	p.known = false
	if c.leading && !p.queued {
		p.queued = true
		c.family.ask = append(c.family.ask, p)
	}
}

// unpark forgets a child: it moves on, or ended.
func (c *Core) unpark(ch *child) {
	delete(c.family.children, ch.id)
	c.leave(ch)
}

// leave takes a child from its parents.
func (c *Core) leave(ch *child) {
	if ch.left {
		return
	}
	ch.left = true
	for i := range ch.refs {
		p := c.family.parents[parentKey{ch.org, ch.refs[i].ID, ch.refs[i].Generation}]
		if p == nil {
			continue // it has ended, or stands for another one
		}
		if p.gone++; 2*p.gone > len(p.edges) {
			c.compact(p)
		}
	}
}

// compact drops the edges of children that left, and the parent with the last of them.
func (c *Core) compact(p *parent) {
	p.edges = slices.DeleteFunc(p.edges, func(e edge) bool { return e.child.left })
	if p.gone = 0; len(p.edges) == 0 {
		c.forgetParent(p)
	}
}

func (c *Core) forgetParent(p *parent) {
	delete(c.family.parents, p.key)
	delete(c.family.lookups, p.asked)
	p.edges = nil
}

// wanted reports whether somebody waits for p still.
func (c *Core) wanted(p *parent) bool { return c.family.parents[p.key] == p }

// parentEnded folds an end of a job that others may wait for. sure: it is known to have ended the life named.
func (c *Core) parentEnded(e *schemas.Event, h *schemas.Head, sure bool) {
	if len(c.family.parents) == 0 {
		return
	}
	p := c.family.parents[parentKey{e.Org, e.Job, h.Generation}]
	switch {
	case p == nil:
	case sure:
		c.resolve(p, schemas.StateCompleted, e.Seq)
	default:
		p.at = max(p.at, e.Seq)
		c.askFor(p)
	}
}

// resolve tells the children of a parent how it ended.
func (c *Core) resolve(p *parent, end schemas.State, of schemas.Seq) {
	edges := p.edges
	c.forgetParent(p)
	for _, e := range edges {
		switch ch := e.child; {
		case ch.left:
		case ledger.JudgeEdge(e.on, end) == ledger.EdgeFailed:
			c.fail(ch, failure{parent: schemas.ParentRef{ID: p.key.job, Generation: p.key.generation, OnFailure: e.on}, of: of})
		default:
			if ch.open--; ch.open == 0 {
				c.releaseChild(ch)
			}
		}
	}
}

// releaseChild lets a job start whose parents are satisfied.
func (c *Core) releaseChild(ch *child) {
	c.unpark(ch)
	l := c.lane(ch.org, &ch.head, "") // no item of a batch has parents
	if ch.notBefore != 0 {
		c.wakeAt(ch.notBefore, l, ch.entry)
		return
	}
	c.enter(l, ch.entry)
}

// fail has a child end with a parent. It waits for no other one: the first that fails decides.
func (c *Core) fail(ch *child, f failure) {
	c.leave(ch)
	ch.failed = &f
	if c.leading {
		c.family.failing = append(c.family.failing, ch)
	}
}

// cascade ends all that wait for a job that is canceled with them.
func (c *Core) cascade(e *schemas.Event, h *schemas.Head) {
	p := c.family.parents[parentKey{e.Org, e.Job, h.Generation}]
	if p == nil {
		return
	}
	edges := p.edges
	c.forgetParent(p)
	for _, x := range edges {
		if !x.child.left {
			c.fail(x.child, failure{of: e.Seq, cascade: true,
				parent: schemas.ParentRef{ID: e.Job, Generation: h.Generation, OnFailure: schemas.ParentCancel}})
		}
	}
}

// lookUp gives out the look-ups of parents.
func (c *Core) lookUp(max int) (out []Decision) {
	t := &c.family
	for len(t.ask) > 0 && len(out) < max && len(t.lookups) < lookupsMax {
		p := t.ask[0]
		t.ask = t.ask[1:]
		if p.queued = false; !c.wanted(p) || p.known {
			continue
		}
		c.flown++
		c.stats.Decided++
		p.asked = c.flown
		t.lookups[p.asked] = p
		out = append(out, Decision{Kind: DecideLookup, N: p.asked, At: p.at, Org: p.key.org, Job: p.key.job,
			Parent: schemas.ParentRef{ID: p.key.job, Generation: p.key.generation}})
	}
	return out
}

// endChildren gives out the ends of jobs whose parent failed.
func (c *Core) endChildren(max int) (out []Decision) {
	t := &c.family
	for range len(t.failing) {
		if len(out) >= max || t.ending >= endingMax {
			break
		}
		ch := t.failing[0]
		t.failing = t.failing[1:]
		if t.children[ch.id] != ch {
			continue
		}
		if _, flying := c.flights[ch.id]; flying {
			t.failing = append(t.failing, ch) // its deadline passed, too
			continue
		}
		f := ch.failed
		t.ending++
		out = append(out, c.fly(Decision{Kind: DecideDependency, ID: ch.id, At: ch.at, Org: ch.org, Of: f.of, Parent: f.parent, Cascade: f.cascade}, &flight{}))
	}
	return out
}

// settleLookup takes in how a parent stands.
func (c *Core) settleLookup(d Decision, r Result) {
	p := c.family.lookups[d.N]
	if p == nil {
		return // void: see askFor
	}
	delete(c.family.lookups, d.N)
	switch r.Outcome {
	case Failed:
		c.stats.Failed++
		c.askFor(p)
	case Unreadable:
		p.known = true // it is decided upon by nobody; nor are its children
	default:
		c.found(p, r.Ending)
	}
}

// found judges a parent that was looked up.
func (c *Core) found(p *parent, end *ledger.Ending) {
	at := parentKey{p.key.org, end.Ref.ID, end.Ref.Generation}
	switch {
	case end.Removed:
		c.resolve(p, schemas.StateCompleted, 0) // it is over, and lets them run whatever their edges say: Ending.Judge
	case end.State == schemas.StateNone:
		c.resolve(p, end.State, 0)
	case end.State.Finished():
		c.resolve(p, end.State, end.Event.Seq)
	case at == p.key:
		p.known = true
	default: // a duplicate: they wait for the job that stands for it (DESIGN D4)
		edges := p.edges
		c.forgetParent(p)
		for _, e := range edges {
			if e.child.left {
				continue
			}
			refs := slices.Clone(e.child.refs)
			for i := range refs {
				if refs[i].ID == p.key.job && refs[i].Generation == p.key.generation {
					refs[i].ID, refs[i].Generation = at.job, at.generation
				}
			}
			e.child.refs = refs
			e.child.open--
			c.edge(e.child, &schemas.ParentRef{OnFailure: e.on}, at)
		}
	}
}

// landDependency follows up the end of a child. Where the job's own fold did not confirm it, its parents are looked
// up again.
func (c *Core) landDependency(id schemas.Seq, o Outcome) {
	c.family.ending--
	ch := c.family.children[id]
	if ch == nil || ch.failed == nil {
		return
	}
	switch o {
	case Failed:
		c.family.failing = append(c.family.failing, ch)
	case Gone:
		c.park(ch.org, &ch.head, ch.entry, ch.notBefore, ch.refs)
		c.rearm(id)
	}
}

// carriedChild folds a carried event of a job that waits for its parents; false if it does not.
func (c *Core) carriedChild(id, at schemas.Seq) bool {
	ch := c.family.children[id]
	if ch == nil {
		return false
	}
	ch.at = at
	return true
}

// leadFamily has every parent looked up of which nothing is known, and every child ended that is to end.
func (c *Core) leadFamily() {
	t := &c.family
	t.ask, t.failing = t.ask[:0], t.failing[:0]
	for _, p := range t.parents {
		if p.queued = !p.known; p.queued {
			t.ask = append(t.ask, p)
		}
	}
	for _, ch := range t.children {
		if ch.failed != nil {
			t.failing = append(t.failing, ch)
		}
	}
	slices.SortFunc(t.ask, func(a, b *parent) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.key.org, b.key.org), cmp.Compare(a.key.job, b.key.job), cmp.Compare(a.key.generation, b.key.generation))
	})
	slices.SortFunc(t.failing, func(a, b *child) int { return cmp.Compare(a.id, b.id) })
}

// followFamily forgets what is in flight.
func (c *Core) followFamily() {
	t := &c.family
	clear(t.lookups)
	for _, p := range t.ask {
		p.queued = false
	}
	t.ask, t.failing, t.ending = nil, nil, 0
}

// InFlight is how many decisions were given out and are not settled.
func (c *Core) InFlight() int { return len(c.flights) + len(c.family.lookups) }
