package sim_test

import (
	"container/heap"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"
)

// network is the seeded scheduler. One goroutine owns it: it takes what the parties have written, decides by
// the seed when each message arrives and whether it does, and lets one thing happen at a time, each only when
// every goroutine of every party waits for the next.
type network struct {
	seed   uint64
	engine *engine
	world  *world
	kick   chan struct{}
	queue  packets
	order  uint64
	steps  int
	trace  trace
	hits   *coverage
	storm  storm // faults of messages, now
	down   bool  // the engine takes no connections

	mu    sync.Mutex
	conns []*conn        // by name
	dirty []*conn        // those that have written since the latest look
	deeds []func()       // what parties ask the scheduler to do
	count map[string]int // connections a party has made in a role
}

// packet is something that happens at a time.
type packet struct {
	at    time.Time
	order uint64
	run   func()
}

type packets []*packet

func (q packets) Len() int { return len(q) }
func (q packets) Less(i, j int) bool {
	if !q[i].at.Equal(q[j].at) {
		return q[i].at.Before(q[j].at)
	}
	return q[i].order < q[j].order
}
func (q packets) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *packets) Push(x any)   { *q = append(*q, x.(*packet)) }
func (q *packets) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}

func newNetwork(seed uint64) *network {
	n := &network{seed: seed, kick: make(chan struct{}, 1), count: make(map[string]int), hits: newCoverage()}
	n.engine = newEngine(n)
	return n
}

func (n *network) wake() {
	select {
	case n.kick <- struct{}{}:
	default:
	}
}

// at has run happen at a time.
func (n *network) at(t time.Time, run func()) {
	n.order++
	heap.Push(&n.queue, &packet{at: t, order: n.order, run: run})
}

func (n *network) after(d time.Duration, run func()) { n.at(time.Now().Add(d), run) }

// stepsMax bounds a run: more is a loop that the simulated clock does not end.
const stepsMax = 2_000_000

// run lets things happen until done reports true, which is asked after each.
func (n *network) run(done func() bool) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		synctest.Wait()
		n.collect()
		if done() {
			return nil
		}
		if n.steps++; n.steps > stepsMax {
			return fmt.Errorf("%d steps did not end it", stepsMax)
		}
		if len(n.queue) > 0 && !n.queue[0].at.After(time.Now()) {
			heap.Pop(&n.queue).(*packet).run()
			continue
		}
		wait := time.Hour
		if len(n.queue) > 0 {
			wait = time.Until(n.queue[0].at)
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-n.kick:
		}
	}
}

// collect takes what the clients have written, in the order of the connections' names.
func (n *network) collect() {
	n.mu.Lock()
	dirty, deeds := n.dirty, n.deeds
	n.dirty, n.deeds = nil, nil
	n.mu.Unlock()
	for _, do := range deeds {
		do()
	}
	slices.SortFunc(dirty, byName)
	for _, c := range slices.Compact(dirty) {
		if c.party.paused {
			c.party.held = append(c.party.held, c)
			continue
		}
		// What different goroutines of a process write at one instant comes in any order: the lanes decide it.
		cmds := c.take()
		slices.SortStableFunc(cmds, func(a, b *command) int { return strings.Compare(a.lane(), b.lane()) })
		for _, cmd := range cmds {
			n.accept(c, cmd)
		}
		if c.gone() {
			n.forget(c)
		}
	}
}

func byName(a, b *conn) int { return strings.Compare(a.name, b.name) }

// ask has the scheduler do something.
func (n *network) ask(do func()) {
	n.mu.Lock()
	n.deeds = append(n.deeds, do)
	n.mu.Unlock()
	n.wake()
}

// wrote notes that a connection has something for the scheduler.
func (n *network) wrote(c *conn) {
	n.mu.Lock()
	n.dirty = append(n.dirty, c)
	n.mu.Unlock()
	n.wake()
}

// forget drops a connection that has ended, with its interests.
func (n *network) forget(c *conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns = slices.DeleteFunc(n.conns, func(o *conn) bool { return o == c })
}

// accept puts a client's command on its way.
func (n *network) accept(c *conn, cmd *command) {
	switch cmd.op {
	case "SUB":
		prefix, _, pattern := strings.Cut(cmd.subject, "*")
		if i := strings.IndexByte(prefix, '>'); i >= 0 {
			prefix, pattern = prefix[:i], true
		}
		c.subs[cmd.sid] = &subscription{conn: c, sid: cmd.sid, subject: cmd.subject, queue: cmd.queue, prefix: prefix, literal: !pattern}
	case "UNSUB":
		if s := c.subs[cmd.sid]; s != nil && cmd.max > 0 {
			s.left = cmd.max
		} else {
			delete(c.subs, cmd.sid)
		}
	case "PING":
		n.arrive(c, "ping", n.latency(c, "ping"), func() { c.give([]byte("PONG\r\n")) })
	case "PUB", "HPUB":
		n.send(c, cmd)
	}
}

// send draws the fate of a message from a client to the engine.
func (n *network) send(c *conn, cmd *command) {
	class := classOf(cmd.subject)
	lane := laneOf(cmd)
	what := n.hits.describe(class, cmd)
	fate := n.draw(c, class, what)
	n.trace.add(">", c.name, class, cmd.subject, what, fate)
	n.hits.message(class, what, fate)
	deliver := func() { n.engine.handle(c, cmd, what) }
	switch fate.kind {
	case faultDrop:
		return
	case faultDuplicate:
		n.arrive(c, lane, fate.latency, deliver)
		n.after(fate.latency+fate.extra, deliver)
	case faultDelay:
		n.after(fate.latency+fate.extra, deliver) // outside its lane: others overtake it
	default:
		n.arrive(c, lane, fate.latency, deliver)
	}
}

// reply draws the fate of a message from the engine to a client.
func (n *network) reply(s *subscription, class, lane, what, subject, reply string, header, data []byte) {
	c := s.conn
	if s.left > 0 {
		if s.left--; s.left == 0 {
			delete(c.subs, s.sid)
		}
	}
	fate := n.draw(c, class, what)
	n.trace.add("<", c.name, class, subject, what, fate)
	n.hits.message(class, what, fate)
	deliver := func() {
		if !c.gone() {
			c.give(s.encode(subject, reply, header, data))
		}
	}
	switch fate.kind {
	case faultDrop:
		return
	case faultDuplicate: // the engine sends nothing twice
		n.arrive(c, lane, fate.latency, deliver)
	case faultDelay:
		if lane != "" { // of one consumer nothing overtakes: all behind it wait
			n.arrive(c, lane, fate.latency+fate.extra, deliver)
			return
		}
		n.after(fate.latency+fate.extra, deliver)
	default:
		n.arrive(c, lane, fate.latency, deliver)
	}
}

// arrive has run happen after a latency, and not before the message in front of it in its lane.
func (n *network) arrive(c *conn, lane string, latency time.Duration, run func()) {
	at := time.Now().Add(latency)
	if lane != "" {
		if last := c.lanes[lane]; last.After(at) {
			at = last
		}
		c.lanes[lane] = at
	}
	n.at(at, func() { n.unlessPaused(c, run) })
}

// unlessPaused runs when the party behind c goes on.
func (n *network) unlessPaused(c *conn, run func()) {
	if !c.party.paused {
		run()
		return
	}
	c.party.waiting = append(c.party.waiting, run)
}

// faultKind is what happens to a message.
type faultKind uint8

const (
	faultNone faultKind = iota
	faultDrop
	faultDuplicate
	faultDelay
)

// fate is what the seed has for one message.
type fate struct {
	kind    faultKind
	latency time.Duration
	extra   time.Duration
}

// rareFactor is by how much faults are likelier for transitions that seldom happen.
const rareFactor = 4

// rare reports a transition that would else hardly ever meet a fault.
func rare(what string) bool {
	switch from, event, _ := strings.Cut(what, " > "); event {
	case "lost", "late_result", "carried", "released", "resolved", "ignored", "retried":
		return true
	case "dead_lettered":
		return from != "running"
	case "submitted":
		return from != "none"
	default:
		return from == "running!" || from == "retrying" || event == "timed_out"
	}
}

// storm is how likely faults are, each in parts of 1000.
type storm struct{ drop, duplicate, delay int }

// draw decides by the seed, the connection, the class and its number: what else happens shifts nothing.
func (n *network) draw(c *conn, class, what string) fate {
	r := n.source(c.name, class, c.next(class))
	f := fate{latency: time.Duration(20+r.IntN(400)) * time.Microsecond}
	p := r.IntN(1000)
	if rare(what) {
		p /= rareFactor
	}
	aimed := n.world.aimed(class, what)
	switch s := n.storm; {
	case class == classControl:
	case aimed != faultNone:
		f.kind, f.extra = aimed, spread(r, 5*time.Millisecond, 8*time.Second)
	case p < s.drop:
		f.kind = faultDrop
	case p < s.drop+s.duplicate:
		f.kind = faultDuplicate
		f.extra = spread(r, time.Millisecond, 3*time.Second)
	case p < s.drop+s.duplicate+s.delay:
		f.kind = faultDelay
		f.extra = spread(r, 5*time.Millisecond, 8*time.Second)
	}
	return f
}

func (n *network) latency(c *conn, class string) time.Duration { return n.draw(c, class, "").latency }

func (c *conn) next(class string) uint64 {
	c.drawn[class]++
	return c.drawn[class]
}

// random is a source that depends on the seed and the key alone.
func (n *network) random(parts ...any) *rand.Rand {
	h := fnv.New64a()
	fmt.Fprint(h, parts...)
	return rand.New(rand.NewPCG(n.seed, h.Sum64()))
}

// source is random for what is drawn most often.
func (n *network) source(name, class string, number uint64) *rand.Rand {
	// FNV-1a, as in hash/fnv, without its allocations.
	const offset, prime = 14695981039346656037, 1099511628211
	h := uint64(offset)
	for _, s := range [...]string{name, "/", class} {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * prime
		}
	}
	for range 8 {
		h = (h ^ number&0xff) * prime
		number >>= 8
	}
	return rand.New(rand.NewPCG(n.seed, h))
}

// spread draws a duration, each power of it as likely as the next.
func spread(r *rand.Rand, from, to time.Duration) time.Duration {
	return time.Duration(float64(from) * math.Pow(float64(to)/float64(from), r.Float64()))
}

// dialer opens connections of a party in a role; it is what nats.go asks at each connect and reconnect.
type dialer struct {
	net   *network
	party *party
	role  string
}

var errRefused = errors.New("connection refused")

// InProcessConn implements nats.InProcessConnProvider.
func (d *dialer) InProcessConn() (net.Conn, error) {
	n := d.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.down || d.party.cut || d.party.crashed {
		return nil, errRefused
	}
	key := d.party.name + "/" + d.role
	n.count[key]++
	c := newConn(n, d.party, fmt.Sprintf("%s/%03d", key, n.count[key]))
	at, _ := slices.BinarySearchFunc(n.conns, c, byName)
	n.conns = slices.Insert(n.conns, at, c)
	return c, nil
}

// open reports whether a connection is still one of the network's.
func (n *network) open(c *conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, ok := slices.BinarySearchFunc(n.conns, c, byName)
	return ok
}

// sever ends all connections that match.
func (n *network) sever(crash bool, match func(*conn) bool) {
	n.mu.Lock()
	conns := slices.Clone(n.conns)
	n.mu.Unlock()
	for _, c := range conns {
		if match(c) {
			c.sever(crash)
			n.forget(c)
		}
	}
}

// interestsOf returns the subscriptions of one connection that a subject reaches, in a fixed order.
func (c *conn) interestsOf(subject string) (out []*subscription) {
	for _, s := range c.subs {
		if s.takes(subject) {
			out = append(out, s)
		}
	}
	if len(out) > 1 {
		slices.SortFunc(out, func(a, b *subscription) int { return strings.Compare(a.sid, b.sid) })
	}
	return out
}

// takes reports whether a subject is one of the subscription's.
func (s *subscription) takes(subject string) bool {
	if s.literal {
		return s.subject == subject
	}
	return strings.HasPrefix(subject, s.prefix) && matches(s.subject, subject)
}

// interests returns the subscriptions that a subject reaches, in a fixed order; of a queue group one.
func (n *network) interests(subject string) (out []*subscription) {
	n.mu.Lock()
	defer n.mu.Unlock()
	groups := make(map[string]bool)
	for _, c := range n.conns {
		out = append(out, c.interestsOf(subject)...)
	}
	return slices.DeleteFunc(out, func(s *subscription) bool {
		taken := s.queue != "" && groups[s.queue]
		groups[s.queue] = true
		return taken
	})
}
