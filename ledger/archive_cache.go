package ledger

import (
	"container/list"
	"sync"

	"github.com/dartwing/jobledger/schemas"
)

const (
	// timedBytesMax and otherBytesMax bound the filters in memory: of 27 million subjects that tell their time, 2.5 bytes each,
	// and of 33 million others, 4 bytes each. When there are more, the newest stay, and the others are read when they are asked.
	timedBytesMax = 64 << 20
	otherBytesMax = 128 << 20
	// indexBytesMax bounds the indexes in memory: those used last stay.
	indexBytesMax = 16 << 20
)

// The two filters of a segment.
const (
	sortTimed = iota // of subjects that tell their time
	sortOther        // of all others
)

// sortOf is the one that holds a subject.
func sortOf(timed bool) int {
	if timed {
		return sortTimed
	}
	return sortOther
}

// ArchiveCache holds parts of the archive that were read, for the Ledgers of one process to share (Config.ArchiveCache): 208 MiB
// at most. What is in it was compared with its sum.
type ArchiveCache struct {
	mu      sync.Mutex
	filters [2]filterCache
	room    [2]int // bytes of filters, of each sort
	indexes map[string]*list.Element
	used    *list.List // of cachedIndex, the one used last in front
	bytes   int
	// loading is held by who reads many filters: others, who need the same ones, wait for them.
	loading chan struct{} // capacity 1
}

type cachedIndex struct {
	id string
	x  *segmentIndex
}

// NewArchiveCache returns an empty cache.
func NewArchiveCache() *ArchiveCache {
	c := &ArchiveCache{loading: make(chan struct{}, 1), room: [2]int{sortTimed: timedBytesMax, sortOther: otherBytesMax}}
	c.clear()
	return c
}

// Bound sets how many bytes of filters are kept in memory, in place of 64 MiB of ids that tell their time and 128 MiB of others. It
// is called before the cache is used.
func (c *ArchiveCache) Bound(timed, others int) { c.room = [2]int{sortTimed: timed, sortOther: others} }

// index returns the index of a segment, if it is there.
func (c *ArchiveCache) index(id string) *segmentIndex {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.indexes[id]
	if e == nil {
		return nil
	}
	c.used.MoveToFront(e)
	return e.Value.(cachedIndex).x
}

// keepIndex takes an index in, and drops those that were not used for the longest time.
func (c *ArchiveCache) keepIndex(id string, x *segmentIndex) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.indexes[id] != nil {
		return
	}
	c.indexes[id] = c.used.PushFront(cachedIndex{id: id, x: x})
	c.bytes += x.size
	for c.bytes > indexBytesMax && c.used.Len() > 1 {
		old := c.used.Remove(c.used.Back()).(cachedIndex)
		delete(c.indexes, old.id)
		c.bytes -= old.x.size
	}
}

// filterCache holds filters of one sort.
type filterCache struct {
	all   map[string]cachedFilter // by segment
	bytes int
}

type cachedFilter struct {
	f  filter
	at schemas.Seq // in CATALOG: the age
}

// filterOf returns a filter of a segment, if it is there, or empty.
func (c *ArchiveCache) filterOf(sort int, s *archiveSegment) (filter, bool) {
	if s.filterSize(sort) == 0 {
		return nil, true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	f, ok := c.filters[sort].all[s.ID]
	return f.f, ok
}

// knownFilters puts the filters that are there, or empty, into a table, and returns how many those are.
func (c *ArchiveCache) knownFilters(sort int, t *filterTable) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, s := range t.segments {
		f, ok := c.filters[sort].all[s.ID]
		if t.filters[i], t.known[i] = f.f, ok || s.filterSize(sort) == 0; t.known[i] {
			n++
		}
	}
	return n
}

// keepOnly drops the filters of segments that a catalogue does not hold, though it is newer than they are.
func (c *ArchiveCache) keepOnly(sort int, t *filterTable) {
	held := make(map[string]bool, len(t.segments))
	for _, s := range t.segments {
		held[s.ID] = true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	k := &c.filters[sort]
	for id, f := range k.all {
		if f.at < t.of.at && !held[id] {
			k.bytes -= len(f.f)
			delete(k.all, id)
		}
	}
}

// keepFilter takes a filter in. Every look goes through all filters: to drop the one used last would drop each just
// before it is needed. So the newest stay.
func (c *ArchiveCache) keepFilter(sort int, s *archiveSegment, f filter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := &c.filters[sort]
	if _, ok := k.all[s.ID]; ok {
		return
	}
	for k.bytes+len(f) > c.room[sort] {
		oldest, at := "", s.Filter
		for id, other := range k.all {
			if other.at < at {
				oldest, at = id, other.at
			}
		}
		if oldest == "" {
			return // all that are there are newer
		}
		k.bytes -= len(k.all[oldest].f)
		delete(k.all, oldest)
	}
	k.all[s.ID] = cachedFilter{f: f, at: s.Filter}
	k.bytes += len(f)
}

// clear drops all.
func (c *ArchiveCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.indexes, c.used, c.bytes = make(map[string]*list.Element), list.New(), 0
	for i := range c.filters {
		c.filters[i] = filterCache{all: make(map[string]cachedFilter)}
	}
}

// forget drops what is kept of a segment that is gone.
func (c *ArchiveCache) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.indexes[id]; e != nil {
		c.bytes -= e.Value.(cachedIndex).x.size
		c.used.Remove(e)
		delete(c.indexes, id)
	}
	for i := range c.filters {
		c.filters[i].bytes -= len(c.filters[i].all[id].f)
		delete(c.filters[i].all, id)
	}
}
