package ledger

import (
	"container/list"
	"sync"

	"github.com/dartwing/jobledger/schemas"
)

const (
	// filterBytesMax bounds the filters in memory, of each of the two sorts: of 26 million subjects, 2.5 bytes each.
	// When there are more, the newest stay, and the others are read when they are asked.
	filterBytesMax = 64 << 20
	// indexBytesMax bounds the indexes in memory: those used last stay.
	indexBytesMax = 16 << 20
)

// cache holds parts of the archive that were read. What is in it was compared with its sum.
type cache struct {
	mu      sync.Mutex
	filters [2]filterCache // of subjects that tell their time, and of all others
	indexes map[string]*list.Element
	used    *list.List // of cachedIndex, the one used last in front
	bytes   int
}

type cachedIndex struct {
	id string
	x  *segmentIndex
}

func (c *cache) init() {
	c.indexes, c.used = make(map[string]*list.Element), list.New()
	for i := range c.filters {
		c.filters[i].all = make(map[string]cachedFilter)
	}
}

// index returns the index of a segment, if it is there.
func (c *cache) index(id string) *segmentIndex {
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
func (c *cache) keepIndex(id string, x *segmentIndex) {
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

// filterOf returns a filter of a segment, if it is there.
func (c *cache) filterOf(sort int, id string) (filter, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, ok := c.filters[sort].all[id]
	return f.f, ok
}

// keepFilter takes a filter in. Every look goes through all filters: to drop the one used last would drop each just
// before it is needed. So the newest stay.
func (c *cache) keepFilter(sort int, s *archiveSegment, f filter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := &c.filters[sort]
	if _, ok := k.all[s.ID]; ok {
		return
	}
	for k.bytes+len(f) > filterBytesMax {
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

// forget drops what is kept of a segment that is gone.
func (c *cache) forget(id string) {
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
