package projector

import (
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// jobKey names a job in maps without building a string.
type jobKey struct {
	org schemas.OrgID
	id  schemas.JobID
}

// slot is what is known of a document in a bucket. The zero slot is a key that was never written.
type slot struct {
	rev   uint64      // revision last seen; 0: none
	seq   schemas.Seq // what that revision is true at; another leader may be ahead of this fold
	known bool        // false: rev says nothing, read before writing
	dirty bool        // changed since the last flush took it
	out   bool        // taken by a flush that has not ended
	// mortal: that revision expires, so that it need not be there any more.
	mortal bool
}

// jobEntry is one job's fold without args, result, steps and stack, which no document holds.
type jobEntry struct {
	slot
	key        jobKey
	job        *ledger.Job
	assumed    schemas.Seq // above 0: taken for new at this submitted; the first put proves it or not
	prev, next *jobEntry   // by last use
}

// jobCache keeps folds by last use. An entry that a flush still needs is never dropped.
type jobCache struct {
	max     int
	entries map[jobKey]*jobEntry
	root    jobEntry // root.next is the entry used last
}

func newJobCache(limit int) *jobCache {
	c := &jobCache{max: limit, entries: make(map[jobKey]*jobEntry)}
	c.root.prev, c.root.next = &c.root, &c.root
	return c
}

// get returns the entry of k, or nil.
func (c *jobCache) get(k jobKey) *jobEntry {
	e := c.entries[k]
	if e != nil {
		e.unlink()
		c.push(e)
	}
	return e
}

// put adds e, whose key is not in the cache, and drops the entries used least until the bound holds.
func (c *jobCache) put(e *jobEntry) {
	c.entries[e.key] = e
	c.push(e)
	for old := c.root.prev; len(c.entries) > c.max && old != &c.root; {
		prev := old.prev
		if old != e && !old.dirty && !old.out {
			c.remove(old)
		}
		old = prev
	}
}

func (c *jobCache) remove(e *jobEntry) {
	e.unlink()
	delete(c.entries, e.key)
}

func (c *jobCache) push(e *jobEntry) {
	e.prev, e.next = &c.root, c.root.next
	e.prev.next, e.next.prev = e, e
}

func (e *jobEntry) unlink() { e.prev.next, e.next.prev = e.next, e.prev }

// strip drops what no document needs, so that a cached fold is small. Events are shared: the job's own
// fields are replaced, never what they point to.
func strip(j *ledger.Job) {
	j.Spec.Args, j.Result, j.Checkpoint = nil, nil, nil
	if p := j.Progress; p != nil && p.Steps != nil {
		j.Progress = &schemas.Progress{Percent: p.Percent, Message: p.Message}
	}
	if e := j.Error; e != nil && e.Stack != "" {
		c := *e
		c.Stack = ""
		j.Error = &c
	}
}
