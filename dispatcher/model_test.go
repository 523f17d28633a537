package dispatcher

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// seeds returns the seeds of a random test: those of SEED, or a fixed set.
func seeds(t *testing.T, n int) []uint64 {
	if s := os.Getenv("SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return []uint64{seed}
	}
	out := make([]uint64, n)
	for i := range out {
		out[i] = uint64(i + 1)
	}
	return out
}

// model picks jobs the dumb way: one slice of all that wait, looked through from end to end.
type model struct {
	waiting []modelJob
	orgs    map[string]*modelOrg
	now     int // least served so far
	order   int
}

type modelJob struct {
	org, typ, name string
	level          int
	at             schemas.Seq
}

type modelOrg struct {
	served, order int
	picks         int
	last          [levels]int
}

func (m *model) add(j modelJob) {
	if !slices.ContainsFunc(m.waiting, func(o modelJob) bool { return o.org == j.org }) {
		m.order++
		o, ok := m.orgs[j.org]
		if !ok {
			o = &modelOrg{}
			m.orgs[j.org] = o
		}
		*o = modelOrg{served: max(o.served, m.now), order: m.order}
	}
	m.waiting = append(m.waiting, j)
}

func (m *model) pick(types []string) string {
	can := func(j modelJob) bool { return slices.Contains(types, j.typ) }
	best := ""
	for _, j := range m.waiting {
		if o := m.orgs[j.org]; can(j) && (best == "" || o.served < m.orgs[best].served ||
			o.served == m.orgs[best].served && o.order < m.orgs[best].order) {
			best = j.org
		}
	}
	if best == "" {
		return ""
	}
	o := m.orgs[best]
	oldest := [levels]int{-1, -1, -1, -1}
	for i, j := range m.waiting {
		if j.org == best && can(j) && (oldest[j.level] < 0 || j.at < m.waiting[oldest[j.level]].at) {
			oldest[j.level] = i
		}
	}
	level := -1
	for l, i := range oldest {
		if i >= 0 && o.picks-o.last[l] >= agePicks && (level < 0 || o.last[l] < o.last[level]) {
			level = l
		}
	}
	for l := levels - 1; l >= 0 && level < 0; l-- {
		if oldest[l] >= 0 {
			level = l
		}
	}
	o.picks++
	o.last[level] = o.picks
	m.now = max(m.now, o.served)
	m.order++
	o.served, o.order = o.served+1, m.order
	name := m.waiting[oldest[level]].name
	m.waiting = slices.Delete(m.waiting, oldest[level], oldest[level]+1)
	return name
}

// TestPicksLikeTheModel compares each choice with the dumb model's, under random submits and two overlapping
// pools of workers (R-15, R-16, R-311, C20).
func TestPicksLikeTheModel(t *testing.T) {
	for _, seed := range seeds(t, 15) {
		t.Run(fmt.Sprint("SEED=", seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			w := newWorld()
			p := &player{w}
			m := &model{orgs: make(map[string]*modelOrg)}
			p.run([]string{"lead"})
			p.run([]string{"beat", "w1", "slots=9000", "serves=q/a,q/b"})
			p.run([]string{"beat", "w2", "slots=9000", "serves=q/b,q/c"})
			for i := range 6 {
				p.run([]string{"set", "org", fmt.Sprint("o", i), "running=0"})
			}
			pools := [][]string{{"a", "b"}, {"b", "c"}}
			for i := range 1500 {
				if rnd.IntN(3) > 0 {
					j := modelJob{org: fmt.Sprint("o", rnd.IntN(1+rnd.IntN(6))), typ: string("abc"[rnd.IntN(3)]),
						name: fmt.Sprint(i), level: rnd.IntN(levels), at: schemas.Seq(len(w.log) + 1)}
					if err := w.submit(j.org+"/"+j.name, schemas.Submitted{Type: schemas.TypeName(j.typ), Priority: priorities[j.level],
						Resource: fmt.Sprint("r", rnd.IntN(3))}); err != nil {
						t.Fatal(err)
					}
					m.add(j)
					continue
				}
				n := rnd.IntN(5)
				var want []string
				for progress := true; progress && len(want) < n; {
					progress = false
					for _, types := range pools {
						if len(want) < n {
							if name := m.pick(types); name != "" {
								want, progress = append(want, name), true
							}
						}
					}
				}
				var got []string
				for _, d := range w.decide(n) {
					got = append(got, string(w.byID[d.ID].ID))
					w.settle(d)
				}
				if !slices.Equal(got, want) {
					t.Fatalf("step %d: picked %v, the model picks %v", i, got, want)
				}
			}
		})
	}
}

// TestRandomStories feeds the core random commands of everybody, with a tail that lags, decisions that fail
// and leaders that change, and compares what it holds with the fold of all jobs; at the end every job
// finishes (R-27, C11).
func TestRandomStories(t *testing.T) {
	for _, seed := range seeds(t, 25) {
		t.Run(fmt.Sprint("SEED=", seed), func(t *testing.T) {
			s := &story{player: &player{newWorld()}, rnd: rand.New(rand.NewPCG(seed, 0)), t: t}
			s.auto = false
			s.run([]string{"lead"})
			for i := range 400 {
				if seed%3 == 0 && i == 100+10*int(seed%20) {
					s.run([]string{"set", "org", "o1", "state=deleted"})
				}
				s.step()
			}
			s.rest()
			s.compare()
			s.finish()
		})
	}
}

type story struct {
	*player
	rnd  *rand.Rand
	t    *testing.T
	jobs int
}

func (s *story) anyJob() string {
	if s.jobs == 0 {
		return ""
	}
	i := s.rnd.IntN(s.jobs)
	return fmt.Sprintf("o%d/%d", i%3, i)
}

// someParents names up to three jobs of the org of the next one.
func (s *story) someParents() string {
	var after []string
	for i := s.jobs - 3; i >= 0 && len(after) < 3; i -= 3 * (1 + s.rnd.IntN(3)) {
		after = append(after, fmt.Sprintf("%d:%s", i, []string{"", "cancel", "run"}[s.rnd.IntN(3)]))
	}
	return strings.Join(after, ",")
}

func (s *story) step() {
	key := s.anyJob()
	switch n := s.rnd.IntN(100); {
	case n < 20 || key == "":
		opt := []string{"submit", fmt.Sprintf("o%d/%d", s.jobs%3, s.jobs), fmt.Sprint("type=", string("tu"[s.rnd.IntN(2)]))}
		if s.rnd.IntN(5) == 0 {
			opt = append(opt, "delay=7s")
		}
		if s.rnd.IntN(5) == 0 {
			opt = append(opt, "deadline=20s")
		}
		if s.rnd.IntN(3) == 0 {
			opt = append(opt, "after="+s.someParents())
		}
		s.jobs++
		s.run(opt)
	case n < 30:
		s.feed(s.fed + s.rnd.IntN(10))
	case n < 45:
		s.decide(s.rnd.IntN(6))
	case n < 65 && len(s.air) > 0:
		d := s.air[s.rnd.IntN(len(s.air))]
		if s.rnd.IntN(4) == 0 {
			s.air = without(s.air, d.N)
			s.core.Settle(d, Result{Outcome: Failed})
			return
		}
		s.settle(d)
	case n < 70:
		s.run([]string{"pass", fmt.Sprintf("%dms", s.rnd.IntN(12000))})
	case n < 75:
		s.run([]string{"beat", fmt.Sprint("w", s.rnd.IntN(3)), fmt.Sprint("slots=", s.rnd.IntN(5)), "serves=q/t,q/u"})
	case n < 79:
		s.run([]string{"cancel", key})
	case n < 80:
		s.run([]string{"cancel", key, "cascade="})
	case n < 82:
		s.run([]string{"retry", key})
	case n < 83:
		s.run([]string{"retry", key, "waive="})
	case n < 84 && s.rnd.IntN(2) == 0:
		s.run([]string{"carry", key})
	case n < 84:
		if j := s.player.jobs[key]; j != nil && j.State.Finished() {
			s.run([]string{"submit", key}) // another life
		}
	case n < 85:
		s.core.Follow()
		s.air = nil
		s.feed(len(s.log))
		s.run([]string{"lead"})
	default:
		if j := s.player.jobs[key]; j != nil && j.State == schemas.StateQueued {
			s.run([]string{"claim", key, fmt.Sprint("session=w", s.rnd.IntN(3))})
		} else if j != nil && j.State == schemas.StateRunning {
			s.run([]string{[]string{"complete", "complete", "error", "release", "die"}[s.rnd.IntN(5)], key})
		}
	}
	ids := make(map[schemas.Seq]bool)
	for _, d := range s.air {
		if d.Kind == DecideLookup {
			continue
		}
		if ids[d.ID] {
			s.t.Fatalf("two decisions in flight about %s", s.name(d.ID))
		}
		ids[d.ID] = true
	}
}

// rest settles everything in flight and lets the tail catch up.
func (s *story) rest() {
	for len(s.air) > 0 {
		s.settle(s.air[0])
	}
	s.feed(len(s.log))
}

// compare checks what the core holds against the fold of every job.
func (s *story) compare() {
	s.t.Helper()
	live := make(map[schemas.Seq]int)
	alive := func(e entry) bool { t, ok := s.core.tombs[e.id]; return !ok || e.at > t.at }
	for _, p := range s.core.pairs {
		for _, n := range p.nodes {
			for _, l := range n.lanes {
				l.jobs.filter(func(e entry) bool {
					if alive(e) {
						live[e.id]++
					}
					return true
				})
			}
		}
	}
	for _, tm := range s.core.timers.items {
		if tm.slot != 0 && alive(s.core.entryOf(tm)) {
			live[tm.id]++
		}
	}
	for id, ch := range s.core.family.children {
		if live[id]++; ch.left != (ch.failed != nil) {
			s.t.Errorf("%s waits for its parents: left %t, failed %t", s.name(id), ch.left, ch.failed != nil)
		}
	}
	charged := 0
	for _, j := range s.player.jobs {
		queued, running := s.core.Holds(j.SubmittedSeq)
		if queued != (j.State == schemas.StateQueued) || running != (j.State == schemas.StateRunning) {
			s.t.Errorf("%s/%s is %s, the core holds queued=%t running=%t", j.Org, j.ID, j.State, queued, running)
		}
		waits := j.State == schemas.StateSubmitted || j.State == schemas.StateRetrying
		if _, ok := live[j.SubmittedSeq]; waits && !ok {
			s.t.Errorf("%s/%s is %s and waits nowhere", j.Org, j.ID, j.State)
		}
		if live[j.SubmittedSeq] > 1 {
			s.t.Errorf("%s/%s waits %d times", j.Org, j.ID, live[j.SubmittedSeq])
		}
	}
	for _, a := range s.core.active {
		if a.pool != nil {
			charged++
		}
	}
	for _, p := range s.core.pools {
		charged -= p.charged
		running := 0
		for _, a := range s.core.fences {
			if a.session.pool == p {
				running++
			}
		}
		if p.busy != running {
			s.t.Errorf("pool %s counts %d busy, %d run", p.key, p.busy, running)
		}
	}
	if charged < 0 {
		s.t.Errorf("pools are charged with %d jobs too many", -charged)
	}
}

// finish runs every job to its end with one good worker.
func (s *story) finish() {
	s.auto = true
	for range 400 {
		s.run([]string{"beat", "good", "slots=9", "serves=q/t,q/u"})
		s.run([]string{"pass", "10s"})
		s.run([]string{"dispatch"})
		open := 0
		for key, j := range s.player.jobs {
			switch j.State {
			case schemas.StateQueued:
				s.run([]string{"claim", key, "session=good"})
				s.run([]string{"complete", key})
			case schemas.StateSubmitted, schemas.StateRetrying, schemas.StateRunning:
				open++
			}
		}
		if open == 0 && s.core.Stats().Queued == 0 {
			s.compare()
			s.forgotten()
			s.judgeParents(s.t.Errorf)
			return
		}
	}
	for key, j := range s.player.jobs {
		if !j.State.Finished() {
			s.t.Errorf("%s is still %s", key, j.State)
		}
	}
}

// forgotten checks that nothing is kept of jobs that finished and workers that left.
func (s *story) forgotten() {
	for _, w := range []string{"w0", "w1", "w2", "good"} {
		s.run([]string{"beat", w, "leaving="})
	}
	s.run([]string{"pass", "1h"})
	s.decide(1000)
	s.core.sweepTombs()
	for _, p := range s.core.pairs { // lanes that proved empty are found when somebody looks
		for s.core.front(p) != nil {
			s.t.Fatalf("something waits in %s", p.typ)
		}
	}
	c := s.core
	if n := len(c.active) + len(c.fences) + len(c.sessions) + len(c.pools) + len(c.flights) + len(c.deadlines) + len(c.tombs) +
		len(c.pairs) + len(c.queues) + c.timers.len() + c.waiting + len(c.ahead) +
		len(c.family.children) + len(c.family.parents) + len(c.family.lookups) + len(c.family.ask) + len(c.family.failing) + c.family.ending +
		len(c.dissolution.orgs) + len(c.dissolution.byOrg) + c.dissolution.flying; n != 0 {
		s.t.Errorf("kept: %+v, %d pairs, %d queues, %d deadlines, %d ahead, %d timers of deadlines", c.Stats(), len(c.pairs), len(c.queues),
			len(c.deadlines), len(c.ahead), c.deadlineTimes)
	}
}

// TestLateAdmission: with 64 slots no more are Queued than turn over in 100 ms, whatever the jobs' length:
// no-op jobs (here 64 a millisecond) are not held back, and of long ones a single job waits Queued beyond
// the slots (DESIGN D5).
func TestLateAdmission(t *testing.T) {
	for _, tc := range []struct {
		name             string
		length           time.Duration // of a job
		most             int           // Queued at any moment
		least            int           // completed within the time simulated
		round, simulated time.Duration
	}{
		{"no-op", 0, 7000, 3_000, time.Millisecond, 300 * time.Millisecond},
		{"5 ms", 5 * time.Millisecond, 1400, 2_700, time.Millisecond, 300 * time.Millisecond},
		{"long", time.Hour, 65, 0, time.Millisecond, 300 * time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld()
			p := &player{w}
			p.run([]string{"lead"})
			p.run([]string{"beat", "w", "slots=64"})
			for i := range 10_000 {
				if err := w.submit(fmt.Sprint("o/", i), schemas.Submitted{}); err != nil {
					t.Fatal(err)
				}
			}
			var queued, running []string
			ends := make(map[string]time.Time)
			done, most := 0, 0
			for now := w.now; w.now.Sub(now) < tc.simulated; w.now, w.mono = w.now.Add(tc.round), w.mono+tc.round {
				for _, d := range w.decide(256) {
					w.settle(d)
					queued = append(queued, w.name(d.ID))
				}
				most = max(most, w.core.Stats().Queued)
				for len(running) > 0 && !ends[running[0]].After(w.now) {
					p.run([]string{"complete", running[0]})
					running = running[1:]
					done++
				}
				for len(running) < 64 && len(queued) > 0 {
					key := queued[0]
					queued = queued[1:]
					if _, err := w.do(key, p.commandOf("claim", w.jobs[key], map[string]string{"session": "w"})); err != nil {
						t.Fatal(err)
					}
					running = append(running, key)
					ends[key] = w.now.Add(tc.length)
				}
			}
			if most > tc.most || done < tc.least {
				t.Errorf("at most %d Queued (limit %d), %d completed (at least %d)", most, tc.most, done, tc.least)
			}
			t.Logf("at most %d Queued, %d completed", most, done)
		})
	}
}

// TestBytesPerWaitingJob: at most 32 bytes, in lanes and in timers (DESIGN D5).
func TestBytesPerWaitingJob(t *testing.T) {
	for _, delay := range []schemas.Millis{0, 1000} {
		const n = 200_000
		c := NewCore(DefaultTimes())
		before := heapBytes()
		for i := range schemas.Seq(n) {
			c.Apply(&schemas.Event{Seq: i + 1, Subject: schemas.JobSubject("o", "j"),
				Data: &schemas.Submitted{Type: "t", Queue: "q", Priority: schemas.PriorityNormal, Generation: 1, DelayMS: delay}})
		}
		each := float64(heapBytes()-before) / n
		t.Logf("delay %d ms: %.1f bytes a waiting job", delay, each)
		if each > 32 {
			t.Errorf("delay %d ms: %.1f bytes a waiting job", delay, each)
		}
		if s := c.Stats(); s.Waiting+s.Timers != n {
			t.Errorf("%d jobs wait", s.Waiting+s.Timers)
		}
	}
}
