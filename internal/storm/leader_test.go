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

// TestLeaderStopped has two servers and eight workers on one NATS server. The leading server is stopped under
// load and goes on half a minute later, as after a long pause of its machine; then it is killed. Another one leads
// within seconds, and no attempt starts twice, none is lost, no view goes back (DESIGN D6, D9, R-112, R-117, C14).
func TestLeaderStopped(t *testing.T) {
	begin(t)
	c := newCell(t, 1, false)
	stops, long, kills := size(2, 6), size(0, 2), size(1, 2)
	const hold = 30 * time.Second
	var workers []*process
	for i := range 8 {
		workers = append(workers, c.worker(fmt.Sprintf("w%d", i+1), c.url, typeName, 4, "sleep 0.1"))
	}
	load := startLoad(t, c.o, c.url, typeName, jobCount(150, 5000), size(50, backlogUsual))
	c.o.awaitFinished(20)
	var stopped, killed []string
	for i := range stops {
		p := c.leader()
		before, deposed := c.latestEpoch(), 0
		p.mu.Lock()
		deposed = p.deposed
		p.mu.Unlock()
		c.views.awaitPut() // it has more to write, and goes on with that when others have written
		since := time.Now()
		p.signal(syscall.SIGSTOP)
		stopped = append(stopped, c.awaitFailover(before, since).String())
		if i < long {
			during(t, hold-time.Since(since))
		}
		c.views.awaitPut()
		p.signal(syscall.SIGCONT)
		p.await("that its leadership has ended", func() bool { return p.deposed > deposed })
		c.o.awaitFinished(c.o.count() + 100)
	}
	for i := range kills {
		p := c.leader()
		before := c.latestEpoch()
		c.views.awaitPut()
		since := time.Now()
		p.kill()
		killed = append(killed, c.awaitFailover(before, since).String())
		c.servers = slices.DeleteFunc(c.servers, func(s *process) bool { return s == p })
		c.serve(fmt.Sprintf("%s.%d", p.name, i+1))
		c.o.awaitFinished(c.o.count() + 100)
	}
	s := c.finish(load, workers)
	for _, end := range []schemas.EventName{schemas.EventLost, schemas.EventReleased} {
		for _, a := range s.inOrder(end) {
			t.Errorf("attempt %v of %s, which nobody touched, ended in %s: %s", a.key, a.worker, end, a.cause)
		}
	}
	for id, j := range s.jobs {
		if j.Attempt != 1 {
			t.Errorf("job %s ran %d times, and no worker was touched", id, j.Attempt)
		}
	}
	s.figures(fmt.Sprintf("; leader stopped %d times, %d of them for %s (%s), killed %d times (%s); asked: started within 5s",
		stops, long, hold, strings.Join(stopped, "; "), kills, strings.Join(killed, "; ")))
}
