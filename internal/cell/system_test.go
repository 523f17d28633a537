package cell_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

var logs = flag.Bool("logs", false, "system tests: write the logs of NATS, servers and workers to the test's log")

func logger(t *testing.T) *zap.Logger {
	if *logs {
		return zaptest.NewLogger(t)
	}
	return zap.NewNop()
}

// place is what a system test runs on.
type place struct {
	cluster bool
	open    func(*testing.T) *ledgertest.Env
}

// everywhere runs a test on one server, and on a cluster of three with three replicas.
func everywhere(t *testing.T, test func(*testing.T, place)) {
	t.Run("one server", func(t *testing.T) {
		t.Parallel()
		test(t, place{open: func(t *testing.T) *ledgertest.Env { return ledgertest.Start(t, options(t)...) }})
	})
	t.Run("cluster", func(t *testing.T) {
		t.Parallel()
		if testing.Short() {
			t.Skip("a cluster takes seconds to elect its leaders")
		}
		test(t, place{cluster: true, open: func(t *testing.T) *ledgertest.Env { return ledgertest.StartCluster(t, options(t)...) }})
	})
}

func options(t *testing.T) []ledgertest.Option {
	if *logs {
		return []ledgertest.Option{ledgertest.WithLogs(t)}
	}
	return nil
}

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
// once (D7: surplus naked at once, no loop). Where the machine stands still for longer than ledger.AckWait, what
// was out with a worker comes again: once in each such time, and never more than the workers have slots. A loop
// would be thousands.
func TestSystemFlow(t *testing.T) {
	t.Parallel()
	everywhere(t, systemFlow)
}

func systemFlow(t *testing.T, place place) {
	env := place.open(t)
	env.RunServer()
	s := newSystem(t, env)
	types := []schemas.TypeName{"red", "blue"}
	const slots = 8
	for _, typ := range types {
		s.worker(string(typ), typ, slots, lasting(time.Millisecond))
	}
	each := 500
	if place.cluster {
		each = 200 // three members share this machine
	}
	began := time.Now()
	ids := slices.Concat(s.submit("red", each), s.submit("blue", each))
	s.awaitFinished(ids)
	s.allCompleted(ids)
	again := int(time.Since(began)/ledger.AckWait) * len(types) * slots
	deliveries := 0
	for _, typ := range types {
		c, err := env.Ledger.JetStream().Consumer(env.Context(), ledger.StreamWork, ledger.ConsumerName(schemas.QueueDefault, typ))
		if err != nil {
			t.Fatal(err)
		}
		deliveries += int(c.CachedInfo().Delivered.Consumer)
	}
	if limit := 2*each*11/10 + again; deliveries > limit {
		t.Errorf("%d deliveries for %d jobs in %s, want at most %d", deliveries, 2*each, time.Since(began), limit)
	}
}

// A worker that dies takes exactly its own attempts with it; they are tried again elsewhere.
func TestSystemWorkerKilled(t *testing.T) {
	t.Parallel()
	everywhere(t, systemWorkerKilled)
}

func systemWorkerKilled(t *testing.T, place place) {
	env := place.open(t)
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
	told := s.check(ids)
	if len(told.lost) != slots {
		t.Errorf("%d attempts were lost, want %d: %v", len(told.lost), slots, told.lost)
	}
	for k, e := range told.lost {
		if by := told.worker[k]; cause(e) != schemas.LossWorkerGone || by != "doomed" {
			t.Errorf("attempt %v of worker %s was lost: %s", k, by, cause(e))
		}
	}
}

// The leader dies without a word: the other server leads within 5 s, nothing starts twice (D6, C14).
func TestSystemLeaderKilled(t *testing.T) {
	t.Parallel()
	everywhere(t, systemLeaderKilled)
}

func systemLeaderKilled(t *testing.T, place place) {
	env := place.open(t)
	s := newSystem(t, env)
	crash := map[string]func(){"one": s.crashable("one"), "two": s.crashable("two")}
	s.worker("red", "red", 8, lasting(20*time.Millisecond))
	s.worker("blue", "blue", 8, lasting(20*time.Millisecond))
	ids := slices.Concat(s.submit("red", 200), s.submit("blue", 200))
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

// Each way a job can go ends as the table says, with one event of three that end a job: who
// reads those alone hears of each job once (C49).
func TestSystemOutcomes(t *testing.T) {
	t.Parallel()
	everywhere(t, systemOutcomes)
}

func systemOutcomes(t *testing.T, place place) {
	env := place.open(t)
	env.RunServer()
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
		return len(s.starts[attemptKey{"heed", 1, 1}]) == 1 && s.state("heed") == schemas.StateRunning
	})
	for _, id := range []schemas.JobID{"heed", "waiting"} {
		if _, _, err := env.Ledger.Do(env.Context(), acme, id, &ledger.Cancel{Reason: "no longer wanted"}, ledger.Meta{}); err != nil {
			t.Errorf("cancel %s: %v", id, err)
		}
	}
	ids := []schemas.JobID{"retry", "permanent", "panic", "hang", "heed", "waiting"}
	s.awaitFinished(ids)
	if lost := s.check(ids).lost; len(lost) > 0 {
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
	ends := map[schemas.JobID]int{}
	for _, name := range []schemas.EventName{schemas.EventCompleted, schemas.EventCanceled, schemas.EventDeadLettered} {
		err := env.Ledger.Replay(t.Context(), ledger.ReplayQuery{Org: acme, Event: name}, func(e *ledger.Entry) error { ends[e.Job]++; return nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range ids {
		if ends[id] != 1 {
			t.Errorf("%d events tell of the end of %s, want one", ends[id], id)
		}
	}
	if e := s.jobs["panic"].Error; e == nil || !strings.Contains(e.Stack, "ways") {
		t.Errorf("the panic's error is %+v, want its stack", e)
	}
}

// A job that is queued, with an offer, can be canceled until a worker claims it: nothing starts.
func TestSystemCancelQueued(t *testing.T) {
	t.Parallel()
	everywhere(t, systemCancelQueued)
}

func systemCancelQueued(t *testing.T, place place) {
	env := place.open(t)
	env.RunServer()
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
