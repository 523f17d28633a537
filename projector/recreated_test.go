package projector_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/projector"
	"github.com/dartwing/jobledger/schemas"
)

// A leader stands still while another one throws a view away and folds it anew. Whatever revision it saw last, and
// however many puts the new bucket has taken, its put does not go over a newer document (DESIGN D9).
func TestBucketRecreatedBeneathALeader(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	env.SkipVerify() // these are no documents of jobs
	const key, most = "acme.j1", 4
	a, b := projector.NewWriter(t, env.Connect()), projector.NewWriter(t, env.Connect())
	for _, bucket := range []string{ledger.BucketJobs, ledger.BucketCounts, ledger.BucketConfig} {
		for before := range most {
			for behind := range most {
				recreate(t, env, bucket)
				for i := range before {
					a.Put(t, bucket, fmt.Sprintf("acme.other%d", i), 10)
				}
				a.Put(t, bucket, key, 20) // what the leader knows when it stands still

				recreate(t, env, bucket)
				for i := range behind {
					b.Forget().Put(t, bucket, fmt.Sprintf("acme.another%d", i), 10)
				}
				b.Forget().Put(t, bucket, key, 40)

				a.Put(t, bucket, key, 30) // it goes on
				if at := sequenceOf(t, env, bucket, key); at != 40 {
					t.Errorf("%s, the document put %d before and %d after: it went back from 40 to %d", bucket, before, behind, at)
				}
				a.Forget()
			}
		}
	}
}

// Nor does a leader that stood still say of a later COUNTS how far it is complete: its counters are being folded from
// zero. What it wrote before the new leader did is written over, whatever its sequence (DESIGN D2, D9).
func TestPositionOfARecreatedBucket(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	env.SkipVerify() // nothing is counted
	created := func() time.Time {
		s, err := env.Ledger.JetStream().Stream(t.Context(), "KV_"+ledger.BucketCounts)
		if err != nil {
			t.Fatal(err)
		}
		return s.CachedInfo().Created
	}
	for _, before := range []bool{true, false} { // had the leader written it, in the bucket before?
		recreate(t, env, ledger.BucketCounts)
		a, b := projector.NewWriter(t, env.Connect()), projector.NewWriter(t, env.Connect())
		earlier := created()
		if before {
			a.PutAll(t, 20, earlier)
		}
		recreate(t, env, ledger.BucketCounts)
		b.PutAll(t, 5, created())
		if lost := a.PutAll(t, 30, earlier); !lost {
			t.Error("a leader does not see that COUNTS is another bucket by now")
		}
		if at := sequenceOf(t, env, ledger.BucketCounts, ledger.KeyCountsAll); at != 5 {
			t.Errorf("COUNTS/all is at %d, and the counters are complete up to 5", at)
		}
	}
	recreate(t, env, ledger.BucketCounts)
	a, b := projector.NewWriter(t, env.Connect()), projector.NewWriter(t, env.Connect())
	a.PutAll(t, 30, created().Add(-time.Minute)) // into the new bucket, which holds nothing yet
	if lost := b.PutAll(t, 5, created()); lost {
		t.Error("the new leader gives its bucket up")
	}
	if at := sequenceOf(t, env, ledger.BucketCounts, ledger.KeyCountsAll); at != 5 {
		t.Errorf("COUNTS/all is at %d, and the counters are complete up to 5", at)
	}
}

func recreate(t *testing.T, env *ledgertest.Env, bucket string) {
	t.Helper()
	deleteBuckets(t, env, bucket)
	if err := env.Ledger.EnsureBucket(t.Context(), bucket); err != nil {
		t.Fatal(err)
	}
}

func sequenceOf(t *testing.T, env *ledgertest.Env, bucket, key string) schemas.Seq {
	t.Helper()
	kv, err := env.Ledger.JetStream().KeyValue(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	e, err := kv.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	var doc schemas.Position
	if err := json.Unmarshal(e.Value(), &doc); err != nil {
		t.Fatal(err)
	}
	return doc.Seq
}

// A bucket that was created upon the files of its predecessor is known by the time of what was found there, though
// the engine removes that: it would lose its own files a moment later, and answer no put.
func TestCreatedUponPredecessor(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	env := ledgertest.Start(t, ledgertest.WithStoreDir(dir))
	env.SkipVerify()
	projector.NewWriter(t, env.Connect()).Put(t, ledger.BucketCounts, "acme.j1", 10)
	env.Stop()
	found, err := filepath.Glob(filepath.Join(dir, "*", "*", "streams", "KV_"+ledger.BucketCounts, "meta.*"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no files of the bucket: %v", err)
	}
	for _, f := range found {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	env.StartServer()
	for _, c := range []struct {
		what   string
		change func()
		want   bool
	}{
		{"created upon its predecessor's files", func() {}, false},
		{"created anew", func() { recreate(t, env, ledger.BucketCounts) }, true},
		{"behind a restart", env.Restart, true},
	} {
		c.change()
		if unused, err := projector.Unused(t.Context(), env.NewLedger(), ledger.BucketCounts); err != nil || unused != c.want {
			t.Errorf("%s: unused %t, %v, want %t", c.what, unused, err, c.want)
		}
	}
}
