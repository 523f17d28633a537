//go:build unix

package storm_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// TestLedgerOlderThanItsViews puts an older copy of LEDGER's stream alone back into an outside NATS server, beside KV
// buckets that tell of its future: jobs and a type that the ledger does not know, at sequences beyond its end. Two
// servers and the workers live on. They notice by themselves, once events of others stand at those sequences too: the
// views become those of the ledger, and new jobs run (DESIGN D2, D9, R-42).
func TestLedgerOlderThanItsViews(t *testing.T) {
	begin(t)
	h := newHome(t)
	n := startNATS(h, 1)
	url := n.url
	var all []*process
	for _, name := range []string{"s1", "s2"} {
		p, _ := h.server(name, "server", "run", "--server", url)
		all = append(all, p)
	}
	h.must("type", "add", typeName, "--server", url)
	for _, name := range []string{"w1", "w2"} {
		all = append(all, h.worker(name, url, typeName, workerSlots, "true"))
	}
	o := observe(t, url)
	o.restores = 1
	publisher := &load{t: t, o: o, l: openLedger(t, url), typ: typeName}
	run := func(name string, count int) (ids []schemas.JobID) {
		for i := range count {
			ids = append(ids, schemas.JobID(fmt.Sprintf("%s-%d", name, i)))
			publisher.submit(t.Context(), ids[i])
		}
		o.awaitAll(ids)
		return ids
	}
	kept := run("kept", 40)
	stream, copied := filepath.Join(h.dir, "n1", "jetstream", "$G", "streams", ledger.StreamLedger), filepath.Join(h.dir, "copy")
	n.kill(0)
	if err := os.CopyFS(copied, os.DirFS(stream)); err != nil {
		t.Fatal(err)
	}
	n.restart(0)
	gone := run("gone", 60)
	l := publisher.l
	js := l.JetStream()
	if _, err := l.PutType(t.Context(), schemas.TypeSettings{Name: "unheard"}, ledger.Meta{}, ""); err != nil {
		t.Fatal(err)
	}
	end, err := l.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	poll(t, "the views to tell of the future", func() bool { at, _ := viewsAt(t, js); return at >= end.Seq })
	n.kill(0)
	putBack(t, stream, copied)
	n.restart(0)
	older, err := l.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	at, docs := viewsAt(t, js)
	t.Logf("figures: the ledger ends at %d, and ended at %d; the views are true at %d, with %d jobs", older.Seq, end.Seq, at, docs)
	began := time.Now()
	poll(t, "the test's fold to be told", func() bool { o.mu.Lock(); defer o.mu.Unlock(); return o.restores == 0 })
	more := run("more", 100) // beyond the sequences that the views knew
	if end, err = l.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	poll(t, "the views to come to the end", func() bool { at, docs = viewsAt(t, js); return at >= end.Seq })
	r := retell(t, h, url)
	t.Logf("figures: views and ledger agree, with %d jobs, %s after the server's start", docs, time.Since(began).Round(time.Millisecond))
	if docs != len(kept)+len(more) {
		t.Errorf("JOBS has %d documents, want %d of kept jobs and %d of new ones", docs, len(kept), len(more))
	}
	for _, id := range gone {
		if r.jobs[id] != nil {
			t.Errorf("job %s is in the ledger, of which no copy was put back", id)
		}
	}
	for _, id := range append(kept, more...) {
		if j := r.jobs[id]; j == nil || j.State != schemas.StateCompleted {
			t.Errorf("job %s is %+v, want completed", id, j)
		}
	}
	if types := h.must("type", "ls", "--server", url, "--json"); strings.Contains(types, "unheard") {
		t.Errorf("a type that the ledger does not know is listed: %s", types)
	}
	drain(all...)
	drain(n.nodes...)
}

// viewsAt is the sequence at which the counters are true, and how many jobs have a document; zeros while there are no
// views. It asks at once: what is not answered is asked again.
func viewsAt(t *testing.T, js jetstream.JetStream) (at schemas.Seq, jobs int) {
	t.Helper()
	poll(t, "the views to be read", func() bool {
		counts, err := js.KeyValue(t.Context(), ledger.BucketCounts)
		if err != nil {
			return false
		}
		entry, err := counts.Get(t.Context(), ledger.KeyCountsAll)
		if err != nil {
			return false
		}
		var doc document
		if err := json.Unmarshal(entry.Value(), &doc); err != nil {
			t.Fatal(err)
		}
		docs, err := js.Stream(t.Context(), "KV_"+ledger.BucketJobs)
		if err != nil {
			return false
		}
		at, jobs = min(doc.Seq, doc.Jobs.Seq), int(docs.CachedInfo().State.Msgs)
		return true
	})
	return at, jobs
}
