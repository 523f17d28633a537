package ledgertest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/schemas"
)

// readyTimeout bounds the start of a cell; on a cluster streams elect their leaders first.
const readyTimeout = time.Minute

// Server is one server process of a cell, in this process: feed, dispatcher, projector and gateway.
type Server struct {
	Info cell.Info

	env  *Env
	stop func()
}

// Cell opens an embedded ledger with one server on it: submit through Client, and work off what it queues.
// At the end of the test the server stops, then the ledger and all its views are checked.
func Cell(t testing.TB, opts ...Option) (*Env, *Server) {
	t.Helper()
	env := Start(t, opts...)
	return env, env.RunServer()
}

// RunServer starts a server of the cell and waits until it takes requests; several may run on one ledger.
// change may set what a test is about. It ends at the end of the test, or with Stop.
func (env *Env) RunServer(change ...func(*cell.Config)) *Server {
	env.t.Helper()
	ready := make(chan cell.Info, 1)
	cfg := cell.Config{
		Connect:         env.connectPart,
		Logger:          env.cfg.log,
		Version:         "0.0.0",
		RegisterUnknown: true,
		Ready:           func(i cell.Info) { ready <- i },
	}
	if env.cfg.server.Guard != nil {
		cfg.Tenants = env.NATS
	}
	for _, c := range change {
		c(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- cell.Run(ctx, cfg) }()
	s := &Server{env: env}
	s.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			env.t.Errorf("the server ended with %v", err)
		}
	})
	env.t.Cleanup(s.stop)
	select {
	case s.Info = <-ready:
	case err := <-done:
		done <- nil
		env.t.Fatalf("the server ended at its start: %v", err)
	case <-time.After(readyTimeout):
		env.t.Fatalf("the server is not ready after %s", readyTimeout)
	}
	return s
}

// Indexed gives a server of RunServer a query index in a folder.
func Indexed(dir string) func(*cell.Config) { return func(c *cell.Config) { c.IndexDir = dir } }

// Stop stops the server as SIGTERM would, and waits until it has.
func (s *Server) Stop() { s.stop() }

// Client calls the command service of one org on a connection of its own. Any server of the cell answers.
func (env *Env) Client(org schemas.OrgID) *gateway.Client {
	env.t.Helper()
	return &gateway.Client{Conn: env.Connect(), Org: org, Timeout: 30 * time.Second}
}
