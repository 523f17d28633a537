package gateway

import (
	"context"
	"errors"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Bounds of the live feed.
const (
	// liveBytesMax bounds the ring of recent events of a server, roughly: about 60,000 events. A subscription that is
	// further behind has lost some: it is told to reset.
	liveBytesMax = 32 << 20
	// liveOverhead is about what an event occupies in it beside its texts.
	liveOverhead = 480
	// liveBackfill is how many messages of the ledger a server that starts reads back for its ring, so that whoever
	// followed the one before goes on here.
	liveBackfill = 16_384
)

// Live is the recent past of a server's ledger and what comes, for any number of subscriptions: one ring of events
// for all of them, filled from the process's tail. A subscription holds nothing but its position, so a slow one costs no
// memory and delays nobody. Positions are the ledger's: every server's ring serves them.
type Live struct {
	l        *ledger.Ledger
	feed     *ledger.Feed
	log      *zap.Logger
	progress *liveProgress
	alerts   *liveAlerts
	records  liveRecords
	bytesMax int
	meters   map[string]*liveMeter // never changed
	latency  func(transport string, took time.Duration)

	mu         sync.Mutex
	life       int // rises when the ring begins, as after the ledger went back to older data: earlier subscriptions end
	last       schemas.Position
	ready      bool // it is known what the ring holds
	bytes      int
	all        liveScope
	orgs       map[schemas.OrgID]*liveScope
	subscribed int
	hot        liveHeat
}

// liveScope holds the ring's events of one org, or all of them.
type liveScope struct {
	items   []*liveItem // ascending
	dropped schemas.Seq // the ring holds all of the scope above it
	more    chan struct{}
	waiting int // subscriptions that wait on more
}

// liveItem is one event in the ring.
type liveItem struct {
	*LiveEvent
	seq  schemas.Seq
	size int
	hot  atomic.Pointer[liveHot] // what its job's record is made of, while it is new
}

func newLive(l *ledger.Ledger, f *ledger.Feed, conn *nats.Conn, log *zap.Logger) *Live {
	v := &Live{l: l, feed: f, log: log, bytesMax: liveBytesMax, orgs: make(map[schemas.OrgID]*liveScope),
		meters: map[string]*liveMeter{TransportNATS: new(liveMeter), TransportSSE: new(liveMeter), transportGo: new(liveMeter)}}
	v.progress = newLiveProgress(conn, v.wakeProgress)
	v.alerts = newLiveAlerts(conn, v.wakeProgress, log)
	v.records = liveRecords{live: v, jobs: make(map[jobKey]*ledger.Job)}
	return v
}

// run fills the ring until ctx ends, whose error it returns, or the connection is closed.
func (v *Live) run(ctx context.Context) error {
	defer v.progress.close()
	alerting, stop := context.WithCancel(ctx)
	var alerts sync.WaitGroup
	alerts.Go(func() { v.alerts.run(alerting, v.followed) })
	defer alerts.Wait()
	defer stop()
	for {
		if err := v.feed.WaitFor(ctx, 0); err != nil {
			return err
		}
		at := v.backfillFrom(ctx, v.feed.Last())
		c := v.feed.Subscribe(at)
		v.begin(at)
		err := v.follow(ctx, c)
		c.Close()
		if !errors.Is(err, ledger.ErrPositionExpired) {
			return err
		}
		v.log.Warn("the live feed begins anew", zap.Error(err))
	}
}

// backfillFrom is where the ring begins: as far back as liveBackfill, or as LEDGER reaches.
func (v *Live) backfillFrom(ctx context.Context, end schemas.Position) schemas.Position {
	if end.Seq <= liveBackfill {
		return schemas.Position{}
	}
	e, err := v.l.EventAt(ctx, end.Seq-liveBackfill)
	if err != nil { // it has left for the archive, or nobody answers: the ring begins where the ledger ends
		return end
	}
	return e.Position()
}

func (v *Live) begin(at schemas.Position) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.life++
	v.last, v.ready, v.bytes = at, at.Seq > 0, 0
	v.all.begin(at.Seq)
	for org, s := range v.orgs {
		if s.begin(at.Seq); s.waiting == 0 {
			delete(v.orgs, org)
		}
	}
	v.hot.begin(at.Seq)
	v.progress.reset()
}

func (s *liveScope) begin(at schemas.Seq) {
	s.items, s.dropped = nil, at
	s.wake()
}

func (s *liveScope) wake() {
	if s.more != nil {
		close(s.more)
		s.more = nil
	}
}

func (s *liveScope) changed() <-chan struct{} {
	if s.more == nil {
		s.more = make(chan struct{})
	}
	return s.more
}

func (v *Live) follow(ctx context.Context, c *ledger.Cursor) error {
	for {
		entries, err := c.Next(ctx)
		if err != nil {
			return err
		}
		items := make([]*liveItem, 0, len(entries))
		for _, e := range entries {
			if item := newLiveItem(e); item != nil {
				items = append(items, item)
			}
		}
		v.add(entries, items)
		for _, e := range entries {
			if e.Err == nil && e.Job != "" {
				v.alerts.event(e)
			}
		}
	}
}

// newLiveItem is nil for what nobody follows: messages that are no events, and repetitions that change nothing.
func newLiveItem(e *ledger.Entry) *liveItem {
	ev := liveEventOf(e)
	if ev == nil {
		return nil
	}
	item := &liveItem{LiveEvent: ev, seq: e.Seq, size: ev.size()}
	if e.Job != "" {
		item.hot.Store(&liveHot{e: e, bytes: weight(e)})
	}
	return item
}

func (v *Live) add(entries []*ledger.Entry, items []*liveItem) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.ready { // the ledger begins here, as far as this server knows
		v.all.dropped, v.ready = entries[0].Seq-1, true
	}
	for _, item := range items {
		if h := item.hot.Load(); h != nil {
			v.progress.event(h.e)
			v.hot.add(item, h.bytes)
		}
		v.all.items = append(v.all.items, item)
		s := v.scope(item.Org)
		s.items = append(s.items, item)
		s.wake()
		for v.bytes += item.size; v.bytes > v.bytesMax && len(v.all.items) > 1; {
			v.drop()
		}
	}
	v.last = entries[len(entries)-1].Position()
	v.all.wake()
}

// scope is that of an org; of no org, as a hold on everything is, all. v.mu is held.
func (v *Live) scope(org *schemas.OrgID) *liveScope {
	if org == nil {
		return new(liveScope) // only those who follow everything hear of it
	}
	s := v.orgs[*org]
	if s == nil {
		s = &liveScope{dropped: v.all.dropped}
		v.orgs[*org] = s
	}
	return s
}

// drop takes the oldest event out of the ring.
func (v *Live) drop() {
	old := v.all.pop()
	v.bytes -= old.size
	if old.Org == nil {
		return
	}
	s := v.orgs[*old.Org]
	s.pop()
	if len(s.items) == 0 && s.waiting == 0 {
		delete(v.orgs, *old.Org)
	}
}

func (s *liveScope) pop() *liveItem {
	old := s.items[0]
	s.items[0] = nil
	s.items, s.dropped = s.items[1:], old.seq
	return old
}

// behind returns what the scope holds behind seq, up to limit.
func (s *liveScope) behind(seq schemas.Seq, limit int) []*liveItem {
	i := seqIndex(s.items, seq)
	return s.items[i:min(len(s.items), i+limit)]
}

// seqIndex is the index of the first item behind seq.
func seqIndex(items []*liveItem, seq schemas.Seq) int {
	return sort.Search(len(items), func(i int) bool { return items[i].seq > seq })
}

// followed reports whether anybody follows an org.
func (v *Live) followed(org schemas.OrgID) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.orgs[org]
	return v.all.waiting > 0 || s != nil && s.waiting > 0
}

// wakeProgress lets those look who follow an org, or everything.
func (v *Live) wakeProgress(org schemas.OrgID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if s := v.orgs[org]; s != nil {
		s.wake()
	}
	v.all.wake()
}
