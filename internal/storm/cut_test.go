//go:build unix

package storm_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	// upsetMax is the longest of the troubles that must cost nothing: far below a lease.
	upsetMax = 3 * time.Second
	// delayMax is the longest delay of what passes, each way.
	delayMax = 300 * time.Millisecond
	// upsetAtOnce is how many processes have trouble at a time.
	upsetAtOnce = 3
	cutWorkers  = 4
)

// TestCutOff has two servers and four workers, each behind a proxy of its own that cuts their connections, holds
// them and makes them slow for seconds, at random: that costs nothing, every job runs exactly once. Then workers
// are cut off for longer than a lease, and the leader too: what a worker was given is lost and its outcomes are
// refused and kept; another server leads, and what the old leader had sent changes nothing when it arrives
// (R-22, R-910, DESIGN D1, D6, D9).
func TestCutOff(t *testing.T) {
	begin(t)
	s := newStorm(t, true)
	for range cutWorkers {
		s.hire()
	}
	jobs := jobCount(200, 6000)
	load := startLoad(t, s.o, s.url, typeName, jobs, size(50, backlogUsual))
	n := size(6, 45)
	var leaders []string
	for i := range n {
		s.o.awaitFinished(jobs * (i + 1) / (n + 4))
		s.continueSome()
		s.calmOne()
		switch {
		case i%15 == 5:
			leaders = append(leaders, s.cutLeader())
		case *full && i%6 == 1 && len(s.stopped) < stoppedMax: // takes a lease's time
			p := s.pick()
			proxy := s.proxies[p.name]
			proxy.hold()
			s.silence(p, proxy.open)
		default:
			s.upset()
		}
	}
	s.calm()
	s.continueAll()
	story := s.finish(load, s.idle)
	s.judge(story, fmt.Sprintf("; %d short troubles, leader cut off %d times (%s)", s.upsets, len(leaders), strings.Join(leaders, "; ")))
}

// upset makes trouble for a process that has none, for a while: its connections are cut, held or slow.
func (s *storm) upset() {
	var names []string
	for _, p := range slices.Concat(s.idle, s.servers) {
		if _, ok := s.troubles[p.name]; !ok {
			names = append(names, p.name)
		}
	}
	name := names[s.rnd.IntN(len(names))]
	if f := s.fates[name]; f != nil {
		f.upset = true
	}
	s.upsets++
	trouble, end := pickTrouble(s.rnd, s.proxies[name])
	lasting := upsetMax/10 + time.Duration(s.rnd.Int64N(int64(upsetMax-upsetMax/10)))
	trouble()
	over := make(chan struct{})
	s.troubles[name] = over
	time.AfterFunc(lasting, func() { end(); close(over) })
}

func pickTrouble(rnd *rand.Rand, p *proxy) (begin, end func()) {
	switch rnd.IntN(3) {
	case 0:
		return p.cut, p.mend
	case 1:
		return p.hold, p.open
	}
	delay := time.Duration(rnd.Int64N(int64(delayMax)))
	return func() { p.slow(delay) }, func() { p.slow(0) }
}

// calmOne forgets the troubles that are over, and waits for one where too many are not.
func (s *storm) calmOne() {
	for name, over := range s.troubles {
		select {
		case <-over:
			delete(s.troubles, name)
		default:
		}
	}
	for name, over := range s.troubles {
		if len(s.troubles) < upsetAtOnce {
			return
		}
		<-over
		delete(s.troubles, name)
	}
}

// calm waits for the end of all troubles.
func (s *storm) calm() {
	for name, over := range s.troubles {
		<-over
		delete(s.troubles, name)
	}
}

// cutLeader holds what the leader says and hears until another one leads, and longer; then all of it arrives.
func (s *storm) cutLeader() string {
	s.calm()
	p := s.leader()
	before, since := s.latestEpoch(), time.Now()
	s.proxies[p.name].hold()
	f := s.awaitFailover(before, since)
	during(s.t, time.Duration(size(2, 30))*time.Second-time.Since(since))
	s.proxies[p.name].open()
	return f.String()
}
