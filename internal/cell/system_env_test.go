package cell_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

const (
	acme     = schemas.OrgID("acme")
	patience = time.Minute // for what must happen; a test that waits so long has failed
)

// attemptKey names an attempt as its handler sees it.
type attemptKey struct {
	id          schemas.JobID
	gen, number int
}

// system is a whole cell under test with two witnesses: the handlers' own list of starts, which the ledger
// knows nothing of, and a feed of the test's own over the ledger.
type system struct {
	t   *testing.T
	env *ledgertest.Env

	mu      sync.Mutex
	starts  map[attemptKey][]string // workers that started it
	begun   int
	jobs    map[schemas.JobID]*ledger.Job
	entries []*ledger.Entry
	changed chan struct{} // closed and replaced at each change
}

func newSystem(t *testing.T, env *ledgertest.Env) *system {
	s := &system{t: t, env: env, starts: make(map[attemptKey][]string), jobs: make(map[schemas.JobID]*ledger.Job), changed: make(chan struct{})}
	feed, err := ledger.NewFeed(ledger.FeedConfig{Ledger: env.NewLedger()})
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
	wg.Go(func() { s.follow(ctx, feed.Subscribe(schemas.Position{})) })
	t.Cleanup(func() { cancel(); wg.Wait() })
	return s
}

func (s *system) follow(ctx context.Context, c *ledger.Cursor) {
	defer c.Close()
	for {
		entries, err := c.Next(ctx)
		if err != nil {
			if ctx.Err() == nil {
				s.t.Errorf("the test's fold ended: %v", err)
			}
			return
		}
		s.mu.Lock()
		for _, e := range entries {
			s.entries = append(s.entries, e)
			if e.Job == "" {
				continue
			}
			j := s.jobs[e.Job]
			if j == nil {
				j = &ledger.Job{Org: e.Org, ID: e.Job}
				s.jobs[e.Job] = j
			}
			if !e.ApplyTo(j) {
				s.t.Errorf("event %d (%s) of job %s is illegal", e.Seq, e.Name(), e.Job)
			}
		}
		s.notify()
		s.mu.Unlock()
	}
}

// notify wakes awaits; mu is held.
func (s *system) notify() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// await returns when is, called under mu, holds.
func (s *system) await(what string, is func() bool) {
	s.t.Helper()
	limit := time.After(patience)
	for {
		s.mu.Lock()
		ok, changed := is(), s.changed
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-limit:
			s.t.Fatalf("waited in vain for %s; states %v, %d starts", what, s.states(), s.startsBegun())
		}
	}
}

func (s *system) states() map[schemas.State]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[schemas.State]int)
	for _, j := range s.jobs {
		out[j.State]++
	}
	return out
}

func (s *system) startsBegun() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.begun
}

func (s *system) awaitStarts(n int) {
	s.t.Helper()
	s.await(fmt.Sprintf("%d starts", n), func() bool { return s.begun >= n })
}

func (s *system) awaitFinished(ids []schemas.JobID) {
	s.t.Helper()
	s.await(fmt.Sprintf("the end of %d jobs", len(ids)), func() bool {
		for _, id := range ids {
			if j := s.jobs[id]; j == nil || !j.State.Finished() {
				return false
			}
		}
		return true
	})
}

// witness wraps a handler: each start goes into the list first.
func (s *system) witness(worker string, h handlers.HandlerFunc) handlers.HandlerFunc {
	return func(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		k := attemptKey{a.ID, a.Generation, a.Number}
		s.mu.Lock()
		s.starts[k] = append(s.starts[k], worker)
		s.begun++
		s.notify()
		s.mu.Unlock()
		return h(ctx, a)
	}
}

// lasting returns a handler that works for d and echoes its args.
func lasting(d time.Duration) handlers.HandlerFunc {
	return func(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		return a.Args, rest(ctx, d)
	}
}

func rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// worker runs a worker named name for one type, on a connection of its own. kill cuts it off without a word.
func (s *system) worker(name string, typ schemas.TypeName, slots int, h handlers.HandlerFunc) (kill func()) {
	s.t.Helper()
	l := s.env.NewLedger()
	w, err := handlers.New(handlers.Config{Ledger: l, Slots: slots, Name: name, Grace: -1, Logger: zap.NewNop(),
		Serves: []handlers.Registration{{Type: typ, Handler: s.witness(name, h)}}})
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	var killed bool
	s.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !killed {
			s.t.Errorf("worker %s ended with %v", name, err)
		}
	})
	return func() {
		killed = true
		l.Conn().Close()
	}
}

// submit stores n jobs of a type under ids of its own and returns them once all are acknowledged. What is
// not acknowledged is sent again.
func (s *system) submit(typ schemas.TypeName, n int, change ...func(*ledger.SubmitRequest)) []schemas.JobID {
	s.t.Helper()
	ids := make([]schemas.JobID, n)
	const parallel = 8
	var wg sync.WaitGroup
	for p := range parallel {
		wg.Go(func() {
			for i := p; i < n; i += parallel {
				ids[i] = schemas.JobID(fmt.Sprintf("%s-%05d", typ, i))
				r := ledger.SubmitRequest{Org: acme, Type: typ, ID: ids[i], Args: fmt.Appendf(nil, `{"n":%d}`, i), RegisterUnknown: true}
				for _, c := range change {
					c(&r)
				}
				s.submitOne(r)
			}
		})
	}
	wg.Wait()
	return ids
}

func (s *system) submitOne(r ledger.SubmitRequest) {
	limit := time.Now().Add(patience)
	for {
		_, err := s.env.Ledger.Submit(context.Background(), r)
		if err == nil {
			return
		}
		if e := ledger.AsError(err); e.Code != ledger.CodeUnavailable || time.Now().After(limit) {
			s.t.Errorf("submit %s: %v", r.ID, err)
			return
		}
	}
}

// attempts counts running events, and by cause the losses.
func (s *system) attempts() (running map[attemptKey]int, lost map[attemptKey]schemas.LossCause, released map[attemptKey]string) {
	running, lost, released = make(map[attemptKey]int), make(map[attemptKey]schemas.LossCause), make(map[attemptKey]string)
	err := s.env.NewLedger().Replay(s.env.Context(), ledger.ReplayQuery{Org: acme}, func(e *ledger.Entry) error {
		switch d := e.Data.(type) {
		case *schemas.Running:
			running[attemptKey{e.Job, d.Generation, d.Attempt}]++
		case *schemas.Lost:
			lost[attemptKey{e.Job, d.Generation, d.Attempt}] = d.Cause
		case *schemas.Released:
			released[attemptKey{e.Job, d.Generation, d.Attempt}] = d.Cause
		}
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return running, lost, released
}

// check compares the handlers' list with the ledger: each attempt started once and stored once; those stored
// and not started were handed back or given up. It returns the losses.
func (s *system) check(ids []schemas.JobID) map[attemptKey]schemas.LossCause {
	s.t.Helper()
	running, lost, released := s.attempts()
	s.mu.Lock()
	defer s.mu.Unlock()
	for k, by := range s.starts {
		if len(by) != 1 || running[k] != 1 {
			s.t.Errorf("attempt %v was started by %v, with %d running events", k, by, running[k])
		}
	}
	for k, n := range running {
		if n != 1 {
			s.t.Errorf("attempt %v has %d running events", k, n)
		}
		if len(s.starts[k]) == 0 && lost[k] == "" && released[k] != schemas.ReleaseLateClaim {
			s.t.Errorf("attempt %v was stored as running, never started and never given up", k)
		}
	}
	for _, id := range ids {
		if j := s.jobs[id]; j == nil || !j.State.Finished() {
			s.t.Errorf("job %s was acknowledged and is not finished: %+v", id, j)
		}
	}
	return lost
}

// allCompleted checks that all jobs did, without a loss but for restarts.
func (s *system) allCompleted(ids []schemas.JobID) {
	s.t.Helper()
	for k, cause := range s.check(ids) {
		if cause != schemas.LossCellRestart {
			s.t.Errorf("attempt %v was lost: %s", k, cause)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if s.jobs[id].State != schemas.StateCompleted {
			s.t.Errorf("job %s is %s: %+v", id, s.jobs[id].State, s.jobs[id].Error)
		}
	}
}

// crashable runs a server whose connections crash cuts without a word, as when its process is killed.
func (s *system) crashable(id string) (crash func()) {
	s.t.Helper()
	l := newLines(s.env)
	ready := make(chan struct{})
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		done <- cell.Run(ctx, cell.Config{Connect: l.connect, Logger: zap.NewNop(), ServerID: id, Version: "0.0.0",
			RegisterUnknown: true, Ready: func(cell.Info) { close(ready) }})
	}()
	select {
	case <-ready:
	case <-time.After(patience):
		s.t.Fatalf("server %s is not ready", id)
	}
	crashed := false // registered after the connections' own ends, so it comes before them
	s.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !crashed && !errors.Is(err, context.Canceled) {
			s.t.Errorf("server %s ended with %v", id, err)
		}
	})
	return func() {
		crashed = true
		l.cut()
	}
}
