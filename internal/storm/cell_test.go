//go:build unix

package storm_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// cell is one cell of real processes on a NATS server that is none of theirs.
type cell struct {
	*home
	nats    *natsServers
	url     string
	servers []*process
	proxies map[string]*proxy // by the process behind it, if there are any
	views   *views
	o       *observer
}

const typeName = "storm"

// newCell starts NATS with so many members, two servers on it, which must say that the ledger has so many
// replicas, and registers the type of the test's jobs. With proxies, each process has one between itself and NATS.
func newCell(t *testing.T, members int, proxies bool) *cell {
	t.Helper()
	c := bareCell(t, members)
	if proxies {
		c.proxies = make(map[string]*proxy)
	}
	for i := range 2 {
		if ready := c.serve(fmt.Sprintf("s%d", i+1)); ready.Replicas != members {
			t.Errorf("server %d on NATS of %d has %d replicas", i+1, members, ready.Replicas)
		}
	}
	c.watch()
	c.must("type", "add", typeName, "--server", c.url)
	return c
}

// bareCell starts NATS alone.
func bareCell(t *testing.T, members int) *cell {
	t.Helper()
	h := newHome(t)
	c := &cell{home: h, nats: startNATS(h, members)}
	c.url = c.nats.url
	return c
}

// watch begins to follow the ledger and the views, which must be there.
func (c *cell) watch() {
	c.t.Helper()
	c.o = observe(c.t, c.url)
	c.views = watchViews(c.t, c.url)
}

// serve starts one more server.
func (c *cell) serve(name string) readiness {
	c.t.Helper()
	return c.serveOf(binary, name)
}

// serveOf starts one more server of a build of the program.
func (c *cell) serveOf(program, name string) readiness {
	c.t.Helper()
	p, ready := c.serverOf(program, name, "server", "run", "--server", c.way(name))
	c.servers = append(c.servers, p)
	return ready
}

// way is where a process of that name reaches NATS.
func (c *cell) way(name string) string {
	if c.proxies == nil {
		return c.url
	}
	p := startProxy(c.t, c.url)
	c.proxies[name] = p
	return p.url
}

// leader is the server that leads: the one of the latest epoch in the ledger.
func (c *cell) leader() *process {
	c.t.Helper()
	limit := time.After(patience)
	for {
		c.o.mu.Lock()
		epoch, changed := c.o.epoch, c.o.changed
		c.o.mu.Unlock()
		for _, p := range c.servers {
			if epoch > 0 && p.epoch() == epoch {
				return p
			}
		}
		poll := time.NewTimer(10 * time.Millisecond) // the server's log comes another way than its event
		select {
		case <-changed:
		case <-poll.C:
		case <-limit:
			c.t.Fatalf("no server says that it leads epoch %d", epoch)
		}
		poll.Stop()
	}
}

// failover is how long it took, from the stop or death of a leader, to each of the things that follow.
type failover struct{ elected, queued, started time.Duration }

func (f failover) String() string {
	ms := func(d time.Duration) string { return d.Round(time.Millisecond).String() }
	return fmt.Sprintf("leader %s, queued %s, started %s", ms(f.elected), ms(f.queued), ms(f.started))
}

// awaitFailover returns once a job has started that a leader of a later epoch than before queued. Its times are
// the ledger's, by the same clock as since.
func (c *cell) awaitFailover(before schemas.Seq, since time.Time) (f failover) {
	c.t.Helper()
	c.o.await("a job that another leader queued", func() bool {
		begun, ok := c.o.begunBy[c.o.epoch]
		if !ok || c.o.epoch <= before {
			return false
		}
		f = failover{c.o.elected.Sub(since), c.o.queuedBy[c.o.epoch].Sub(since), begun.Sub(since)}
		return true
	})
	return f
}

// latestEpoch is that of the ledger.
func (c *cell) latestEpoch() schemas.Seq {
	c.o.mu.Lock()
	defer c.o.mu.Unlock()
	return c.o.epoch
}

// finish ends the test's load, lets every job end and the workers too, and judges the story while the servers are
// up. Whatever is told to end must do so without an error.
func (c *cell) finish(load *load, workers []*process) *story {
	c.t.Helper()
	s := c.settle(load, workers)
	s.verify(c.home, c.url)
	c.views.end()
	c.end()
	return s
}

// settle ends the load, lets every job end and then the workers, and returns the story, judged but for the checker.
func (c *cell) settle(load *load, workers []*process) *story {
	c.t.Helper()
	acked := load.enough()
	c.o.awaitAll(acked)
	drain(workers...) // they settle what is left to settle, such as late results
	return tell(c.t, c.home, c.url, acked)
}

// end lets the servers end, and NATS.
func (c *cell) end() {
	c.t.Helper()
	drain(c.servers...)
	drain(slices.DeleteFunc(c.nats.nodes, func(p *process) bool { return p == nil })...)
}

// during returns after d; meanwhile jobs go on.
func during(t *testing.T, d time.Duration) {
	t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.Context().Done():
	}
}
