package gateway

import (
	"math"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/dartwing/jobledger/gateway/rights"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// paceClass is a kind of call that is counted for itself.
type paceClass int

const (
	paceSubmit paceClass = iota
	paceGet
	paceList
	paceCancel
	paceFigures
	paceClasses
)

// perMinute is how many calls of each kind a member may make in a minute of one server.
var perMinute = [paceClasses]int{paceSubmit: 100, paceGet: 600, paceList: 60, paceCancel: 30, paceFigures: 30}

// paceOf says how the calls for a right are counted.
func paceOf(ep *endpoint) paceClass {
	switch {
	case ep.action == rights.JobsSubmit || ep.name == "schedule-trigger":
		return paceSubmit
	case ep.action == rights.JobsCancel:
		return paceCancel
	case ep.action == rights.MetricsRead:
		return paceFigures
	case ep.job:
		return paceGet
	}
	return paceList
}

// pacedMax bounds the members whose calls are counted: beyond it those are forgotten who have not called for a minute, whose
// count is as new.
const pacedMax = 10_000

// memberKey is whose calls are counted together.
type memberKey struct {
	actor schemas.Actor
	org   schemas.OrgID
}

// paces counts the calls of members.
type paces struct {
	mu      sync.Mutex
	members map[memberKey]*memberPace
	now     func() time.Time
}

type memberPace struct {
	by   [paceClasses]*rate.Limiter
	last time.Time
}

func newPaces() *paces { return &paces{members: map[memberKey]*memberPace{}, now: time.Now} }

// callsLeft is what a member has left of a kind of call.
type callsLeft struct {
	limit, remaining int
	reset            time.Duration // until all of it is back
}

// take counts one call. The error is rate_limited, with details.retry_after_s.
func (p *paces) take(principal *rights.Principal, org schemas.OrgID, c paceClass) (callsLeft, error) {
	now := p.now()
	p.mu.Lock()
	m := p.member(memberKey{principal.Actor, org}, now)
	l := m.by[c]
	m.last = now
	p.mu.Unlock()
	limit := perMinute[c]
	ok := l.AllowN(now, 1)
	left := max(0, l.TokensAt(now))
	a := callsLeft{limit: limit, remaining: int(left), reset: time.Duration((float64(limit) - left) / float64(limit) * float64(time.Minute))}
	if ok {
		return a, nil
	}
	wait := math.Ceil((1 - left) * 60 / float64(limit))
	err := ledger.Errorf(ledger.CodeRateLimited, "%s may make %d such calls a minute: wait %v s", principal.Actor, limit, wait)
	err.Details = map[string]any{"limit": limit, "remaining": 0, "retry_after_s": int(wait)}
	return a, err
}

// takeMore counts up to n further calls, as many as there are left of.
func (p *paces) takeMore(principal *rights.Principal, org schemas.OrgID, c paceClass, n int) (taken int) {
	now := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.member(memberKey{principal.Actor, org}, now).by[c]
	taken = min(n, int(max(0, l.TokensAt(now))))
	if !l.AllowN(now, taken) { // another call came between
		return 0
	}
	return taken
}

// member returns the counts of one. p.mu is held.
func (p *paces) member(k memberKey, now time.Time) *memberPace {
	if m := p.members[k]; m != nil {
		return m
	}
	if len(p.members) >= pacedMax {
		for k, m := range p.members {
			if now.Sub(m.last) >= time.Minute {
				delete(p.members, k)
			}
		}
	}
	m := &memberPace{}
	for c, n := range perMinute {
		m.by[c] = rate.NewLimiter(rate.Limit(float64(n)/60), n)
	}
	if len(p.members) < pacedMax { // else it is counted anew with each call, and only in that
		p.members[k] = m
	}
	return m
}

// headers are what INTERFACE 3 tells a caller of his callsLeft.
func (a callsLeft) headers(set func(name, value string)) {
	if a.limit == 0 {
		return
	}
	set("RateLimit-Limit", strconv.Itoa(a.limit))
	set("RateLimit-Remaining", strconv.Itoa(a.remaining))
	set("RateLimit-Reset", strconv.Itoa(int(math.Ceil(a.reset.Seconds()))))
}
