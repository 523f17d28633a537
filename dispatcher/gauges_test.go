package dispatcher

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// depthsWrong counts what waits by looking at all of it, and says where the running numbers differ. All random tests and
// transcripts come by here at each decision.
func depthsWrong(c *Core) string {
	if c == nil {
		return ""
	}
	for name, q := range c.queues {
		var counted [levels]depth
		var oldest [levels]schemas.Seq // of those that are first in their lanes
		first := map[schemas.Seq]bool{0: true}
		for _, p := range c.pairs {
			if p.queue != q {
				continue
			}
			jobs := 0
			for _, n := range p.nodes {
				for _, l := range n.lanes {
					d := &counted[l.level]
					d.lanes, d.timers, jobs = d.lanes+l.jobs.n, d.timers+l.timers, jobs+l.jobs.n
					at, ok := l.jobs.firstOf(agedDead, c.alive)
					if ok {
						first[at] = true
					}
					if ok && at == l.jobs.head().at && (oldest[l.level] == 0 || at < oldest[l.level]) {
						oldest[l.level] = at
					}
				}
			}
			if jobs != p.jobs {
				return fmt.Sprintf("%s/%s: %d entries, %d are counted", name, p.typ, jobs, p.jobs)
			}
		}
		for level := range counted {
			d, looks := &q.depths[level], math.MaxInt
			if n := &counted[level]; d.lanes != n.lanes || d.timers != n.timers || d.dead < 0 {
				return fmt.Sprintf("%s at level %d: %d in lanes and %d in timers, counted are %d and %d; %d are dead", name, level, n.lanes, n.timers, d.lanes, d.timers, d.dead)
			}
			if at, _ := c.longest(d, &looks); !first[at] || oldest[level] != 0 && (at == 0 || at > oldest[level]) {
				return fmt.Sprintf("%s at level %d: the oldest began to wait at %d, it is said to be at %d", name, level, oldest[level], at)
			}
		}
	}
	return ""
}

// feeder tells a core of jobs.
type feeder struct {
	c   *Core
	seq schemas.Seq
	now time.Time
}

func (f *feeder) tell(org schemas.OrgID, d schemas.Data) schemas.Seq {
	f.seq++
	e := schemas.NewEvent(schemas.JobSubject(org, schemas.JobID(fmt.Sprint("j", f.seq))), d)
	e.Seq, e.Time = f.seq, f.now
	f.c.Apply(e)
	return f.seq
}

func (f *feeder) submit(org schemas.OrgID, delay schemas.Millis) schemas.Seq {
	return f.tell(org, &schemas.Submitted{Type: "email", Queue: "mail", Priority: schemas.PriorityNormal, Generation: 1, DelayMS: delay})
}

// What is canceled while nobody serves it is not counted as waiting, nor as old, however much there is of it; of a type
// that nobody serves it is told how many jobs wait.
func TestGaugesOfWhatWaits(t *testing.T) {
	t.Parallel()
	f := &feeder{c: NewCore(DefaultTimes()), now: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)}
	const n = 1000
	for i := range n {
		f.submit(schemas.OrgID(fmt.Sprint("org", i%10)), 0)
	}
	last := f.submit("acme", 0)
	expect := func(when string, jobs int, oldest schemas.Seq, workers, unserved int) {
		t.Helper()
		g := f.c.Gauges(f.now)
		if len(g.Queues) != 1 || len(g.Pairs) != 1 {
			t.Fatalf("%s: %+v", when, g)
		}
		if w := g.Queues[0].Waiting[schemas.PriorityNormal]; w.Jobs != jobs || w.Oldest != oldest {
			t.Errorf("%s: %d wait since %d, want %d since %d", when, w.Jobs, w.Oldest, jobs, oldest)
		}
		if p := g.Pairs[0]; p.Workers != workers || p.Unserved != unserved {
			t.Errorf("%s: %d workers, %d unserved, want %d and %d", when, p.Workers, p.Unserved, workers, unserved)
		}
	}
	expect("all wait", n+1, 1, 0, n+1)
	for id := schemas.Seq(1); id <= n; id++ {
		h := schemas.Head{From: schemas.StateSubmitted, Type: "email", Queue: "mail", Priority: schemas.PriorityNormal, Generation: 1, Submitted: id}
		f.tell(schemas.OrgID(fmt.Sprint("org", (id-1)%10)), &schemas.Canceled{Head: h})
	}
	expect("all but one are canceled", 1, last, 0, 1)
	f.c.Beat(&ledger.Beat{Session: "w", Slots: 3, Serves: []ledger.Serves{{Queue: "mail", Type: "email"}}}, time.Second)
	expect("a worker serves", 1, last, 1, 0)
	if q := f.c.Gauges(f.now).Queues[0]; q.Slots != 3 || q.Busy != 0 {
		t.Errorf("slots are %d, %d busy", q.Slots, q.Busy)
	}
}

// What it costs to ask a core in which 100,000 jobs of 1,000 orgs wait, a tenth of which has been started since the last
// time: the loop stands still for as long.
func BenchmarkGauges(b *testing.B) {
	f := &feeder{c: NewCore(DefaultTimes()), now: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)}
	const orgs = 1000
	for i := range 100_000 {
		f.submit(schemas.OrgID(fmt.Sprint("org", i%orgs)), 0)
	}
	b.Run("idle", func(b *testing.B) {
		for b.Loop() {
			f.c.Gauges(f.now)
		}
	})
	b.Run("busy", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer()
			for _, n := range f.c.pairs[pairKey{"mail", "email"}].nodes {
				for _, l := range n.lanes {
					f.c.enter(l, f.c.take(l))
				}
			}
			b.StartTimer()
			f.c.Gauges(f.now)
		}
	})
}
