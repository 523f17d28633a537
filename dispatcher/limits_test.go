package dispatcher

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// oracle judges each start by brute force: it looks at every job there is, with counts of its own.
type oracle struct {
	*player
	t      *testing.T
	orgs   map[string]int // limits, 0 is none
	queue  map[string]int
	perOrg map[string]int // of (org, queue)
	types  map[string]int
	kinds  map[string]int // of (org, type)
	shared map[string]int // of resources
	own    map[string]int // of resources, per org
	rates  map[string]*bucket
	held   map[string]schemas.HoldScope
}

// bucket is a token bucket as it is described.
type bucket struct {
	count  float64
	per    time.Duration
	tokens float64
	at     time.Time
}

func (b *bucket) fill(now time.Time) {
	b.tokens = min(b.count, b.tokens+b.count*float64(now.Sub(b.at))/float64(b.per))
	b.at = now
}

// rules lists the scopes that bear on a job, with their limits.
func (o *oracle) rules(j *ledger.Job) map[string]int {
	org, q, t, r := string(j.Org), string(j.Spec.Queue), string(j.Spec.Type), j.Spec.Resource
	rules := map[string]int{"o" + org: o.orgs[org], "q" + q: o.queue[q], "oq" + org + q: o.perOrg[q], "t" + t: o.types[t], "ot" + org + t: o.kinds[t]}
	if r != "" {
		rules["r"+r], rules["or"+org+r] = o.shared[r], o.own[r]
	}
	return rules
}

// startable lists the waiting jobs that no rule keeps from starting.
func (o *oracle) startable() map[schemas.Seq]*ledger.Job {
	used := make(map[string]int)
	for _, j := range o.jobs {
		if j.State == schemas.StateQueued || j.State == schemas.StateRunning {
			for rule := range o.rules(j) {
				used[rule]++
			}
		}
	}
	out := make(map[schemas.Seq]*ledger.Job)
next:
	for _, j := range o.jobs {
		if j.State != schemas.StateSubmitted {
			continue
		}
		for rule, limit := range o.rules(j) {
			if limit > 0 && used[rule] >= limit {
				continue next
			}
			if b := o.rates[rule]; b != nil {
				b.fill(o.now)
				const almost = 1 - 1e-6
				if b.tokens < almost {
					continue next
				}
			}
		}
		for _, h := range o.held {
			if h.Matches(j.Org, j.Spec.Queue, j.Spec.Type, j.Spec.Resource, j.Spec.Batch) {
				continue next
			}
		}
		out[j.SubmittedSeq] = j
	}
	return out
}

// start has the core start at most one job, and checks that it was the right one: of an org that was served least,
// of the right priority, the oldest of them; or none, if nothing may start.
func (o *oracle) start() bool {
	o.t.Helper()
	o.core.Decide(o.now, o.mono, 0) // lets in whom time lets in
	can := o.startable()
	turns := make(map[schemas.OrgID]turn) // as they are before the start
	if q := o.core.queues["q"]; q != nil {
		for org, t := range q.turns {
			turns[org] = *t
		}
	}
	var least *ledger.Job
	for _, j := range can {
		if least == nil || turns[j.Org].key.before(turns[least.Org].key) {
			least = j
		}
	}
	ds := o.decide(1)
	if len(ds) == 0 {
		if least != nil {
			o.t.Fatalf("nothing starts although %s/%s may", least.Org, least.ID)
		}
		return false
	}
	if k := ds[0].Kind; k == DecideOffer || k == DecideRemove {
		if k == DecideOffer {
			o.settle(ds[0])
		}
		return o.start()
	}
	j := can[ds[0].ID]
	if ds[0].Kind != DecideQueue || j == nil {
		o.t.Fatalf("%s, which may not start", o.describe(ds[0]))
	}
	if j.Org != least.Org {
		o.t.Fatalf("%s/%s starts, and it is the turn of %s", j.Org, j.ID, least.Org)
	}
	was := turns[j.Org]
	var has [levels]bool
	for _, other := range can {
		if other.Org == j.Org {
			has[levelOf(other.Spec.Priority)] = true
		}
	}
	if level := was.level(has); level != levelOf(j.Spec.Priority) {
		o.t.Fatalf("%s/%s of level %d starts, and it is the turn of level %d", j.Org, j.ID, levelOf(j.Spec.Priority), level)
	}
	for _, other := range can {
		if other.Org == j.Org && other.Spec.Priority == j.Spec.Priority && other.SubmittedSeq < j.SubmittedSeq {
			o.t.Fatalf("%s/%s starts before the older %s", j.Org, j.ID, other.ID)
		}
	}
	for rule := range o.rules(j) {
		if b := o.rates[rule]; b != nil {
			b.tokens--
		}
	}
	o.settle(ds[0])
	return true
}

// TestLimitsAgainstBruteForce has random jobs of several orgs, types and resources run under random limits, rates and
// holds. Each start is compared with what looking at everything says (R-16, R-17, R-18, R-309, C20).
func TestLimitsAgainstBruteForce(t *testing.T) {
	for _, seed := range seeds(t, 15) {
		t.Run(fmt.Sprint("SEED=", seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			o := newOracle(t, rnd)
			open := 0
			for i := range 800 {
				switch n := rnd.IntN(100); {
				case n < 45:
					open++
					key := fmt.Sprintf("o%d/%d", rnd.IntN(1+rnd.IntN(5)), i)
					s := schemas.Submitted{Type: schemas.TypeName("abc"[rnd.IntN(3)]), Priority: priorities[rnd.IntN(levels)]}
					if rnd.IntN(2) == 0 {
						s.Resource = fmt.Sprint("r", rnd.IntN(4))
					}
					if rnd.IntN(4) == 0 {
						key, s.Batch = o.item(schemas.OrgID(key[:2]), rnd.IntN(2), i)
					}
					if err := o.submit(key, s); err != nil {
						t.Fatal(err)
					}
				case n < 65:
					for range rnd.IntN(4) {
						if !o.start() {
							break
						}
					}
				case n < 85:
					o.endOne(rnd)
				case n < 90:
					o.now = o.now.Add(time.Duration(rnd.IntN(2000)) * time.Millisecond)
				case n < 95:
					o.change(rnd)
				default:
					o.toggle(rnd)
				}
			}
			o.drain(rnd)
		})
	}
}

func newOracle(t *testing.T, rnd *rand.Rand) *oracle {
	o := &oracle{player: &player{newWorld()}, t: t, orgs: map[string]int{}, queue: map[string]int{}, perOrg: map[string]int{}, types: map[string]int{},
		kinds: map[string]int{}, shared: map[string]int{}, own: map[string]int{}, rates: map[string]*bucket{}, held: map[string]schemas.HoldScope{}}
	o.run([]string{"lead"})
	o.run([]string{"beat", "w", "slots=9000", "serves=q/a,q/b,q/c"})
	o.core.Decide(o.now, o.mono, 0)
	for i := range 5 {
		o.orgs[fmt.Sprint("o", i)] = 100
	}
	for range 8 {
		o.change(rnd)
	}
	if rnd.IntN(2) == 0 { // a rate of each org in the queue
		n, per := 1+rnd.IntN(5), time.Duration(1+rnd.IntN(5))*time.Second
		for i := range 5 {
			o.rates[fmt.Sprintf("oqo%dq", i)] = &bucket{count: float64(n), per: per, tokens: float64(n), at: o.now}
		}
		o.run([]string{"set", "queue", "q", fmt.Sprintf("rate=%d/%s", n, per)})
		clear(o.queue)
		clear(o.perOrg)
	}
	if rnd.IntN(2) == 0 { // and of a resource that all share
		n, per := 1+rnd.IntN(5), time.Duration(1+rnd.IntN(5))*time.Second
		o.rates["rr3"] = &bucket{count: float64(n), per: per, tokens: float64(n), at: o.now}
		o.run([]string{"set", "resource", "r3", fmt.Sprintf("rate=%d/%s", n, per)})
	}
	return o
}

// change sets a limit. Those of the queue stay as they are where it has a rate, which a setting would make full again.
func (o *oracle) change(rnd *rand.Rand) {
	n := rnd.IntN(5)
	set := func(words ...string) { o.run(append([]string{"set"}, append(words, fmt.Sprint("running=", n))...)) }
	switch rnd.IntN(5) {
	case 0:
		org := fmt.Sprint("o", rnd.IntN(5))
		o.orgs[org] = n * 3
		n *= 3
		set("org", org, fmt.Sprint("weight=", rnd.IntN(4)))
	case 1:
		if len(o.rates) == 0 && !o.rated() {
			o.queue["q"], o.perOrg["q"] = n*4, n*2
			n *= 4
			set("queue", "q", fmt.Sprint("per-org=", o.perOrg["q"]))
		}
	case 2:
		typ := string("abc"[rnd.IntN(3)])
		o.types[typ], o.kinds[typ] = n*3, n
		n *= 3
		set("type", typ, fmt.Sprint("per-org=", o.kinds[typ]))
	case 3:
		r := fmt.Sprint("r", rnd.IntN(3))
		o.shared[r], o.own[r] = n, 0
		set("resource", r)
	case 4:
		r := fmt.Sprint("r", rnd.IntN(3))
		o.shared[r], o.own[r] = 0, n
		set("resource", r, "per-org=")
	}
}

func (o *oracle) rated() bool { return o.rates["oqo0q"] != nil }

// item is a job of a batch.
func (o *oracle) item(org schemas.OrgID, batch, n int) (key, name string) {
	name = fmt.Sprint("b", batch)
	return string(org) + "/" + string(ledger.BatchItemID(ledger.BatchItems(org, schemas.JobID(name), 1+n%2), n)), name
}

// toggle lays a hold, or lifts one.
func (o *oracle) toggle(rnd *rand.Rand) {
	scopes := [][]string{{}, {"org=o0"}, {"org=o1", "type=a"}, {"queue=q", "type=b"}, {"type=c"}, {"resource=r0"}, {"resource=r1", "type=a"},
		{"org=o2", "queue=q", "type=a"}, {"org=o0", "resource=r2"}, {"org=o0", "batch=b0"}, {"org=o1", "batch=b1"}}
	words := scopes[rnd.IntN(len(scopes))]
	_, opt := args(words)
	key := fmt.Sprint(words)
	if _, ok := o.held[key]; ok {
		delete(o.held, key)
		o.run(append([]string{"lift"}, words...))
		return
	}
	if len(words) == 0 && rnd.IntN(4) > 0 {
		return
	}
	o.held[key] = schemas.HoldScope{Org: schemas.OrgID(opt["org"]), Queue: schemas.QueueName(opt["queue"]), Type: schemas.TypeName(opt["type"]), Resource: opt["resource"], Batch: opt["batch"]}
	o.run(append([]string{"hold"}, words...))
}

// endOne ends a job that was started: it is claimed and completed, or canceled.
func (o *oracle) endOne(rnd *rand.Rand) {
	var open []string
	for key, j := range o.jobs {
		if j.State == schemas.StateQueued || j.State == schemas.StateRunning {
			open = append(open, key)
		}
	}
	slices.Sort(open) // a seed is one story
	if len(open) > 0 {
		key := open[rnd.IntN(len(open))]
		j := o.jobs[key]
		switch {
		case j.State == schemas.StateQueued && rnd.IntN(4) == 0:
			o.run([]string{"cancel", key})
		case j.State == schemas.StateQueued:
			o.run([]string{"claim", key, "session=w"})
		default:
			o.run([]string{"complete", key})
		}
	}
}

// drain lifts all holds and runs everything to its end; then no gate counts anything, and none is kept.
func (o *oracle) drain(rnd *rand.Rand) {
	for _, words := range o.held {
		o.putSetting(&schemas.HoldSet{Settings: schemas.HoldSettings{Scope: words}})
	}
	clear(o.held)
	for range 3000 {
		for o.start() {
		}
		open := false
		for key, j := range o.jobs {
			switch j.State {
			case schemas.StateQueued:
				o.run([]string{"claim", key, "session=w"})
				o.run([]string{"complete", key})
				open = true
			case schemas.StateRunning:
				o.run([]string{"complete", key})
				open = true
			case schemas.StateSubmitted:
				open = true
			}
		}
		if !open {
			break
		}
		o.now = o.now.Add(500 * time.Millisecond)
	}
	for key, j := range o.jobs {
		if !j.State.Finished() {
			o.t.Fatalf("%s is still %s", key, j.State)
		}
	}
	o.run([]string{"beat", "w", "leaving="})
	o.run([]string{"pass", "2h"})
	o.core.sweepTombs()
	o.decide(1000)
	checkNoGates(o.t, o.core.Core)
}

// checkNoGates checks that nothing is kept of gates when nothing waits or runs.
func checkNoGates(t *testing.T, c *Core) {
	t.Helper()
	for s, g := range c.gates {
		if g != c.root {
			t.Errorf("a gate is kept: %+v, used %d, live %d, %d refs, %d nodes, %d lines", s, g.used, g.live, g.refs, len(g.nodes), len(g.lines))
		}
	}
	if len(c.pairs) > 0 || c.waiting > 0 {
		t.Errorf("%d pairs are kept, %d jobs wait", len(c.pairs), c.waiting)
	}
}

// TestBatonOfTimers: a strand let through to a resource, of which only jobs that wait for their time are left, keeps
// nobody from it.
func TestBatonOfTimers(t *testing.T) {
	p := &player{newWorld()}
	for _, line := range []string{"lead", "beat w slots=9 serves=q/t", "set resource r running=1", "submit x/1 resource=r", "dispatch",
		"submit b/1 resource=r", "submit b/2 resource=r delay=1h", "decide", "cancel x/1", "cancel b/1"} {
		p.run(strings.Fields(line))
	}
	p.core.sweepTombs()
	for _, line := range []string{"dispatch", "submit x/2 resource=r", "dispatch", "submit d/1 resource=r", "decide", "cancel x/2"} {
		p.run(strings.Fields(line))
	}
	if got := p.run([]string{"decide"}); !strings.Contains(got, "queue d/1") {
		t.Errorf("r has room and d/1 waits for it: %s", got)
	}
}
