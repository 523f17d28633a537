//go:build unix

package storm_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	workerCount = 8
	workerSlots = 4
	// stoppedMax is how many workers are stopped at a time: the others go on.
	stoppedMax = 2
	// longType is served by a worker that nobody touches; its jobs last longer than three leases.
	longType = "long"
)

// TestWorkersKilledAndStopped kills workers at random with kill -9, and stops others for longer than their
// lease, while the rest works: a killed worker loses exactly the attempts that it held, each found within lease
// + 5 s; a stopped one's outcomes are refused when it goes on, and kept as late results; every other job ran
// exactly once.
func TestWorkersKilledAndStopped(t *testing.T) {
	begin(t)
	s := &storm{cell: newCell(t, 1), rnd: random(t), fates: make(map[string]*fate),
		work: fmt.Sprintf("sleep %.1f", float64(size(5, 1))/10)}
	s.l = openLedger(t, s.url)
	for range workerCount {
		s.hire()
	}
	var calm []*process
	var long []schemas.JobID
	if *full {
		s.must("type", "add", longType, "--server", s.url)
		calm = append(calm, s.worker("calm", s.url, longType, workerSlots, "sleep 65"))
		long = startLoad(t, s.o, s.url, longType, 2*workerSlots, 0).enough()
	}
	jobs := jobCount(300, 20000)
	load := startLoad(t, s.o, s.url, typeName, jobs, size(50, backlogUsual))
	s.rage(jobs, size(2, 60))
	s.o.awaitAll(long)
	s.judge(s.finish(load, slices.Concat(s.idle, calm)), len(long))
}

// storm damages the workers of a cell.
type storm struct {
	*cell
	l       *ledger.Ledger
	rnd     *rand.Rand
	work    string
	hired   int
	idle    []*process // workers that run
	stopped []*process // workers that do not
	fates   map[string]*fate
}

// fate is what was done to a worker.
type fate struct {
	killed  time.Time // zero if it was not
	stops   int
	since   time.Time     // of the latest stop
	longest time.Duration // of all stops
	until   schemas.Seq   // the ledger's end when it last went on: what it claimed later it keeps
}

// hire starts a worker under a new name.
func (s *storm) hire() {
	s.hired++
	p := s.worker(fmt.Sprintf("w%d", s.hired), s.url, typeName, workerSlots, s.work)
	s.fates[p.name] = &fate{}
	s.idle = append(s.idle, p)
}

// rage does n things to workers while the jobs flow, and lets those that are stopped go on once the leader has
// given up all that they held.
func (s *storm) rage(jobs, n int) {
	for i := range n {
		s.o.awaitFinished(jobs * (i + 1) / (n + 4))
		s.continueSome()
		// The first two are one of each, whatever the dice say.
		if kill := s.rnd.IntN(2) == 0; len(s.stopped) < stoppedMax && (i == 0 || i > 1 && !kill) {
			s.stop()
		} else {
			s.kill()
		}
	}
	for len(s.stopped) > 0 {
		s.o.await("the losses of a stopped worker", func() bool {
			return slices.ContainsFunc(s.stopped, func(p *process) bool { return len(s.o.heldBy(p.name)) == 0 })
		})
		s.continueSome()
	}
}

// pick takes a random worker out of those that run and hold something.
func (s *storm) pick() *process {
	var busy []*process
	s.o.await("a worker that holds something", func() bool {
		busy = slices.DeleteFunc(slices.Clone(s.idle), func(p *process) bool { return len(s.o.heldBy(p.name)) == 0 })
		return len(busy) > 0
	})
	p := busy[s.rnd.IntN(len(busy))]
	s.idle = slices.DeleteFunc(s.idle, func(w *process) bool { return w == p })
	return p
}

// kill ends a worker as a crash does, and starts another one.
func (s *storm) kill() {
	p := s.pick()
	s.fates[p.name].killed = time.Now()
	p.kill()
	s.hire()
}

func (s *storm) stop() {
	p := s.pick()
	f := s.fates[p.name]
	f.stops++
	f.since = time.Now()
	p.signal(syscall.SIGSTOP)
	s.stopped = append(s.stopped, p)
	s.o.awaitEnd(s.l) // the fold shows what it holds
}

// continueSome lets those go on that have lost all that they held: their leases have passed. What they claimed
// in vain comes to light now.
func (s *storm) continueSome() {
	end := s.o.awaitEnd(s.l)
	s.stopped = slices.DeleteFunc(s.stopped, func(p *process) bool {
		s.o.mu.Lock()
		held := len(s.o.heldBy(p.name))
		s.o.mu.Unlock()
		if held > 0 {
			return false
		}
		f := s.fates[p.name]
		f.until, f.longest = end, max(f.longest, time.Since(f.since))
		p.signal(syscall.SIGCONT)
		s.idle = append(s.idle, p)
		return true
	})
}

// judge compares what was lost with what was done.
func (s *storm) judge(story *story, long int) {
	var kills, stops, late, refused int
	var found, held time.Duration
	lostBy := make(map[string]int)
	twice := make(map[schemas.JobID]bool) // jobs that had to run more than once
	for _, a := range story.attempts {
		f := s.fates[a.worker]
		if a.end != schemas.EventCompleted {
			twice[a.key.job] = true
			if f == nil || f.killed.IsZero() && a.running > f.until {
				s.t.Errorf("attempt %v of %s, which nobody had touched, ended in %s: %s", a.key, a.worker, a.end, a.cause)
				continue
			}
		}
		late += len(a.late)
		switch {
		case a.end == schemas.EventReleased && (f.stops == 0 || a.cause != schemas.ReleaseLateClaim):
			s.t.Errorf("attempt %v of %s was released: %s", a.key, a.worker, a.cause)
		case a.end == schemas.EventLost:
			lostBy[a.worker]++
			if a.cause != string(schemas.LossWorkerGone) {
				s.t.Errorf("attempt %v of %s was lost: %s", a.key, a.worker, a.cause)
			}
			if f.stops == 0 {
				found = max(found, a.at.Sub(f.killed))
			}
			refused += s.lateResult(a, f)
		case len(a.late) > 0:
			s.t.Errorf("attempt %v of %s ended in %s, and left late results: %v", a.key, a.worker, a.end, a.late)
		}
	}
	for name, f := range s.fates {
		if !f.killed.IsZero() {
			kills++
			if f.stops == 0 && lostBy[name] > workerSlots {
				s.t.Errorf("%s lost %d attempts with %d slots", name, lostBy[name], workerSlots)
			}
		}
		stops += f.stops
		held = max(held, f.longest)
	}
	once := 0
	for id, j := range story.jobs {
		if !twice[id] {
			once++
			if j.Attempt != 1 {
				s.t.Errorf("job %s ran %d times, and nobody touched its worker", id, j.Attempt)
			}
		}
	}
	story.figures(fmt.Sprintf("; %d kills of workers, losses found within %s (asked: 25s), %d stops for up to %s, %d outcomes refused and kept; "+
		"%d jobs ran exactly once, %d of them for more than three leases", kills, found.Round(time.Millisecond), stops, held.Round(time.Second), refused, once, long))
	if refused != late {
		s.t.Errorf("%d late results, %d of them of stopped workers", late, refused)
	}
}

// lateResult checks a lost attempt whose worker may have come back: what it did is kept beside the outcome. It
// reports how many results were.
func (s *storm) lateResult(a *attempt, f *fate) int {
	switch {
	case len(a.late) > 0 && f.stops == 0:
		s.t.Errorf("attempt %v of %s, which was killed, left late results: %v", a.key, a.worker, a.late)
	case len(a.late) > 1 || len(a.late) == 1 && a.late[0] != schemas.EventCompleted:
		s.t.Errorf("attempt %v of %s left late results: %v", a.key, a.worker, a.late)
	case len(a.late) == 0 && len(a.effects) == 1 && f.killed.IsZero():
		s.t.Errorf("attempt %v of %s was done while its worker was stopped, and no late result tells", a.key, a.worker)
	}
	return len(a.late)
}
