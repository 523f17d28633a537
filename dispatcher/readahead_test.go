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
		for i := range schemas.Seq(aheadBatch) {
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
	for i := range schemas.Seq(10 * aheadRetry) { // nothing is used
		if r.worth() {
			reads++
			r.put(batch(1_000_000 + i*aheadBatch))
		}
	}
	if reads > 40 {
		t.Errorf("%d reads ahead of which nothing was used", reads)
	}
	r.clear()
	if r.take(1_000_000) != nil {
		t.Error("cleared, and yet held")
	}
}
