package dispatcher

import (
	"bytes"
	"fmt"
	"reflect"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// twins are a core and, in some tests, another one that hears the same and must say the same: see part.
type twins struct {
	*Core
	other *Core
	fail  func(format string, args ...any)
}

func newTwins() *twins { return &twins{Core: NewCore(DefaultTimes())} }

// part saves the core and goes on with what was loaded beside it. The core itself becomes what a saved fold is of: it
// follows, and has heard no beat. Decisions given out are not to be settled any more.
func (t *twins) part() error {
	saved, err := saveAndLoad(t.Core)
	if err != nil {
		return err
	}
	t.other = saved
	t.bare()
	bare, err := saveAndLoad(t.Core)
	if err != nil {
		return err
	}
	if a, b := bytesOf(saved), bytesOf(bare); !bytes.Equal(a, b) {
		return fmt.Errorf("a saved fold is not that of a core that follows and has heard nobody: %d and %d bytes", len(a), len(b))
	}
	saved.flown = t.flown
	return nil
}

// saveAndLoad is a core by way of its saved form.
func saveAndLoad(c *Core) (*Core, error) { return LoadCore(bytes.NewReader(bytesOf(c)), c.times) }

func bytesOf(c *Core) []byte {
	var b bytes.Buffer
	if err := c.Save(&b); err != nil {
		panic(err) // a buffer takes everything
	}
	return b.Bytes()
}

// bare takes from a core what belongs to an epoch, to beats and to its process.
func (t *twins) bare() {
	c := t.Core
	c.Follow()
	for _, s := range c.sessions {
		c.clearStays(s)
		s.add(0, -s.hung)
		c.join(s, nil, 0)
		*s = session{id: s.id, running: s.running}
		if s.running == 0 {
			delete(c.sessions, s.id)
		}
	}
	for _, a := range c.active {
		a.work, a.offers, a.pool, a.named, a.heard = 0, 0, nil, 0, false
		if !a.running {
			a.stake.enliven(false)
		}
	}
	c.clock, c.leadAt, c.unsettled, c.sessionsAt, c.sweepAt, c.retireAt, c.unsent = leaseClock{}, 0, false, 0, 0, 0, nil
	c.stats, c.schedules.fired, c.dedup.due = Stats{}, 0, nil
	c.dissolution.active, c.dissolution.next = nil, 0
	for _, x := range c.dissolution.orgs {
		x.lanes = nil
	}
	for _, s := range c.schedules.byKey {
		s.retryAt, s.refusals = 0, 0
		c.arm(s)
	}
}

// same compares what both said.
func (t *twins) same(what string, a, b any) {
	if t.other != nil && !reflect.DeepEqual(a, b) {
		t.fail("%s: the core says\n%+v\nthe one that was saved and loaded\n%+v", what, a, b)
	}
}

func (t *twins) Decide(now time.Time, mono time.Duration, max int) []Decision {
	out := t.Core.Decide(now, mono, max)
	for _, c := range []*Core{t.Core, t.other} {
		if wrong := depthsWrong(c); wrong != "" {
			panic(wrong) // in the seed that is printed
		}
	}
	if t.other != nil {
		t.same("Decide", out, t.other.Decide(now, mono, max))
		t.same("Stats", t.Core.Stats(), t.other.Stats())
		t.same("Wake", t.Core.Wake(), t.other.Wake())
	}
	return out
}

func (t *twins) Settle(d Decision, r Result) {
	t.Core.Settle(d, r)
	if t.other != nil {
		t.other.Settle(d, r)
	}
}

func (t *twins) Apply(e *schemas.Event) {
	t.Core.Apply(e)
	if t.other != nil {
		t.other.Apply(e)
	}
}

func (t *twins) Beat(b *ledger.Beat, mono time.Duration) bool {
	if t.other != nil {
		t.other.Beat(b, mono)
	}
	return t.Core.Beat(b, mono)
}

func (t *twins) Answer(b *ledger.Beat) ledger.BeatAnswer {
	out := t.Core.Answer(b)
	if t.other != nil {
		t.same("Answer", out, t.other.Answer(b))
	}
	return out
}

func (t *twins) Lead(epoch schemas.Seq, mono time.Duration) {
	t.Core.Lead(epoch, mono)
	if t.other != nil {
		t.other.Lead(epoch, mono)
	}
}

func (t *twins) Follow() {
	t.Core.Follow()
	if t.other != nil {
		t.other.Follow()
	}
}

func (t *twins) Explain(q *ledger.ExplainRequest, now time.Time) *ledger.Explanation {
	out := t.Core.Explain(q, now)
	if t.other != nil {
		t.same("Explain", out, t.other.Explain(q, now))
	}
	return out
}

func (t *twins) Schedule(org schemas.OrgID, name string) (ScheduleState, bool) {
	out, ok := t.Core.Schedule(org, name)
	if t.other != nil {
		got, _ := t.other.Schedule(org, name)
		t.same("Schedule", out, got)
	}
	return out, ok
}

func (t *twins) advance(mono time.Duration) {
	t.Core.clock.advance(mono)
	if t.other != nil {
		t.other.clock.advance(mono)
	}
}
