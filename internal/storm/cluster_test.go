//go:build unix

package storm_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// TestOutsideCluster has two servers and four workers on a NATS cluster of three: the ledger gets three
// replicas without being told to, and jobs go on when the node is killed that leads the ledger, then the one that
// holds the offers. Acknowledged jobs are there and nothing starts twice (R-112, DESIGN D12).
func TestOutsideCluster(t *testing.T) {
	begin(t)
	c := newCell(t, 3, false)
	js := openLedger(t, c.url).JetStream()
	for _, name := range []string{ledger.StreamLedger, "KV_" + ledger.BucketJobs, "KV_" + ledger.BucketCounts, "KV_" + ledger.BucketConfig} {
		if n := streamInfo(t, js, name).Config.Replicas; n != 3 {
			t.Errorf("stream %s has %d replicas", name, n)
		}
	}
	var workers []*process
	for i := range 4 {
		workers = append(workers, c.worker(fmt.Sprintf("w%d", i+1), c.url, typeName, 4, "sleep 0.1"))
	}
	load := startLoad(t, c.o, c.url, typeName, jobCount(150, 3000), size(50, backlogUsual))
	c.o.awaitFinished(20)
	var resumed []string
	nodes := []string{ledger.StreamLedger, ledger.StreamWork}
	for i, stream := range nodes {
		node := c.nats.byName(streamInfo(t, js, stream).Cluster.Leader)
		if node < 0 {
			t.Fatalf("stream %s has no leader", stream)
		}
		before, since := c.o.begun(), time.Now()
		c.nats.kill(node)
		// More starts than slots: some of them were queued and offered after the stop.
		c.o.await("starts without the node", func() bool { return c.o.running >= before+32 })
		resumed = append(resumed, fmt.Sprintf("n%d with %s: 32 starts in %s", node+1, stream, time.Since(since).Round(time.Millisecond)))
		c.o.awaitFinished(c.o.count() + size(50, 500))
		if i == len(nodes)-1 || !*full {
			break // the last one stays away until the end
		}
		c.nats.restart(node)
		awaitCurrent(t, js)
	}
	s := c.finish(load, workers)
	for _, a := range s.inOrder(schemas.EventLost) {
		if a.cause != string(schemas.LossCellRestart) {
			t.Errorf("attempt %v of %s, which nobody touched, was lost: %s", a.key, a.worker, a.cause)
		}
	}
	for _, a := range s.inOrder(schemas.EventReleased) {
		if a.cause != schemas.ReleaseLateClaim { // a claim whose answer died with the node
			t.Errorf("attempt %v of %s was released: %s", a.key, a.worker, a.cause)
		}
	}
	s.figures("; nodes killed: " + strings.Join(resumed, "; "))
}

func streamInfo(t *testing.T, js jetstream.JetStream, name string) *jetstream.StreamInfo {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		try, end := context.WithTimeout(ctx, 2*time.Second) // a request that meets an election is never answered
		s, err := js.Stream(try, name)
		end()
		if err == nil {
			return s.CachedInfo()
		}
		if ctx.Err() != nil {
			t.Fatalf("stream %s: %v", name, err)
		}
	}
}

// awaitCurrent returns when all replicas of the ledger and its views have caught up.
func awaitCurrent(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	poll := time.NewTicker(200 * time.Millisecond)
	defer poll.Stop()
	limit := time.After(patience)
	for _, name := range []string{ledger.StreamLedger, "KV_" + ledger.BucketJobs, "KV_" + ledger.BucketCounts, "KV_" + ledger.BucketConfig, "KV_" + ledger.BucketLease} {
		for !current(streamInfo(t, js, name)) {
			select {
			case <-poll.C:
			case <-limit:
				t.Fatalf("stream %s has not caught up", name)
			}
		}
	}
}

func current(info *jetstream.StreamInfo) bool {
	if info.Cluster == nil || info.Cluster.Leader == "" || len(info.Cluster.Replicas) < info.Config.Replicas-1 {
		return false
	}
	for _, peer := range info.Cluster.Replicas {
		if !peer.Current || peer.Offline {
			return false
		}
	}
	return true
}
