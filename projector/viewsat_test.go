package projector_test

import (
	"testing"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
)

// How far the views are is told only of buckets that are there and speak of themselves: while one is missing, or is a new one
// of its name, nothing may be removed.
func TestViewsAt(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	is := func(when string, want bool) {
		t.Helper()
		end, err := env.Ledger.End(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		at, err := env.Ledger.ViewsAt(t.Context())
		if err != nil || (at == end.Seq) != want || !want && at != 0 {
			t.Errorf("%s: views at %d of %d, %v", when, at, end.Seq, err)
		}
	}
	complete(t, env.Ledger, "done")
	is("before there are any", false)
	for _, bucket := range []string{ledger.BucketJobs, ledger.BucketCounts, ledger.BucketConfig} {
		stop := project(t, env, feed(t, env))
		caughtUp(t, env)
		stop()
		is("written", true)
		deleteBuckets(t, env, bucket)
		is("without "+bucket, false)
		if err := env.Ledger.EnsureBucket(t.Context(), bucket); err != nil {
			t.Fatal(err)
		}
		is("with another "+bucket, false)
	}
}
