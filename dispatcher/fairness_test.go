package dispatcher

import (
	"fmt"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// crowd drives a core without a ledger: jobs by number, each runs as long as the test says. It is fast enough for
// millions of them.
type crowd struct {
	core    *Core
	now     time.Time
	mono    time.Duration
	seq     schemas.Seq
	started map[schemas.OrgID]int
}

func newCrowd(slots int) *crowd {
	c := &crowd{core: NewCore(DefaultTimes()), now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), started: make(map[schemas.OrgID]int)}
	c.core.Lead(0, 0)
	c.core.Beat(&ledger.Beat{Session: "s", Slots: slots, Serves: []ledger.Serves{{Queue: "q", Type: "t"}}}, 0)
	c.core.Decide(c.now, c.mono, 0)
	return c
}

func (c *crowd) apply(org schemas.OrgID, d schemas.Data) *schemas.Event {
	c.seq++
	e := &schemas.Event{Seq: c.seq, Time: c.now, Subject: schemas.JobSubject(org, "j"), Data: d}
	if set, ok := d.(schemas.Setting); ok {
		e.Subject = set.Place()
	}
	e.ID = "e"
	c.core.Apply(e)
	return e
}

func (c *crowd) submit(org schemas.OrgID) schemas.Seq {
	c.apply(org, &schemas.Submitted{Type: "t", Queue: "q", Priority: schemas.PriorityNormal, Generation: 1})
	return c.seq
}

func (c *crowd) weigh(org schemas.OrgID, weight, running int) {
	c.apply("", &schemas.OrgSet{Settings: schemas.OrgSettings{Name: org, Weight: weight, MaxRunning: &running}})
}

// crowdJob is a job on its way.
type crowdJob struct {
	org   schemas.OrgID
	head  schemas.Head
	fence schemas.Fence
}

// start has up to n jobs queued and claimed.
func (c *crowd) start(n int) (out []crowdJob) {
	for _, d := range c.core.Decide(c.now, c.mono, n) {
		if d.Kind != DecideQueue {
			c.core.Settle(d, Result{Outcome: Stored, Work: 1})
			continue
		}
		j := crowdJob{org: d.Org, head: schemas.Head{Type: "t", Queue: "q", Priority: schemas.PriorityNormal, Generation: 1, Submitted: d.ID}}
		c.core.Settle(d, Result{Outcome: Stored, Work: 1, Event: c.apply(d.Org, &schemas.Queued{Head: j.head, Policy: schemas.DefaultPolicy()})})
		e := c.apply(d.Org, &schemas.Running{Head: j.head, Attempt: 1, Session: "s"})
		j.fence = schemas.Fence{Seq: e.Seq, ID: e.ID}
		c.started[d.Org]++
		out = append(out, j)
	}
	return out
}

func (c *crowd) end(j crowdJob) {
	c.apply(j.org, &schemas.Completed{AttemptHead: schemas.AttemptHead{Head: j.head, Attempt: 1, Fence: j.fence}})
}

// TestFairShares: over any 10 s orgs of equal weight get equal shares, and those of weights 1, 2 and 4 theirs, within
// 5 % (R-16); here with 20 slots and jobs of 100 ms, so 2,000 starts in 10 s, looked at every second.
func TestFairShares(t *testing.T) {
	for _, tc := range []struct {
		name    string
		weights []int
	}{{"equal", []int{1, 1, 1, 1}}, {"weighted", []int{1, 2, 4}}} {
		t.Run(tc.name, func(t *testing.T) {
			const slots, span, length = 20, 10 * time.Second, 100 * time.Millisecond
			c := newCrowd(slots)
			total := 0
			for i, w := range tc.weights {
				c.weigh(schemas.OrgID(fmt.Sprint("o", i)), w, 0)
				total += w
				for range 10_000 {
					c.submit(schemas.OrgID(fmt.Sprint("o", i)))
				}
			}
			running := make([][]crowdJob, 0)
			history := []map[schemas.OrgID]int{{}}
			for step := range int(30 * time.Second / length) {
				c.now, c.mono = c.now.Add(length), c.mono+length
				for _, batch := range running {
					for _, j := range batch {
						c.end(j)
					}
				}
				running = append(running[:0], c.start(slots))
				if (step+1)%int(time.Second/length) == 0 {
					at := make(map[schemas.OrgID]int)
					for org, n := range c.started {
						at[org] = n
					}
					history = append(history, at)
				}
				c.core.Beat(&ledger.Beat{Session: "s", Slots: slots, Serves: []ledger.Serves{{Queue: "q", Type: "t"}}}, c.mono)
			}
			for from := 0; from+int(span/time.Second) < len(history); from++ {
				to := from + int(span/time.Second)
				sum := 0
				for org := range history[to] {
					sum += history[to][org] - history[from][org]
				}
				for i, w := range tc.weights {
					org := schemas.OrgID(fmt.Sprint("o", i))
					got, want := float64(history[to][org]-history[from][org]), float64(sum)*float64(w)/float64(total)
					if got < want*0.95 || got > want*1.05 {
						t.Errorf("from second %d to %d %s got %.0f starts, its share is %.0f", from, to, org, got, want)
					}
				}
			}
		})
	}
}

// TestSmallOrgsBehindAFlood: one org has submitted a great many jobs before 200 others submit ten each. Each of those
// starts within the slots that free in a second of the end of its org's turn: here 2,000 slots free in a second, and the
// first job of every small org is among the next 400 starts, all ten of each among the next 4,000.
func TestSmallOrgsBehindAFlood(t *testing.T) {
	const flood, small, each = 1_000_000, 200, 10
	c := newCrowd(100)
	c.weigh("big", 1, 0)
	for range flood {
		c.submit("big")
	}
	running := c.start(100)
	for i := range small {
		for range each {
			c.submit(schemas.OrgID(fmt.Sprint("small-", i)))
		}
	}
	clear(c.started)
	first := make(map[schemas.OrgID]int) // number of the start that was an org's first
	starts, lastSmall := 0, 0
	for starts < 3*small*each {
		j := running[0]
		running = running[1:]
		c.now, c.mono = c.now.Add(500*time.Microsecond), c.mono+500*time.Microsecond
		c.end(j)
		for _, j := range c.start(1) {
			starts++
			if first[j.org] == 0 {
				first[j.org] = starts
			}
			if j.org != "big" {
				lastSmall = starts
			}
			running = append(running, j)
		}
	}
	for org, n := range first {
		if n > 2*small {
			t.Errorf("the first job of %s was start %d", org, n)
		}
	}
	if len(first) != small+1 || lastSmall > 2*small*each {
		t.Errorf("%d orgs started; the last job of the small ones was start %d", len(first), lastSmall)
	}
	t.Logf("%d small orgs: all their %d jobs among the first %d starts, of which %d were the flood's", small, small*each, lastSmall, lastSmall-small*each)
}

// TestCriticalBesideBulk: with every slot taken by bulk jobs of an org, a critical job of its own is the next to start.
func TestCriticalBesideBulk(t *testing.T) {
	c := newCrowd(10)
	c.weigh("o", 1, 0)
	for range 10_000 {
		c.submit("o")
	}
	running := c.start(20)
	critical := c.apply("o", &schemas.Submitted{Type: "t", Queue: "q", Priority: schemas.PriorityCritical, Generation: 1}).Seq
	for range 3 {
		c.end(running[0])
		running = running[1:]
		for _, d := range c.core.Decide(c.now, c.mono, 1) {
			if d.ID != critical {
				t.Errorf("job %d starts before the critical one", d.ID)
			}
			return
		}
	}
	t.Error("nothing starts")
}

// BenchmarkDecide is the cost of one decision, its settlement and the job that takes its place, by how many jobs
// wait, of how many orgs, and how many of those are at their limit.
func BenchmarkDecide(b *testing.B) {
	for _, waiting := range []int{1_000, 100_000, 10_000_000} {
		b.Run(fmt.Sprint("waiting=", waiting), func(b *testing.B) { benchDecide(b, waiting, min(waiting, 1000), 0) })
	}
	for _, orgs := range []int{1, 1_000, 50_000} {
		b.Run(fmt.Sprint("orgs=", orgs), func(b *testing.B) { benchDecide(b, 200_000, orgs, 0) })
	}
	for _, blocked := range []int{0, 1_000, 50_000} {
		b.Run(fmt.Sprint("blocked=", blocked), func(b *testing.B) { benchDecide(b, 200_000, 1_000, blocked) })
	}
}

// benchDecide measures with jobs of some orgs waiting, and beside them orgs that are at their limit of one.
func benchDecide(b *testing.B, waiting, orgs, blocked int) {
	c := newCrowd(slotsMax)
	names := make([]schemas.OrgID, orgs)
	for i := range names {
		names[i] = schemas.OrgID(fmt.Sprint("o", i))
	}
	for i := range blocked {
		org := schemas.OrgID(fmt.Sprint("b", i))
		c.weigh(org, 1, 1)
		head := schemas.Head{Type: "t", Queue: "q", Priority: schemas.PriorityNormal, Generation: 1, Submitted: c.submit(org)}
		c.submit(org)
		c.apply(org, &schemas.Queued{Head: head, Policy: schemas.DefaultPolicy()})
		c.apply(org, &schemas.Running{Head: head, Attempt: 1, Session: "s"})
	}
	c.core.Beat(&ledger.Beat{Session: "s", Slots: slotsMax, Serves: []ledger.Serves{{Queue: "q", Type: "t"}}}, 0)
	c.core.Beat(&ledger.Beat{Session: "s2", Slots: slotsMax, Serves: []ledger.Serves{{Queue: "q", Type: "t"}}}, 0)
	for len(c.core.Decide(c.now, c.mono, 10_000)) > 0 && blocked > 0 {
		c.core.Follow() // until all that are blocked stand at their gates
		c.core.Lead(c.seq, c.mono)
	}
	for i := range waiting {
		c.submit(names[i%orgs])
	}
	b.ResetTimer()
	for i := range b.N {
		for _, j := range c.start(1) {
			c.end(j)
		}
		c.submit(names[i%orgs])
	}
}
