//go:build unix

package storm_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// connect opens a connection of the test's own that survives whatever the test does to the server.
func connect(t *testing.T, url string, opts ...nats.Option) *nats.Conn {
	t.Helper()
	base := []nats.Option{nats.Name("storm"), nats.MaxReconnects(-1), nats.ReconnectWait(100 * time.Millisecond),
		nats.PingInterval(3 * time.Second), nats.MaxPingsOutstanding(2)} // a server that is cut off says no word
	nc, err := nats.Connect(url, append(base, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func openLedger(t *testing.T, url string) *ledger.Ledger {
	t.Helper()
	l, err := ledger.New(ledger.Config{Conn: connect(t, url), Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// observer folds the ledger while the test goes on, for what the test waits for. What is true in the end is
// read anew (see judge).
type observer struct {
	t *testing.T

	mu       sync.Mutex
	at       schemas.Seq
	jobs     map[schemas.JobID]*ledger.Job
	epochOf  map[schemas.JobID]schemas.Seq // of the latest queued
	running  int                           // events
	carried  int                           // events
	finished int                           // jobs
	epoch    schemas.Seq                   // of the latest leader
	elected  time.Time
	queuedBy map[schemas.Seq]time.Time // by epoch: its first queued event
	begunBy  map[schemas.Seq]time.Time // by epoch: the first start of a job that it queued
	changed  chan struct{}             // closed and replaced at each change
	restores int                       // times that older data may yet be put back: the fold begins anew then
}

func observe(t *testing.T, url string) *observer {
	t.Helper()
	return observeBy(t, url, (*ledger.Feed).Subscribe)
}

// observeHistory is observe where events leave for the archive.
func observeHistory(t *testing.T, url string) *observer {
	t.Helper()
	return observeBy(t, url, (*ledger.Feed).SubscribeHistory)
}

func observeBy(t *testing.T, url string, subscribe func(*ledger.Feed, schemas.Position) *ledger.Cursor) *observer {
	t.Helper()
	o := &observer{t: t, changed: make(chan struct{})}
	o.begin()
	feed, err := ledger.NewFeed(ledger.FeedConfig{Ledger: openLedger(t, url)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := feed.Run(ctx); err != nil && ctx.Err() == nil {
			t.Errorf("the test's feed ended: %v", err)
		}
	})
	wg.Go(func() {
		for o.follow(ctx, subscribe(feed, schemas.Position{})) {
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return o
}

// begin forgets what was folded; mu is held, or nobody else knows of it yet.
func (o *observer) begin() {
	o.at, o.running, o.finished, o.epoch, o.elected = 0, 0, 0, 0, time.Time{}
	o.jobs, o.epochOf = make(map[schemas.JobID]*ledger.Job), make(map[schemas.JobID]schemas.Seq)
	o.queuedBy, o.begunBy = make(map[schemas.Seq]time.Time), make(map[schemas.Seq]time.Time)
}

// follow folds until ctx ends, or older data was put back as the test means to: true, and it begins anew.
func (o *observer) follow(ctx context.Context, c *ledger.Cursor) (again bool) {
	defer c.Close()
	for {
		entries, err := c.Next(ctx)
		if err != nil {
			o.mu.Lock()
			defer o.mu.Unlock()
			if again = errors.Is(err, ledger.ErrPositionExpired) && o.restores > 0; again {
				o.restores--
				o.begin()
			} else if ctx.Err() == nil {
				o.t.Errorf("the test's fold ended: %v", err)
			}
			return again
		}
		o.mu.Lock()
		for _, e := range entries {
			o.fold(e)
		}
		close(o.changed)
		o.changed = make(chan struct{})
		o.mu.Unlock()
	}
}

// fold takes one entry; mu is held.
func (o *observer) fold(e *ledger.Entry) {
	o.at = e.Seq
	if d, ok := e.Data.(*schemas.LeaderElected); ok && d.Server != "" {
		o.epoch, o.elected = e.Seq, e.Time
	}
	if e.Job == "" {
		return
	}
	j := o.jobs[e.Job]
	if j == nil {
		j = &ledger.Job{Org: e.Org, ID: e.Job}
		o.jobs[e.Job] = j
	}
	before := j.State.Finished()
	if !e.ApplyTo(j) {
		o.t.Errorf("event %d (%s) of job %s is illegal", e.Seq, e.Name(), e.Job)
	}
	if j.State.Finished() && !before {
		o.finished++
	}
	switch d := e.Data.(type) {
	case *schemas.Queued:
		o.epochOf[e.Job] = d.Epoch
		if _, ok := o.queuedBy[d.Epoch]; !ok {
			o.queuedBy[d.Epoch] = e.Time
		}
	case *schemas.Carried:
		o.carried++
	case *schemas.Running:
		o.running++
		epoch := o.epochOf[e.Job]
		if _, ok := o.begunBy[epoch]; !ok {
			o.begunBy[epoch] = e.Time
		}
	}
}

// await returns when is, called under mu, holds. The patience begins anew whenever a job ends.
func (o *observer) await(what string, is func() bool) {
	o.t.Helper()
	finished, since := -1, time.Now()
	poll := time.NewTicker(time.Second)
	defer poll.Stop()
	for {
		o.mu.Lock()
		ok, changed, now := is(), o.changed, o.finished
		o.mu.Unlock()
		if ok {
			return
		}
		if now != finished {
			finished, since = now, time.Now()
		}
		if time.Since(since) > patience {
			o.t.Fatalf("waited in vain for %s; %s", what, o.standing())
		}
		select {
		case <-changed:
		case <-poll.C:
		}
	}
}

func (o *observer) standing() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	states := make(map[schemas.State]int)
	var example *ledger.Job
	for _, j := range o.jobs {
		states[j.State]++
		if !j.State.Finished() {
			example = j
		}
	}
	text := fmt.Sprintf("at sequence %d, states %v", o.at, states)
	if example != nil {
		text += fmt.Sprintf(", such as %s: %s, attempt %d on %s", example.ID, example.State, example.Attempt, example.Worker)
	}
	return text
}

// count is the number of jobs that have ended.
func (o *observer) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.finished
}

// begun is the number of starts.
func (o *observer) begun() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.running
}

func (o *observer) awaitFinished(n int) {
	o.t.Helper()
	o.await(fmt.Sprintf("the end of %d jobs", n), func() bool { return o.finished >= n })
}

// awaitAll returns when each of these jobs has ended.
func (o *observer) awaitAll(ids []schemas.JobID) {
	o.t.Helper()
	o.await(fmt.Sprintf("the end of %d jobs", len(ids)), func() bool {
		if o.finished < len(ids) {
			return false
		}
		for _, id := range ids {
			if j := o.jobs[id]; j == nil || !j.State.Finished() {
				return false
			}
		}
		return true
	})
}

// heldBy is what a worker has running by this fold; mu is held.
func (o *observer) heldBy(worker string) []schemas.Fence {
	var out []schemas.Fence
	for _, j := range o.jobs {
		if j.State == schemas.StateRunning && j.Worker == worker {
			out = append(out, j.Fence)
		}
	}
	return out
}

// awaitEnd returns when the fold has what the ledger holds now.
func (o *observer) awaitEnd(l *ledger.Ledger) schemas.Seq {
	o.t.Helper()
	end, err := l.End(o.t.Context())
	if err != nil {
		o.t.Fatal(err)
	}
	o.await("the ledger's end", func() bool { return o.at >= end.Seq })
	return end.Seq
}
