package dispatcher

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dartwing/jobledger/schemas"
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
			w.core, w.auto = newTwins(), false // as after a purge of all that is older
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

// TestRemovedParent: a job whose parent's history was removed, since its time was over, runs, whatever the edge says; one
// leader after another finds nothing of the parent but that.
func TestRemovedParent(t *testing.T) {
	for _, policy := range []string{schemas.ParentFail, schemas.ParentCancel, schemas.ParentRun} {
		t.Run(policy, func(t *testing.T) {
			w := newWorld()
			p := &player{w}
			p.run([]string{"submit", "o/a", "delay=1h"})
			p.run([]string{"submit", "o/b", "after=a:" + policy})
			w.core, w.auto = newTwins(), false // as after a purge of all that is older
			w.fed = len(w.log)
			w.removed = map[schemas.JobID]bool{"a": true}
			p.run([]string{"carry", "o/b"})
			p.run([]string{"lead"})
			p.run([]string{"beat", "w1"})
			p.run([]string{"feed"})
			got := p.run([]string{"dispatch"}) + p.run([]string{"dispatch"})
			if !strings.Contains(got, "queue o/b: queued") {
				t.Errorf("decided:\n%s", got)
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

// TestBytesPerEdge: what a job costs that waits for parents, of which it may have a hundred.
func TestBytesPerEdge(t *testing.T) {
	const n = 20_000
	for _, tc := range []struct {
		name            string
		parents, shared int // of each child; of them the same for all
		most            float64
	}{{"a parent of its own", 1, 0, 700}, {"one parent for all", 1, 1, 450}, {"ten of its own", 10, 0, 4000}} {
		c := NewCore(DefaultTimes())
		before := heapBytes()
		for i := range schemas.Seq(n) {
			d := &schemas.Submitted{Type: "t", Queue: "q", Priority: schemas.PriorityNormal, Generation: 1}
			for p := range tc.parents {
				id := "shared"
				if p >= tc.shared {
					id = fmt.Sprintf("0193f0c2-7c00-7abc-%04d-%012d", p, i)
				}
				d.Parents = append(d.Parents, schemas.ParentRef{ID: schemas.JobID(id), Generation: 1})
			}
			c.Apply(&schemas.Event{Seq: i + 1, Subject: schemas.JobSubject("o", "j"), Data: d})
		}
		each := float64(heapBytes()-before) / n
		t.Logf("%s: %.0f bytes a job that waits", tc.name, each)
		if each > tc.most {
			t.Errorf("%s: %.0f bytes a job that waits, want at most %.0f", tc.name, each, tc.most)
		}
		if s := c.Stats(); s.Parked != n {
			t.Errorf("%d jobs wait", s.Parked)
		}
	}
}
