package dispatcher

import (
	"fmt"
	"testing"
)

// TestCarriedChildWaits: a fold that begins with the carried event of a job which waited for its parents has it wait
// for them, and looks them up; one whose parents were waived starts (R-230, DESIGN D13).
func TestCarriedChildWaits(t *testing.T) {
	for _, waived := range []bool{false, true} {
		t.Run(fmt.Sprint("waived=", waived), func(t *testing.T) {
			w := newWorld()
			p := &player{w}
			p.run([]string{"submit", "o/a", "delay=1h"})
			p.run([]string{"submit", "o/b", "after=a"})
			if waived {
				p.run([]string{"cancel", "o/b"})
				p.run([]string{"retry", "o/b", "waive="})
			}
			w.core, w.auto = NewCore(DefaultTimes()), false // as after a purge of all that is older
			w.fed = len(w.log)
			p.run([]string{"carry", "o/b"})
			p.run([]string{"lead"})
			p.run([]string{"beat", "w1"})
			p.run([]string{"feed"})
			want := "look up o/a: submitted\n"
			if waived {
				want = "queue o/b: queued offer 1\n"
			}
			if got := p.run([]string{"dispatch"}); got != want {
				t.Errorf("decided:\n%swant:\n%s", got, want)
			}
		})
	}
}

// TestFamiliesAreForgotten: nothing is kept of parents and children that are done with, in whatever order a
// thousand of them come and go (memory is bounded by the edges of jobs that wait).
func TestFamiliesAreForgotten(t *testing.T) {
	w := newWorld()
	p := &player{w}
	p.run([]string{"lead"})
	for i := range 1000 {
		p.run([]string{"submit", fmt.Sprint("o/p", i%10), "delay=1h"})
		p.run([]string{"submit", fmt.Sprint("o/c", i), fmt.Sprintf("after=p%d,p%d,p%d", i%10, (i+3)%10, (i+7)%10)})
	}
	edges := 0
	for _, x := range w.core.family.parents {
		edges += len(x.edges)
	}
	if edges != 3000 {
		t.Errorf("%d edges, want 3000", edges)
	}
	for i := range 1000 {
		p.run([]string{"cancel", fmt.Sprint("o/c", (i*7)%1000)})
		edges = 0
		for _, x := range w.core.family.parents {
			edges += len(x.edges)
		}
		if most := 2 * 3 * len(w.core.family.children); edges > most {
			t.Fatalf("%d edges are kept for %d jobs", edges, len(w.core.family.children))
		}
	}
	if f := &w.core.family; len(f.children)+len(f.parents) != 0 {
		t.Errorf("kept: %d children, %d parents", len(f.children), len(f.parents))
	}
}
