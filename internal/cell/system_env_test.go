package cell_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

const (
	acme     = schemas.OrgID("acme")
	patience = 4 * time.Minute // for what must happen; a test that waits so long has failed
)

// attemptKey names an attempt as its handler sees it.
type attemptKey struct {
	id          schemas.JobID
	gen, number int
}

// system is a whole cell under test with two witnesses: the handlers' own files of starts, which the ledger
// knows nothing of, and a feed of the test's own over the ledger.
type system struct {
	t     *testing.T
	env   *ledgertest.Env
	files string // folder of the handlers' files

	mu       sync.Mutex
	starts   map[attemptKey][]string // workers that started it; what tests wait on, the files are what counts
	begun    int
	jobs     map[schemas.JobID]*ledger.Job
	finished int // of jobs
	entries  []*ledger.Entry
	changed  chan struct{} // closed and replaced at each change
}

func newSystem(t *testing.T, env *ledgertest.Env) *system {
	s := &system{t: t, env: env, files: t.TempDir(), starts: make(map[attemptKey][]string),
		jobs: make(map[schemas.JobID]*ledger.Job), changed: make(chan struct{})}
	none := 0 // more run at once here than an org's default allows
	set := &schemas.OrgSet{Settings: schemas.OrgSettings{Name: acme, MaxRunning: &none}}
	if _, err := env.Ledger.Put(t.Context(), ledger.Meta{}, set.Place(), func(schemas.Setting) (schemas.Setting, error) { return set, nil }); err != nil {
		t.Fatal(err)
	}
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
			was := j.State.Finished()
			if !e.ApplyTo(j) {
				s.t.Errorf("event %d (%s) of job %s is illegal", e.Seq, e.Name(), e.Job)
			}
			if !was && j.State.Finished() {
				s.finished++
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

// poke notifies without mu.
func (s *system) poke() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notify()
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
			s.t.Fatalf("waited in vain for %s; states %v, %d starts; not finished are %v", what, s.states(), s.startsBegun(), s.unfinished())
		}
	}
}

// state is where a job stands, StateNone before its first event was read. For conditions of await.
func (s *system) state(id schemas.JobID) schemas.State {
	if j := s.jobs[id]; j != nil {
		return j.State
	}
	return schemas.StateNone
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

// unfinished names some jobs, with the sequence of their last event.
func (s *system) unfinished() (some []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, j := range s.jobs {
		if !j.State.Finished() && len(some) < 10 {
			some = append(some, fmt.Sprintf("%s (%s at %d)", id, j.State, j.LastSeq))
		}
	}
	return some
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
	left := ids
	s.await(fmt.Sprintf("the end of %d jobs", len(ids)), func() bool {
		for len(left) > 0 {
			if j := s.jobs[left[0]]; j == nil || !j.State.Finished() {
				return false
			}
			left = left[1:] // none of these tests retries a finished job
		}
		return true
	})
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
	w, err := handlers.New(handlers.Config{Ledger: l, Slots: slots, Name: name, Grace: -1, Logger: logger(s.t),
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

// crashable runs a server whose connections crash cuts without a word, as when its process is killed.
func (s *system) crashable(id string) (crash func()) {
	s.t.Helper()
	l := newLines(s.env)
	ready := make(chan struct{})
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		done <- cell.Run(ctx, cell.Config{Connect: l.connect, Logger: logger(s.t), ServerID: id, Version: "0.0.0",
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
