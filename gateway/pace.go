package gateway

import (
	"context"
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

// pacedMax bounds the members whose calls are counted: beyond it those are forgotten who have not called for a minute and owe
// none, whose count is as new, or nearly.
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
	tokens := l.TokensAt(now)
	a := leftOf(tokens, limit)
	if ok {
		return a, nil
	}
	wait := secondsFor(1-tokens, limit)
	err := ledger.Errorf(ledger.CodeRateLimited, "%s may make %d such calls a minute: wait %d s", principal.Actor, limit, wait)
	err.Details = map[string]any{"limit": limit, "remaining": 0, "retry_after_s": wait}
	return a, err
}

// leftOf is what a member has left where so many calls are; fewer than none are owed.
func leftOf(tokens float64, limit int) callsLeft {
	return callsLeft{limit: limit, remaining: int(max(0, tokens)), reset: time.Duration((float64(limit) - tokens) / float64(limit) * float64(time.Minute))}
}

// secondsFor is how long so many calls take to come back.
func secondsFor(calls float64, limit int) int { return int(math.Ceil(calls * 60 / float64(limit))) }

// takeAll counts one call that does n things, of which had are counted. It needs as many as are left of n, or all of a
// minute's where n are more; what it does beyond them is owed: until that has come back there are none. So nobody does more
// in the long run than by single calls, and what is larger than a minute's waits for a minute without any.
func (p *paces) takeAll(principal *rights.Principal, org schemas.OrgID, c paceClass, had, n int) (callsLeft, error) {
	now := p.now()
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.member(memberKey{principal.Actor, org}, now)
	l, limit := m.by[c], perMinute[c]
	m.last = now
	tokens := l.TokensAt(now)
	if short := float64(min(n, limit)-had) - tokens; short > paceSlack {
		wait := secondsFor(short, limit)
		err := ledger.Errorf(ledger.CodeRateLimited, "%s may submit %d jobs a minute, and this is %d: wait %d s", principal.Actor, limit, n, wait)
		err.Details = map[string]any{"limit": limit, "remaining": int(max(0, tokens)), "retry_after_s": wait}
		return leftOf(tokens, limit), err
	}
	for rest := n - had; rest > 0; rest -= limit {
		l.ReserveN(now, min(rest, limit))
	}
	return leftOf(l.TokensAt(now), limit), nil
}

// paceSlack is by how much of a call the sum of many parts of one may be off.
const paceSlack = 1e-6

// owes reports whether calls of the member are owed.
func (m *memberPace) owes(now time.Time) bool {
	for _, l := range m.by {
		if l.TokensAt(now) < 0 {
			return true
		}
	}
	return false
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
			if now.Sub(m.last) >= time.Minute && !m.owes(now) {
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

// countItems counts the jobs that one call of a member submits, of which had are counted with the call.
func (g *Gateway) countItems(ctx context.Context, r *request, had, n int) error {
	if !isMember(ctx, r.org) || n <= had {
		return nil
	}
	left, err := g.paces.takeAll(caller(ctx), r.org, paceSubmit, had, n)
	r.left = left
	return err
}

// isMember reports whether the caller's calls are counted.
func isMember(ctx context.Context, org schemas.OrgID) bool {
	p := caller(ctx)
	if p == nil {
		return false
	}
	grant := p.In(org)
	return grant != nil && grant.Role == schemas.RoleMember
}

// countBatch is countItems of a batch, before it is stored. One that cannot be read is refused by who stores it.
func (g *Gateway) countBatch(ctx context.Context, r *request, req *ledger.SubmitRequest) error {
	if !isMember(ctx, req.Org) || req.ArgsRef != nil { // by reference a member brings none: authorizeSubmit
		return nil
	}
	spec, err := ledger.DecodeBatch(req.Args)
	if err != nil {
		return nil
	}
	return g.countItems(ctx, r, 1, len(spec.Items))
}
