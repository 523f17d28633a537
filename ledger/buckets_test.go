package ledger_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
)

// guarded are the buckets whose writers expect the revision that they saw last.
var guarded = []string{ledger.BucketJobs, ledger.BucketCounts, ledger.BucketConfig, ledger.BucketLease}

// No revision of a bucket is given out twice, however often it is deleted and created anew: a put that expects one
// of an earlier life is refused (DESIGN D9).
func TestBucketsBeginAnew(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	env.SkipVerify() // it puts into buckets what is no document
	for _, bucket := range guarded {
		beginAnew(t, env, bucket, func() {})
	}
	begun := make(map[string]uint64)
	for _, bucket := range guarded {
		begun[bucket] = putRaw(t, env, bucket, "a.key", "v")
	}
	env.Restart() // as recovery has it, the first document still stands where the bucket begins
	for _, bucket := range guarded {
		if next := putRaw(t, env, bucket, "a.key", "v"); next <= begun[bucket] {
			t.Errorf("bucket %s gives out revision %d after a restart, and gave out %d before", bucket, next, begun[bucket])
		}
		if n := messagesOf(t, env, bucket); bucket != ledger.BucketLease && n < 3 {
			t.Errorf("bucket %s holds %d messages after a restart", bucket, n)
		}
	}
}

// beginAnew puts a few documents, deletes the bucket and creates it again: no put of the new life has a revision of
// the earlier one, and none that expects such a one is stored. disturb is called amid the puts.
func beginAnew(t *testing.T, env *ledgertest.Env, bucket string, disturb func()) {
	t.Helper()
	js := env.Ledger.JetStream()
	var earlier []uint64
	for life := range 3 {
		if life > 0 {
			if err := js.DeleteStream(t.Context(), "KV_"+bucket); err != nil {
				t.Fatal(err)
			}
			provision(t, env)
		}
		var given []uint64
		for _, key := range []string{"a.key", "another.key", "a.key", "third.key"} {
			given = append(given, putRaw(t, env, bucket, key, "v"))
			disturb()
			for _, rev := range earlier {
				if given[len(given)-1] == rev {
					t.Errorf("bucket %s gives out revision %d again", bucket, rev)
				}
				if _, err := js.Publish(t.Context(), "$KV."+bucket+".a.key", []byte("stale"), jetstream.WithExpectLastSequencePerSubject(rev)); err == nil {
					t.Errorf("bucket %s takes a put that expects revision %d of an earlier life", bucket, rev)
				}
			}
		}
		earlier = append(earlier, given...)
	}
}

// A bucket that an older version created begins at 1. It is used as it is, and its successor begins above it.
func TestBucketsOfOlderVersions(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	env.SkipVerify()
	js := env.Ledger.JetStream()
	for _, bucket := range guarded {
		s, err := js.Stream(t.Context(), "KV_"+bucket)
		if err != nil {
			t.Fatal(err)
		}
		old := s.CachedInfo().Config
		old.FirstSeq = 0
		if err := js.DeleteStream(t.Context(), old.Name); err != nil {
			t.Fatal(err)
		}
		createStream(t, js, old)
		first := putRaw(t, env, bucket, "a.key", "v")
		provision(t, env)
		if next := putRaw(t, env, bucket, "a.key", "w"); first != 1 || next != 2 {
			t.Errorf("the old bucket %s gave out %d and then %d, want 1 and 2", bucket, first, next)
		}
		beginAnew(t, env, bucket, func() {})
	}
}

// replicatedBuckets: on three replicas it is no different, also while the server that leads the bucket stops.
func replicatedBuckets(t *testing.T, env *ledgertest.Env) {
	for _, bucket := range []string{ledger.BucketCounts, ledger.BucketLease} {
		beginAnew(t, env, bucket, func() {})
		stream := "KV_" + bucket
		before := putRaw(t, env, bucket, "a.key", "v")
		start := env.StopMember(env.Leader(stream))
		amid := putRaw(t, env, bucket, "a.key", "v")
		start()
		other := env.StopMember(env.Leader(stream))
		after := putRaw(t, env, bucket, "a.key", "v")
		other()
		if before >= amid || amid >= after {
			t.Errorf("bucket %s gave out %d, %d and %d around two elections", bucket, before, amid, after)
		}
		if err := env.Ledger.JetStream().DeleteStream(t.Context(), stream); err != nil {
			t.Fatal(err)
		}
		provision(t, env)
	}
}

func provision(t *testing.T, env *ledgertest.Env) {
	t.Helper()
	if _, err := ledger.Provision(t.Context(), env.Ledger, ledger.ProvisionConfig{}); err != nil {
		t.Fatal(err)
	}
}

// putRaw writes a value and returns its revision; while a leader is elected it tries again.
func putRaw(t *testing.T, env *ledgertest.Env, bucket, key, value string) uint64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for ; ; <-tick.C {
		once, stop := context.WithTimeout(ctx, time.Second)
		ack, err := env.Ledger.JetStream().Publish(once, "$KV."+bucket+"."+key, []byte(value))
		stop()
		if err == nil {
			return ack.Sequence
		}
		if ctx.Err() != nil {
			t.Fatalf("put %s into bucket %s: %v", key, bucket, err)
		}
	}
}

func messagesOf(t *testing.T, env *ledgertest.Env, bucket string) uint64 {
	t.Helper()
	s, err := env.Ledger.JetStream().Stream(t.Context(), "KV_"+bucket)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}
