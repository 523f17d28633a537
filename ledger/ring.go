package ledger

import (
	"sort"

	"github.com/dartwing/jobledger/schemas"
)

// ring holds the newest entries of the ledger, bounded in number and bytes, without a gap between them.
type ring struct {
	start    schemas.Position // of the entry before the oldest one held
	entries  []*Entry         // circular
	sizes    []int32          // bytes each occupies, roughly
	head, n  int              // entries[head] is the oldest of n
	bytes    int
	bytesMax int
}

func newRing(capacity, bytesMax int, start schemas.Position) ring {
	return ring{start: start, entries: make([]*Entry, capacity), sizes: make([]int32, capacity), bytesMax: bytesMax}
}

func (r *ring) at(i int) *Entry { return r.entries[(r.head+i)%len(r.entries)] }

// last is the position of the newest entry, or where the ring started.
func (r *ring) last() schemas.Position {
	if r.n == 0 {
		return r.start
	}
	return r.at(r.n - 1).Position()
}

// add appends the next entry and drops the oldest ones that no longer fit. An entry larger than the whole
// ring stays until the next one comes.
func (r *ring) add(e *Entry) {
	size := len(e.Body) + entryOverhead
	stripBody(e)
	for r.n == len(r.entries) || r.n > 0 && r.bytes+size > r.bytesMax {
		r.start = r.entries[r.head].Position()
		r.bytes -= int(r.sizes[r.head])
		r.entries[r.head] = nil
		r.head = (r.head + 1) % len(r.entries)
		r.n--
	}
	i := (r.head + r.n) % len(r.entries)
	r.entries[i], r.sizes[i] = e, int32(size)
	r.bytes += size
	r.n++
}

// find returns the index behind pos; false if pos is not in the ring, or another event has its sequence.
func (r *ring) find(pos schemas.Position) (int, bool) {
	if pos == r.start {
		return 0, true
	}
	i := sort.Search(r.n, func(i int) bool { return r.at(i).Seq >= pos.Seq })
	if i == r.n || r.at(i).Position() != pos {
		return 0, false
	}
	return i + 1, true
}

// from returns up to limit entries from index i on.
func (r *ring) from(i, limit int) []*Entry {
	n := min(r.n-i, limit)
	if n <= 0 {
		return nil
	}
	out := make([]*Entry, n)
	for k := range out {
		out[k] = r.at(i + k)
	}
	return out
}
