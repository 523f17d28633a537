package gateway

import (
	"container/list"
	"runtime"
	"sync"
	"time"

	"github.com/dartwing/jobledger/gateway/rights"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Bounds of turns.
const (
	// alonePerCPU and besidePerCPU are how many quick requests of one org are worked on at once for each processor: while no other org
	// has asked for otherWindow, and while one has. Two for each keep a processor busy.
	alonePerCPU, besidePerCPU = 16, 2
	otherWindow               = 30 * time.Second
	// slowAfter is how long a request is a quick one; it then counts among the quarter of all places that an org may have.
	slowAfter = 20 * time.Millisecond
	// lineMax and lineBytes bound what of one org waits, lineMax/2 and lineBytes/2 what of one caller; a further request is refused
	// with rate_limited.
	lineMax   = 4096
	lineBytes = 32 << 20
	// linesMax and linesBytes bound what waits of all.
	linesMax   = 65_536
	linesBytes = 128 << 20
	// lineSpare and lineSpareBytes are beyond lineMax for callers of an org of whom nothing waits, and linesSpare and
	// linesSpareBytes beyond linesMax for orgs of which nothing does: who fills a line keeps out himself.
	lineSpare       = 512
	lineSpareBytes  = 8 << 20
	linesSpare      = 16_384
	linesSpareBytes = 64 << 20
)

// errCrowded is the answer to a request beyond what may wait. Nothing of it was done.
var errCrowded = func() error {
	err := ledger.Errorf(ledger.CodeRateLimited, "too many requests of this org or caller wait already: nothing was done; ask again in a while, or with fewer at a time")
	err.Details = map[string]any{"retry_after_s": int(retryAfter / time.Second)}
	return err
}()

// errNoSeat is the answer to a long poll beyond what may be held.
var errNoSeat = ledger.Errorf(ledger.CodeRateLimited, "too many requests of this org, or of all, wait here for a job's end or for events already: ask again with get")

// errStops is the answer to a request that came while the service stopped. Nothing of it was done.
var errStops = func() error {
	err := ledger.Errorf(ledger.CodeUnavailable, "the server stops: ask again")
	err.Details = map[string]any{ledger.DetailReason: ledger.ReasonNoResponse}
	return err
}()

// asker is who asks: whose line a request stands in.
type asker struct {
	org    schemas.OrgID
	caller string // of the org's
}

// askerOf is who asks over HTTP. Who names an org in which he has no right stands in the line of his own one.
func askerOf(p *rights.Principal, org schemas.OrgID) asker {
	if p.In(org) == nil && len(p.Grants) > 0 {
		org = p.Grants[0].Org
	}
	return asker{org: org, caller: p.Actor.String()}
}

// crowded refuses a request beyond what may wait. One that nobody waits for is dropped without a line in the log, of which the
// caller could make as many as he likes.
func (g *Gateway) crowded(ep *endpoint, r *request) {
	if r.reply != "" {
		g.answer(ep, r, nil, errCrowded)
		return
	}
	ep.stats.answered.Add(1)
	ep.stats.failed.Add(1)
}

// turns says which request is worked on next, so that an org that asks much waits for itself, and others hardly feel it. Orgs take
// turns, and the callers of an org; of one org no more is worked on at once than keeps the processors busy, for what is more would
// only have those of others take longer. What takes long waits for something, most of the time, and counts as little as that.
type turns struct {
	places           int // of all
	ofOrg            int // of one org
	alone, beside    int // quick ones of one org: while nobody else asks, and while others do
	mu               sync.Mutex
	lines            map[schemas.OrgID]*line // of orgs with a request that runs or waits
	next             list.List               // of *line: those with a request that waits, and with room for it; the first one's turn is next
	running, waiting int
	bytes            int
	closed           bool
	last, before     asked // the two orgs that asked last
}

// asked is when an org asked last.
type asked struct {
	org schemas.OrgID
	at  time.Time
}

// line is what one org asks.
type line struct {
	org            schemas.OrgID
	running, quick int               // quick ones are among the running
	queue                            // what waits, of all callers
	callers        map[string]*queue // of callers with a request that waits
	next           list.List         // of *queue, the callers: the first one's turn is next
	turn           *list.Element     // in turns.next; nil: it is not there
}

// queue is what of one caller waits.
type queue struct {
	caller string
	waits  list.List // of turn; not used of a line's own
	count  int
	bytes  int
}

// turn is a request that waits.
type turn struct {
	bytes int
	begin begin
}

// begin is called once a request has its turn. It must not block, and what it begins ends with leave. nil: there are no turns any more.
type begin func(leave func())

func newTurns(places int) *turns {
	cpus := runtime.GOMAXPROCS(0)
	return &turns{places: places, ofOrg: places / 4, alone: min(places/4, alonePerCPU*cpus), beside: min(places/4, besidePerCPU*cpus),
		lines: map[schemas.OrgID]*line{}}
}

// take has begin be called once the request has its turn, which may be now, and reports whether it will: not where too many wait
// already.
func (t *turns) take(who asker, bytes int, begin begin) bool {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		begin(nil)
		return true
	}
	now := time.Now()
	if t.last.org != who.org {
		t.before = t.last
	}
	t.last = asked{who.org, now}
	l := t.lines[who.org]
	if l == nil {
		l = &line{org: who.org, callers: map[string]*queue{}}
		t.lines[who.org] = l
	}
	if l.count == 0 && t.room(l, now) && t.running < t.places {
		leave := t.start(l)
		t.mu.Unlock()
		begin(leave)
		return true
	}
	defer t.mu.Unlock()
	q := l.callers[who.caller]
	if t.full(l, q, bytes) {
		t.drop(l)
		return false
	}
	if q == nil {
		q = &queue{caller: who.caller}
		l.callers[who.caller] = q
		l.next.PushBack(q)
	}
	q.waits.PushBack(turn{bytes, begin})
	for _, q := range []*queue{q, &l.queue} {
		q.count++
		q.bytes += bytes
	}
	t.waiting++
	t.bytes += bytes
	t.place(l, now)
	return true
}

// full reports whether a request is beyond what may wait, of all, of its org or of its caller, whose queue is nil if nothing of
// his waits. t.mu is held.
func (t *turns) full(l *line, q *queue, bytes int) bool {
	most, mostBytes := linesMax, linesBytes
	if l.count == 0 {
		most, mostBytes = most+linesSpare, mostBytes+linesSpareBytes
	}
	if t.waiting >= most || t.bytes+bytes > mostBytes {
		return true
	}
	if q == nil {
		return l.full(bytes, lineMax+lineSpare, lineBytes+lineSpareBytes)
	}
	return l.full(bytes, lineMax, lineBytes) || q.full(bytes, lineMax/2, lineBytes/2)
}

func (q *queue) full(more, most, mostBytes int) bool {
	return q.count >= most || q.bytes+more > mostBytes
}

// room reports whether one more of an org may be worked on, if a place is free. t.mu is held.
func (t *turns) room(l *line, now time.Time) bool {
	other := t.last
	if other.org == l.org {
		other = t.before
	}
	quick := t.alone
	if now.Sub(other.at) < otherWindow {
		quick = t.beside
	}
	return l.quick < quick && l.running < t.ofOrg
}

// start counts one of an org as running, until leave. t.mu is held.
func (t *turns) start(l *line) (leave func()) {
	l.running++
	l.quick++
	t.running++
	quick := true
	tire := time.AfterFunc(slowAfter, func() {
		t.mu.Lock()
		if quick {
			quick = false
			l.quick--
			t.place(l, time.Now())
		}
		t.mu.Unlock()
		t.give()
	})
	return func() {
		tire.Stop() // or it waits for t.mu, and sees
		t.mu.Lock()
		if quick {
			quick = false
			l.quick--
		}
		l.running--
		t.running--
		t.place(l, time.Now())
		t.drop(l)
		t.mu.Unlock()
		t.give()
	}
}

// give gives out turns while there are any.
func (t *turns) give() {
	for {
		t.mu.Lock()
		now := time.Now()
		for t.next.Len() > 0 { // who had room while nobody else asked may have none now
			l := t.next.Front().Value.(*line)
			if t.place(l, now); l.turn != nil {
				break
			}
		}
		if t.running >= t.places || t.next.Len() == 0 {
			t.mu.Unlock()
			return
		}
		l := t.next.Front().Value.(*line)
		begin, leave := t.out(l), t.start(l)
		t.next.MoveToBack(l.turn)
		t.place(l, now)
		t.mu.Unlock()
		begin(leave)
	}
}

// close ends what waits, and whatever comes after.
func (t *turns) close() {
	t.mu.Lock()
	t.closed = true
	var ended []begin
	for _, l := range t.lines {
		for l.count > 0 {
			ended = append(ended, t.out(l))
		}
		t.place(l, time.Now())
		t.drop(l)
	}
	t.mu.Unlock()
	for _, begin := range ended {
		begin(nil)
	}
}

// place puts an org in its place among those whose turn comes. t.mu is held.
func (t *turns) place(l *line, now time.Time) {
	switch may := l.count > 0 && t.room(l, now); {
	case may && l.turn == nil:
		l.turn = t.next.PushBack(l)
	case !may && l.turn != nil:
		t.next.Remove(l.turn)
		l.turn = nil
	}
}

// drop forgets an org of which nothing runs or waits. t.mu is held.
func (t *turns) drop(l *line) {
	if l.running == 0 && l.count == 0 {
		delete(t.lines, l.org)
	}
}

// out takes an org's next request out. t.mu is held, and one waits.
func (t *turns) out(l *line) begin {
	q := l.next.Front().Value.(*queue)
	w := q.waits.Remove(q.waits.Front()).(turn)
	for _, q := range []*queue{q, &l.queue} {
		q.count--
		q.bytes -= w.bytes
	}
	t.waiting--
	t.bytes -= w.bytes
	if l.next.MoveToBack(l.next.Front()); q.count == 0 {
		l.next.Remove(l.next.Back())
		delete(l.callers, q.caller)
	}
	return w.begin
}

// seatsOfOrg is how many long polls of one org are held though half of all are: the others' half is not for one.
const seatsOfOrg = 512

// seats are those of long polls, which wait and do nothing.
type seats struct {
	mu  sync.Mutex
	by  map[schemas.OrgID]int
	all int
}

func newSeats() *seats { return &seats{by: map[schemas.OrgID]int{}} }

func (s *seats) take(org schemas.OrgID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= waitsMax || s.all >= waitsMax/2 && s.by[org] >= seatsOfOrg {
		return false
	}
	s.by[org]++
	s.all++
	return true
}

func (s *seats) leave(org schemas.OrgID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all--; s.by[org] > 1 {
		s.by[org]--
		return
	}
	delete(s.by, org)
}
