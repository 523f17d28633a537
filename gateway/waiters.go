package gateway

import (
	"context"
	"errors"
	"sync"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// jobKey names a job.
type jobKey struct {
	org schemas.OrgID
	id  schemas.JobID
}

// waiters wakes those who wait for a job to end. What is true they read themselves: a wake is a hint.
type waiters struct {
	mu   sync.Mutex
	jobs map[jobKey]map[chan struct{}]struct{}
}

// add returns a channel that receives when the job may have ended. remove must be called.
func (w *waiters) add(k jobKey) (wake <-chan struct{}, remove func()) {
	c := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.jobs == nil {
		w.jobs = make(map[jobKey]map[chan struct{}]struct{})
	}
	if w.jobs[k] == nil {
		w.jobs[k] = make(map[chan struct{}]struct{})
	}
	w.jobs[k][c] = struct{}{}
	return c, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.jobs[k], c)
		if len(w.jobs[k]) == 0 {
			delete(w.jobs, k)
		}
	}
}

// watch follows the feed from its end until ctx ends, whose error it returns, or the connection is closed.
// ready is called once nothing can be missed any more.
func (w *waiters) watch(ctx context.Context, f *ledger.Feed, ready func()) error {
	ready = sync.OnceFunc(ready)
	for {
		if err := f.WaitFor(ctx, 0); err != nil { // until the feed knows where the ledger ends
			return err
		}
		c := f.Subscribe(f.Last())
		ready()
		err := w.follow(ctx, c)
		c.Close()
		if !errors.Is(err, ledger.ErrPositionExpired) {
			return err
		}
		w.wakeAll() // the ledger went back: everybody looks again
	}
}

func (w *waiters) follow(ctx context.Context, c *ledger.Cursor) error {
	for {
		entries, err := c.Next(ctx)
		if err != nil {
			return err
		}
		w.mu.Lock()
		if len(w.jobs) > 0 {
			for _, e := range entries {
				if ends(e) {
					wake(w.jobs[jobKey{e.Org, e.Job}])
				}
			}
		}
		w.mu.Unlock()
	}
}

func ends(e *ledger.Entry) bool {
	switch e.Data.(type) {
	case *schemas.Completed, *schemas.Canceled, *schemas.DeadLettered:
		return true
	}
	return false
}

func (w *waiters) wakeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, cs := range w.jobs {
		wake(cs)
	}
}

func wake(cs map[chan struct{}]struct{}) {
	for c := range cs {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}
