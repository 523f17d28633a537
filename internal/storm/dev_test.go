//go:build unix

package storm_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// TestDevKilled kills the development cell with kill -9 in mid-batch, again and again, every other time with
// its workers: no acknowledged job is lost, none is poisoned, no attempt starts twice; workers that lived on
// lose nothing.
func TestDevKilled(t *testing.T) {
	begin(t)
	jobs, kills := jobCount(150, 5000), size(2, 5)
	h := newHome(t)
	port, store := fmt.Sprint(freePorts(t, 1)[0]), filepath.Join(h.dir, "store")
	start := func() (*process, string) {
		p, ready := h.server("dev", "dev", "--port", port, "--store", store)
		return p, ready.NATSURL
	}
	work := fmt.Sprintf("sleep %.2f", float64(size(10, 3))/100)
	var workers []*process
	hire := func(round int, url string) {
		for i := range 2 {
			workers = append(workers, h.worker(fmt.Sprintf("w%d.%d", i+1, round), url, "storm", 4, work))
		}
	}
	dev, url := start()
	o := observe(t, url)
	views := watchViews(t, url)

	// Half of the batch is acknowledged before anything can run, half while the cell goes up and down.
	acked := parseIDs(h.must("job", "submit", "storm", "--count", fmt.Sprint(jobs/2), "--server", url))
	if len(acked) != jobs/2 {
		t.Fatalf("%d ids for %d jobs", len(acked), jobs/2)
	}
	dev.kill()
	dev, _ = start()
	load := startLoad(t, o, url, "storm", jobs-jobs/2, 0)
	hire(0, url)
	var down []string
	for round := 1; round <= kills; round++ {
		o.awaitFinished(jobs * round / (kills + 2))
		killed := time.Now()
		dev.kill()
		both := *full && round%2 == 0
		if both { // what they held is lost when a lease has passed
			for _, w := range workers {
				w.kill()
			}
			workers = nil
		}
		dev, _ = start()
		if both {
			hire(round, url)
		}
		o.awaitFinished(min(o.count()+1, jobs))
		down = append(down, time.Since(killed).Round(time.Millisecond).String())
	}
	acked = append(acked, load.enough()...)
	o.awaitAll(acked)
	s := judge(t, h, url, acked)
	for _, a := range s.inOrder(schemas.EventLost) {
		if a.cause != string(schemas.LossCellRestart) {
			t.Errorf("attempt %v of %s was lost: %s", a.key, a.worker, a.cause)
		}
		if last := workers[len(workers)-1].name; strings.HasSuffix(a.worker, last[strings.Index(last, "."):]) {
			t.Errorf("attempt %v was lost although %s was never killed", a.key, a.worker)
		}
	}
	views.end()
	s.figures(fmt.Sprintf("; %d kills of dev, from each to the next end of a job: %s", kills+1, strings.Join(down, " ")))
	drain(workers...)
	drain(dev)
}

// parseIDs reads what `job submit --count` prints.
func parseIDs(text string) []schemas.JobID {
	var ids []schemas.JobID
	for _, id := range strings.Fields(text) {
		ids = append(ids, schemas.JobID(id))
	}
	return ids
}
