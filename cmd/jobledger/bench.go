package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/pprof"
	"time"

	"github.com/choria-io/fisk"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/internal/natsd"
	"github.com/dartwing/jobledger/ledger"
)

// benchReadyTimeout bounds the start of the embedded cell.
const benchReadyTimeout = 30 * time.Second

func (p *program) addBench(app *fisk.Application) {
	bench := group(app, "bench", "Measure this installation")
	p.addBenchFlow(bench)
	p.addBenchSubmit(bench)
	p.addBenchWork(bench)
}

// benchCell is the cell that is measured: one that runs already, or one made
// for this measurement.
type benchCell struct {
	connect    func(name string) (*nats.Conn, error)
	durability *string // null where only the server knows
	close      func() error
}

// openBenchCell takes the cell that a flag or variable of this command names, and
// makes one in this process when none does or --embedded asks for it. A context
// that was selected some time ago is not enough: the jobs of a measurement stay
// in a ledger for good.
func (p *program) openBenchCell(ctx context.Context, embedded, index bool, log *zap.Logger) (*benchCell, error) {
	server, name := p.flags.Server, p.flags.Context
	if embedded && (server.fromFlag || name.fromFlag) {
		return nil, usagef("--embedded measures a cell of its own: give no --server or --context with it")
	}
	if embedded || server.Value == "" && name.Value == "" {
		return embeddedCell(ctx, index, log)
	}
	if index {
		return nil, usagef("--index is for a cell of the measurement's own: add --embedded")
	}
	t, err := p.resolveTarget()
	if err != nil {
		return nil, err
	}
	return &benchCell{
		connect: func(name string) (*nats.Conn, error) { return p.connect(t, name) },
		close:   func() error { return nil },
	}, nil
}

// embeddedCell runs a server and a cell in this process, on a folder of the
// system's temporary ones that goes with it.
func embeddedCell(ctx context.Context, index bool, log *zap.Logger) (*benchCell, error) {
	dir, err := os.MkdirTemp("", "jobledger-bench-")
	if err != nil {
		return nil, failf(ledger.CodeInternal, "folder for the embedded server: %w", err)
	}
	server, err := natsd.Start(natsd.Config{StoreDir: filepath.Join(dir, "nats"), DontListen: true, Logger: log})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	indexDir := ""
	if index {
		indexDir = filepath.Join(dir, indexFolder)
	}
	durability := string(server.Durability())
	c := &benchCell{
		connect:    func(name string) (*nats.Conn, error) { return server.ConnectInProcess(nats.Name("bench " + name)) },
		durability: &durability,
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx)) // it outlasts Ctrl-C: the measurement ends first
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- cell.Run(running, cell.Config{Connect: c.connect, Logger: log, Version: version, IndexDir: indexDir,
			Ready: func(cell.Info) { close(ready) }})
	}()
	c.close = func() error {
		stop()
		err := <-ended
		server.Shutdown()
		return errors.Join(err, os.RemoveAll(dir))
	}
	select {
	case <-ready:
		return c, nil
	case err := <-ended:
		ended <- err
	case <-ctx.Done():
	case <-time.After(benchReadyTimeout):
		err = failf(ledger.CodeUnavailable, "the embedded cell is not ready after %s", benchReadyTimeout)
	}
	return nil, errors.Join(err, context.Cause(ctx), c.close())
}

// ledger opens the ledger on a connection of its own, so that submitting,
// working and watching do not queue behind each other (ENGINE 10).
func (c *benchCell) ledger(ctx context.Context, name string, log *zap.Logger) (*ledger.Ledger, error) {
	nc, err := c.connect(name)
	if err != nil {
		return nil, err
	}
	return checkedLedger(ctx, nc, log)
}

// profileTo writes a CPU profile to file until stop is called; an empty name
// writes none.
func profileTo(file string) (stop func() error, err error) {
	if file == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(file)
	if err != nil {
		return nil, usagef("--cpuprofile: %w", err)
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(fmt.Errorf("--cpuprofile: %w", err), f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}
