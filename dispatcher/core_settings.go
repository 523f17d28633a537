package dispatcher

import (
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// settings are the rules in force, as the ledger's control events left them (DESIGN D11).
type settings struct {
	orgs      map[schemas.OrgID]*schemas.OrgSettings
	queues    map[schemas.QueueName]*schemas.QueueSettings
	types     map[schemas.TypeName]*typeRules
	resources map[string]*schemas.ResourceSettings
	holds     map[scope]*schemas.HoldSettings // that are on
}

// typeRules are the settings of a type that bear on when its jobs start.
type typeRules struct {
	running, runningPerOrg int
	start                  *schemas.Rate
	breaker                *schemas.Breaker
}

func newSettings() settings {
	return settings{orgs: make(map[schemas.OrgID]*schemas.OrgSettings), queues: make(map[schemas.QueueName]*schemas.QueueSettings),
		types: make(map[schemas.TypeName]*typeRules), resources: make(map[string]*schemas.ResourceSettings),
		holds: make(map[scope]*schemas.HoldSettings)}
}

// set folds a setting. It is in force at once: what runs runs on, also above a lower limit.
func (c *Core) set(e *schemas.Event, d schemas.Setting) {
	switch d := d.(type) {
	case *schemas.OrgSet:
		was := c.settings.orgs[d.Settings.Name]
		c.settings.orgs[d.Settings.Name] = &d.Settings
		if was.Parked() != d.Settings.Parked() {
			c.armSchedulesOf(d.Settings.Name, e.Time)
		}
		c.setGone(e, d)
		c.changedAt(scope{org: d.Settings.Name})
		for key := range c.pairs { // there are few pairs, and may be very many orgs with settings
			if key.queue == ledger.SystemQueue {
				c.changedAt(orgScope(d.Settings.Name, key.queue, key.typ))
			}
		}
		if c.gone(d.Settings.Name) {
			c.recall(scope{org: d.Settings.Name})
		}
	case *schemas.QueueSet:
		c.settings.queues[d.Settings.Name] = &d.Settings
		if q := c.queues[d.Settings.Name]; q != nil {
			q.weights = d.Settings.Weights
		}
		c.changed(func(s scope) bool { return s.queue == d.Settings.Name && s.typ == "" && s.resource == "" })
	case *schemas.TypeSet:
		c.setType(&d.Settings)
	case *schemas.ResourceSet:
		c.settings.resources[d.Settings.Name] = &d.Settings
		c.changed(func(s scope) bool { return s.resource == d.Settings.Name && s.queue == "" && s.typ == "" })
	case *schemas.HoldSet:
		c.setHold(&d.Settings)
	}
}

func (c *Core) setType(t *schemas.TypeSettings) {
	old := c.settings.types[t.Name]
	if old == nil && t.MaxRunning == 0 && t.MaxRunningPerOrg == 0 && t.StartRate == nil && t.Breaker == nil {
		return // as if it had never been set
	}
	c.settings.types[t.Name] = &typeRules{t.MaxRunning, t.MaxRunningPerOrg, t.StartRate, t.Breaker}
	c.changed(func(s scope) bool { return s.typ == t.Name && s.queue == "" && s.resource == "" })
}

// setHold lays or lifts a hold. One that covers no job for sure is not acted upon.
func (c *Core) setHold(h *schemas.HoldSettings) {
	s, ok := scopeOf(h.Scope)
	if !ok {
		return
	}
	had := c.settings.holds[s] != nil
	switch {
	case h.On:
		c.settings.holds[s] = h
	default:
		delete(c.settings.holds, s)
	}
	odd := s.odd() && s != scope{}
	if odd && h.On && !had {
		c.odd++
		c.ref(s) // nobody else names it
	}
	c.changedAt(s)
	if odd && !h.On && had {
		c.odd--
		c.unref(c.gates[s])
	}
	if h.On {
		c.recall(s)
	}
}

// changed puts new settings into force at the gates they are about. It looks at every gate: settings of queues, types
// and resources are few, and change by hand.
func (c *Core) changed(about func(scope) bool) {
	for s := range c.gates {
		if about(s) {
			c.changedAt(s)
		}
	}
}

// changedAt puts new settings into force at one gate, if anybody has come by it.
func (c *Core) changedAt(s scope) {
	g := c.gates[s]
	if g == nil {
		return
	}
	c.configure(g)
	c.lift(s)
	c.armGate(g)
	strangers := g.strangers
	g.strangers = nil
	c.freeNodes(strangers)
	c.letIn(g)
}

// configure gives a gate the rules in force.
func (c *Core) configure(g *gate) {
	s := g.scope
	g.max, g.barredTo, g.weight, g.owner = 0, 0, 0, ""
	var rate *schemas.Rate
	switch {
	case s == scope{org: s.org}:
		rate = c.configureOrg(g)
	case s == scope{queue: s.queue}:
		if q := c.settings.queues[s.queue]; q != nil {
			g.max, g.owner = q.MaxRunning, q.Owner
		}
	case s == scope{org: s.org, queue: s.queue}:
		if q := c.settings.queues[s.queue]; q != nil {
			g.max, rate = q.MaxRunningPerOrg, q.StartRatePerOrg
		}
	case s == scope{typ: s.typ}:
		if t := c.settings.types[s.typ]; t != nil {
			g.max = t.running
		}
	case s == scope{org: s.org, typ: s.typ}:
		rate = c.configureOrgType(g)
	case s == orgScope(s.org, s.queue, s.typ): // of what servers run themselves
		c.configureOrg(g)
		g.max = 0
	case s == scope{org: s.org, resource: s.resource}, s == scope{resource: s.resource}:
		if r := c.settings.resources[s.resource]; r != nil && r.PerOrg == (s.org != "") {
			g.max, rate = r.MaxRunning, r.StartRate
		}
	}
	g.setRate(rate)
	if h := c.settings.holds[s]; h != nil {
		to := int64(forever)
		if h.Until != nil {
			to = h.Until.UnixNano()
		}
		g.barredTo = max(g.barredTo, to)
	}
}

func (c *Core) configureOrg(g *gate) *schemas.Rate {
	o := c.settings.orgs[g.scope.org]
	g.max = o.Running()
	if o == nil {
		return nil
	}
	g.weight = o.Weight
	if o.Parked() {
		g.barredTo = forever
	}
	return o.StartRate
}

func (c *Core) configureOrgType(g *gate) *schemas.Rate {
	t := c.settings.types[g.scope.typ]
	if t == nil || t.breaker == nil {
		g.breaker = nil
	}
	if t == nil {
		return nil
	}
	g.max = t.runningPerOrg
	if t.breaker != nil {
		if g.breaker == nil {
			g.breaker = new(breaker)
		}
		rule := t.breaker.Effective()
		if g.breaker.rule.WindowMS != rule.WindowMS {
			g.breaker.spans = [breakerSpans]tally{} // spans of another length
		}
		g.breaker.rule = rule
	}
	return t.start
}

// setRate changes a gate's rate; a bucket whose rate changes is full.
func (g *gate) setRate(r *schemas.Rate) {
	if r == nil || g.rate == nil || *r != *g.rate {
		g.full = 0
	}
	g.rate = r
}

// cost is what a start of an org costs it in virtual time: the less, the greater its weight.
func (c *Core) cost(n *node) uint64 {
	w, ok := n.pair.queue.weights[n.org]
	if !ok || w == 0 {
		w = n.gates[0].weight
	}
	return turnUnit / uint64(max(w, schemas.WeightDefault))
}

// limitOne reports whether a job may only run alone under some rule; its worker stops it when the leader is silent.
func (st *stake) limitOne() bool {
	for _, g := range st.gates {
		if g != nil && g.max == 1 {
			return true
		}
	}
	return false
}
