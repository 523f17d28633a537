package dispatcher

import (
	"slices"
	"strings"
	"time"

	"github.com/dartwing/jobledger/ledger"
)

// pool is the live sessions that serve the same pairs: they share their slots over all of them, so room is
// counted for the pool and not for each type.
type pool struct {
	key      string
	queues   [][]*pair // the pairs, by queue
	next     int       // queue to be asked next
	sessions int       // live, not draining
	slots    int       // of them
	busy     int       // attempts Running and handlers that outlive theirs, on those slots
	charged  int       // jobs Queued for it, or about to be
	ends     window    // attempts that ended lately
}

// free is the number of slots nobody uses.
func (p *pool) free() int { return max(0, p.slots-p.busy) }

// room is how many more jobs may be Queued for the pool: the free slots, as many as turned over in the last
// window, and one, so that the slot that frees next finds a job. With no-op jobs that is 100 ms of work;
// with long ones a single job.
func (p *pool) room(now time.Time) int {
	if p.slots == 0 {
		return 0
	}
	return p.free() + p.ends.count(now.UnixNano()) + 1 - p.charged
}

// full reports whether the pair has as many jobs Queued as all who serve it could take: reached only when
// they are not claimed although slots are free.
func (p *pair) full(now time.Time) bool {
	limit := 1
	for _, pool := range p.pools {
		limit += pool.slots + pool.ends.count(now.UnixNano())
	}
	return p.queued >= limit
}

// roomiest returns the pool with the most free slots of those that serve the pair, nil if there is none.
func (p *pair) roomiest() (best *pool) {
	for _, q := range p.pools {
		if best == nil || q.free()-q.charged > best.free()-best.charged {
			best = q
		}
	}
	return best
}

// turnover is the time over which slots that turn over count as room (DESIGN D5).
const turnover = 100 * time.Millisecond

// window counts events of the present and of the last full span of turnover.
type window struct {
	span      int64 // number of the present span
	cur, last int
}

func (w *window) add(at int64) {
	w.roll(at)
	w.cur++
}

// count returns the greater of the two spans: the present one has only begun, the last one may have been less.
func (w *window) count(now int64) int {
	w.roll(now)
	return max(w.cur, w.last)
}

func (w *window) roll(at int64) {
	switch span := at / int64(turnover); {
	case span <= w.span: // the same, or an event a little older than the clock
	case span == w.span+1:
		w.span, w.last, w.cur = span, w.cur, 0
	default:
		w.span, w.last, w.cur = span, 0, 0
	}
}

// poolOf returns the pool of those who serve exactly these pairs.
func (c *Core) poolOf(serves []ledger.Serves) *pool {
	serves = slices.Clone(serves)
	slices.SortFunc(serves, func(a, b ledger.Serves) int {
		return strings.Compare(ledger.ConsumerName(a.Queue, a.Type), ledger.ConsumerName(b.Queue, b.Type))
	})
	serves = slices.Compact(serves)
	var key strings.Builder
	for _, s := range serves {
		key.WriteString(ledger.ConsumerName(s.Queue, s.Type))
		key.WriteByte(' ')
	}
	i, found := slices.BinarySearchFunc(c.pools, key.String(), func(p *pool, k string) int { return strings.Compare(p.key, k) })
	if found {
		return c.pools[i]
	}
	p := &pool{key: key.String()}
	byQueue := make(map[*queue]int)
	for _, s := range serves {
		pr := c.pair(s.Queue, s.Type)
		pr.pools = append(pr.pools, p)
		at, ok := byQueue[pr.queue]
		if !ok {
			at = len(p.queues)
			byQueue[pr.queue] = at
			p.queues = append(p.queues, nil)
		}
		p.queues[at] = append(p.queues[at], pr)
	}
	c.pools = slices.Insert(c.pools, i, p)
	return p
}

// dropPool forgets a pool without sessions. Jobs charged to it keep pointing at it, which harms nobody.
func (c *Core) dropPool(p *pool) {
	if p.sessions > 0 {
		return
	}
	c.pools = slices.DeleteFunc(c.pools, func(o *pool) bool { return o == p })
	for _, pairs := range p.queues {
		for _, pr := range pairs {
			pr.pools = slices.DeleteFunc(pr.pools, func(o *pool) bool { return o == p })
			c.dropPair(pr)
		}
	}
}
