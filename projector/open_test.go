package projector_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/projector"
)

// A leader opens the views while an older one, which does not know yet, replaces documents: none is missed. A
// counter that was would count from zero (DESIGN D9).
func TestOpenWhileAnotherWrites(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	kv, err := env.Ledger.JetStream().KeyValue(t.Context(), ledger.BucketCounts)
	if err != nil {
		t.Fatal(err)
	}
	s, err := env.Ledger.JetStream().Stream(t.Context(), "KV_"+ledger.BucketCounts)
	if err != nil {
		t.Fatal(err)
	}
	env.SkipVerify()       // these are no counters
	const documents = 1200 // more than what a reader is sent ahead
	key := func(i int) string { return fmt.Sprintf("acme.q.t%d", i) }
	put := func(i int) {
		if _, err := kv.Put(t.Context(), key(i), []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	for i := range documents {
		put(i)
	}
	for _, replaced := range [][]int{{documents - 2}, {documents - 1}, {documents - 1, documents - 2, documents / 2}} {
		seen := map[string]bool{}
		err := projector.Each(t.Context(), env.Connect(), s, func(k string, _ uint64, _ []byte) {
			if len(seen) == 0 {
				for _, i := range replaced {
					put(i)
				}
			}
			seen[k] = true
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := range documents {
			if !seen[key(i)] {
				t.Errorf("with %v replaced while they were read, document %d was not seen", replaced, i)
			}
		}
	}
}

// A bucket is deleted while a leader opens the views: that ends in an error, and does not hold the leader.
func TestDeletedWhileOpening(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	env.SkipVerify() // these are no counters
	kv, err := env.Ledger.JetStream().KeyValue(t.Context(), ledger.BucketCounts)
	if err != nil {
		t.Fatal(err)
	}
	s, err := env.Ledger.JetStream().Stream(t.Context(), "KV_"+ledger.BucketCounts)
	if err != nil {
		t.Fatal(err)
	}
	const documents = 1200 // more than what a reader is sent ahead
	for i := range documents {
		if _, err := kv.Put(t.Context(), fmt.Sprintf("acme.q.t%d", i), []byte("{}")); err != nil {
			t.Fatal(err)
		}
	}
	nc, opened := env.Connect(), make(chan error, 1)
	go func() {
		read := 0
		opened <- projector.Each(t.Context(), nc, s, func(string, uint64, []byte) {
			if read++; read == 1 {
				deleteBuckets(t, env, ledger.BucketCounts)
			}
		})
	}()
	select {
	case err := <-opened:
		if err == nil {
			t.Error("a bucket that was deleted is said to be read")
		}
	case <-time.After(time.Minute):
		t.Fatal("the reader waits for ever")
	}
}
