package handlers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// BulkSlots is how many bulks a server runs at once. Each holds its args, of some 400 KB at most.
const BulkSlots = 32

// bulkCrowdedMax costs each bulk three events a turn.
const bulkCrowdedMax = 10 * time.Second

// BulkOrder is what a bulk asks for some of its jobs.
type BulkOrder struct {
	Org   schemas.OrgID
	Bulk  schemas.JobID // what it causes names it
	Actor schemas.Actor // who asked for the bulk
	Spec  *ledger.BulkSpec
	IDs   []schemas.JobID // of Spec.IDs, in their order
	// Again: it may have been done to these jobs already, by this bulk. Such a job counts as done and is left alone.
	Again bool
}

// BulkOutcome is what became of one job; the zero value: it was done.
type BulkOutcome struct {
	Skipped string // why nothing was tried
	Err     *ledger.Error
}

// BulksConfig says how a server runs bulks.
type BulksConfig struct {
	// Ledger works for them. Required. Give it a connection of its own.
	Ledger *ledger.Ledger
	// Feed is the process's one tail. Required.
	Feed *ledger.Feed
	// Act does what is asked to all jobs of an order, and says of each what became of it, in their order. What it cannot tell
	// yet, as the ledger is away, has an error that says so, and is asked for again. An error of the whole order is one of
	// all its jobs: unavailable and the like are tried again, another one ends the bulk. Required.
	Act func(ctx context.Context, o *BulkOrder) ([]BulkOutcome, error)
	// Name of the worker that runs them, and Version of the program, are shown to people.
	Name, Version string
	// Right is that of Config, asked about bulks.
	Right ledger.Right
	// Logger is required; use zap.NewNop() for none.
	Logger *zap.Logger
	// RunMax is that of BatchesConfig; CrowdedMax is it, 10 s if zero, while all BulkSlots are taken: others may wait for one.
	RunMax, CrowdedMax time.Duration
}

// Bulks runs the bulks of a cell (R-45, ledger.SubmitBulk): each server has one. It works for ledger.BulkType from the moment
// that there is such a type: a cell that never had a bulk has no worker for it.
//
// It may be started and killed at any time: the events that a bulk causes name it, so that the handler which goes on with
// it knows what an earlier one has done.
type Bulks struct {
	cfg     BulksConfig
	running atomic.Int32
}

// NewBulks returns what Run makes work.
func NewBulks(cfg BulksConfig) (*Bulks, error) {
	switch {
	case cfg.Ledger == nil:
		return nil, errors.New("handlers: BulksConfig.Ledger is required")
	case cfg.Feed == nil:
		return nil, errors.New("handlers: BulksConfig.Feed is required")
	case cfg.Act == nil:
		return nil, errors.New("handlers: BulksConfig.Act is required")
	case cfg.Logger == nil:
		return nil, errors.New("handlers: BulksConfig.Logger is required")
	}
	cfg.RunMax, cfg.CrowdedMax = cmp.Or(cfg.RunMax, batchRunMax), cmp.Or(cfg.CrowdedMax, bulkCrowdedMax)
	return &Bulks{cfg: cfg}, nil
}

// Run runs bulks until ctx ends, and hands back those that run then; it returns nil. The error is that of a
// connection that was closed. Call it once.
func (b *Bulks) Run(ctx context.Context) error {
	err := b.awaitType(ctx)
	if err == nil {
		err = serveSystem(ctx, Config{Ledger: b.cfg.Ledger, Slots: BulkSlots, Name: b.cfg.Name, Version: b.cfg.Version, Grace: -1,
			Logger: b.cfg.Logger, Right: b.cfg.Right,
			Serves: []Registration{{Queue: ledger.SystemQueue, Type: ledger.BulkType, Handler: HandlerFunc(b.run), Exclusive: true}}})
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// awaitType returns nil once there is a ledger.BulkType.
func (b *Bulks) awaitType(ctx context.Context) error {
	for {
		if err := b.cfg.Feed.WaitFor(ctx, 0); err != nil {
			return err
		}
		c := b.cfg.Feed.Subscribe(b.cfg.Feed.Last()) // first listen, then look
		err := b.followType(ctx, c)
		c.Close()
		if !errors.Is(err, ledger.ErrPositionExpired) { // the ledger went back to older data: look again
			return err
		}
	}
}

func (b *Bulks) followType(ctx context.Context, c *ledger.Cursor) error {
	for {
		typ, err := b.cfg.Ledger.Setting(ctx, ledger.KindType, string(ledger.BulkType))
		if err == nil && typ != nil {
			return nil
		}
		if err == nil {
			break
		}
		b.cfg.Logger.Warn("it cannot be read yet whether there are bulks", zap.Error(err))
		if !waitUntil(ctx.Done(), time.Now().Add(batchesPause)) {
			return ctx.Err()
		}
	}
	for {
		entries, err := c.Next(ctx)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Err != nil {
				continue
			}
			if d, ok := e.Data.(*schemas.TypeSet); ok && d.Settings.Name == ledger.BulkType {
				return nil
			}
		}
	}
}

// serveSystem runs a worker of the server's own until ctx ends or the connection is closed, again when somebody had it drain.
func serveSystem(ctx context.Context, cfg Config) error {
	w, err := New(cfg)
	if err != nil {
		return err
	}
	for {
		err := w.Run(ctx)
		if ctx.Err() != nil || errors.Is(err, nats.ErrConnectionClosed) || errors.Is(err, ledger.ErrTooOld) {
			return err
		}
		cfg.Logger.Info("a worker of the server's own ended and starts again", zap.Error(err))
		if !waitUntil(ctx.Done(), time.Now().Add(batchesPause)) {
			return nil
		}
	}
}

// run is the handler of a bulk.
func (b *Bulks) run(ctx context.Context, a *Attempt) (json.RawMessage, error) {
	r, err := newBulkRun(b, a)
	if err != nil {
		return nil, &marked{err: err, class: schemas.ClassPermanent, code: CodeInvalidArgs}
	}
	b.running.Add(1)
	defer b.running.Add(-1)
	return r.run(ctx)
}

// turnMax is how long a bulk keeps its slot at a time. While all are taken that is short, for whose bulks wait cannot be seen
// from here, and those of one org would keep out those of all others for an hour.
func (b *Bulks) turnMax() time.Duration {
	if b.running.Load() < BulkSlots {
		return b.cfg.RunMax
	}
	return min(b.cfg.RunMax, b.cfg.CrowdedMax)
}
