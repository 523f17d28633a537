package dispatcher

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/dartwing/jobledger/schemas"
)

// A saved fold is a core in a file, so that a server that starts reads the end of the ledger only (DESIGN D6). It is
// disposable: whatever is wrong with it, the ledger is folded from its beginning. It is bound to the ledger by the ids
// of its last events (Core.Witness), and to the program by SavedForm and the events that it reads.
//
// Its form: savedMagic, SavedForm, schemas.Fingerprint, the tables of an image, a CRC-32C over all of it. What stands in a table, and how it
// is written, is told by the functions below, for both ways.

// SavedForm is the form of saved folds. It is raised by hand whenever the bytes of a saved fold, or what the fold makes
// of an event, change: a program then folds the ledger anew instead of going on from what another one has understood
// of it. A test holds the form against what earlier ones wrote. Events with other fields are told by themselves.
const SavedForm = 1

const savedMagic = "jobledger fold\n"

// ErrSavedForm: the saved fold is of another version of the program.
var ErrSavedForm = errors.New("the saved fold is of another form")

// Save writes the fold. What belongs to an epoch or to beats is not part of it: see image.
func (c *Core) Save(w io.Writer) error { return c.image().write(w) }

// LoadCore reads what Save wrote, whole or not at all. The error is ErrSavedForm, or says that it is damaged. The
// caller makes sure that the ledger still holds Position and Witness before the core is used.
func LoadCore(r io.Reader, times Times) (*Core, error) {
	raw, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	m, err := readImage(raw)
	if err != nil {
		return nil, err
	}
	return m.core(times)
}

// At is the position of the last event applied.
func (c *Core) At() schemas.Position { return schemas.Position{Seq: c.position, ID: c.positionID} }

// Witness is the position of the latest event that the fold holds: as a rule At, but a leader folds what it has
// appended itself before the tail brings it. If the ledger holds this event, it holds all that the fold was made of.
func (c *Core) Witness() schemas.Position {
	last := c.At()
	for seq, id := range c.ahead {
		if seq > last.Seq {
			last = schemas.Position{Seq: seq, ID: id}
		}
	}
	return last
}

// write writes an image. Tables are in order, so that the same fold is the same bytes.
func (m *image) write(w io.Writer) error {
	m.sort()
	c := newEncoder(w)
	c.buf = append(c.buf, savedMagic...)
	form := uint64(SavedForm)
	unsigned(c, &form)
	events := schemas.Fingerprint()
	text(c, &events)
	m.code(c)
	return c.seal()
}

func readImage(raw []byte) (*image, error) {
	head := &codec{in: bytes.TrimPrefix(raw, []byte(savedMagic))}
	if len(head.in) == len(raw) {
		return nil, fmt.Errorf("%w: it does not begin as one", errDamaged)
	}
	if form := head.get(); head.err == nil && form != SavedForm {
		return nil, fmt.Errorf("%w: %d, this program's is %d", ErrSavedForm, form, SavedForm)
	}
	body, err := unseal(raw)
	if err != nil {
		return nil, err
	}
	c := &codec{in: body[len(savedMagic):]}
	c.get()
	var events string
	if text(c, &events); c.err == nil && events != schemas.Fingerprint() {
		return nil, fmt.Errorf("%w: of a program that reads other events", ErrSavedForm)
	}
	m := new(image)
	m.code(c)
	if c.err == nil && len(c.in) > 0 {
		c.fail(errDamaged)
	}
	return m, c.err
}

func (m *image) sort() {
	bySeq := func(a, b schemas.Position) int { return cmp.Compare(a.Seq, b.Seq) }
	byID := func(a, b imageMoved) int { return cmp.Compare(a.id, b.id) }
	slices.SortFunc(m.ahead, bySeq)
	r := &m.rules
	slices.SortFunc(r.Orgs, func(a, b *schemas.OrgSettings) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(r.Queues, func(a, b *schemas.QueueSettings) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(r.Types, func(a, b imageType) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(r.Resources, func(a, b *schemas.ResourceSettings) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(r.Holds, func(a, b *schemas.HoldSettings) int { return cmp.Compare(a.Scope.ID(), b.Scope.ID()) })
	slices.SortFunc(m.gates, func(a, b imageGate) int { return a.scope.compare(b.scope) })
	slices.SortFunc(m.wakes, func(a, b imageWake) int { return cmp.Or(cmp.Compare(a.due, b.due), a.scope.compare(b.scope)) })
	slices.SortFunc(m.queues, func(a, b imageQueue) int { return cmp.Compare(a.name, b.name) })
	for _, q := range m.queues {
		slices.SortFunc(q.turns, func(a, b imageTurn) int { return cmp.Compare(a.org, b.org) })
	}
	m.sortLanes()
	slices.SortFunc(m.held, func(a, b imageHeld) int { return cmp.Compare(b.id, a.id) }) // as Follow puts them back
	slices.SortFunc(m.actives, func(a, b imageActive) int { return cmp.Compare(a.id, b.id) })
	slices.SortFunc(m.tombs, func(a, b imageTomb) int { return cmp.Compare(a.id, b.id) })
	slices.SortFunc(m.moved, byID)
	slices.SortFunc(m.deadlines, func(a, b imageDeadline) int { return cmp.Compare(a.id, b.id) })
	slices.SortFunc(m.blockers, func(a, b imageBlocker) int { return cmp.Compare(a.id, b.id) })
	slices.SortFunc(m.doomed, byID)
	slices.SortFunc(m.children, func(a, b imageChild) int { return cmp.Compare(a.id, b.id) })
	slices.SortFunc(m.parents, func(a, b imageParent) int {
		return cmp.Or(cmp.Compare(a.key.org, b.key.org), cmp.Compare(a.key.job, b.key.job), cmp.Compare(a.key.generation, b.key.generation))
	})
	slices.SortFunc(m.schedules, func(a, b imageSchedule) int { return cmp.Compare(a.born, b.born) })
	slices.SortFunc(m.early, func(a, b imageEarly) int { return cmp.Compare(a.id, b.id) })
	slices.SortFunc(m.dissolved.gone, func(a, b imageGone) int { return cmp.Compare(a.org, b.org) })
}

// sortLanes puts the lanes in order and has the slots name them where they are now.
func (m *image) sortLanes() {
	order := make([]int, len(m.lanes))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return m.lanes[a].place.compare(m.lanes[b].place) })
	lanes, now := make([]imageLane, len(m.lanes)), make([]uint64, len(m.lanes))
	for to, from := range order {
		lanes[to], now[from] = m.lanes[from], uint64(to)
	}
	m.lanes = lanes
	for i, at := range m.slots {
		if at > 0 {
			m.slots[i] = now[at-1] + 1
		}
	}
}

func (s scope) compare(o scope) int {
	return cmp.Or(cmp.Compare(s.org, o.org), cmp.Compare(s.queue, o.queue), cmp.Compare(s.typ, o.typ), cmp.Compare(s.resource, o.resource), cmp.Compare(s.batch, o.batch))
}

func (p lanePlace) compare(o lanePlace) int {
	return cmp.Or(cmp.Compare(p.queue, o.queue), cmp.Compare(p.typ, o.typ), cmp.Compare(p.org, o.org), cmp.Compare(p.level, o.level),
		cmp.Compare(p.resource, o.resource), cmp.Compare(p.batch, o.batch))
}

// code writes or reads an image.
func (m *image) code(c *codec) {
	position(c, &m.at)
	list(c, &m.ahead, func(p *schemas.Position) { position(c, p) })
	unsigned(c, &m.first)
	signed(c, &m.now)
	unsigned(c, &m.cellStart)
	text(c, &m.cell)
	c.flag(&m.stray)
	document(c, &m.rules)
	list(c, &m.gates, func(g *imageGate) { g.code(c) })
	list(c, &m.wakes, func(w *imageWake) { w.scope.code(c); signed(c, &w.due); signed(c, &w.barredTo) })
	list(c, &m.queues, func(q *imageQueue) { q.code(c) })
	list(c, &m.lanes, func(l *imageLane) { l.code(c) })
	list(c, &m.slots, func(i *uint64) { unsigned(c, i) })
	m.codeTimers(c)
	list(c, &m.held, func(h *imageHeld) {
		unsigned(c, &h.id)
		h.place.code(c)
		unsigned(c, &h.job.id)
		unsigned(c, &h.job.at)
	})
	list(c, &m.actives, func(a *imageActive) { a.code(c) })
	m.codeTables(c)
	list(c, &m.children, func(ch *imageChild) { ch.code(c) })
	list(c, &m.parents, func(p *imageParent) { p.code(c) })
	list(c, &m.schedules, func(s *imageSchedule) { s.code(c) })
	list(c, &m.early, func(t *imageEarly) { t.code(c) })
	m.dissolved.code(c)
}

func position(c *codec, p *schemas.Position) {
	unsigned(c, &p.Seq)
	text(c, &p.ID)
}

func (s *scope) code(c *codec) {
	name(c, &s.org)
	name(c, &s.queue)
	name(c, &s.typ)
	name(c, &s.resource)
	name(c, &s.batch)
}

func (p *lanePlace) code(c *codec) {
	name(c, &p.queue)
	name(c, &p.typ)
	name(c, &p.org)
	unsigned(c, &p.level)
	name(c, &p.resource)
	name(c, &p.batch)
	if p.level < 0 || p.level >= levels {
		c.fail(errDamaged)
	}
}

func (g *imageGate) code(c *codec) {
	g.scope.code(c)
	signed(c, &g.full)
	signed(c, &g.barredTo)
	signed(c, &g.wake)
	c.flag(&g.broken)
	if !g.broken {
		return
	}
	b := &g.breaker // its rule is a setting
	c.flag(&b.open)
	signed(c, &b.until)
	unsigned(c, &b.probes)
	for i := range b.spans {
		signed(c, &b.spans[i].span)
		unsigned(c, &b.spans[i].ended)
		unsigned(c, &b.spans[i].bad)
	}
}

func (q *imageQueue) code(c *codec) {
	name(c, &q.name)
	unsigned(c, &q.now)
	unsigned(c, &q.order)
	list(c, &q.turns, func(t *imageTurn) {
		name(c, &t.org)
		unsigned(c, &t.key.served)
		unsigned(c, &t.key.order)
		unsigned(c, &t.picks)
		for i := range t.last {
			unsigned(c, &t.last[i])
		}
		unsigned(c, &t.idle)
	})
}

// code: an entry's numbers are near those of the one before it, and as a rule the same: two or three bytes.
func (l *imageLane) code(c *codec) {
	l.place.code(c)
	unsigned(c, &l.n)
	var id, span schemas.Seq
	each := func(e *entry) {
		after := e.at - e.id
		near(c, &e.id, &id)
		near(c, &after, &span)
		e.at = e.id + after
	}
	if c.writing() {
		for _, chunk := range l.chunks {
			for i := range chunk {
				e := chunk[i]
				each(&e)
			}
		}
		return
	}
	if l.n < 0 || l.n > len(c.in) {
		c.fail(errDamaged)
		return
	}
	for left := l.n; left > 0 && c.err == nil; left -= chunkMax {
		n := min(left, chunkMax)
		chunk := make([]entry, n)
		for i := range chunk {
			each(&chunk[i])
		}
		l.chunks = append(l.chunks, chunk)
	}
}

// codeTimers keeps the order of the heap.
func (m *image) codeTimers(c *codec) {
	var due int64
	var id schemas.Seq
	list(c, &m.timers, func(t *timer) {
		near(c, &t.due, &due)
		near(c, &t.id, &id)
		unsigned(c, &t.after)
		unsigned(c, &t.slot)
	})
}
