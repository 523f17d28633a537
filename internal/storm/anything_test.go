//go:build unix

package storm_test

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// TestAnythingKilled kills and stops the NATS server, the servers and the workers in turn and then at random, at
// most one of them at a time, while publishers go on: no acknowledged job is lost or poisoned, no attempt starts
// twice, and only killed workers lose what they hold.
func TestAnythingKilled(t *testing.T) {
	begin(t)
	s := newStorm(t, false)
	for range 4 {
		s.hire()
	}
	jobs := jobCount(200, 6000)
	load := startLoad(t, s.o, s.url, typeName, jobs, size(50, backlogUsual))
	n := size(3, 24)
	pause := size(2, 25) // the first time longer than a lease
	deeds := []struct {
		name string
		do   func()
	}{
		{"NATS killed", s.killNATS},
		{"NATS stopped", func() { s.stopNATS(pause); pause = 3 }},
		{"server killed", s.killServer},
		{"worker killed", s.kill},
	}
	took := make(map[string]time.Duration) // the longest, by deed
	for i := range n {
		s.o.awaitFinished(jobs * (i + 1) / (n + 4))
		deed := deeds[i%len(deeds)]
		if i >= 2*len(deeds) {
			deed = deeds[s.rnd.IntN(len(deeds))]
		}
		begun := time.Now()
		deed.do()
		started := s.o.begun()
		s.o.await("starts after "+deed.name, func() bool { return s.o.running >= started+2*workerSlots })
		took[deed.name] = max(took[deed.name], time.Since(begun))
	}
	story := s.finish(load, s.idle)
	for _, a := range story.inOrder(schemas.EventLost) {
		if s.fates[a.worker].killed.IsZero() {
			t.Errorf("attempt %v of %s, which nobody killed, was lost: %s", a.key, a.worker, a.cause)
		}
	}
	var times []string
	for _, deed := range deeds {
		if d, ok := took[deed.name]; ok {
			times = append(times, fmt.Sprintf("%s %s", deed.name, d.Round(time.Millisecond)))
		}
	}
	story.figures(fmt.Sprintf("; %d times something was killed or stopped, the longest each until jobs started again: %s", n, strings.Join(times, ", ")))
}

// killNATS ends the NATS server as a crash does, and starts it again on its data.
func (s *storm) killNATS() {
	s.nats.kill(0)
	s.nats.restart(0)
}

// stopNATS stops the NATS server for so many seconds: nobody hears anybody.
func (s *storm) stopNATS(seconds int) {
	p := s.nats.nodes[0]
	p.signal(syscall.SIGSTOP)
	during(s.t, time.Duration(seconds)*time.Second)
	p.signal(syscall.SIGCONT)
}

// killServer ends a server as a crash does, the leader or the other one, and starts another.
func (s *storm) killServer() {
	i := s.rnd.IntN(len(s.servers))
	name := s.servers[i].name
	s.servers[i].kill()
	s.servers = slices.Delete(s.servers, i, i+1)
	s.serve(name + "+")
}
