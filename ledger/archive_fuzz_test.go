package ledger

import (
	"bytes"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/schemas"
)

// samplePage is a page with all that a page can hold.
func samplePage() []byte {
	p := newPage("org.acme")
	at := time.Unix(1700000000, 123456789)
	p.add([]*rawMessage{
		{Subject: "jobs.acme.one", Seq: 5, Time: at, Data: []byte("body"), Header: nats.Header{"A": {"1", "2"}, "b": {""}}},
		{Subject: "jobs.acme.one", Seq: 9, Time: at.Add(-time.Second), Block: []byte("no header")},
	})
	p.add([]*rawMessage{{Subject: "jobs.acme.two", Seq: 1<<63 + 1, Time: at}})
	return p.content()
}

// sampleIndex is the index of two pages.
func sampleIndex() []byte {
	return encodeIndex([]archivedPage{{place: "control", at: []schemas.Seq{7}, size: 3, events: 1, first: 1, last: 1},
		{place: "org.acme", at: []schemas.Seq{12, 9}, size: 600 << 10, events: 2, first: 2, last: 9}},
		[]indexKey{{hash: 9, page: 1}, {hash: 3, page: 0}, {hash: 9, page: 0}}, []int{0, 1, 0})
}

// Whatever stands in place of a page, its reader ends with events or an error, and reads what it reads the same each
// time, whether it looks for a subject or for all.
func FuzzArchivePage(f *testing.F) {
	f.Add(samplePage(), "jobs.acme.one")
	f.Add([]byte{}, "")
	f.Add([]byte{255, 255, 255, 255, 255, 255, 255, 255, 255, 1}, "x")
	f.Fuzz(func(t *testing.T, content []byte, subject string) {
		var d pageDecoder
		all, wanted, size := 0, 0, 0
		err := walkPage(content, "", func(e pagedEvent) {
			if e.subject == subject {
				all++
			}
			if entry, err := d.entry(e); err == nil {
				size += len(entry.Body)
			}
		})
		if size > len(content) {
			t.Errorf("bodies of %d bytes out of a page of %d", size, len(content))
		}
		if err != nil || subject == "" {
			return
		}
		if err := walkPage(content, subject, func(pagedEvent) { wanted++ }); err != nil || wanted != all {
			t.Errorf("%d events of the subject among all, %d by themselves, %v", all, wanted, err)
		}
	})
}

// What can be read as an index is written again as it was, or means the same.
func FuzzArchiveIndex(f *testing.F) {
	f.Add(sampleIndex())
	f.Add([]byte{0, 0, 0})
	f.Fuzz(func(t *testing.T, content []byte) {
		x, err := decodeIndex(content)
		if err != nil {
			return
		}
		x.between(0, 1<<63, 0)
		x.between(5, 7, 6)
		for i := 0; i+keySize <= len(x.keys); i += keySize {
			for _, page := range x.find(uint64(i)) {
				if page >= len(x.pages) {
					t.Errorf("page %d of %d", page, len(x.pages))
				}
			}
		}
	})
}

// A message of ARCHIVE is its head and its content; anything else is none.
func FuzzArchivePart(f *testing.F) {
	h := partHead{kind: kindPage, number: 7, part: 1, parts: 2}
	f.Add(h.append(nil))
	f.Fuzz(func(t *testing.T, body []byte) {
		h, content, ok := parsePart(body)
		if ok && !bytes.Equal(append(h.append(nil), content...), body) {
			t.Errorf("%+v and %d bytes are not the message", h, len(content))
		}
	})
}

// The index finds what was put into it, and its content survives.
func TestArchiveIndexFinds(t *testing.T) {
	t.Parallel()
	x, err := decodeIndex(sampleIndex())
	if err != nil || len(x.pages) != 2 || x.pages[1].at[1] != 9 || x.pages[1].last != 9 || x.pages[0].place != "control" {
		t.Fatalf("%+v, %v", x, err)
	}
	for hash, want := range map[uint64]int{3: 1, 9: 2, 4: 0, 10: 0} {
		if got := x.find(hash); len(got) != want {
			t.Errorf("hash %d is on pages %v", hash, got)
		}
	}
	for span, want := range map[span]int{{0, 101}: 2, {100, 100}: 1, {100, 101}: 2, {103, 200}: 0} {
		if got := x.between(span.from, span.to, 100); len(got) != want {
			t.Errorf("%+v stands on pages %v", span, got)
		}
	}
}

// A filter holds what was put into it, and of ten thousand others a few.
func TestArchiveFilter(t *testing.T) {
	t.Parallel()
	var hashes []uint64
	for i := range 5000 {
		hashes = append(hashes, keyOf("jobs.acme."+schemas.Seq(i).String()))
	}
	f := newFilter(hashes, timedBits)
	for _, h := range hashes {
		if !f.may(h) {
			t.Fatal("it does not hold what was put into it")
		}
	}
	wrong := 0
	for i := range 100_000 {
		if f.may(keyOf("jobs.zeta." + schemas.Seq(i).String())) {
			wrong++
		}
	}
	if wrong > 40 || filter(nil).may(1) {
		t.Errorf("%d of 100,000 others seem to be in it", wrong)
	}
}

// Both filters of the largest segment fit into a message of any server, however many orgs and types there are in it.
func TestArchiveFiltersFitAMessage(t *testing.T) {
	t.Parallel()
	for _, timedJobs := range []int{0, segmentEventsMax / 2, segmentEventsMax} {
		timedHashes, otherHashes := make([]uint64, timedJobs), make([]uint64, 4*segmentEventsMax-timedJobs)
		for i := range timedHashes {
			timedHashes[i] = mix(uint64(i))
		}
		for i := range otherHashes {
			otherHashes[i] = mix(uint64(i) << 20)
		}
		timed, other := newFilters(timedHashes, otherHashes)
		if n := len(timed) + len(other); n > partMax {
			t.Errorf("%d jobs whose ids tell their time: %d bytes", timedJobs, n)
		}
		wrong := 0
		for i, h := range otherHashes {
			if !other.may(h) {
				t.Fatal("it does not hold what was put into it")
			}
			if other.may(mix(uint64(i)<<20 + 1)) {
				wrong++
			}
		}
		if wrong > len(otherHashes)/200 {
			t.Errorf("%d of %d others seem to be in it", wrong, len(otherHashes))
		}
	}
}

// A restored CATALOG gives sequences out again: what was known of it is void (DESIGN D2).
func TestArchiveCatalogChain(t *testing.T) {
	t.Parallel()
	r := &archiveRecord{V: recordVersion, Kind: recordCommit, ID: "00000000-0000-7000-8000-000000000000", Through: schemas.Position{Seq: 3}}
	first, err := r.encode()
	if err != nil {
		t.Fatal(err)
	}
	entry := func(seq schemas.Seq, body []byte) []*Entry {
		return []*Entry{{Event: &schemas.Event{Seq: seq}, Body: body}}
	}
	c, err := (&catalog{}).apply(entry(1, first))
	if err != nil || c.through.Seq != 3 {
		t.Fatal(err)
	}
	for name, change := range map[string]func(r *archiveRecord){
		"other before": func(r *archiveRecord) { r.Prev = sumOf([]byte("x")) },
		"a hole":       func(r *archiveRecord) { r.From++ },
		"":             func(*archiveRecord) {},
	} {
		next := &archiveRecord{V: recordVersion, Kind: recordCommit, ID: r.ID, Prev: sumOf(first), From: 3, Through: schemas.Position{Seq: 9}}
		change(next)
		body, err := next.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.apply(entry(2, body)); (err == nil) != (name == "") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
