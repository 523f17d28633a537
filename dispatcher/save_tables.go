package dispatcher

import (
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// How the tables of a saved fold that are no lanes are written and read: see save.go.

func (a *imageActive) code(c *codec) {
	unsigned(c, &a.id)
	name(c, &a.org)
	text(c, &a.job)
	name(c, &a.queue)
	name(c, &a.typ)
	name(c, &a.resource)
	unsigned(c, &a.at)
	c.flag(&a.running)
	c.flag(&a.mute)
	unsigned(c, &a.timeout)
	unsigned(c, &a.grace)
	signed(c, &a.queuedAt)
	c.flag(&a.stake.probe)
	if !a.running {
		signed(c, &a.offerAt)
		c.flag(&a.shelved)
		return
	}
	unsigned(c, &a.fence.Seq)
	text(c, &a.fence.ID)
	name(c, &a.session)
	signed(c, &a.hardAt)
	signed(c, &a.cancelAt)
}

// codeTables are those that are sorted by job.
func (m *image) codeTables(c *codec) {
	var tombs, moved, deadlines, dues, blockers, old, doomed int64
	id := func(s *schemas.Seq, before *int64) {
		n := int64(*s)
		near(c, &n, before)
		*s = schemas.Seq(n)
	}
	list(c, &m.tombs, func(t *imageTomb) { id(&t.id, &tombs); unsigned(c, &t.at); unsigned(c, &t.n) })
	list(c, &m.moved, func(x *imageMoved) { id(&x.id, &moved); unsigned(c, &x.to) })
	list(c, &m.deadlines, func(d *imageDeadline) {
		id(&d.id, &deadlines)
		near(c, &d.due, &dues)
		unsigned(c, &d.at)
		c.flag(&d.fired)
	})
	list(c, &m.blockers, func(b *imageBlocker) {
		c.raw(b.key[:])
		id(&b.id, &blockers)
		unsigned(c, &b.event)
		signed(c, &b.at)
		unsigned(c, &b.windowMS)
		c.flag(&b.inFlight)
		name(c, &b.state)
	})
	list(c, &m.old, func(a *dedupAge) { signed(c, &a.until); c.raw(a.key[:]); id(&a.id, &old) })
	list(c, &m.doomed, func(x *imageMoved) { id(&x.id, &doomed); unsigned(c, &x.to) })
}

func (ch *imageChild) code(c *codec) {
	unsigned(c, &ch.id)
	unsigned(c, &ch.at)
	name(c, &ch.org)
	name(c, &ch.head.Queue)
	name(c, &ch.head.Type)
	name(c, &ch.head.Priority)
	name(c, &ch.head.Resource)
	signed(c, &ch.notBefore)
	list(c, &ch.refs, func(r *schemas.ParentRef) { ref(c, r) })
	c.flag(&ch.left)
	c.flag(&ch.failed)
	if ch.failed {
		ref(c, &ch.of.parent)
		unsigned(c, &ch.of.of)
		c.flag(&ch.of.cascade)
	}
}

func ref(c *codec, r *schemas.ParentRef) {
	text(c, &r.ID)
	unsigned(c, &r.Generation)
	name(c, &r.OnFailure)
}

func (p *imageParent) code(c *codec) {
	name(c, &p.key.org)
	text(c, &p.key.job)
	unsigned(c, &p.key.generation)
	unsigned(c, &p.at)
	c.flag(&p.known)
	var before int64
	list(c, &p.edges, func(e *imageEdge) {
		n := int64(e.child)
		near(c, &n, &before)
		e.child = schemas.Seq(n)
		name(c, &e.on)
	})
}

func (s *imageSchedule) code(c *codec) {
	name(c, &s.key.org)
	text(c, &s.key.name)
	unsigned(c, &s.born)
	unsigned(c, &s.set)
	document(c, &s.was)
	signed(c, &s.over)
	signed(c, &s.last)
	text(c, &s.lastJob)
	unsigned(c, &s.lastID)
	c.flag(&s.open)
}

func (t *imageEarly) code(c *codec) {
	name(c, &t.key.org)
	text(c, &t.key.name)
	moment(c, &t.at)
	text(c, &t.job)
	unsigned(c, &t.id)
	c.flag(&t.open)
	moment(c, &t.endAt)
}

// moment is a time, or none.
func moment(c *codec, t *time.Time) {
	none, ns := t.IsZero(), int64(0)
	if !none {
		ns = t.UnixNano()
	}
	c.flag(&none)
	signed(c, &ns)
	if !c.writing() && !none {
		*t = time.Unix(0, ns).UTC()
	}
}

func (d *imageDissolved) code(c *codec) {
	list(c, &d.gone, func(g *imageGone) { name(c, &g.org); text(c, &g.by) })
	list(c, &d.orgs, func(o *schemas.OrgID) { name(c, o) })
	c.flag(&d.scanning)
	unsigned(c, &d.scan)
}
