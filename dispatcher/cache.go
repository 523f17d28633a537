package dispatcher

import (
	"sync"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// cacheBytesMax bounds the args of jobs that were tailed lately and wait to be queued.
	cacheBytesMax = 64 << 20
	// cacheEntryBytes is about what an entry holds beside its args.
	cacheEntryBytes = 1024
	// cacheOrderMax bounds the list of their ages, which also holds some that were taken.
	cacheOrderMax = 2 * cacheBytesMax / cacheEntryBytes
	// cacheAgeMax is how old the oldest entry may be while it keeps newer ones out. Jobs start in about the
	// order they came, so the oldest is the next to be needed; only one that waits for a worker or a turn for
	// so long is given up.
	cacheAgeMax = 30 * time.Second
)

// argsCache keeps the submitted events of freshly tailed jobs, so that a job which is queued soon costs no
// read. It is a cache: a miss is read from the ledger.
type argsCache struct {
	mu    sync.Mutex
	byAt  map[schemas.Seq]*ledger.Entry
	order []cached // by age; those taken stay until they reach the front
	bytes int
}

type cached struct {
	at  schemas.Seq
	put time.Time
}

func newArgsCache() *argsCache { return &argsCache{byAt: make(map[schemas.Seq]*ledger.Entry)} }

func sizeOf(e *ledger.Entry) int {
	return cacheEntryBytes + len(e.Data.(*schemas.Submitted).Args)
}

// put keeps a submitted event, if there is room or the oldest has had its time.
func (c *argsCache) put(e *ledger.Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	full := func() bool { return c.bytes >= cacheBytesMax || len(c.order) >= cacheOrderMax }
	for len(c.order) > 0 {
		oldest := c.order[0]
		held, ok := c.byAt[oldest.at]
		if ok && (!full() || now.Sub(oldest.put) < cacheAgeMax) {
			break
		}
		c.order = c.order[1:]
		if ok {
			c.bytes -= sizeOf(held)
			delete(c.byAt, oldest.at)
		}
	}
	if full() {
		return
	}
	c.byAt[e.Seq] = e
	c.order = append(c.order, cached{e.Seq, now})
	c.bytes += sizeOf(e)
}

// take returns and forgets the event at seq, nil if it is not held.
func (c *argsCache) take(seq schemas.Seq) *ledger.Entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byAt[seq]
	if ok {
		delete(c.byAt, seq)
		c.bytes -= sizeOf(e)
	}
	return e
}

func (c *argsCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.byAt)
	c.order, c.bytes = nil, 0
}
