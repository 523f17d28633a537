package dispatcher

import (
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// blockers lists every rule that would keep a job from starting, or a Queued one from being offered, with the setting
// a person could change. It asks the same gates that decide.
func (c *Core) blockers(q *ledger.ExplainRequest, queued bool, now int64) (out []ledger.Blocker) {
	for _, s := range scopesOf(q) {
		g := c.gates[s]
		if g == nil {
			g = c.newGate(s) // nobody has come by yet; what it would say is the same
		}
		out = append(out, c.blockersAt(g, q, queued, now)...)
	}
	return out
}

// scopesOf lists the scopes of all gates that may stand before a job.
func scopesOf(q *ledger.ExplainRequest) []scope {
	o, qu, t, r := q.Org, q.Queue, q.Type, q.Resource
	out := []scope{{}, {queue: qu}, {typ: t}, {queue: qu, typ: t}, {org: o}, {org: o, queue: qu}, {org: o, typ: t}, {org: o, queue: qu, typ: t}}
	if b := ledger.BatchOf(q.Job); b != "" {
		out = append(out, scope{org: o, batch: b})
	}
	if r == "" {
		return out
	}
	odd := oddStrand(o, qu, t, r)
	return append(append(out, scope{resource: r}, scope{org: o, resource: r}), odd[:]...)
}

func (c *Core) blockersAt(g *gate, q *ledger.ExplainRequest, queued bool, now int64) (out []ledger.Blocker) {
	say := func(b ledger.Blocker) {
		b.Scope = g.scope.holdScope()
		out = append(out, b)
	}
	if g.scope == (scope{org: q.Org}) {
		if o := c.settings.orgs[q.Org]; o != nil && o.State == schemas.OrgSuspended {
			say(ledger.Blocker{Kind: ledger.BlockSuspended, Setting: "org." + string(q.Org), Field: "state"})
		} else if o != nil && o.State == schemas.OrgDeleted {
			say(ledger.Blocker{Kind: ledger.BlockDeleted, Setting: "org." + string(q.Org), Field: "state"})
		}
	}
	if h := c.settings.holds[g.scope]; h != nil && h.InForce(time.Unix(0, now)) {
		out = append(out, ledger.Blocker{Kind: ledger.BlockHold, Scope: h.Scope, Setting: "hold." + h.Scope.ID(), Field: "on", Until: untilOf(h)})
	}
	if g.foreign(q.Org) {
		say(ledger.Blocker{Kind: ledger.BlockOwner, Setting: "queue." + string(q.Queue), Field: "owner"})
	}
	if b := g.breaker; b != nil && b.shut(now) {
		blocker := ledger.Blocker{Kind: ledger.BlockBreaker, Setting: ledger.TypeKey(q.Type), Field: "breaker", State: "half_open"}
		if now < b.until {
			blocker.State, blocker.Until = "open", timeOf(b.until)
		}
		say(blocker)
	}
	setting, limit, rate := g.setting()
	switch {
	case g.max == 1 && c.unsettled:
		say(ledger.Blocker{Kind: ledger.BlockUnsettled, Setting: setting, Field: limit, Limit: 1})
	case g.max > 0 && g.used >= g.max && !queued, g.max == 1 && queued && g.used > 1:
		say(ledger.Blocker{Kind: ledger.BlockLimit, Setting: setting, Field: limit, Limit: g.max, Used: g.used})
	}
	if g.rate != nil && g.nextStart() > now && !queued {
		say(ledger.Blocker{Kind: ledger.BlockRate, Setting: setting, Field: rate, Rate: g.rate, Until: timeOf(g.nextStart())})
	}
	return out
}

// setting names the document that holds the limit and the rate of a gate, and their fields there.
func (g *gate) setting() (key, limit, rate string) {
	s := g.scope
	switch {
	case s.resource != "":
		return "resource." + s.resource, "max_running", "start_rate"
	case s.typ != "" && s.org != "":
		return ledger.TypeKey(s.typ), "max_running_per_org", "start_rate"
	case s.typ != "":
		return ledger.TypeKey(s.typ), "max_running", ""
	case s.queue != "" && s.org != "":
		return "queue." + string(s.queue), "max_running_per_org", "start_rate_per_org"
	case s.queue != "":
		return "queue." + string(s.queue), "max_running", ""
	}
	return "org." + string(s.org), "max_running", "start_rate"
}

// timeOf is a stream time in nanoseconds as a time; zero for none.
func timeOf(ns int64) time.Time {
	if ns <= 0 || ns == forever {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// untilOf is when a hold ends, zero for one that somebody has to lift.
func untilOf(h *schemas.HoldSettings) time.Time {
	if h.Until == nil {
		return time.Time{}
	}
	return h.Until.UTC()
}
