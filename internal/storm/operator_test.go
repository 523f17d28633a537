//go:build unix

package storm_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// TestCancelFromAnotherProcess cancels a running job with the command line, which is neither the worker's process
// nor the server's: its command is ended, with everything that it started, and the job is canceled (R-35, R-106,
// C17). The times are printed.
func TestCancelFromAnotherProcess(t *testing.T) {
	begin(t)
	h := newHome(t)
	dev, ready := h.server("dev", "dev", "--port", fmt.Sprint(freePorts(t, 1)[0]), "--store", filepath.Join(h.dir, "store"))
	o := observe(t, ready.NATSURL)
	w := h.worker("w1", ready.NATSURL, typeName, 1, "sleep 600 & sleep 600; wait")
	id := schemas.JobID(strings.TrimSpace(h.must("job", "submit", typeName, "--server", ready.NATSURL)))
	o.await("its command to run", func() bool { return len(lines(t, h.starts)) == 1 })
	began := time.Now()
	h.must("job", "cancel", string(id), "--reason", "changed my mind", "--server", ready.NATSURL)
	acked := time.Since(began)
	o.awaitAll([]schemas.JobID{id})
	j := o.jobs[id]
	t.Logf("the command that cancels took %s, the job was canceled %s after it began (asked: 2s)", acked.Round(time.Millisecond), j.FinishedAt.Sub(began).Round(time.Millisecond))
	if j.State != schemas.StateCanceled || j.CancelForced || j.CancelReason != "changed my mind" || j.Attempt != 1 {
		t.Errorf("the job is %s, forced %t, reason %q, after %d attempts", j.State, j.CancelForced, j.CancelReason, j.Attempt)
	}
	drain(w) // ends at once only if nothing runs any more
	drain(dev)
	if done := lines(t, h.effects); len(done) != 0 {
		t.Errorf("its command went on to its end: %q", done)
	}
}

func lines(t *testing.T, name string) []string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(strings.ReplaceAll(strings.TrimSpace(string(text)), " ", "/"))
}

// TestDeploys replaces every worker and every server of a cell under load, one after the other, as a rolling deploy
// does: with SIGTERM and a grace that some jobs outlast. All processes end within it and report no error, nothing is
// lost, and no attempt is consumed, however often a job was handed back (R-25, R-110, C41).
func TestDeploys(t *testing.T) {
	begin(t)
	c := newCell(t, 1, false)
	const grace = 500 * time.Millisecond
	hire := func(name string) *process {
		p := c.workerWith(name, c.url, typeName, workerSlots, "sleep 1", "--grace", grace.String())
		p.await("that it has started", func() bool { return len(p.said) > 0 }) // from here it heeds SIGTERM
		return p
	}
	var workers []*process
	for i := range cutWorkers {
		workers = append(workers, hire(fmt.Sprintf("w%d", i+1)))
	}
	jobs := jobCount(150, 4000)
	load := startLoad(t, c.o, c.url, typeName, jobs, size(50, backlogUsual))
	replace := func(old *process) (took time.Duration) {
		began := time.Now()
		drain(old)
		return time.Since(began)
	}
	longest := time.Duration(0)
	rounds := size(1, 5)
	for round := range rounds {
		for i, old := range workers {
			c.o.awaitFinished(jobs * (round*len(workers) + i) / (rounds*len(workers) + 4))
			workers[i] = hire(fmt.Sprintf("w%d.%d", i+1, round+1))
			longest = max(longest, replace(old))
		}
		for i, old := range c.servers {
			c.serve(fmt.Sprintf("s%d.%d", i+1, round+1))
			longest = max(longest, replace(old))
		}
		c.servers = c.servers[len(c.servers)/2:]
	}
	s := c.finish(load, workers)
	consumed, _ := s.handedBack()
	s.figures(fmt.Sprintf("; attempts consumed %d; %d workers and %d servers replaced, each within %s of SIGTERM, with a grace of %s", consumed, rounds*len(workers), 2*rounds, longest.Round(time.Millisecond), grace))
}
