package dispatcher

import (
	"fmt"
	"testing"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

func submittedEntry(at schemas.Seq, args int) *ledger.Entry {
	return &ledger.Entry{Event: &schemas.Event{Seq: at, Subject: schemas.JobSubject("o", schemas.JobID(fmt.Sprint(at))),
		Data: &schemas.Submitted{Generation: 1, Args: make([]byte, args)}}}
}

// The cache is bounded in bytes, gives each event out once, and keeps the oldest when it is full: they start next.
func TestArgsCacheIsBounded(t *testing.T) {
	c := newArgsCache()
	const size = 1 << 20
	for at := range schemas.Seq(2 * cacheBytesMax / size) {
		c.put(submittedEntry(at+1, size))
	}
	if c.bytes > cacheBytesMax+size+cacheEntryBytes {
		t.Errorf("%d bytes are kept", c.bytes)
	}
	if c.take(1) == nil || c.take(1) != nil || c.take(2*cacheBytesMax/size) != nil {
		t.Error("the oldest is kept and given out once, the newest is not kept")
	}
	c.clear()
	for at := range schemas.Seq(3 * cacheOrderMax) { // taken at once: the list of ages must not grow for ever
		c.put(submittedEntry(at+1, 0))
		if c.take(at+1) == nil {
			t.Fatalf("event %d was not kept", at+1)
		}
	}
	if c.bytes != 0 || len(c.order) > cacheOrderMax {
		t.Errorf("%d bytes and %d ages are kept", c.bytes, len(c.order))
	}
}

// Reading ahead stops where little of what it brings is used, and is tried again later.
func TestReadAheadIsGivenUp(t *testing.T) {
	r := newReadAhead()
	batch := func(at schemas.Seq) []*ledger.Entry {
		var out []*ledger.Entry
		for i := range schemas.Seq(r.next()) {
			out = append(out, submittedEntry(at+i, 0))
		}
		return out
	}
	for i := range schemas.Seq(10) { // all is used
		if !r.worth() {
			t.Fatal("given up although all is used")
		}
		at := i * aheadBatch
		r.put(batch(at))
		for j := range schemas.Seq(aheadBatch) {
			if r.take(at+j) == nil {
				t.Fatalf("event %d is not held", at+j)
			}
		}
	}
	reads := 0
	const full = aheadBytesMax / (aheadBatchMin * cacheEntryBytes) // batches of the least size: until then nothing is known
	for i := range schemas.Seq(full + 20*aheadRetry) {             // nothing is used
		if r.worth() {
			reads++
			r.put(batch(1_000_000 + i*aheadBatch))
		}
	}
	if reads > full*5/4 {
		t.Errorf("%d reads ahead of which nothing was used", reads)
	}
	r.clear()
	if r.take(1_000_000) != nil {
		t.Error("cleared, and yet held")
	}
}

// Of orgs whose jobs lie in as many bands, and that take turns, each has a batch of its own: with few orgs no job is read
// twice, and with many the batches become smaller, within the same bytes.
func TestReadAheadOfManyBands(t *testing.T) {
	for _, bands := range []int{200, 600} {
		r := newReadAhead()
		const each = 160
		reads, most := 0, 0
		for i := range schemas.Seq(each) {
			for b := range schemas.Seq(bands) {
				at := 1 + b*each + i
				if r.take(at) != nil {
					continue
				}
				if !r.worth() {
					t.Fatalf("%d bands: given up", bands)
				}
				reads++
				var out []*ledger.Entry
				for j := range min(schemas.Seq(r.next()), each-i) {
					out = append(out, submittedEntry(at+j, 512))
				}
				r.put(out[1:])
				most = max(most, r.bytes)
			}
		}
		jobs := bands * each
		if most > aheadBytesMax+aheadBatch*(cacheEntryBytes+512) {
			t.Errorf("%d bands: %d bytes were kept", bands, most)
		}
		if perfect := 2 * bands; bands == 200 && reads > perfect || reads > jobs/aheadUseful {
			t.Errorf("%d bands: %d reads for %d jobs", bands, reads, jobs)
		}
		t.Logf("%d bands: %d reads for %d jobs, %d MiB at most", bands, reads, jobs, most>>20)
	}
}
