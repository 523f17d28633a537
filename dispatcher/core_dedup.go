package dispatcher

import (
	"crypto/sha256"
	"slices"
	"strings"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// The judge of duplicates is the fold (DESIGN D4): the stream's window of message ids is only the fast path,
// and a raw submission need not carry one. Whether an earlier job blocks a later one with the same content is
// judged at the later one's submitted, in ledger order; a blocked job enters no lane and is canceled.

// dedupKey stands for a DedupID; 128 bits of it, which nobody makes collide by chance.
type dedupKey [16]byte

// blocker is the job that stands for its content: about 100 bytes with its share of the maps, kept for its
// window, or while it is in flight.
type blocker struct {
	id       schemas.Seq
	event    schemas.Seq // where its name is to be read: its submitted, or what carried it
	at       int64       // stream time of its submitted
	windowMS schemas.Millis
	inFlight bool
	state    schemas.State // submitted while unfinished
}

// dedupTables holds the blockers of the window.
type dedupTables struct {
	byKey map[dedupKey]blocker
	byJob map[schemas.Seq]dedupKey
	// old are the strict ones by age: a window is at most an hour, and as a rule the same for all.
	old []dedupAge
	// doomed are duplicates to be canceled, each with an event of the job that stands for it.
	doomed map[schemas.Seq]schemas.Seq
	due    []schemas.Seq // of doomed: not in flight
}

type dedupAge struct {
	until int64
	key   dedupKey
	id    schemas.Seq
}

func newDedupTables() dedupTables {
	return dedupTables{byKey: make(map[dedupKey]blocker), byJob: make(map[schemas.Seq]dedupKey), doomed: make(map[schemas.Seq]schemas.Seq)}
}

// duplicate judges a job that was submitted; true if an earlier one blocks it.
func (c *Core) duplicate(e *schemas.Event, s *schemas.Submitted) bool {
	name := ledger.DedupID(e.Org, s)
	if name == "" || s.Dedup.Exact() && strings.HasPrefix(string(e.Job), schemas.ReservedPrefix) {
		return false // no content id; or a job id derived from the content, whose subject is exact
	}
	t, now := &c.dedup, e.Time.UnixNano()
	t.forget(now)
	key := dedupKeyOf(name)
	if b, ok := t.byKey[key]; ok {
		if b.blocks(time.Duration(now - b.at)) {
			t.doomed[e.Seq] = b.event
			t.due = append(t.due, e.Seq)
			return true
		}
		delete(t.byJob, b.id)
	}
	b := blocker{id: e.Seq, event: e.Seq, at: now, windowMS: s.WindowMS, inFlight: s.Dedup.Exact(), state: schemas.StateSubmitted}
	t.byKey[key], t.byJob[e.Seq] = b, key
	if !b.inFlight {
		t.old = append(t.old, dedupAge{until: now + int64(s.WindowMS.Duration()), key: key, id: e.Seq})
	}
	return false
}

func (b *blocker) blocks(age time.Duration) bool {
	s := schemas.Submitted{Dedup: schemas.DedupStrict, WindowMS: b.windowMS}
	if b.inFlight {
		s.Dedup = schemas.DedupInFlight
	}
	return ledger.Blocks(&s, b.state, age)
}

// forget drops strict blockers whose window has passed.
func (t *dedupTables) forget(now int64) {
	for len(t.old) > 0 && t.old[0].until <= now {
		a := t.old[0]
		t.old = t.old[1:]
		if b, ok := t.byKey[a.key]; ok && b.id == a.id {
			delete(t.byKey, a.key)
		}
		delete(t.byJob, a.id)
	}
}

// dedupState notes what became of a job that may block others.
func (c *Core) dedupState(id schemas.Seq, s schemas.State) {
	t := &c.dedup
	delete(t.doomed, id)
	key, ok := t.byJob[id]
	if !ok {
		return
	}
	b := t.byKey[key]
	if b.inFlight && s.Finished() {
		delete(t.byKey, key)
		delete(t.byJob, id)
		return
	}
	b.state = s
	t.byKey[key] = b
}

// dedupCarried notes that a job's name is to be read from another event. In a fold that begins after the purge a job
// that is in flight blocks from here on; the window of a strict one is over, for it is shorter than the hot window.
func (c *Core) dedupCarried(e *schemas.Event, d *schemas.Carried) {
	t, id := &c.dedup, d.Submitted
	if key, ok := t.byJob[id]; ok {
		b := t.byKey[key]
		b.event = e.Seq
		t.byKey[key] = b
		return
	}
	s := &d.Job.Spec
	name := ledger.DedupID(e.Org, s)
	if d.From.Finished() || !c.unseen(id) || !s.Dedup.Exact() || name == "" || strings.HasPrefix(string(e.Job), schemas.ReservedPrefix) {
		return
	}
	key := dedupKeyOf(name)
	if _, taken := t.byKey[key]; !taken {
		t.byKey[key] = blocker{id: id, event: e.Seq, at: d.Job.SubmittedAt.UnixNano(), windowMS: s.WindowMS, inFlight: true, state: d.From}
		t.byJob[id] = key
	}
}

func dedupKeyOf(name string) dedupKey {
	sum := sha256.Sum256([]byte(name))
	return dedupKey(sum[:16])
}

// doom gives out the cancels of duplicates.
func (c *Core) doom(max int) (out []Decision) {
	t := &c.dedup
	for len(t.due) > 0 && len(out) < max {
		id := t.due[0]
		t.due = t.due[1:]
		of, ok := t.doomed[id]
		if _, flying := c.flights[id]; ok && !flying {
			out = append(out, c.fly(Decision{Kind: DecideDuplicate, ID: id, At: id, Of: of}, &flight{}))
		}
	}
	return out
}

// doomAll has every duplicate canceled that is not.
func (c *Core) doomAll() {
	t := &c.dedup
	t.due = t.due[:0]
	for id := range t.doomed {
		t.due = append(t.due, id)
	}
	slices.Sort(t.due)
}

// landDuplicate follows up the settlement of a cancel.
func (c *Core) landDuplicate(id schemas.Seq, o Outcome) {
	if o == Failed {
		c.dedup.due = append(c.dedup.due, id)
		return
	}
	delete(c.dedup.doomed, id)
}
