package cell_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// work runs a worker for type echo until stop is called, at the latest at the end of the test.
func work(t *testing.T, env *ledgertest.Env) (stop func()) {
	t.Helper()
	echo := handlers.HandlerFunc(func(_ context.Context, a *handlers.Attempt) (json.RawMessage, error) { return a.Args, nil })
	w, err := handlers.New(handlers.Config{Ledger: env.NewLedger(), Slots: 8, Logger: zap.NewNop(),
		Serves: []handlers.Registration{{Type: "echo", Handler: echo}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the worker ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// submit stores a job through the service; finish waits for its end.
func submit(t *testing.T, c *gateway.Client, n int) schemas.JobID {
	t.Helper()
	r, err := c.Submit(t.Context(), ledger.SubmitRequest{Type: "echo", Args: fmt.Appendf(nil, `{"n":%d}`, n)})
	if err != nil {
		t.Fatal(err)
	}
	return r.ID
}

func finish(t *testing.T, c *gateway.Client, id schemas.JobID, within time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	r, err := c.Wait(ctx, id)
	if err != nil || r.State != schemas.StateCompleted {
		t.Fatalf("job %s is %+v, %v", id, r, err)
	}
}

// A job's whole story through the parts of one server: submitted by a request, queued by the leader, run by
// a worker, shown by the views.
func TestStory(t *testing.T) {
	t.Parallel()
	env, _ := ledgertest.Cell(t)
	work(t, env)
	c := env.Client("acme")
	var ids []schemas.JobID
	const n = 100
	for i := range n {
		ids = append(ids, submit(t, c, i))
	}
	for i, id := range ids {
		finish(t, c, id, time.Minute)
		r, err := c.Result(t.Context(), id)
		if err != nil || string(r.Result) != fmt.Sprintf(`{"n":%d}`, i) {
			t.Errorf("result of job %d is %s, %v", i, r.Result, err)
		}
	}
	end, err := env.Ledger.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	count, err := c.Count(t.Context(), gateway.CountRequest{MinSeq: end.Seq})
	if err != nil || count.Total != n || count.Items[4] != (gateway.CountItem{Key: "completed", Count: n}) {
		t.Errorf("counts are %+v, %v", count, err)
	}
}

// Of two servers one leads; when it stops the other goes on, and the views stay right (DESIGN D6: 5 s).
func TestTwoServers(t *testing.T) {
	t.Parallel()
	env, first := ledgertest.Cell(t)
	env.RunServer()
	work(t, env)
	c := env.Client("acme")
	finish(t, c, submit(t, c, 0), time.Minute)
	first.Stop()
	finish(t, c, submit(t, c, 1), time.Minute)
	env.RunServer()
	finish(t, c, submit(t, c, 2), time.Minute)
}

// A cell starts and stops any number of times; stopping while it starts is well too. All that it opened is
// closed when Run returns.
func TestStartStop(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	for range 3 {
		env.RunServer().Stop()
	}
	for _, after := range []time.Duration{0, time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond, 200 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(t.Context(), after)
		var mu sync.Mutex
		var conns []*nats.Conn
		err := cell.Run(ctx, cell.Config{Logger: zap.NewNop(), Connect: func(string) (*nats.Conn, error) {
			nc := env.Connect()
			mu.Lock()
			defer mu.Unlock()
			conns = append(conns, nc)
			return nc, nil
		}})
		cancel()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) && ledger.AsError(err).Code != ledger.CodeUnavailable {
			t.Errorf("stopped after %s: %v", after, err)
		}
		for _, nc := range conns {
			if !nc.IsClosed() {
				t.Errorf("stopped after %s: a connection is left open", after)
			}
		}
	}
}

// What cannot be reached is said, and nothing is left behind.
// A server that starts on a ledger with jobs says when its fold has come to their end (DESIGN D6).
func TestFolded(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	s := newSystem(t, env)
	s.submit("echo", 50)
	folded := make(chan struct{})
	env.RunServer(func(c *cell.Config) { c.Folded = func() { close(folded) } })
	select {
	case <-folded:
	case <-env.Context().Done():
		t.Fatal("the fold did not come to the ledger's end")
	}
}

func TestCannotConnect(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	refused := errors.New("refused")
	var conns []*nats.Conn
	err := cell.Run(t.Context(), cell.Config{Logger: zap.NewNop(), Connect: func(name string) (*nats.Conn, error) {
		if name == "gateway" {
			return nil, refused
		}
		conns = append(conns, env.Connect())
		return conns[len(conns)-1], nil
	}})
	if !errors.Is(err, refused) {
		t.Errorf("Run returned %v, want that a connection was refused", err)
	}
	for _, nc := range conns {
		if !nc.IsClosed() {
			t.Error("a connection is left open")
		}
	}
	if err := cell.Run(t.Context(), cell.Config{}); err == nil {
		t.Error("an empty configuration is accepted")
	}
}
