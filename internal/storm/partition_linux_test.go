package storm_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// TestNodeCutOff has a cluster of three NATS servers, each in a network namespace of its own, with two servers and four
// workers beside them. Under load the server is killed that leads the ledger, then the one that leads the cluster, and
// then the one that leads the ledger is cut off without a word and healed: jobs go on each time, and every submit that
// was acknowledged is found (R-112, DESIGN D1, D6, D12).
func TestNodeCutOff(t *testing.T) {
	fullOnly(t)
	begin(t)
	if !isolated(t) {
		return
	}
	h := newHome(t)
	net := newNetwork(t)
	c := &cell{home: h, nats: startNATSIn(h, 3, net)}
	c.url = c.nats.url
	for i := range 2 {
		if ready := c.serve(fmt.Sprintf("s%d", i+1)); ready.Replicas != 3 {
			t.Errorf("server %d has %d replicas", i+1, ready.Replicas)
		}
	}
	c.watch()
	c.must("type", "add", typeName, "--server", c.url)
	js := openLedger(t, c.url).JetStream()
	var workers []*process
	for i := range 4 {
		workers = append(workers, c.worker(fmt.Sprintf("w%d", i+1), c.url, typeName, 4, "sleep 0.1"))
	}
	load := startLoad(t, c.o, c.url, typeName, jobCount(150, 3000), size(50, backlogUsual))
	c.o.awaitFinished(20)
	leads := func() int {
		t.Helper()
		node := c.nats.byName(streamInfo(t, js, ledger.StreamLedger).Cluster.Leader)
		if node < 0 {
			t.Fatal("the ledger has no leader")
		}
		return node
	}
	var told []string
	goOn := func(what string, node int) {
		t.Helper()
		before, since := c.o.begun(), time.Now()
		c.o.await("starts with "+what, func() bool { return c.o.running >= before+32 })
		told = append(told, fmt.Sprintf("%s n%d: 32 starts in %s", what, node+1, time.Since(since).Round(time.Millisecond)))
	}
	for range size(1, 3) {
		node := leads()
		c.nats.kill(node)
		goOn("the ledger's leader killed", node)
		c.nats.restart(node)
		awaitCurrent(t, js)
		node = c.nats.meta()
		c.nats.kill(node)
		goOn("the cluster's leader killed", node)
		c.nats.restart(node)
		awaitCurrent(t, js)
		node = leads()
		cut := time.Now()
		net.cut(node)
		goOn("the ledger's leader cut off", node)
		during(t, time.Duration(size(10, 40))*time.Second-time.Since(cut))
		net.heal(node)
		awaitCurrent(t, js)
		goOn("all of them, after", node)
	}
	s := c.finish(load, workers)
	for _, end := range []schemas.EventName{schemas.EventLost, schemas.EventReleased} {
		for _, a := range s.inOrder(end) {
			if len(a.late) > 1 {
				t.Errorf("attempt %v left late results: %v", a.key, a.late)
			}
		}
	}
	s.figures("; " + strings.Join(told, "; "))
}
