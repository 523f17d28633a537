package ledgertest

import (
	"context"
	"sync"
	"time"
)

// memberTimeout bounds a stopped member's way back: it opens its files and catches up with the others.
const memberTimeout = time.Minute

// Leader is the member of the cluster that leads a stream, from 0: of a stream with one replica the one that
// holds it. It waits for an election that goes on.
func (env *Env) Leader(stream string) int {
	env.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), memberTimeout)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := env.Ledger.JetStream().Stream(ctx, stream)
		if err == nil {
			if at := env.Cluster.ByName(s.CachedInfo().Cluster.Leader); at >= 0 {
				return at
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			env.t.Fatalf("stream %s has no leader: %v", stream, err)
		}
	}
}

// StopMember stops a member of the cluster; clients go on to another. start starts it on the same data and
// waits until it has caught up; the end of the test does, if nobody has.
func (env *Env) StopMember(i int) (start func()) {
	env.t.Helper()
	env.Cluster.Stop(i)
	start = sync.OnceFunc(func() { env.startMembers(i) })
	env.t.Cleanup(start)
	return start
}

// members are all members of the cluster.
func (env *Env) members() []int {
	all := make([]int, env.Cluster.Len())
	for i := range all {
		all[i] = i
	}
	return all
}

// startMembers starts stopped members and waits until they have caught up with a leader.
func (env *Env) startMembers(members ...int) {
	env.t.Helper()
	for _, i := range members {
		if err := env.Cluster.Restart(i); err != nil {
			env.t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), memberTimeout)
	defer cancel()
	for _, i := range members {
		if err := env.Cluster.Server(i).WaitReady(ctx); err != nil {
			env.t.Fatal(err)
		}
	}
}
