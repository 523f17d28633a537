//go:build unix

package storm_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// strictParallel submits at once are more than go by themselves (groups.Worth): the others go in batches.
	strictParallel = 32
	// strictMany is what one call of SubmitMany brings.
	strictMany = 25
	// strictMoment is how long a server of this test lives at most from when jobs end again.
	strictMoment = 400 * time.Millisecond
	// strictAim is how long a kill waits for a batch to meet; it comes then all the same.
	strictAim = 10 * time.Second
)

// strictCase is a server of its own NATS that syncs each write, which is killed again and again.
type strictCase struct {
	*cell
	rnd  *rand.Rand
	args []string

	batches atomic.Int64  // whose commit was sent to LEDGER
	commit  chan struct{} // holds one behind each of them, at most

	mu    sync.Mutex
	acked []schemas.JobID // of SubmitMany
}

// TestStrictKilled kills (kill -9) a server with durability strict again and again, at random moments and as a batch is being
// committed, under submits that meet, many at once and a worker; one time it comes back with durability standard, then strict
// again. Nothing that was acknowledged is lost, no attempt starts twice, and the checker finds nothing (R-02, R-22, R-112, R-117,
// DESIGN D3, D12). At full size a worker of the previous release, which knows nothing of batches, takes its part of the jobs.
func TestStrictKilled(t *testing.T) {
	begin(t)
	h := newHome(t)
	c := &strictCase{cell: &cell{home: h}, rnd: random(t), commit: make(chan struct{}, 1)}
	c.args = []string{"server", "run", "--listen", fmt.Sprintf("127.0.0.1:%d", freePorts(t, 1)[0]), "--store", filepath.Join(h.dir, "store"), "--durability"}
	p := c.start(0, "strict")
	c.watch()
	c.must("type", "add", typeName, "--server", c.url)
	c.hear()
	ld := startLoadOf(t, c.o, c.url, typeName, strictParallel, 0, jobCount(100, 3000), size(80, backlogUsual))
	workers := []*process{c.worker("w1", c.url, typeName, 24, "sleep 0.1")}
	if *full {
		needRelease(t)
		workers = append(workers, c.workerOf(released, "old", c.url, typeName, 8, witnessed("sleep 0.1")))
	}
	stop := c.submitMany()
	kills := size(3, 30)
	for i := range kills {
		c.o.awaitFinished(c.o.count() + 20)
		c.moment(i)
		p.kill()
		durability := "strict"
		if i == kills/2 {
			durability = "standard"
		}
		p = c.start(i+1, durability)
	}
	stop()
	acked := append(ld.enough(), c.acked...)
	c.o.awaitAll(acked)
	drain(workers...)
	s := tell(t, h, c.url, acked)
	s.verify(h, c.url)
	c.views.end()
	if c.batches.Load() == 0 {
		t.Error("nothing was committed as a batch")
	}
	s.figures(fmt.Sprintf("; %d kills, %d batches, %d jobs of SubmitMany", kills, c.batches.Load(), len(c.acked)))
	drain(p)
}

// start starts the server again.
func (c *strictCase) start(i int, durability string) *process {
	c.t.Helper()
	p, ready := c.server(fmt.Sprintf("s%d", i), append(c.args, durability)...)
	c.url, c.servers = ready.NATSURL, []*process{p}
	return p
}

// hear counts the batches that are sent to LEDGER.
func (c *strictCase) hear() {
	c.t.Helper()
	nc := connect(c.t, c.url)
	_, err := nc.Subscribe("jobs.>", func(m *nats.Msg) {
		if m.Header.Get("Nats-Batch-Commit") == "" {
			return
		}
		c.batches.Add(1)
		select {
		case c.commit <- struct{}{}:
		default:
		}
	})
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// moment returns when the server is to be killed: at any time, or as it commits a batch, which takes it some milliseconds.
func (c *strictCase) moment(i int) {
	if i%3 == 0 {
		during(c.t, time.Duration(c.rnd.Int64N(int64(strictMoment))))
		return
	}
	select {
	case <-c.commit: // one of before
	default:
	}
	limit := time.NewTimer(strictAim)
	defer limit.Stop()
	select {
	case <-c.commit:
		during(c.t, time.Duration(c.rnd.Int64N(int64(6*time.Millisecond))))
	case <-limit.C:
	}
}

// submitMany submits many jobs at once, again and again, until stop is called; what is not acknowledged is not asked for again.
func (c *strictCase) submitMany() (stop func()) {
	c.t.Helper()
	l := openLedger(c.t, c.url)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := 0; ctx.Err() == nil; n++ {
			requests := make([]ledger.SubmitRequest, strictMany)
			for i := range requests {
				requests[i] = ledger.SubmitRequest{Org: acme, Type: typeName, Args: fmt.Appendf(nil, `"%d of %d"`, i, n)} // else they are the same job
			}
			outcomes, err := l.SubmitMany(ctx, requests)
			var own *ledger.Error
			if err != nil && ctx.Err() == nil && (!errors.As(err, &own) || own.Code != ledger.CodeUnavailable) {
				c.t.Errorf("submit many: %v", err)
			}
			c.take(ctx, outcomes)
			during(c.t, 200*time.Millisecond)
		}
	}()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	c.t.Cleanup(stop)
	return stop
}

func (c *strictCase) take(ctx context.Context, outcomes []ledger.Submission) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range outcomes {
		var own *ledger.Error
		switch {
		case o.Err == nil:
			c.acked = append(c.acked, o.Receipt.ID)
		case ctx.Err() == nil && (!errors.As(o.Err, &own) || own.Code != ledger.CodeUnavailable):
			c.t.Errorf("submit one of many: %v", o.Err)
		}
	}
}
