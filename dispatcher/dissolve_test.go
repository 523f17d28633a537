package dispatcher

import (
	"fmt"
	"testing"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// a deleted org's jobs end at a pace, whether they wait in lanes or for a time, with few in flight at once; other
// orgs' jobs start meanwhile, and what is looked through at one decision is bounded.
func TestDissolvePace(t *testing.T) {
	w := newWorld()
	p := &player{w}
	p.run([]string{"lead"})
	p.run([]string{"beat", "w", "slots=4"})
	const waiting, timed, others = 600, 300, 15_000
	for i := range waiting {
		mustSubmit(t, w, fmt.Sprint("gone/", i), schemas.Submitted{Type: schemas.TypeName(fmt.Sprint("t", i%3))})
	}
	for i := range others {
		mustSubmit(t, w, fmt.Sprint("stays/", i), schemas.Submitted{DelayMS: schemas.MillisOf(time.Hour + time.Duration(i%977)*time.Second)})
	}
	for i := range timed {
		mustSubmit(t, w, fmt.Sprint("gone/t", i), schemas.Submitted{DelayMS: schemas.MillisOf(time.Duration(1+i) * time.Hour)})
	}
	mustSubmit(t, w, "stays/now", schemas.Submitted{})
	p.run([]string{"set", "org", "gone", "state=deleted"})
	ended, queued := 0, 0
	start := w.now
	for round := range 10_000 {
		for _, d := range w.decide(128) {
			switch d.Kind {
			case DecideDissolve:
				ended++
			case DecideQueue:
				queued++
			}
		}
		if scan := w.core.dissolution.scan; round == 0 && scan > fireMax {
			t.Errorf("one decision looked at %d timers", scan)
		}
		if n := w.core.dissolution.flying; n > dissolvingMax {
			t.Fatalf("%d decisions are in flight", n)
		}
		if most := DissolveRate*int(w.now.Sub(start)/time.Millisecond)/1000 + dissolvingMax; ended > most {
			t.Fatalf("%d jobs were ended within %s", ended, w.now.Sub(start))
		}
		for len(w.air) > 0 {
			w.settle(w.air[0])
		}
		if ended == waiting+timed {
			break
		}
		p.run([]string{"pass", "10ms"})
	}
	took := w.now.Sub(start)
	if ended != waiting+timed || took > 2*time.Second {
		t.Errorf("%d of %d jobs were ended within %s", ended, waiting+timed, took)
	}
	if queued != 1 {
		t.Errorf("%d jobs of the other org were queued meanwhile", queued)
	}
	w.decide(128)
	if s := w.core.Stats(); s.Timers != others || s.Waiting != 0 || len(w.core.dissolution.orgs) != 0 {
		t.Errorf("left: %+v", s)
	}
	for key, j := range w.jobs {
		if orgOf(key) == "gone" && j.DeadReason != schemas.DeadOrgDeleted {
			t.Errorf("%s is %s %s", key, j.State, j.DeadReason)
		}
	}
}

// a deleted org with a lane for each job is gone through lane by lane: its lanes are not walked anew for each job.
func TestDissolveLanes(t *testing.T) {
	w := newWorld()
	p := &player{w}
	p.run([]string{"lead"})
	const waiting, timed = 600, 200
	for i := range waiting + timed {
		s := schemas.Submitted{Resource: fmt.Sprint("r", i)}
		if i >= waiting {
			s.DelayMS = schemas.MillisOf(time.Hour)
		}
		mustSubmit(t, w, fmt.Sprint("gone/", i), s)
	}
	p.run([]string{"set", "org", "gone", "state=deleted"})
	var last schemas.Seq
	ended := 0
	for range 10_000 {
		for _, d := range w.decide(128) {
			if d.Kind != DecideDissolve {
				t.Fatalf("decided: %+v", d)
			}
			if ended++; d.ID <= last {
				t.Errorf("job %d was ended after job %d", d.ID, last)
			}
			last = d.ID
		}
		for len(w.air) > 0 {
			w.settle(w.air[0])
		}
		if ended == waiting+timed {
			break
		}
		p.run([]string{"pass", "10ms"})
	}
	w.decide(128)
	c := w.core
	if ended != waiting+timed || len(c.dissolution.orgs) != 0 || len(c.pairs) != 0 {
		t.Errorf("%d of %d jobs were ended, left: %+v", ended, waiting+timed, c.Stats())
	}
	if n := c.dissolution.walked; n > 2*(waiting+timed) {
		t.Errorf("%d looks at %d lanes", n, waiting+timed)
	}
}

func mustSubmit(t *testing.T, w *world, key string, s schemas.Submitted) {
	t.Helper()
	if err := w.submit(key, s); err != nil {
		t.Fatal(err)
	}
}

// Elements taken out of the middle leave a heap.
func TestHeapRemove(t *testing.T) {
	h := heap[int]{less: func(a, b int) bool { return a < b }}
	for i := range 200 {
		h.push(i * 7919 % 211)
	}
	for i := 0; h.len() > 100; i = (i*31 + 17) % h.len() {
		h.remove(i)
	}
	for last := -1; h.len() > 0; {
		v := h.pop()
		if v < last {
			t.Fatalf("%d comes after %d", v, last)
		}
		last = v
	}
}
