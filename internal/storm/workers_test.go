//go:build unix

package storm_test

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

const (
	workerCount = 8
	workerSlots = 4
	// stoppedMax is how many workers are stopped, or cut off, at a time: the others go on.
	stoppedMax = 2
	// longType is served by a worker that nobody touches; its jobs last longer than three leases.
	longType = "long"
)

// TestWorkersKilledAndStopped kills workers at random with kill -9, and stops others for longer than their
// lease, while the rest works: a killed worker loses exactly the attempts that it held, each found within lease
// + 5 s; a stopped one's outcomes are refused when it goes on, and kept as late results; every other job ran
// exactly once (R-22, R-23, R-908, R-910, C1, C9).
func TestWorkersKilledAndStopped(t *testing.T) {
	begin(t)
	s := newStorm(t, false)
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
	jobs := jobCount(200, 20000)
	load := startLoad(t, s.o, s.url, typeName, jobs, size(50, backlogUsual))
	s.rage(jobs, size(2, 60))
	s.o.awaitAll(long)
	s.judge(s.finish(load, slices.Concat(s.idle, calm)), fmt.Sprintf(", %d of them for more than three leases", len(long)))
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
	s.continueAll()
}

// kill ends a worker as a crash does, and starts another one.
func (s *storm) kill() {
	p := s.pick()
	s.fates[p.name].killed = time.Now()
	p.kill()
	s.hire()
}

// stop stops a worker as a machine does that is suspended.
func (s *storm) stop() {
	p := s.pick()
	p.signal(syscall.SIGSTOP)
	s.silence(p, func() { p.signal(syscall.SIGCONT) })
}
