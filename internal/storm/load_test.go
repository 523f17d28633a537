//go:build unix

package storm_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// backlogUsual is how many unfinished jobs a load keeps, so that there is always something to start.
	backlogUsual   = 500
	submitParallel = 8
)

// load submits jobs as a publisher would that takes no for no answer: what is not acknowledged is submitted
// again under its id.
type load struct {
	t       *testing.T
	o       *observer
	l       *ledger.Ledger
	typ     schemas.TypeName
	backlog int
	done    chan struct{} // closed when nothing more is submitted

	mu     sync.Mutex
	target int  // jobs to submit
	open   bool // and more, until enough is called
	next   int
	acked  []schemas.JobID
}

// startLoad submits n jobs of a type: as fast as it can if backlog is 0; otherwise as long as fewer than
// backlog are unfinished, and more of them until enough is called.
func startLoad(t *testing.T, o *observer, url string, typ schemas.TypeName, n, backlog int) *load {
	t.Helper()
	return startLoadFrom(t, o, url, typ, 0, n, backlog)
}

// startLoadFrom is startLoad of a test whose earlier loads of the type have made the first jobs.
func startLoadFrom(t *testing.T, o *observer, url string, typ schemas.TypeName, first, n, backlog int) *load {
	t.Helper()
	return startLoadOf(t, o, url, typ, submitParallel, first, n, backlog)
}

// startLoadOf is startLoadFrom with so many submits at once.
func startLoadOf(t *testing.T, o *observer, url string, typ schemas.TypeName, parallel, first, n, backlog int) *load {
	t.Helper()
	ld := &load{t: t, o: o, l: openLedger(t, url), typ: typ, backlog: backlog, done: make(chan struct{}), next: first, target: first + n, open: backlog > 0}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for range parallel {
		wg.Go(func() { ld.run(ctx) })
	}
	go func() { wg.Wait(); close(ld.done) }()
	t.Cleanup(func() { cancel(); <-ld.done })
	return ld
}

func (ld *load) run(ctx context.Context) {
	for ld.room(ctx) {
		id, more := ld.take()
		if !more || !ld.submit(ctx, id) {
			return
		}
		ld.mu.Lock()
		ld.acked = append(ld.acked, id)
		ld.mu.Unlock()
	}
}

// take names the next job; false if there is to be none.
func (ld *load) take() (schemas.JobID, bool) {
	ld.mu.Lock()
	defer ld.mu.Unlock()
	if !ld.open && ld.next >= ld.target {
		return "", false
	}
	ld.next++
	return schemas.JobID(fmt.Sprintf("%s-%06d", ld.typ, ld.next)), true
}

// room waits until few enough jobs are unfinished; false if the test is over.
func (ld *load) room(ctx context.Context) bool {
	for {
		ld.mu.Lock()
		taken := ld.next
		ld.mu.Unlock()
		ld.o.mu.Lock()
		unfinished, changed := max(len(ld.o.jobs), taken)-ld.o.finished, ld.o.changed // the fold may lag
		ld.o.mu.Unlock()
		if ld.backlog == 0 && ctx.Err() == nil || unfinished < ld.backlog {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// submit stores one job, however often that takes; false if the test is over.
func (ld *load) submit(ctx context.Context, id schemas.JobID) bool {
	for limit := time.Now().Add(patience); ; {
		_, err := ld.l.Submit(ctx, ledger.SubmitRequest{Org: acme, Type: ld.typ, ID: id, RegisterUnknown: true})
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		var e *ledger.Error
		if !errors.As(err, &e) || e.Code != ledger.CodeUnavailable || time.Now().After(limit) {
			ld.t.Errorf("submit %s: %v", id, err)
			return false
		}
	}
}

// enough ends the load once its number is submitted, and returns what was acknowledged.
func (ld *load) enough() []schemas.JobID {
	ld.mu.Lock()
	ld.open = false
	ld.mu.Unlock()
	<-ld.done
	return ld.acked
}
