package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"math/bits"
	"slices"
	"sort"

	"github.com/google/uuid"

	"github.com/dartwing/jobledger/schemas"
)

// archivedPage is what a segment's index says about one of its pages.
type archivedPage struct {
	place       string        // "org.<org>", "control" or "foreign"
	at          []schemas.Seq // of its parts in ARCHIVE, in order
	size        int           // bytes of its content
	sum         [sha256.Size]byte
	events      int
	first, last schemas.Seq // least and greatest ledger sequence in it
}

// segmentIndex is a segment's table of contents: its pages, in the order of their places, and which of them hold a
// subject. Its content names the sum of each page, so that its own sum vouches for all of them.
//
//	pages  uvarint n, for each: text place, uvarint parts, uvarint sequence of each in ARCHIVE (the first of the segment
//	       itself, then the distance to the one before, as a varint), uvarint size, 32 bytes of SHA-256, uvarint events,
//	       uvarint first, uvarint last minus first
//	keys   uvarint n, n times 8 bytes: the hash of a subject, ascending; then n times 2 bytes: its page's number.
//	       All numbers of fixed size are little-endian. A subject that goes on in the next page has a key for each.
//	order  uvarint n, n times 2 bytes: the page of each message, by sequence from the segment's first on, noPage where a
//	       sequence is not the segment's. n is 0 where most are not: then all pages have to be read to find one.
type segmentIndex struct {
	pages []archivedPage
	keys  []byte // 8 bytes each
	where []byte // 2 bytes each
	order []byte // 2 bytes each
	size  int    // bytes of its content: about what it occupies
}

const (
	keySize   = 8
	whereSize = 2
	// segmentPagesMax is what a page's number in an index can be at most, plus one.
	segmentPagesMax = noPage
	// noPage is in the place of a page where there is none.
	noPage = 1<<(8*whereSize) - 1
	// orderSpread is over how many times as many sequences as it has messages a segment's order is kept.
	orderSpread = 4
)

// errIndex: the bytes are not what a writer of indexes writes.
var errIndex = errors.New("it is not an index of the archive")

// keyOf is the hash of a subject in indexes and filters. It is stored: it never changes.
func keyOf(subject string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(subject))
	return mix(h.Sum64())
}

// keyOfType and keyOfTypeIn are the hashes in filters of a type of jobs, and of those of one org. No subject or place is
// like them.
func keyOfType(typ schemas.TypeName) uint64 { return keyOf(classType + string(typ)) }

func keyOfTypeIn(org schemas.OrgID, typ schemas.TypeName) uint64 {
	return keyOf(classBoth + string(org) + ":" + string(typ))
}

// indexKey is a subject in a page.
type indexKey struct {
	hash uint64
	page int
}

// encodeIndex returns the content of an index. It sorts keys.
func encodeIndex(pages []archivedPage, keys []indexKey, order []int) []byte {
	b := binary.AppendUvarint(nil, uint64(len(pages)))
	var before schemas.Seq
	for i := range pages {
		p := &pages[i]
		b = appendText(b, p.place)
		b = binary.AppendUvarint(b, uint64(len(p.at)))
		for _, at := range p.at {
			b = binary.AppendVarint(b, int64(at)-int64(before))
			before = at
		}
		b = binary.AppendUvarint(b, uint64(p.size))
		b = append(b, p.sum[:]...)
		b = binary.AppendUvarint(b, uint64(p.events))
		b = binary.AppendUvarint(b, uint64(p.first))
		b = binary.AppendUvarint(b, uint64(p.last-p.first))
	}
	slices.SortFunc(keys, func(a, b indexKey) int {
		if a.hash != b.hash {
			if a.hash < b.hash {
				return -1
			}
			return 1
		}
		return a.page - b.page
	})
	b = binary.AppendUvarint(b, uint64(len(keys)))
	for _, k := range keys {
		b = binary.LittleEndian.AppendUint64(b, k.hash)
	}
	for _, k := range keys {
		b = binary.LittleEndian.AppendUint16(b, uint16(k.page))
	}
	b = binary.AppendUvarint(b, uint64(len(order)))
	for _, page := range order {
		b = binary.LittleEndian.AppendUint16(b, uint16(page))
	}
	return b
}

// decodeIndex reads what encodeIndex wrote.
func decodeIndex(content []byte) (*segmentIndex, error) {
	c := cutter{b: content}
	n := c.uvarint()
	if n > segmentPagesMax {
		return nil, errIndex
	}
	x := &segmentIndex{size: len(content)}
	var at int64
	for ; n > 0 && !c.bad; n-- {
		p := archivedPage{place: string(c.text())}
		parts := c.uvarint()
		if parts == 0 || parts > pagePartsMax {
			return nil, errIndex
		}
		for ; parts > 0; parts-- {
			at += c.varint()
			p.at = append(p.at, schemas.Seq(at))
		}
		p.size = int(min(c.uvarint(), pagePartsMax*partMax+1))
		copy(p.sum[:], c.take(sha256.Size))
		p.events = int(min(c.uvarint(), segmentEventsMax+1))
		p.first = schemas.Seq(c.uvarint())
		p.last = p.first + schemas.Seq(c.uvarint())
		x.pages = append(x.pages, p)
	}
	keys := c.uvarint()
	if keys > uint64(len(c.b)) {
		return nil, errIndex
	}
	x.keys, x.where = c.take(keys*keySize), c.take(keys*whereSize)
	n = c.uvarint()
	if n > uint64(len(c.b)) {
		return nil, errIndex
	}
	x.order = c.take(n * whereSize)
	if c.bad || len(c.b) > 0 {
		return nil, errIndex
	}
	for i, numbers := range [][]byte{x.where, x.order} {
		for ; len(numbers) > 0; numbers = numbers[whereSize:] {
			if page := int(binary.LittleEndian.Uint16(numbers)); page >= len(x.pages) && (i == 0 || page != noPage) {
				return nil, errIndex
			}
		}
	}
	return x, nil
}

// between returns the numbers of the pages that hold messages from one sequence to another, ascending; first is the
// segment's. Where the index does not know their order it names all that may.
func (x *segmentIndex) between(from, to, first schemas.Seq) []int {
	var numbers []int
	n := schemas.Seq(len(x.order) / whereSize)
	if n == 0 {
		for i := range x.pages {
			if p := &x.pages[i]; p.last >= from && p.first <= to {
				numbers = append(numbers, i)
			}
		}
		return numbers
	}
	from, to = max(from, first)-first, min(to, first+n-1)-first
	held := make([]bool, len(x.pages))
	for i := from; i <= to && i < n; i++ {
		if page := binary.LittleEndian.Uint16(x.order[i*whereSize:]); page != noPage {
			held[page] = true
		}
	}
	for i, held := range held {
		if held {
			numbers = append(numbers, i)
		}
	}
	return numbers
}

// hashes are those of the subjects in the segment, ascending.
func (x *segmentIndex) hashes() []uint64 {
	all := make([]uint64, 0, len(x.keys)/keySize)
	for keys := x.keys; len(keys) > 0; keys = keys[keySize:] {
		all = append(all, binary.LittleEndian.Uint64(keys))
	}
	return slices.Compact(all)
}

// find returns the numbers of the pages that may hold a subject, ascending.
func (x *segmentIndex) find(hash uint64) []int {
	n := len(x.keys) / keySize
	at := func(i int) uint64 { return binary.LittleEndian.Uint64(x.keys[i*keySize:]) }
	var pages []int
	for i := sort.Search(n, func(i int) bool { return at(i) >= hash }); i < n && at(i) == hash; i++ {
		pages = append(pages, int(binary.LittleEndian.Uint16(x.where[i*whereSize:])))
	}
	return pages
}

// filter is a Bloom filter over the subjects of a segment: whether it may hold one. Empty, it holds none. Its length is
// its writer's choice: a reader takes it as it is.
type filter []byte

const (
	// filterProbes bits are set for a subject, of timedBits or otherBits for each subject. Of ten thousand subjects that tell
	// their time and that a segment does not hold one is taken to be there, and its index is read in vain: their time excludes
	// most segments. Any other subject is looked for in all segments, before its job is queued, so that even of a
	// thousand segments one in a thousand such looks may read in vain.
	filterProbes = 12
	timedBits    = 20
	otherBits    = 32
	// filterBytesMin is the least of a filter that is not empty: where all ids tell their time, the other filter holds orgs and
	// types alone, a few in each segment, and for next to nothing none of them is ever read in vain.
	filterBytesMin = 64
)

// newFilter returns a filter over hashes, with so many bits for each.
func newFilter(hashes []uint64, each int) filter {
	if len(hashes) == 0 {
		return nil
	}
	f := make(filter, max(filterBytesMin, (len(hashes)*each+7)/8))
	for _, h := range hashes {
		for _, at := range probesOf(h) {
			bit := f.bit(at)
			f[bit/8] |= 1 << (bit % 8)
		}
	}
	return f
}

// probes are where the bits of a hash are in any filter: as parts of its length, times 2^64.
type probes [filterProbes]uint64

func probesOf(hash uint64) (p probes) {
	for i := range p {
		p[i] = mix(hash + uint64(i)*0x9e3779b97f4a7c15)
	}
	return p
}

// may reports whether hash may be in it.
func (f filter) may(hash uint64) bool {
	if len(f) == 0 {
		return false
	}
	p := probesOf(hash)
	return f.holds(&p)
}

// holds is may for a hash that is looked for in many.
func (f filter) holds(p *probes) bool {
	if len(f) == 0 {
		return false
	}
	for _, at := range p {
		bit := f.bit(at)
		if f[bit/8]&(1<<(bit%8)) == 0 {
			return false
		}
	}
	return true
}

// bit is the place of a probe.
func (f filter) bit(probe uint64) uint64 {
	place, _ := bits.Mul64(probe, uint64(len(f))*8)
	return place
}

// timed reports when a job id says that it was made; false for one that says nothing: ids that callers chose, or
// that were derived. The former have a filter of their own: looking for the latter, which every submit of one does,
// touches no more than them.
func timed(id schemas.JobID) (unixMillis int64, ok bool) {
	u, err := uuid.Parse(string(id))
	if err != nil || u.Version() != 7 || u.String() != string(id) {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(u[:8]) >> 16), true
}
