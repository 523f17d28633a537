package cell_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// lines are the connections of one server.
type lines struct {
	env   *ledgertest.Env
	mu    sync.Mutex
	conns []*nats.Conn
}

func newLines(env *ledgertest.Env) *lines { return &lines{env: env} }

func (l *lines) connect(string) (*nats.Conn, error) {
	nc := l.env.Connect()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, nc)
	return nc, nil
}

func (l *lines) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, nc := range l.conns {
		nc.Close()
	}
}

// Two workers of disjoint types share a queue: each offer is delivered to a worker that can start it, about
// once (D7: surplus naked at once, no loop).
func TestSystemFlow(t *testing.T) {
	t.Parallel()
	env, _ := ledgertest.Cell(t)
	s := newSystem(t, env)
	types := []schemas.TypeName{"red", "blue"}
	for _, typ := range types {
		s.worker(string(typ), typ, 8, lasting(time.Millisecond))
	}
	const each = 500
	ids := slices.Concat(s.submit("red", each), s.submit("blue", each))
	s.awaitFinished(ids)
	s.allCompleted(ids)
	deliveries := 0
	for _, typ := range types {
		c, err := env.Ledger.JetStream().Consumer(env.Context(), ledger.StreamWork, ledger.ConsumerName(schemas.QueueDefault, typ))
		if err != nil {
			t.Fatal(err)
		}
		deliveries += int(c.CachedInfo().Delivered.Consumer)
	}
	if limit := 2 * each * 11 / 10; deliveries > limit {
		t.Errorf("%d deliveries for %d jobs, want at most %d", deliveries, 2*each, limit)
	}
}

// Everything but the ledger may go at any moment, under live workers with jobs in flight: nothing is lost,
// all finish (D2). Only a restart of the cell may cost attempts, and says so.
func TestSystemDamage(t *testing.T) {
	t.Parallel()
	remove := func(names ...string) func(*system) error {
		return func(s *system) error {
			for _, name := range names {
				if err := s.env.Ledger.JetStream().DeleteStream(s.env.Context(), name); err != nil {
					return fmt.Errorf("delete %s: %w", name, err)
				}
			}
			return nil
		}
	}
	for _, c := range []struct {
		name   string
		damage func(*system) error
	}{
		{"work", remove(ledger.StreamWork)},
		{"consumers", func(s *system) error {
			for _, typ := range []schemas.TypeName{"red", "blue"} {
				err := s.env.Ledger.JetStream().DeleteConsumer(s.env.Context(), ledger.StreamWork, ledger.ConsumerName(schemas.QueueDefault, typ))
				if err != nil {
					return err
				}
			}
			return nil
		}},
		{"views", remove("KV_"+ledger.BucketJobs, "KV_"+ledger.BucketCounts)},
		{"lease", remove("KV_" + ledger.BucketLease)},
		{"all of them", remove(ledger.StreamWork, "KV_"+ledger.BucketJobs, "KV_"+ledger.BucketCounts, "KV_"+ledger.BucketLease)},
		{"restart", func(s *system) error { s.env.Restart(); return nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			env, _ := ledgertest.Cell(t)
			s := newSystem(t, env)
			s.worker("red", "red", 8, lasting(20*time.Millisecond))
			s.worker("blue", "blue", 8, lasting(20*time.Millisecond))
			const each = 300
			ids := slices.Concat(s.submit("red", each), s.submit("blue", each))
			s.awaitStarts(100)
			if err := c.damage(s); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			s.awaitStarts(s.startsBegun() + 50)
			t.Logf("50 starts %s after the damage", time.Since(began).Round(time.Millisecond))
			more := s.submit("green", 1) // nobody serves it: it waits, and must do no harm
			s.awaitFinished(ids)
			s.allCompleted(ids)
			if state := s.states()[schemas.StateSubmitted]; state != len(more) {
				t.Errorf("%d jobs are submitted, want the one that nobody serves", state)
			}
		})
	}
}

// A worker that dies takes exactly its own attempts with it; they are tried again elsewhere.
func TestSystemWorkerKilled(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	const lease = ledger.BeatEvery + 2*time.Second
	env.RunServer(func(c *cell.Config) { c.Times.Core.Lease = lease })
	s := newSystem(t, env)
	free := make(chan struct{})
	hold := func(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		select {
		case <-free:
			return a.Args, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	const slots = 4
	kill := s.worker("doomed", "hold", slots, hold)
	s.worker("steady", "hold", slots, hold)
	ids := s.submit("hold", 20)
	s.awaitStarts(2 * slots)
	kill()
	began := time.Now()
	s.await("the losses", func() bool {
		n := 0
		for _, e := range s.entries {
			if _, ok := e.Data.(*schemas.Lost); ok {
				n++
			}
		}
		return n >= slots
	})
	t.Logf("the attempts were lost %s after the worker was killed: aim, the lease of %s and 5s", time.Since(began).Round(time.Millisecond), lease)
	close(free)
	s.awaitFinished(ids)
	lost := s.check(ids)
	if len(lost) != slots {
		t.Errorf("%d attempts were lost, want %d: %v", len(lost), slots, lost)
	}
	for k, cause := range lost {
		if by := s.starts[k]; cause != schemas.LossWorkerGone || len(by) == 1 && by[0] != "doomed" {
			t.Errorf("attempt %v of worker %v was lost: %s", k, by, cause)
		}
	}
}

// The leader dies without a word: the other server leads within 5 s, nothing starts twice (D6).
func TestSystemLeaderKilled(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	s := newSystem(t, env)
	crash := map[string]func(){"one": s.crashable("one"), "two": s.crashable("two")}
	s.worker("red", "red", 8, lasting(20*time.Millisecond))
	s.worker("blue", "blue", 8, lasting(20*time.Millisecond))
	ids := slices.Concat(s.submit("red", 400), s.submit("blue", 400))
	s.awaitStarts(100)
	leader := func() (server string, epochs int) {
		for _, e := range s.entries {
			if d, ok := e.Data.(*schemas.LeaderElected); ok {
				server, epochs = d.Server, epochs+1
			}
		}
		return server, epochs
	}
	s.mu.Lock()
	first, epochs := leader()
	s.mu.Unlock()
	crash[first]()
	began := time.Now()
	s.await("another epoch", func() bool { _, n := leader(); return n > epochs })
	s.mu.Lock()
	second, _ := leader()
	s.mu.Unlock()
	s.awaitStarts(s.startsBegun() + 1)
	t.Logf("the other server starts jobs %s after the leader was killed: aim, 5s", time.Since(began).Round(time.Millisecond))
	if second == first {
		t.Errorf("%s leads after it was killed", second)
	}
	s.awaitFinished(ids)
	s.allCompleted(ids)
}

// ways is a handler for which the job's args say how it goes.
func ways(forever <-chan struct{}) handlers.HandlerFunc {
	return func(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		switch {
		case strings.Contains(string(a.Args), "retry") && a.Number < 3:
			return nil, handlers.Transient(errors.New("not yet"))
		case strings.Contains(string(a.Args), "permanent"):
			return nil, handlers.Permanent(errors.New("never"))
		case strings.Contains(string(a.Args), "panic"):
			panic("on purpose")
		case strings.Contains(string(a.Args), "hang"):
			<-forever // deaf to ctx
		case strings.Contains(string(a.Args), "heed"):
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return a.Args, nil
	}
}

// Each way a job can go ends as the table says.
func TestSystemOutcomes(t *testing.T) {
	t.Parallel()
	env, _ := ledgertest.Cell(t)
	s := newSystem(t, env)
	forever := make(chan struct{})
	s.worker("ways", "ways", 8, ways(forever))
	t.Cleanup(func() { close(forever) }) // before the worker ends
	second, once := schemas.MillisOf(time.Second), 1
	give := func(id schemas.JobID, o schemas.Override) {
		s.submitOne(ledger.SubmitRequest{Org: acme, Type: "ways", ID: id, Args: fmt.Appendf(nil, `{"way":%q}`, id), Override: &o, RegisterUnknown: true})
	}
	give("retry", schemas.Override{Backoff: &schemas.Backoff{ListMS: []schemas.Millis{1000, 1000}}})
	give("permanent", schemas.Override{})
	give("panic", schemas.Override{MaxAttempts: &once})
	give("hang", schemas.Override{TimeoutMS: &second, MaxAttempts: &once})
	give("heed", schemas.Override{})
	s.submitOne(ledger.SubmitRequest{Org: acme, Type: "nobody", ID: "waiting", RegisterUnknown: true})
	s.await("a running job to cancel", func() bool {
		return len(s.starts[attemptKey{"heed", 1, 1}]) == 1 && s.jobs["heed"].State == schemas.StateRunning
	})
	for _, id := range []schemas.JobID{"heed", "waiting"} {
		if _, _, err := env.Ledger.Do(env.Context(), acme, id, &ledger.Cancel{Reason: "no longer wanted"}, ledger.Meta{}); err != nil {
			t.Errorf("cancel %s: %v", id, err)
		}
	}
	ids := []schemas.JobID{"retry", "permanent", "panic", "hang", "heed", "waiting"}
	s.awaitFinished(ids)
	if lost := s.check(ids); len(lost) > 0 {
		t.Errorf("attempts were lost: %v", lost)
	}
	for id, want := range map[schemas.JobID]string{
		"retry":     "completed after 3: ",
		"permanent": "dead_lettered after 1: permanent",
		"panic":     "dead_lettered after 1: ",
		"hang":      "dead_lettered after 1: timeout",
		"heed":      "canceled after 1: ",
		"waiting":   "canceled after 0: ",
	} {
		j := s.jobs[id]
		class := ""
		if j.Error != nil {
			class = string(j.Error.Class)
		}
		if got := fmt.Sprintf("%s after %d: %s", j.State, j.Attempt, class); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
	if e := s.jobs["panic"].Error; e == nil || !strings.Contains(e.Stack, "ways") {
		t.Errorf("the panic's error is %+v, want its stack", e)
	}
}

// A job that is queued, with an offer, can be canceled until a worker claims it: nothing starts.
func TestSystemCancelQueued(t *testing.T) {
	t.Parallel()
	env, _ := ledgertest.Cell(t)
	s := newSystem(t, env)
	free := make(chan struct{})
	s.worker("busy", "busy", 1, func(_ context.Context, a *handlers.Attempt) (json.RawMessage, error) { <-free; return a.Args, nil })
	ids := s.submit("busy", 5)
	var queued schemas.JobID
	s.awaitStarts(1)
	s.await("a job queued behind the running one", func() bool {
		// In a fold that shows the one slot's job running, a Queued job cannot be claimed before it ends.
		running := false
		queued = ""
		for id, j := range s.jobs {
			switch j.State {
			case schemas.StateRunning:
				running = true
			case schemas.StateQueued:
				queued = id
			}
		}
		return running && queued != ""
	})
	if _, _, err := env.Ledger.Do(env.Context(), acme, queued, &ledger.Cancel{Reason: "no longer wanted"}, ledger.Meta{}); err != nil {
		t.Fatal(err)
	}
	close(free)
	s.awaitFinished(ids)
	s.check(ids)
	if j := s.jobs[queued]; j.State != schemas.StateCanceled || j.Attempt != 0 {
		t.Errorf("the canceled job is %s after %d attempts", j.State, j.Attempt)
	}
	if n := s.startsBegun(); n != len(ids)-1 {
		t.Errorf("%d starts, want all but the canceled one", n)
	}
}
