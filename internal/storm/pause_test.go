//go:build unix

package storm_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// pauses lays holds on a type and lifts them, from the test's own process: the servers' own door may be frozen.
type pauses struct {
	*cell
	l    *ledger.Ledger
	made []pauseMade
}

// pauseMade is one hold: the events that laid and lifted it, and the ledger's end in between, when it had acted long since.
type pauseMade struct {
	frozen       bool // the leader was
	on, calm, up schemas.Seq
}

func (p *pauses) set(on bool) schemas.Seq {
	p.t.Helper()
	set := &schemas.HoldSet{Settings: schemas.HoldSettings{Scope: schemas.HoldScope{Type: typeName}, On: on}, Reason: "a test"}
	e, err := p.l.Put(p.t.Context(), ledger.Meta{Actor: schemas.Actor{Type: "user", ID: "ada"}}, set.Place(),
		func(schemas.Setting) (schemas.Setting, error) { return set, nil })
	if err != nil || e == nil {
		p.t.Fatalf("hold %t: %v, %v", on, e, err)
	}
	return e.Seq
}

// awaitNoOffers returns when WORK holds no offer, delivered or not.
func (p *pauses) awaitNoOffers() {
	p.t.Helper()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for limit := time.After(patience); ; {
		s, err := p.l.JetStream().Stream(p.t.Context(), ledger.StreamWork)
		if err == nil && s.CachedInfo().State.Msgs == 0 {
			return
		}
		select {
		case <-poll.C:
		case <-limit:
			p.t.Fatalf("WORK still holds offers: %v", err)
		}
	}
}

// TestPauseBeforeStart freezes a worker, lets the leader offer it jobs, and freezes the leader too; then their type is
// paused, and the worker goes on with the offers in its hand: it starts none of them and uses up no attempt. When the
// pause is lifted each of them runs, once, as its first attempt (R-18, R-229, DESIGN D7).
//
// At full size a type is paused again and again under load, with the leader at work and frozen, and it is told how long
// jobs went on to start.
func TestPauseBeforeStart(t *testing.T) {
	begin(t)
	c := newCell(t, 1, false)
	p := &pauses{cell: c, l: openLedger(t, c.url)}
	const slots = 16
	w := c.worker("w1", c.url, typeName, slots, "true")
	warm := startLoad(t, c.o, c.url, typeName, slots, 0).enough()
	c.o.awaitAll(warm)
	w.signal(syscall.SIGSTOP)
	during(t, 1500*time.Millisecond) // what it knows of holds is older than a second when it goes on
	load := startLoadFrom(t, c.o, c.url, typeName, len(warm), slots, 0)
	acked := load.enough()
	c.o.await("that all are queued", func() bool {
		for _, id := range acked {
			if j := c.o.jobs[id]; j == nil || j.State != schemas.StateQueued {
				return false
			}
		}
		return true
	})
	leader := c.leader()
	leader.signal(syscall.SIGSTOP)
	p.set(true)
	begun := c.o.begun()
	w.signal(syscall.SIGCONT)
	p.awaitNoOffers() // it has answered them all; or another leader has removed them meanwhile
	c.o.awaitEnd(p.l)
	if n := c.o.begun() - begun; n > 0 {
		t.Errorf("%d jobs started under the hold", n)
	}
	leader.signal(syscall.SIGCONT)
	p.set(false)
	c.o.awaitAll(acked)
	workers := []*process{w}
	more := startLoadFrom(t, c.o, c.url, typeName, len(warm)+len(acked), 0, 0)
	if *full {
		more = startLoadFrom(t, c.o, c.url, typeName, len(warm)+len(acked), jobCount(0, 3000), backlogUsual)
		for i := range 8 {
			workers = append(workers, c.worker(fmt.Sprintf("v%d", i+1), c.url, typeName, 4, "sleep 0.1"))
		}
		p.measure()
	}
	told := p.told()
	s := c.finish(more, workers)
	for id, j := range s.jobs {
		if j.State != schemas.StateCompleted || j.Attempt != 1 {
			t.Errorf("job %s is %s after %d attempts", id, j.State, j.Attempt)
		}
	}
	s.figures("; " + told)
}

// measure pauses the type under load, every third time with a frozen leader.
func (p *pauses) measure() {
	p.t.Helper()
	for i := range 12 {
		p.o.awaitFinished(p.o.count() + 100)
		m := pauseMade{frozen: i%3 == 2}
		var leader *process
		if m.frozen {
			leader = p.leader()
			leader.signal(syscall.SIGSTOP)
		}
		m.on = p.set(true)
		during(p.t, 5*time.Second)
		m.calm = p.o.awaitEnd(p.l)
		during(p.t, time.Second)
		if m.frozen {
			leader.signal(syscall.SIGCONT)
		}
		m.up = p.set(false)
		p.made = append(p.made, m)
	}
}

// told says what came of the pauses under load.
func (p *pauses) told() string {
	p.t.Helper()
	if len(p.made) == 0 {
		return "no pause under load"
	}
	var parts []string
	late := make([]int, len(p.made))
	last := make([]time.Duration, len(p.made))
	at := make([]time.Time, len(p.made))
	for i, m := range p.made {
		e, err := p.l.EventAt(p.t.Context(), m.on)
		if err != nil {
			p.t.Fatal(err)
		}
		at[i] = e.Time
	}
	err := p.l.Replay(p.t.Context(), ledger.ReplayQuery{Org: acme}, func(e *ledger.Entry) error {
		if _, ok := e.Data.(*schemas.Running); !ok {
			return nil
		}
		for i, m := range p.made {
			if e.Seq > m.on && e.Seq < m.up {
				late[i]++
				last[i] = max(last[i], e.Time.Sub(at[i]))
			}
			if e.Seq > m.calm && e.Seq < m.up {
				p.t.Errorf("job %s started under a hold that had been laid long since, %s after it", e.Job, e.Time.Sub(at[i]))
			}
		}
		return nil
	})
	if err != nil {
		p.t.Fatal(err)
	}
	for i, m := range p.made {
		parts = append(parts, fmt.Sprintf("%d until %s%s", late[i], last[i].Round(time.Millisecond), map[bool]string{true: " (leader frozen)"}[m.frozen]))
	}
	return "starts behind a pause: " + strings.Join(parts, ", ")
}
