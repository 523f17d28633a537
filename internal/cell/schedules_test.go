package cell_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// firing is what the ledger says of a schedule's jobs.
type firing struct {
	made map[time.Time]int           // submitted events by tick
	late map[time.Time]time.Duration // from the tick to its submitted, by the ledger's clock
	ends map[time.Time]int           // completed
}

// fired reads the test's own fold; mu is held.
func (s *system) fired(schedule string) firing {
	f := firing{made: map[time.Time]int{}, late: map[time.Time]time.Duration{}, ends: map[time.Time]int{}}
	for _, e := range s.entries {
		if d, ok := e.Data.(*schemas.Submitted); ok && d.Schedule == schedule && d.Tick != nil {
			f.made[*d.Tick]++
			f.late[*d.Tick] = e.Time.Sub(*d.Tick)
		}
	}
	for _, j := range s.jobs {
		if j.Spec.Schedule == schedule && j.Spec.Tick != nil && j.State == schemas.StateCompleted {
			f.ends[*j.Spec.Tick]++
		}
	}
	return f
}

// awaitTicks waits until n ticks of a schedule have a job.
func (s *system) awaitTicks(schedule string, n int) {
	s.t.Helper()
	s.await(fmt.Sprintf("%d ticks of %s", n, schedule), func() bool { return len(s.fired(schedule).made) >= n })
}

// leader is who leads by the test's fold; mu is held.
func (s *system) leader() (server string, epochs int) {
	for _, e := range s.entries {
		if d, ok := e.Data.(*schemas.LeaderElected); ok {
			server, epochs = d.Server, epochs+1
		}
	}
	return server, epochs
}

// A schedule that ticks every second while leaders are killed, one after the other, and for a while nobody leads: with
// missed all each second has one job, which starts and completes once; with missed once the ticks that nobody could
// fire make one; a finished tick is never fired again, nor does a backfill make a second job of any.
func TestSystemTicks(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	s := newSystem(t, env)
	crash := map[string]func(){"one": s.crashable("one"), "two": s.crashable("two")}
	s.worker("red", "red", 8, lasting(time.Millisecond))
	client := env.Client(acme)
	add := func(name, missed string) {
		t.Helper()
		_, err := client.AddSchedule(t.Context(), gateway.AddSchedule{Schedule: gateway.Schedule{Name: name, Type: "red", Cron: "* * * * * *",
			TZ: "Australia/Lord_Howe", Missed: missed, Overlap: "allow"}})
		if err != nil {
			t.Fatal(err)
		}
	}
	add("all", "all")
	add("once", "once")
	s.awaitTicks("all", 3)
	for i := range 2 { // the leader dies, in the middle of a second as a rule
		s.mu.Lock()
		leader, epochs := s.leader()
		s.mu.Unlock()
		crash[leader]()
		delete(crash, leader)
		s.await("another epoch", func() bool { _, n := s.leader(); return n > epochs })
		next := fmt.Sprint("next", i)
		crash[next] = s.crashable(next)
		s.awaitTicks("all", len(s.tickTimes("all"))+2)
	}
	for server := range crash { // nobody is left
		crash[server]()
		delete(crash, server)
	}
	awayFrom := time.Now()
	if err := rest(t.Context(), 5*time.Second); err != nil {
		t.Fatal(err)
	}
	crash["last"] = s.crashable("last")
	back := time.Now()
	s.await("a tick after the return", func() bool {
		for at := range s.fired("all").made {
			if at.After(back.Add(2 * time.Second)) {
				return true
			}
		}
		return false
	})
	for _, name := range []string{"all", "once"} {
		if _, err := client.PauseSchedule(t.Context(), name, "enough"); err != nil {
			t.Fatal(err)
		}
	}
	s.await("the end of every tick's job", func() bool {
		f := s.fired("all")
		return len(f.ends) == len(f.made)
	})
	s.checkTicks(awayFrom, back)
	s.backfillAll(client)
}

func (s *system) tickTimes(schedule string) []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []time.Time
	for at := range s.fired(schedule).made {
		out = append(out, at)
	}
	slices.SortFunc(out, time.Time.Compare)
	return out
}

// checkTicks counts jobs by tick in the ledger, and their starts outside of it.
func (s *system) checkTicks(awayFrom, back time.Time) {
	s.t.Helper()
	times := s.tickTimes("all")
	s.mu.Lock()
	all, once := s.fired("all"), s.fired("once")
	s.mu.Unlock()
	starts := s.startsOnFile()
	var late []time.Duration
	for at := times[0]; !at.After(times[len(times)-1]); at = at.Add(time.Second) {
		if all.made[at] != 1 || all.ends[at] != 1 {
			s.t.Errorf("tick %s: submitted %d times, %d completed", at, all.made[at], all.ends[at])
		}
		if n := len(starts[attemptKey{schemas.TickJobID("all", 1, at), 1, 1}]); n != 1 {
			s.t.Errorf("the job of tick %s was started %d times", at, n)
		}
		if once.made[at] > 1 {
			s.t.Errorf("once: tick %s was submitted %d times", at, once.made[at])
		}
		late = append(late, all.late[at])
	}
	madeUp := 0
	for at := range once.made {
		if at.After(awayFrom) && at.Before(back) {
			madeUp++
		}
	}
	if madeUp > 2 { // one for those that were missed; and one, at most, that was fired as the servers died
		s.t.Errorf("missed once made %d jobs of %s without a server", madeUp, back.Sub(awayFrom))
	}
	slices.Sort(late)
	s.t.Logf("%d ticks, one job each; from the tick to its submitted: p50 %s, of those with a leader", len(times), late[len(late)/2])
}

// backfillAll asks for every tick again.
func (s *system) backfillAll(client *gateway.Client) {
	s.t.Helper()
	times := s.tickTimes("all")
	last := times[len(times)-1]
	r := gateway.BackfillRequest{From: times[0].Add(-time.Second), To: &last}
	if got, err := client.Backfill(context.Background(), "all", r); err != nil || got.Submitted != 0 || got.Duplicate != len(times) {
		s.t.Errorf("a backfill of what was fired: %+v %v", got, err)
	}
	first, err := client.Backfill(context.Background(), "once", r)
	if err != nil || len(first.Ticks) != len(times) {
		s.t.Errorf("a backfill of what was missed: %+v %v", first, err)
	}
	if again, err := client.Backfill(context.Background(), "once", r); err != nil || again.Submitted != 0 || again.Duplicate != len(times) {
		s.t.Errorf("and again: %+v %v", again, err)
	}
	s.await("one job for each tick", func() bool {
		f := s.fired("once")
		for _, n := range f.made {
			if n != 1 {
				s.t.Errorf("a tick of once was submitted %d times", n)
			}
		}
		return len(f.made) >= len(times)
	})
}

// A hundred schedules, in full a thousand, that tick in the same second: how late they fire, by the ledger's clock, is
// printed; the aim is a second at p99.
func TestSystemTickLateness(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	env := ledgertest.Start(t)
	env.RunServer()
	s := newSystem(t, env)
	s.worker("red", "red", 8, lasting(0))
	client := env.Client(acme)
	schedules, ticks := 100, 3
	if *full {
		schedules = 1000
	}
	for i := range schedules {
		every := 5.0
		if _, err := client.AddSchedule(t.Context(), gateway.AddSchedule{Schedule: gateway.Schedule{Name: fmt.Sprint("s", i), Type: "red",
			EveryS: &every, Overlap: "allow"}}); err != nil {
			t.Fatal(err)
		}
	}
	var late []time.Duration
	s.await("ticks", func() bool {
		late = late[:0]
		for _, e := range s.entries {
			if d, ok := e.Data.(*schemas.Submitted); ok && d.Tick != nil {
				late = append(late, e.Time.Sub(*d.Tick))
			}
		}
		return len(late) >= schedules*ticks
	})
	slices.Sort(late)
	t.Logf("%d ticks, %d in one second each: p50 %s, p99 %s, worst %s; aim, 1s", len(late), schedules, late[len(late)/2], late[len(late)*99/100], late[len(late)-1])
}
