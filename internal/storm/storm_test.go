//go:build unix

package storm_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// storm damages the workers of a cell, and knows what it did to whom.
type storm struct {
	*cell
	l       *ledger.Ledger
	rnd     *rand.Rand
	work    string
	hired   int
	idle    []*process // workers that run
	stopped []*process // workers that the leader does not hear
	fates   map[string]*fate

	upsets   int
	troubles map[string]chan struct{} // by process: closed when its trouble is over
}

// fate is what was done to a worker.
type fate struct {
	killed  time.Time // zero if it was not
	stops   int       // times that it was silent until the leader gave up what it held
	since   time.Time // of the latest stop
	longest time.Duration
	resume  func()
	until   schemas.Seq // the ledger's end when it last went on: what it claimed later it keeps
	upset   bool        // its connections were cut, held or slow, for less than a lease
}

func newStorm(t *testing.T, proxies bool) *storm {
	t.Helper()
	s := &storm{cell: newCell(t, 1, proxies), rnd: random(t), fates: make(map[string]*fate), troubles: make(map[string]chan struct{}), work: fmt.Sprintf("sleep %.1f", float64(size(10, 1))/10)}
	s.l = openLedger(t, s.url)
	return s
}

// hire starts a worker under a new name.
func (s *storm) hire() {
	s.hired++
	name := fmt.Sprintf("w%d", s.hired)
	s.fates[name] = &fate{}
	s.idle = append(s.idle, s.worker(name, s.way(name), typeName, workerSlots, s.work))
}

// pick takes a random worker out of those that run and hold something.
func (s *storm) pick() *process {
	var busy []*process
	s.o.await("a worker that holds something", func() bool {
		busy = slices.DeleteFunc(slices.Clone(s.idle), func(p *process) bool {
			return len(s.o.heldBy(p.name)) == 0 || s.troubles[p.name] != nil
		})
		return len(busy) > 0
	})
	p := busy[s.rnd.IntN(len(busy))]
	s.idle = slices.DeleteFunc(s.idle, func(w *process) bool { return w == p })
	return p
}

// silence notes that the leader does not hear a worker from now on; resume is called when that has cost the worker
// all that it holds.
func (s *storm) silence(p *process, resume func()) {
	f := s.fates[p.name]
	f.stops++
	f.since, f.resume = time.Now(), resume
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
		f.resume()
		s.idle = append(s.idle, p)
		return true
	})
}

// continueAll does so until none is silent.
func (s *storm) continueAll() {
	for len(s.stopped) > 0 {
		s.o.await("the losses of a stopped worker", func() bool {
			return slices.ContainsFunc(s.stopped, func(p *process) bool { return len(s.o.heldBy(p.name)) == 0 })
		})
		s.continueSome()
	}
}

// verdict is what judge counts.
type verdict struct {
	kills, stops, upset int
	found, held         time.Duration
	lost                map[schemas.JobID]bool
	lostBy              map[string]int // worker
	starts              map[schemas.JobID]int
	late                int
}

// judge compares what was lost with what was done to whom, and prints it; more is printed behind it.
func (s *storm) judge(story *story, more string) {
	v := verdict{lost: make(map[schemas.JobID]bool), lostBy: make(map[string]int), starts: make(map[schemas.JobID]int)}
	for _, a := range story.attempts {
		v.starts[a.key.job] += len(a.starts)
		v.late += len(a.late)
		switch f := s.fates[a.worker]; a.end {
		case schemas.EventLost:
			v.lost[a.key.job] = true
			v.lostBy[a.worker]++
			s.judgeLoss(&v, a, f)
		case schemas.EventReleased:
			if f == nil || a.cause != schemas.ReleaseLateClaim || f.stops == 0 && !f.upset {
				s.t.Errorf("attempt %v of %s was released: %s", a.key, a.worker, a.cause)
			}
			fallthrough
		default:
			if len(a.late) > 0 {
				s.t.Errorf("attempt %v of %s ended in %s, and left late results: %v", a.key, a.worker, a.end, a.late)
			}
		}
	}
	for name, f := range s.fates {
		if !f.killed.IsZero() {
			v.kills++
			if f.stops == 0 && v.lostBy[name] > workerSlots {
				s.t.Errorf("%s lost %d attempts with %d slots", name, v.lostBy[name], workerSlots)
			}
		}
		if f.upset {
			v.upset++
		}
		v.stops += f.stops
		v.held = max(v.held, f.longest)
	}
	once := 0
	for id := range story.jobs {
		switch {
		case v.lost[id]:
		case v.starts[id] == 1:
			once++
		default:
			s.t.Errorf("job %s ran %d times, and nobody touched its worker", id, v.starts[id])
		}
	}
	story.figures(fmt.Sprintf("; %d kills of workers, losses found within %s (asked: 25s), %d were silent for up to %s, their outcomes refused and kept: %d; "+
		"%d jobs ran exactly once%s", v.kills, v.found.Round(time.Millisecond), v.stops, v.held.Round(time.Second), v.late, once, more))
}

// judgeLoss checks one attempt that the leader gave up: its worker had been killed or silent, and what it did all
// the same is kept beside the outcome.
func (s *storm) judgeLoss(v *verdict, a *attempt, f *fate) {
	switch {
	case f == nil || f.killed.IsZero() && a.running > f.until:
		s.t.Errorf("attempt %v of %s, which nobody had touched, was lost: %s", a.key, a.worker, a.cause)
		return
	case a.cause != string(schemas.LossWorkerGone):
		s.t.Errorf("attempt %v of %s was lost: %s", a.key, a.worker, a.cause)
	case len(a.late) > 0 && f.stops == 0:
		s.t.Errorf("attempt %v of %s, which was killed, left late results: %v", a.key, a.worker, a.late)
	case len(a.late) > 1 || len(a.late) == 1 && a.late[0] != schemas.EventCompleted:
		s.t.Errorf("attempt %v of %s left late results: %v", a.key, a.worker, a.late)
	case len(a.late) == 0 && len(a.effects) == 1 && f.killed.IsZero():
		s.t.Errorf("attempt %v of %s was done while its worker was silent, and no late result tells", a.key, a.worker)
	}
	if f.stops == 0 {
		v.found = max(v.found, a.at.Sub(f.killed))
	}
}
