package projector_test

import (
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
)

// On three replicas the views are right too: after a bucket was deleted under load, and after the server
// that leads a bucket has stopped.
func TestCluster(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a cluster takes seconds to elect its leaders")
	}
	env := ledgertest.StartCluster(t)
	project(t, env, feed(t, env))
	stop := load(t, env, "deleted")
	after(t, 500*time.Millisecond)
	deleteBuckets(t, env, ledger.BucketJobs)
	after(t, 500*time.Millisecond)
	stop()
	check(t, env)

	s, err := env.Ledger.JetStream().Stream(t.Context(), "KV_"+ledger.BucketJobs)
	if err != nil {
		t.Fatal(err)
	}
	stop = load(t, env, "stopped")
	after(t, 500*time.Millisecond)
	leader := env.Cluster.ByName(s.CachedInfo().Cluster.Leader)
	env.Cluster.Stop(leader)
	after(t, 500*time.Millisecond)
	stop()
	check(t, env)
	if err := env.Cluster.Restart(leader); err != nil {
		t.Fatal(err)
	}
}
