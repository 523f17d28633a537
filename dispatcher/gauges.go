package dispatcher

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// Gauges say how a host's fold stands. Asking costs as much as there are queues, types, holds, open breakers and jobs that
// are Queued or Running: not as many jobs or orgs wait.
type Gauges struct {
	Leading  bool
	Queues   []QueueGauges // by name
	Pairs    []PairGauges  // of what is served, and of what waits unserved
	Holds    map[string]int
	Missed   uint64                   // ticks of schedules that passed without their job, skipped or made up, while this host led
	Breakers map[schemas.TypeName]int // of types that have one: the worst of all orgs. 0 closed, 1 half-open, 2 open
}

// QueueGauges are those of one queue.
type QueueGauges struct {
	Name    schemas.QueueName
	Waiting map[schemas.Priority]WaitingGauges
	Slots   int // of live workers that serve it: what they share with other queues counts here, too
	Busy    int
	Overdue int // Running for more than twice their timeout
}

// WaitingGauges are those of one queue and priority. A job that ended while it waited is counted until its turn comes if as
// many jobs are to wait for a time.
type WaitingGauges struct {
	Jobs   int
	Oldest schemas.Seq // the event that made the longest waiting one wait; 0: none waits, or it was not found
}

// PairGauges are those of one queue and type.
type PairGauges struct {
	Queue    schemas.QueueName
	Type     schemas.TypeName
	Workers  int
	Unserved int // jobs that could start, but that no live worker serves them
}

// Gauges returns how the host stands. The error is that of ctx.
func (h *Host) Gauges(ctx context.Context) (g *Gauges, err error) {
	err = h.call(ctx, func() { g = h.core.Gauges(h.now()) })
	return g, err
}

// Gauges returns how the core stands.
func (c *Core) Gauges(now time.Time) *Gauges {
	g := &Gauges{Leading: c.leading, Missed: c.schedules.missed, Holds: c.holdsByScope(now), Breakers: c.breakers(now.UnixNano())}
	byQueue, looks := make(map[schemas.QueueName]*QueueGauges), agedLooks
	for name, q := range c.queues {
		byQueue[name] = &QueueGauges{Name: name, Waiting: make(map[schemas.Priority]WaitingGauges, levels)}
		for level := range q.depths {
			d := &q.depths[level]
			at, _ := c.longest(d, &looks)
			byQueue[name].Waiting[priorities[level]] = WaitingGauges{d.waiting(), at}
		}
	}
	for _, a := range c.active {
		if q := byQueue[a.pair.queue.name]; q != nil && a.running && now.UnixNano()-(a.hardAt-int64(a.timeout+schemas.HardLimitMargin)) > 2*int64(a.timeout) {
			q.Overdue++
		}
	}
	for _, p := range c.pools {
		for _, pairs := range p.queues {
			if q := byQueue[pairs[0].queue.name]; q != nil {
				q.Slots, q.Busy = q.Slots+p.slots, q.Busy+p.busy
			}
		}
	}
	for key, p := range c.pairs {
		of := PairGauges{Queue: key.queue, Type: key.typ}
		for _, pool := range p.pools {
			of.Workers += pool.sessions
		}
		if of.Workers == 0 && !c.barred(c.root) && !c.barred(p.gates[0]) && !c.barred(p.gates[1]) {
			waiting := 0
			for i := range p.queue.depths {
				waiting += p.queue.depths[i].waiting()
			}
			of.Unserved = min(p.jobs, waiting) + p.queued
		}
		if of.Workers+of.Unserved > 0 {
			g.Pairs = append(g.Pairs, of)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byQueue)) {
		g.Queues = append(g.Queues, *byQueue[name])
	}
	return g
}

// holdsByScope counts the holds in force by what they are on, such as queue, or org_type.
func (c *Core) holdsByScope(now time.Time) map[string]int {
	n := make(map[string]int)
	for s, h := range c.settings.holds {
		if h.Until == nil || h.Until.After(now) {
			n[s.kind()]++
		}
	}
	return n
}

func (s scope) kind() string {
	kind := ""
	for _, part := range []struct {
		name string
		on   bool
	}{{"org", s.org != ""}, {"queue", s.queue != ""}, {"type", s.typ != ""}, {"resource", s.resource != ""}, {"batch", s.batch != ""}} {
		switch {
		case !part.on:
		case kind == "":
			kind = part.name
		default:
			kind += "_" + part.name
		}
	}
	if kind == "" {
		return "all"
	}
	return kind
}

// breakers looks at those that are open, and forgets those that are not any more.
func (c *Core) breakers(now int64) map[schemas.TypeName]int {
	states := make(map[schemas.TypeName]int)
	for name, t := range c.settings.types {
		if t.breaker != nil {
			states[name] = 0
		}
	}
	for s := range c.broken {
		g := c.gates[s]
		if g == nil || g.breaker == nil || !g.breaker.open {
			delete(c.broken, s)
			continue
		}
		state := 2
		if now >= g.breaker.until {
			state = 1
		}
		states[s.typ] = max(states[s.typ], state)
	}
	return states
}
