package dispatcher

import (
	"github.com/dartwing/jobledger/schemas"
)

// A breaker stands before the jobs of one type of one org. It counts attempts that ended by the stream
// time of their ends, in a window of breakerSpans spans. When too many failed it opens: jobs keep their place and
// none is started; what runs runs on, and its outcome changes nothing. After the cooldown one job at a time is let
// through as a probe; the first that succeeds closes the breaker, one that fails has it wait again. It dead-letters
// nothing.

// breakerSpans is how many spans make a window: it is exact to a tenth.
const breakerSpans = 10

type breaker struct {
	rule   schemas.Breaker // effective
	spans  [breakerSpans]tally
	open   bool
	until  int64 // while open: stream time from which a probe may start
	probes int   // on their way
}

// tally counts the attempts that ended in one span of the window.
type tally struct {
	span       int64
	ended, bad int
}

// verdict is what an ended attempt says about its type.
type verdict uint8

const (
	noVerdict verdict = iota // canceled, released, or lost with the whole cell
	good
	bad
)

func (b *breaker) length() int64 { return max(1, int64(b.rule.WindowMS.Duration())/breakerSpans) }

// shut reports whether one more job must not start.
func (b *breaker) shut(now int64) bool { return b.open && (now < b.until || b.probes > 0) }

// idle reports that a breaker remembers nothing that still counts.
func (b *breaker) idle(now int64) bool {
	if b.open {
		return false
	}
	for _, t := range b.spans {
		if t.ended > 0 && t.span > now/b.length()-breakerSpans {
			return false
		}
	}
	return true
}

// count counts an attempt that ended at a stream time and opens the breaker if it is one too many.
func (b *breaker) count(at int64, v verdict) {
	span := at / b.length()
	t := &b.spans[((span%breakerSpans)+breakerSpans)%breakerSpans]
	if t.span != span {
		*t = tally{span: span}
	}
	t.ended++
	if v == bad {
		t.bad++
	}
	ended, failed := 0, 0
	for _, t := range b.spans {
		if t.span > span-breakerSpans && t.span <= span {
			ended, failed = ended+t.ended, failed+t.bad
		}
	}
	const percent = 100
	if v == bad && ended >= b.rule.MinAttempts && failed*percent >= b.rule.Percent*ended {
		b.open, b.until, b.probes = true, at+int64(b.rule.CooldownMS.Duration()), 0
	}
}

// close closes the breaker; the window begins anew.
func (b *breaker) close() {
	*b = breaker{rule: b.rule}
}

// closeBreaker folds a closing by hand. Probes on their way are like other jobs from here on.
func (c *Core) closeBreaker(d *schemas.BreakerClosed) {
	g := c.gates[scope{org: d.Org, typ: d.Type}]
	if g == nil || g.breaker == nil {
		return
	}
	g.breaker.close()
	c.lift(g.scope)
	c.letIn(g)
}

// probe marks a stake as the probe of an open breaker whose cooldown has passed.
func (c *Core) probe(st *stake, now int64) {
	g := st.gates[ofOrgType]
	if g == nil || g.breaker == nil || st.probe || !g.breaker.open || now < g.breaker.until {
		return
	}
	st.probe = true
	g.breaker.probes++
}

func (c *Core) endProbe(st *stake) {
	if g := st.gates[ofOrgType]; st.probe && g.breaker != nil && g.breaker.probes > 0 {
		g.breaker.probes--
	}
	st.probe = false
}

// judge tells the breaker of a job's org and type how its attempt ended.
func (c *Core) judge(st *stake, at int64, v verdict) {
	g := st.gates[ofOrgType]
	if g == nil || g.breaker == nil || v == noVerdict {
		return
	}
	b := g.breaker
	switch {
	case !b.open:
		b.count(at, v)
		if b.open {
			c.broken[g.scope] = true
			c.recall(g.scope)
		}
	case st.probe && v == good:
		b.close()
		c.lift(g.scope)
	case st.probe:
		b.until = at + int64(b.rule.ReopenMS.Duration())
		c.armGate(g)
	}
}
