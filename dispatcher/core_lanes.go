package dispatcher

import (
	"slices"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// entry is one waiting job in a lane or a timer: 16 bytes. Its args, its id and its org's settings stay in
// the ledger (DESIGN D5).
type entry struct {
	id schemas.Seq // sequence of the generation's submitted: the job's identity
	at schemas.Seq // sequence of the event that made it wait: submitted, retried, failed, timed_out or carried
}

// chunkMax is how many entries a lane allocates at a time: 16 KiB.
const chunkMax = 1024

// fifo is a queue of entries in chunks, so that a long lane neither copies nor keeps what it handed out.
type fifo struct {
	chunks [][]entry
	read   int     // entries of chunks[0] already taken
	front  []entry // entries put back, newest last; taken before chunks
	n      int
}

func (f *fifo) push(e entry) {
	last := len(f.chunks) - 1
	if last == 0 && len(f.chunks[0]) == cap(f.chunks[0]) && 2*f.read >= len(f.chunks[0]) {
		// Of an org that always has a few waiting, what was taken out is the room for what comes: or each of them
		// would fill a whole chunk in time.
		// In a chunk of its own: an image may hold the old one.
		f.chunks[0], f.read = append(make([]entry, 0, cap(f.chunks[0])), f.chunks[0][f.read:]...), 0
	}
	if last < 0 || len(f.chunks[last]) == chunkMax {
		// The first chunk grows by append from nothing: most lanes hold a handful of jobs.
		var chunk []entry
		if last >= 0 {
			chunk = make([]entry, 0, chunkMax)
		}
		f.chunks = append(f.chunks, chunk)
		last++
	}
	f.chunks[last] = append(f.chunks[last], e)
	f.n++
}

func (f *fifo) pushFront(e entry) {
	f.front = append(f.front, e)
	f.n++
}

// head returns the first entry; the queue must not be empty.
func (f *fifo) head() entry {
	if k := len(f.front); k > 0 {
		return f.front[k-1]
	}
	return f.chunks[0][f.read]
}

func (f *fifo) pop() entry {
	e := f.head()
	f.n--
	if k := len(f.front); k > 0 {
		f.front = f.front[:k-1]
		return e
	}
	f.read++
	if f.read == len(f.chunks[0]) {
		f.chunks[0] = nil
		f.chunks, f.read = f.chunks[1:], 0
	}
	return e
}

// before counts the entries in front of a job, looking at no more than max: found tells that the job was met, more
// that the looking ended before.
func (f *fifo) before(id schemas.Seq, max int) (n int, found, more bool) {
	for i := len(f.front) - 1; i >= 0; i-- {
		if f.front[i].id == id {
			return n, true, false
		}
		n++
	}
	from := f.read
	for _, chunk := range f.chunks {
		for _, e := range chunk[from:] {
			switch {
			case e.id == id:
				return n, true, false
			case n >= max:
				return n, false, true
			}
			n++
		}
		from = 0
	}
	return n, false, false
}

// filter keeps the entries for which keep is true.
func (f *fifo) filter(keep func(entry) bool) {
	old := *f
	*f = fifo{}
	for old.n > 0 {
		if e := old.pop(); keep(e) {
			f.push(e)
		}
	}
}

// levels is the number of priorities.
const levels = 4

func levelOf(p schemas.Priority) int {
	switch p {
	case schemas.PriorityLow:
		return 0
	case schemas.PriorityHigh:
		return 2
	case schemas.PriorityCritical:
		return 3
	}
	return 1
}

// lane is the FIFO of waiting jobs alike in (queue, org, priority, type, resource) and, where they are items of a batch,
// in the batch, which may be paused by itself.
type lane struct {
	laneKey
	node   *node
	strand *strand // nil without a resource
	jobs   fifo
	timers int         // entries of the timer heap that will enter this lane
	slot   uint32      // its index in Core.slots while there are any
	listed bool        // in node.ready[level]
	key    schemas.Seq // at of the head when it was listed: the order among lanes of a level
	at     *gate       // of its batch, where it waits; nil if nowhere
	aged   bool        // it has a seat in depth.aged, by agedAt
	agedAt schemas.Seq
}

type laneKey struct {
	level    int
	resource string
	batch    string // ledger.BatchOf its jobs
}

// node is what one org has waiting for one (queue, type).
type node struct {
	pair  *pair
	turn  *turn
	org   schemas.OrgID
	gates [3]*gate // of its org, org and queue, org and type
	at    *gate    // where it waits, nil if nowhere
	lanes map[laneKey]*lane
	// strands are its lanes' by resource.
	strands map[string]*strand
	ready   [levels]heap[*lane] // lanes with entries, the longest waiting first; the first may prove empty or blocked
	shown   int                 // lanes in ready
	jobs    int                 // entries in lanes, dead ones included
	timers  int                 // entries of the timer heap that will enter its lanes
	// listed: in pair.ready, under the key the turn had when it was put there.
	listed bool
}

// seat is a node among what is ready of its pair. The key stands beside it, so that the heap is put in order without a
// look at the nodes, of which there may be too many for the processor's cache.
type seat struct {
	key  turnKey
	node *node
}

// turnKey orders the orgs of a queue: the least served first, then round robin.
type turnKey struct {
	served uint64 // virtual time: starts so far in units of turnUnit / weight
	order  uint64 // when the org last took its place at the end of the ring
}

func (k turnKey) before(o turnKey) bool {
	if k.served != o.served {
		return k.served < o.served
	}
	return k.order < o.order
}

// turn is an org's place in the ring of one queue, over all types it has there.
type turn struct {
	org   schemas.OrgID
	key   turnKey
	nodes int  // nodes that hold it
	idle  bool // in queue.idle
	jobs  int  // entries waiting, dead ones included
	// batons are its strands that hold one: see line.
	batons []*strand
	// picks counts starts, last the pick at which a level was served: see level.
	picks uint64
	last  [levels]uint64
}

// pair is one (queue, type): what a worker announces and pulls.
type pair struct {
	queue  *queue
	typ    schemas.TypeName
	gates  [2]*gate // of its queue and its type
	nodes  map[schemas.OrgID]*node
	ready  heap[seat] // nodes with entries by their turn's key; keys in it may be stale, never too great
	pools  []*pool    // of live workers that serve the pair
	jobs   int        // entries in lanes, dead ones included
	queued int        // Queued jobs
	active int        // Queued and Running jobs
}

// queue is one isolation class with its own ring of orgs.
type queue struct {
	name  schemas.QueueName
	pairs int
	turns map[schemas.OrgID]*turn
	now   uint64  // virtual time: the key.served under which the latest start was made
	order uint64  // last turnKey.order given out
	idle  []*turn // turns without nodes, to be forgotten
	// depths are what waits in it, by level.
	depths *[levels]depth
	// weights are the shares of orgs that differ here from their own.
	weights map[schemas.OrgID]int
}

// turnUnit is a start's cost in virtual time at weight 1. Weights divide it.
const turnUnit = 1 << 24

type pairKey struct {
	queue schemas.QueueName
	typ   schemas.TypeName
}

// pair returns the pair, made on first sight.
func (c *Core) pair(q schemas.QueueName, t schemas.TypeName) *pair {
	key := pairKey{q, t}
	if p, ok := c.pairs[key]; ok {
		return p
	}
	qu, ok := c.queues[q]
	if !ok {
		qu = &queue{name: q, turns: make(map[schemas.OrgID]*turn), depths: newDepths()}
		if set := c.settings.queues[q]; set != nil {
			qu.weights = set.Weights
		}
		c.queues[q] = qu
	}
	p := &pair{queue: qu, typ: t, nodes: make(map[schemas.OrgID]*node), gates: [2]*gate{c.ref(scope{queue: q}), c.ref(scope{typ: t})}}
	p.ready.less = func(a, b seat) bool { return a.key.before(b.key) }
	c.pairs[key] = p
	qu.pairs++
	return p
}

// dropPair forgets a pair that nobody serves or has a job of: names of queues are the submitters' choice, and
// must not add up.
func (c *Core) dropPair(p *pair) {
	key := pairKey{p.queue.name, p.typ}
	if len(p.nodes) > 0 || len(p.pools) > 0 || p.active > 0 || c.pairs[key] != p {
		return
	}
	delete(c.pairs, key)
	for _, g := range p.gates {
		c.unref(g)
	}
	if p.queue.pairs--; p.queue.pairs == 0 {
		delete(c.queues, p.queue.name)
	}
}

// laneOfJob returns the lane of the job that an event is about.
func (c *Core) laneOfJob(e *schemas.Event, h *schemas.Head) *lane {
	return c.lane(e.Org, h, ledger.BatchOf(e.Job))
}

// lane returns the lane of a job, made when it is the first. batch is the ledger.BatchOf its id.
func (c *Core) lane(org schemas.OrgID, h *schemas.Head, batch string) *lane {
	p := c.pair(h.Queue, h.Type)
	n, ok := p.nodes[org]
	if !ok {
		t, ok := p.queue.turns[org]
		if !ok {
			t = &turn{org: org, key: turnKey{served: p.queue.now}}
			p.queue.turns[org] = t
		}
		t.nodes++
		n = &node{pair: p, turn: t, org: org, lanes: make(map[laneKey]*lane, 1),
			gates: [3]*gate{c.ref(orgScope(org, h.Queue, h.Type)), c.ref(scope{org: org, queue: h.Queue}), c.ref(scope{org: org, typ: h.Type})}}
		p.nodes[org] = n
	}
	key := laneKey{levelOf(h.Priority), h.Resource, batch}
	l, ok := n.lanes[key]
	if !ok {
		l = &lane{laneKey: key, node: n, strand: c.strandOf(n, h.Resource)}
		if s := l.strand; s != nil {
			s.lanes = append(s.lanes, l)
		}
		n.lanes[key] = l
	}
	return l
}

// drop forgets a lane that holds nothing, and the org's node and turn after the last of them: idle orgs
// cost nothing.
func (c *Core) drop(l *lane) {
	if l.jobs.n > 0 || l.timers > 0 || l.listed || l.at != nil || l.node.lanes[l.laneKey] != l {
		return
	}
	delete(l.node.lanes, l.laneKey)
	c.leaveStrand(l)
	c.dropNode(l.node)
}

func (c *Core) dropNode(n *node) {
	if len(n.lanes) > 0 || len(n.strands) > 0 || n.listed || n.at != nil || n.pair.nodes[n.org] != n {
		return
	}
	delete(n.pair.nodes, n.org)
	for _, g := range n.gates {
		c.unref(g)
	}
	if n.turn.nodes--; n.turn.nodes == 0 && !n.turn.idle {
		n.turn.idle = true
		n.pair.queue.idle = append(n.pair.queue.idle, n.turn)
	}
	n.pair.queue.forget()
	c.dropPair(n.pair)
}

// forget drops the turns of orgs that hold nothing and have no more starts behind them than their share: a
// turn forgotten earlier would let an org that always has one job waiting start them without end.
func (q *queue) forget() {
	for len(q.idle) > 0 {
		t := q.idle[0]
		if t.nodes == 0 && t.key.served > q.now {
			return
		}
		q.idle = q.idle[1:]
		t.idle = false
		if t.nodes == 0 {
			delete(q.turns, t.org)
		}
	}
}

// enter puts a job at the end of its lane.
func (c *Core) enter(l *lane, e entry) {
	c.begun(e)
	l.jobs.push(e)
	c.entered(l)
}

// restore puts a job back where it was taken from.
func (c *Core) restore(l *lane, e entry) {
	l = c.lane(l.node.org, l.head(), l.batch) // the lane may have been dropped meanwhile
	c.begun(e)
	l.jobs.pushFront(e)
	if l.listed && e.at < l.key { // it is older than what was at the head meanwhile
		l.key = e.at
		h := &l.node.ready[l.level]
		h.up(slices.Index(h.items, l))
	}
	c.entered(l)
}

func (c *Core) entered(l *lane) {
	n := l.node
	t, q := n.turn, n.pair.queue
	if t.jobs == 0 {
		// An org that had nothing waiting takes its place at the end of the present round: it neither
		// saved up turns while idle nor loses the ones others had.
		q.order++
		t.key = turnKey{served: max(t.key.served, q.now), order: q.order}
		t.picks, t.last = 0, [levels]uint64{}
	}
	c.add(l, 1)
	if c.gone(n.org) {
		c.seekDissolved(n.org)
	}
	if l.free() {
		c.show(l)
	}
}

// free reports that nothing is known to keep the lane from what is ready: else whatever does puts it there.
func (l *lane) free() bool { return l.at == nil && (l.strand == nil || l.strand.at == nil) }

// show puts a lane with entries among what is ready of its node, and the node among what is ready of its pair.
func (c *Core) show(l *lane) {
	n := l.node
	if !l.listed {
		l.listed, l.key = true, l.jobs.head().at
		h := &n.ready[l.level]
		h.less = olderLane
		h.push(l)
		n.shown++
	}
	c.showNode(n)
}

func (c *Core) showNode(n *node) {
	if !n.listed && n.at == nil && n.shown > 0 {
		n.listed = true
		n.pair.ready.push(seat{n.turn.key, n})
	}
}

// hide takes the top out of a level of what is ready of a node.
func (n *node) hide(level int) *lane {
	l := n.ready[level].pop()
	l.listed = false
	n.shown--
	return l
}

func olderLane(a, b *lane) bool { return a.key < b.key }

// head returns what identifies the lane, as an event's head would.
func (l *lane) head() *schemas.Head {
	return &schemas.Head{Queue: l.node.pair.queue.name, Type: l.node.pair.typ, Priority: priorities[l.level], Resource: l.resource}
}

var priorities = [levels]schemas.Priority{schemas.PriorityLow, schemas.PriorityNormal, schemas.PriorityHigh, schemas.PriorityCritical}

// take removes the head of a lane.
func (c *Core) take(l *lane) entry {
	e := l.jobs.pop()
	c.add(l, -1)
	return e
}
