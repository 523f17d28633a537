package projector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Each reads a bucket as a leader does that opens the views.
func Each(ctx context.Context, nc *nats.Conn, s jetstream.Stream, take func(key string, rev uint64, body []byte)) error {
	w, err := newWriter(nc, func(context.Context) bool { return false })
	if err != nil {
		return err
	}
	return w.each(ctx, s, 1, take)
}

// Writer puts documents as a leader does, and knows of each the revision that it saw last.
type Writer struct {
	w     *writer
	slots map[string]*slot
}

// NewWriter returns a writer that has seen nothing.
func NewWriter(t testing.TB, nc *nats.Conn) *Writer {
	t.Helper()
	w, err := newWriter(nc, func(context.Context) bool { return false })
	if err != nil {
		t.Fatal(err)
	}
	return (&Writer{w: w}).Forget()
}

// Commit stores a batch of documents.
type Commit = func(ctx context.Context, msgs []*nats.Msg, wait time.Duration) (first uint64, err error)

// NewGroupedWriter returns a writer that has seen nothing and writes in batches, which go through what commit makes of the
// way that they go.
func NewGroupedWriter(t testing.TB, nc *nats.Conn, commit func(next Commit) Commit) *Writer {
	t.Helper()
	w := NewWriter(t, nc)
	w.w.groups, w.w.commit = func(context.Context) bool { return true }, commit(w.w.commit)
	return w
}

// InBatches has a projector's batches go through what commit makes of the way that they go.
func InBatches(p *Projector, commit func(next Commit) Commit) { p.w.commit = commit(p.w.commit) }

// PutMany writes documents that are true at seq with one flush, and returns the revision of each as the writer knows it.
func (w *Writer) PutMany(t testing.TB, seq schemas.Seq, bucket string, keys []string) map[string]uint64 {
	t.Helper()
	b := new(batch)
	for i, key := range keys {
		b.docs = append(b.docs, w.put(bucket, key, seq))
		if bucket == ledger.BucketJobs && i%2 == 0 {
			b.docs[i].ttl = time.Hour
		}
	}
	if bucket == ledger.BucketJobs { // settings are in the same flush
		for i := range 3 {
			b.docs = append(b.docs, w.put(ledger.BucketConfig, fmt.Sprintf("test.%d", i), seq))
		}
	}
	if err := w.w.flush(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	revisions := make(map[string]uint64)
	for _, p := range b.docs {
		if p.slot.settle(p); p.err != nil {
			t.Fatalf("%s/%s: %v", p.bucket, p.key, p.err)
		}
		if p.bucket == bucket {
			revisions[p.key] = p.rev
		}
	}
	return revisions
}

func (w *Writer) put(bucket, key string, seq schemas.Seq) *put {
	if w.slots[bucket+key] == nil {
		w.slots[bucket+key] = &slot{known: true}
	}
	return &put{bucket: bucket, key: key, body: fmt.Appendf(nil, `{"seq":%d}`, seq), seq: seq, slot: w.slots[bucket+key]}
}

// Forget makes the writer one that has seen nothing.
func (w *Writer) Forget() *Writer {
	w.slots = make(map[string]*slot)
	return w
}

// Put writes a document that is true at seq, with one flush. What stands there and is newer stays.
func (w *Writer) Put(t testing.TB, bucket, key string, seq schemas.Seq) {
	t.Helper()
	if err := w.flush(t, w.put(bucket, key, seq)); err != nil {
		t.Fatal(err)
	}
}

// PutAll writes COUNTS/all, true at seq of the bucket that was created at a time. It reports whether the writer found
// that the bucket is another one.
func (w *Writer) PutAll(t testing.TB, seq schemas.Seq, created time.Time) (lost bool) {
	t.Helper()
	if w.slots["all"] == nil {
		w.slots["all"] = &slot{known: true}
	}
	body, err := json.Marshal(&ledger.CountsDocument{Position: schemas.Position{Seq: seq}, CountsBucket: created})
	if err != nil {
		t.Fatal(err)
	}
	p := &put{bucket: ledger.BucketCounts, key: ledger.KeyCountsAll, body: body, seq: seq, life: created, slot: w.slots["all"]}
	var gone *lostError
	if err := w.flush(t, p); err != nil && !errors.As(err, &gone) {
		t.Fatal(err)
	}
	return gone != nil
}

func (w *Writer) flush(t testing.TB, p *put) error {
	t.Helper()
	err := w.w.flush(t.Context(), &batch{docs: []*put{p}})
	p.slot.settle(p)
	return err
}

// Unused creates a bucket that is missing and reports whether it is taken for one that never held a document.
func Unused(ctx context.Context, l *ledger.Ledger, bucket string) (bool, error) {
	if err := l.EnsureBucket(ctx, bucket); err != nil {
		return false, err
	}
	s, err := l.JetStream().Stream(ctx, streamPrefix+bucket)
	if err != nil {
		return false, err
	}
	return unused(s.CachedInfo()), nil
}

// NoSlack lets views begin at a boundary of the archive that is only just older than the hot window.
func NoSlack(p *Projector) { p.slack = 0 }
