package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/internal/natsd"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// connector opens a connection in the ledger's own account under a name that
// `nats server report connections` shows.
type connector func(name string) (*nats.Conn, error)

// inProcess connects to the server of this process.
func inProcess(server *natsd.Server) connector {
	return func(name string) (*nats.Conn, error) {
		connect := server.ConnectInProcess
		if cell.ReadsLong(name) {
			connect = server.ConnectReader
		}
		return connect(nats.Name("jobledger "+name), nats.ReconnectWait(reconnectWait))
	}
}

// startNATS starts the embedded server; what keeps it from starting is said
// with a code. Behind a crash it may read its files for minutes: the end of ctx
// does not wait for that. The process is to end then, which harms them no more
// than a kill; where it goes on, the server is stopped once it has started.
func startNATS(ctx context.Context, cfg natsd.Config) (*natsd.Server, error) {
	var server *natsd.Server
	var err error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		server, err = natsd.Start(cfg)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		go func() {
			if <-ended; err == nil {
				server.Shutdown()
			}
		}()
		return nil, ctx.Err()
	}
	var folder *natsd.FolderBusyError
	var port *natsd.PortBusyError
	switch {
	case errors.As(err, &folder), errors.As(err, &port):
		return nil, failf(ledger.CodeInUse, "%w", err)
	case err != nil:
		return nil, failf(ledger.CodeUnavailable, "%w", err)
	}
	return server, nil
}

// readyLine is what `dev --json` prints once it serves.
type readyLine struct {
	Ready          bool           `json:"ready"`
	NATSURL        string         `json:"nats_url"`
	HTTPURL        *string        `json:"http_url"` // null: nothing listens for HTTP
	Context        *string        `json:"context"`  // null: none was saved
	Org            *schemas.OrgID `json:"org"`
	Store          *string        `json:"store"` // null: the data is with an outside NATS
	ReplayedEvents uint64         `json:"replayed_events"`
	Version        string         `json:"version"`
}

// ledgerThere is what was stored before this process began.
type ledgerThere struct {
	found    bool
	events   uint64
	replicas int
}

// lookAtLedger asks for the ledger's stream, which may not be there yet.
func lookAtLedger(ctx context.Context, nc *nats.Conn) (ledgerThere, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return ledgerThere{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	stream, err := js.Stream(ctx, ledger.StreamLedger)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return ledgerThere{}, nil
	}
	if err != nil {
		return ledgerThere{}, fmt.Errorf("look at stream %s: %w", ledger.StreamLedger, err)
	}
	info := stream.CachedInfo()
	return ledgerThere{found: true, events: info.State.Msgs, replicas: info.Config.Replicas}, nil
}

// cellProcess is a cell that serves in this process.
type cellProcess struct {
	info  cell.Info
	stop  context.CancelFunc
	ended chan struct{}
	err   error // valid once ended is closed
}

// startCell returns when the cell takes requests. The end of ctx stops a start,
// and nothing after it: the cell goes on until close, since others must stop
// before it does.
func startCell(ctx context.Context, cfg cell.Config) (*cellProcess, error) {
	own, stop := context.WithCancel(context.WithoutCancel(ctx))
	c := &cellProcess{stop: stop, ended: make(chan struct{})}
	ready := make(chan cell.Info, 1)
	cfg.Ready = func(i cell.Info) { ready <- i }
	go func() {
		defer close(c.ended)
		c.err = cell.Run(own, cfg)
	}()
	select {
	case c.info = <-ready:
		return c, nil
	case <-c.ended:
		stop()
		return nil, c.err
	case <-ctx.Done():
		_ = c.close() // it was not ready: the stop is what there is to say
		return nil, ctx.Err()
	}
}

// close stops the cell and returns why it ended, nil if by this.
func (c *cellProcess) close() error {
	c.stop()
	<-c.ended
	return c.err
}

// whileServing is ctx, ended also by the end of the cell, which is its cause then.
func (c *cellProcess) whileServing(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	running, fail := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-c.ended:
			fail(c.err)
		case <-running.Done():
		}
	}()
	return running, fail
}

// roomOf measures the space of an embedded server.
func roomOf(server *natsd.Server) func(context.Context) (ledger.Room, error) {
	return func(context.Context) (ledger.Room, error) {
		free, total, err := server.Room()
		return ledger.Room{Free: free, Total: total}, err
	}
}
