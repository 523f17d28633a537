package projector_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/internal/groups"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/projector"
	"github.com/dartwing/jobledger/schemas"
)

// commits counts batches: those that are stored, and those that the server refused.
type commits struct{ stored, refused, disabled atomic.Int64 }

func (c *commits) count(next projector.Commit) projector.Commit {
	return func(ctx context.Context, msgs []*nats.Msg, wait time.Duration) (uint64, error) {
		first, err := next(ctx, msgs, wait)
		var refused *groups.RefusedError
		switch {
		case err == nil:
			c.stored.Add(1)
		case errors.As(err, &refused) && refused.Disabled():
			c.disabled.Add(1)
		case errors.As(err, &refused):
			c.refused.Add(1)
		}
		return first, err
	}
}

// testKeys are keys of documents that no job has.
func testKeys(n int) (keys []string) {
	for i := range n {
		keys = append(keys, fmt.Sprintf("test.%03d", i))
	}
	return keys
}

// grouped is a ledger whose server syncs each write. Its views are of no job: the test writes them by itself.
func grouped(t *testing.T) *ledgertest.Env {
	t.Helper()
	env := ledgertest.Start(t, ledgertest.WithGroups())
	env.SkipVerify() // the documents are of no job
	return env
}

// wantDocuments holds what the writer knows to what stands in the bucket.
func wantDocuments(t *testing.T, env *ledgertest.Env, bucket string, seq schemas.Seq, revisions map[string]uint64) {
	t.Helper()
	kv, err := env.Ledger.JetStream().KeyValue(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	for key, rev := range revisions {
		e, err := kv.Get(t.Context(), key)
		if err != nil {
			t.Fatalf("%s/%s: %v", bucket, key, err)
		}
		var doc struct{ Seq schemas.Seq }
		if err := json.Unmarshal(e.Value(), &doc); err != nil || doc.Seq != seq || e.Revision() != rev {
			t.Errorf("%s/%s is %s, revision %d; want it at %d, revision %d: %v", bucket, key, e.Value(), e.Revision(), seq, rev, err)
		}
	}
}

// DESIGN D9, D12: documents that are written in batches have the revisions that the server gave them, those that expire and
// those that do not, with settings in the same flush, which are in another bucket.
func TestTogether(t *testing.T) {
	t.Parallel()
	env := grouped(t)
	var c commits
	w := projector.NewGroupedWriter(t, env.Connect(), c.count)
	keys := testKeys(groups.Max + groups.Worth + 1)
	for seq := schemas.Seq(1); seq <= 3; seq++ {
		for _, bucket := range []string{ledger.BucketJobs, ledger.BucketCounts} {
			revisions := w.PutMany(t, seq, bucket, keys)
			if len(revisions) != len(keys) {
				t.Fatalf("%d of %d documents have a revision", len(revisions), len(keys))
			}
			wantDocuments(t, env, bucket, seq, map[string]uint64{keys[0]: revisions[keys[0]], keys[groups.Max-1]: revisions[keys[groups.Max-1]],
				keys[groups.Max]: revisions[keys[groups.Max]], keys[len(keys)-1]: revisions[keys[len(keys)-1]]})
		}
	}
	if c.stored.Load() != 12 || c.refused.Load()+c.disabled.Load() != 0 {
		t.Errorf("%d batches were stored, %d refused, %d disabled; want 12", c.stored.Load(), c.refused.Load(), c.disabled.Load())
	}
}

// DESIGN D9: a document whose revision another leader has moved makes the batch one that is refused; then that one alone is read anew,
// and the newer one stays.
func TestTogetherBesideAnotherLeader(t *testing.T) {
	t.Parallel()
	env := grouped(t)
	var c commits
	w := projector.NewGroupedWriter(t, env.Connect(), c.count)
	keys := testKeys(40)
	w.PutMany(t, 1, ledger.BucketJobs, keys)
	other := projector.NewWriter(t, env.Connect())
	other.Put(t, ledger.BucketJobs, keys[7], 9)
	nc := env.Connect()
	reads, err := nc.SubscribeSync("$JS.API.STREAM.MSG.GET.KV_JOBS")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	revisions := w.PutMany(t, 5, ledger.BucketJobs, keys)
	if _, err := reads.NextMsg(time.Minute); err != nil { // the server may answer a request before others hear of it
		t.Errorf("no document was read anew: %v", err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	if n, _, err := reads.Pending(); err != nil || n != 0 || c.refused.Load() != 1 {
		t.Errorf("%d more documents were read anew, %d batches refused, %v; want none and one", n, c.refused.Load(), err)
	}
	newer := map[string]uint64{keys[7]: revisions[keys[7]]}
	delete(revisions, keys[7])
	wantDocuments(t, env, ledger.BucketJobs, 5, revisions)
	wantDocuments(t, env, ledger.BucketJobs, 9, newer)
	stored := c.stored.Load()
	w.PutMany(t, 10, ledger.BucketJobs, keys) // all revisions are known again
	if c.stored.Load() != stored+1 || c.refused.Load() != 1 {
		t.Errorf("the next flush was no batch: %d stored, %d refused", c.stored.Load()-stored, c.refused.Load())
	}
}

// A bucket from before there were batches takes each document by itself.
func TestTogetherInAnOldBucket(t *testing.T) {
	t.Parallel()
	env := grouped(t)
	s, err := env.Ledger.JetStream().Stream(t.Context(), "KV_"+ledger.BucketJobs)
	if err != nil {
		t.Fatal(err)
	}
	old := s.CachedInfo().Config
	old.AllowAtomicPublish = false
	if _, err := env.Ledger.JetStream().UpdateStream(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	var c commits
	w := projector.NewGroupedWriter(t, env.Connect(), c.count)
	for seq := schemas.Seq(1); seq <= 2; seq++ {
		wantDocuments(t, env, ledger.BucketJobs, seq, w.PutMany(t, seq, ledger.BucketJobs, testKeys(20)))
	}
	if c.disabled.Load() != 2 || c.stored.Load() != 0 {
		t.Errorf("%d batches met a bucket that takes none, %d were stored", c.disabled.Load(), c.stored.Load())
	}
	env.Provision() // as a server that is started does
	wantDocuments(t, env, ledger.BucketJobs, 3, w.PutMany(t, 3, ledger.BucketJobs, testKeys(20)))
	if c.stored.Load() != 1 {
		t.Errorf("%d batches were stored behind Provision, want one", c.stored.Load())
	}
}

// DESIGN D3: a batch without an answer may be stored or not: what stands there is read, in the same flush, and written if it must.
func TestTogetherAnswerLost(t *testing.T) {
	t.Parallel()
	for name, arrives := range map[string]bool{"stored": true, "not stored": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := grouped(t)
			lose := false
			w := projector.NewGroupedWriter(t, env.Connect(), func(next projector.Commit) projector.Commit {
				return func(ctx context.Context, msgs []*nats.Msg, wait time.Duration) (uint64, error) {
					if arrives || !lose {
						if first, err := next(ctx, msgs, wait); err != nil || !lose {
							return first, err
						}
					}
					return 0, context.DeadlineExceeded
				}
			})
			keys, before := testKeys(20), revision(t, env, ledger.BucketJobs)
			for seq := schemas.Seq(1); seq <= 3; seq++ {
				lose = seq == 2
				wantDocuments(t, env, ledger.BucketJobs, seq, w.PutMany(t, seq, ledger.BucketJobs, keys))
			}
			want := uint64(3 * len(keys))
			if got := revision(t, env, ledger.BucketJobs) - before; got != want {
				t.Errorf("the bucket took %d puts, want %d: what was stored is not written twice", got, want)
			}
		})
	}
}

// R-22, DESIGN D9, D12: the views of a server that syncs each write are the same as any, whatever becomes of its batches; the checker
// at the end compares them.
func TestProjectTogether(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t, ledgertest.WithGroups())
	p, err := projector.New(projector.Config{Ledger: env.NewLedger(), Feed: feed(t, env), Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	var c commits
	n := 0
	projector.InBatches(p, c.count)
	projector.InBatches(p, func(next projector.Commit) projector.Commit {
		return func(ctx context.Context, msgs []*nats.Msg, wait time.Duration) (uint64, error) {
			switch n++; n % 3 { // flushes follow one another
			case 1:
				return next(ctx, msgs, wait)
			case 2:
				if _, err := next(ctx, msgs, wait); err != nil {
					t.Errorf("a batch: %v", err)
				}
				return 0, context.DeadlineExceeded
			}
			return 0, &groups.RefusedError{Code: 10210, Text: "too many"}
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx, 1) }()
	t.Cleanup(func() {
		if cancel(); <-done != nil {
			t.Error("the projector ended with an error")
		}
	})
	for i := range 6 {
		fill(t, env, fmt.Sprintf("j%d", i), 40)
		caughtUp(t, env)
	}
	check(t, env)
	if c.stored.Load() == 0 {
		t.Error("no batch was stored")
	}
}
