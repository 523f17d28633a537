package handlers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// BatchSlots is how many batches a server runs at once. Each holds its args.
	BatchSlots = 64
	// batchRunMax is how long a batch holds the archive's boundary, and its slot, at a time. What it costs to go on is to read
	// those of its items again that are not known to have ended.
	batchRunMax = time.Hour
	// batchPausedMax is how long a batch that is paused keeps others from its slot.
	batchPausedMax = time.Minute
	// batchesPause is the wait before what has failed, as the ledger is away, is tried again.
	batchesPause = time.Second
	// sweepsMax is how many canceled batches may wait for their items to be canceled.
	sweepsMax = 1024
	// sweepMax is how long the items of one canceled batch may take while others wait. It must do to read the largest
	// batch's items from the ledger: each sweep begins with that.
	sweepMax = 5 * time.Minute
)

// errSweepMax ends a sweep that took sweepMax.
var errSweepMax = errors.New("others wait")

// BatchesConfig says how a server runs batches.
type BatchesConfig struct {
	// Ledger takes items and cancels; its CheckArgs judges the args of items. Required. Give it a connection of its own.
	Ledger *ledger.Ledger
	// Feed is the process's one tail. Required.
	Feed *ledger.Feed
	// Name of the worker that runs them, and Version of the program, are shown to people.
	Name, Version string
	// Right is that of Config: it is asked about batches; who works for the items asks about those.
	Right ledger.Right
	// Logger is required; use zap.NewNop() for none.
	Logger *zap.Logger
	// RunMax is how long a batch runs until it gives its slot back and goes on from where it stands, PausedMax how long one
	// does that is paused itself, or whose org is; 0 means an hour and a minute. Others are for tests.
	RunMax, PausedMax time.Duration
}

// Batches runs the batches of a cell (R-09, ledger.SubmitBatch): each server has one. It follows the feed, so that one
// reading serves all batches, and works for ledger.BatchType from the moment that there is such a type: a cell that
// never had a batch has no worker for it.
//
// It may be started and killed at any time: a batch's items have ids of their own, used once for ever, so that the
// handler which goes on with a batch finds what an earlier one has submitted.
type Batches struct {
	cfg    BatchesConfig
	l      *ledger.Ledger
	log    *zap.Logger
	sweeps chan batchKey
	wanted chan struct{} // closed when the worker is to run

	mu    sync.Mutex
	runs  map[string]*batchRun // by org and what the ids of its items begin with
	holds batchHolds
	begun bool // wanted is closed
	// unsure are canceled batches whose handlers could not tell what they had submitted; at most sweepsMax.
	unsure map[batchKey]struct{}
}

type batchKey struct {
	org schemas.OrgID
	id  schemas.JobID
}

// NewBatches returns what Run makes work.
func NewBatches(cfg BatchesConfig) (*Batches, error) {
	switch {
	case cfg.Ledger == nil:
		return nil, errors.New("handlers: BatchesConfig.Ledger is required")
	case cfg.Feed == nil:
		return nil, errors.New("handlers: BatchesConfig.Feed is required")
	case cfg.Logger == nil:
		return nil, errors.New("handlers: BatchesConfig.Logger is required")
	}
	cfg.RunMax, cfg.PausedMax = cmp.Or(cfg.RunMax, batchRunMax), cmp.Or(cfg.PausedMax, batchPausedMax)
	return &Batches{cfg: cfg, l: cfg.Ledger, log: cfg.Logger, sweeps: make(chan batchKey, sweepsMax), wanted: make(chan struct{}),
		runs: make(map[string]*batchRun), unsure: make(map[batchKey]struct{})}, nil
}

// Run runs batches until ctx ends, and hands back those that run then; it returns nil. The error is that of a
// connection that was closed. Call it once.
func (b *Batches) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var joined sync.WaitGroup
	var failed error
	joined.Go(func() {
		if err := b.work(ctx); err != nil {
			failed = err
			cancel()
		}
	})
	joined.Go(func() { b.sweep(ctx) })
	err := b.pump(ctx)
	if ctx.Err() != nil {
		err = nil
	}
	cancel()
	joined.Wait()
	return errors.Join(failed, err)
}

// work runs the worker once there is something for it, again when somebody had it drain.
func (b *Batches) work(ctx context.Context) error {
	select {
	case <-b.wanted:
	case <-ctx.Done():
		return nil
	}
	return serveSystem(ctx, Config{Ledger: b.l, Slots: BatchSlots, Name: b.cfg.Name, Version: b.cfg.Version, Grace: -1, Logger: b.log, Right: b.cfg.Right,
		Serves: []Registration{{Queue: ledger.SystemQueue, Type: ledger.BatchType, Handler: HandlerFunc(b.run), Exclusive: true}}})
}

// pump follows the feed until ctx ends, whose error it returns, or the connection is closed.
func (b *Batches) pump(ctx context.Context) error {
	for {
		if err := b.cfg.Feed.WaitFor(ctx, 0); err != nil {
			return err
		}
		c := b.cfg.Feed.Subscribe(b.cfg.Feed.Last())
		err := b.follow(ctx, c)
		c.Close()
		if !errors.Is(err, ledger.ErrPositionExpired) {
			return err
		}
		b.mu.Lock() // the ledger went back to older data: every batch looks again
		b.holds = batchHolds{}
		for _, r := range b.runs {
			r.lookAgain()
		}
		b.mu.Unlock()
	}
}

func (b *Batches) follow(ctx context.Context, c *ledger.Cursor) error {
	for {
		err := b.look(ctx)
		if err == nil {
			break
		}
		b.log.Warn("the settings of batches cannot be read yet", zap.Error(err))
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
			if e.Err == nil {
				b.event(e.Event)
			}
		}
	}
}

// look reads what was set before the feed's position.
func (b *Batches) look(ctx context.Context) error {
	typ, err := b.l.Setting(ctx, ledger.KindType, string(ledger.BatchType))
	if err != nil {
		return err
	}
	holds, err := b.l.Settings(ctx, ledger.KindHold)
	if err != nil {
		return err
	}
	for _, e := range holds {
		b.hold(e.Event)
	}
	if typ != nil {
		b.begin()
	}
	return nil
}

func (b *Batches) begin() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.begun {
		b.begun = true
		close(b.wanted)
	}
}

// event takes what concerns batches.
func (b *Batches) event(e *schemas.Event) {
	switch d := e.Data.(type) {
	case *schemas.Completed:
		b.ended(e, schemas.StateCompleted)
	case *schemas.DeadLettered:
		b.ended(e, schemas.StateDeadLettered)
	case *schemas.Canceled:
		b.ended(e, schemas.StateCanceled)
		byHandler := d.Outcome == schemas.EventCanceled && !d.Forced
		if k := (batchKey{e.Org, e.Job}); d.Type == ledger.BatchType && (b.isUnsure(k) || !byHandler) {
			b.sweepLater(k)
		}
	case *schemas.TypeSet:
		if d.Settings.Name == ledger.BatchType {
			b.begin()
		}
		b.stir() // its items may go to another queue from here on
	case *schemas.HoldSet:
		b.hold(e)
	case *schemas.OrgSet:
		b.org(e, d)
	}
}

func runKey(org schemas.OrgID, items string) string { return string(org) + "." + items }

// ended tells a batch of one item's end.
func (b *Batches) ended(e *schemas.Event, to schemas.State) {
	items, i, ok := ledger.ParseBatchItemID(e.Job)
	if !ok {
		return
	}
	b.mu.Lock()
	r := b.runs[runKey(e.Org, items)]
	b.mu.Unlock()
	if r != nil {
		r.ended(i, to)
	}
}

// run is the handler of a batch.
func (b *Batches) run(ctx context.Context, a *Attempt) (json.RawMessage, error) {
	spec, err := ledger.DecodeBatch(a.Args)
	if err != nil || len(spec.Items) == 0 {
		return nil, &marked{err: fmt.Errorf("the batch cannot be read: %w", err), class: schemas.ClassPermanent, code: CodeInvalidArgs}
	}
	r := newBatchRun(b, a.Org, a.ID, a.Generation, spec, a.Checkpoint)
	r.a, r.fresh = a, a.Number == 1
	key := runKey(a.Org, r.items)
	b.mu.Lock()
	b.runs[key] = r
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		if b.runs[key] == r { // else another attempt of it runs here
			delete(b.runs, key)
		}
		b.mu.Unlock()
	}()
	return r.run(ctx)
}

// sweepLater asks for the items of a canceled batch to be canceled, because its handler could not. Every server does so
// that sees the batch canceled. If all of them die before, the items run on: an operator cancels them by batch.
func (b *Batches) sweepLater(k batchKey) {
	select {
	case b.sweeps <- k:
	default:
		b.log.Warn("too many batches are canceled at once: the items of this one run on", zap.String("org", string(k.org)), zap.String("job", string(k.id)))
	}
}

// sweepWhenCanceled has a batch's items canceled, once more, when it is canceled itself. Its handler calls it before that is
// stored: what was sent to the ledger before has arrived by then.
func (b *Batches) sweepWhenCanceled(k batchKey) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.unsure) < sweepsMax {
		b.unsure[k] = struct{}{}
	}
}

// isUnsure reports, once, whether sweepWhenCanceled was called for a batch.
func (b *Batches) isUnsure(k batchKey) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.unsure[k]
	delete(b.unsure, k)
	return ok
}

func (b *Batches) sweep(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case k := <-b.sweeps:
			b.sweepFor(ctx, k, sweepMax, b.sweepOne)
		}
	}
}

// sweepFor has a batch swept for so long at most: then it goes behind the others that wait, and finds what it has canceled
// when it is its turn again. ctx gets no deadline by it, as each call of the ledger is to keep its own.
func (b *Batches) sweepFor(ctx context.Context, k batchKey, most time.Duration, sweep func(context.Context, batchKey) error) {
	one, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer time.AfterFunc(most, func() { end(errSweepMax) }).Stop()
	err := sweep(one, k)
	if err == nil || ctx.Err() != nil {
		return
	}
	b.log.Warn("the items of a canceled batch could not be canceled", zap.String("org", string(k.org)), zap.String("job", string(k.id)), zap.Error(err))
	if errors.Is(context.Cause(one), errSweepMax) {
		b.sweepLater(k)
	}
}

func (b *Batches) sweepOne(ctx context.Context, k batchKey) error {
	// Of a deleted org the leader ends the items, and takes no callback. Where it is not known, the rest finds out.
	if e := ledger.AsError(b.l.OrgStands(ctx, k.org)); e != nil && e.Code == ledger.CodeOrgNotFound {
		return nil
	}
	j, err := b.l.Fold(ctx, k.org, k.id)
	if err != nil || j.State != schemas.StateCanceled {
		return err
	}
	args, err := b.l.Args(ctx, j)
	if err != nil {
		return err
	}
	spec, err := ledger.DecodeBatch(args)
	if err != nil {
		return err
	}
	r := newBatchRun(b, k.org, k.id, j.Generation, spec, j.Checkpoint)
	r.fresh = j.Attempt == 0
	if err := r.callback(ctx, j.Generation, j.Principal()); err != nil {
		return err
	}
	if err := r.recover(ctx); err != nil {
		return err
	}
	return r.cancelItems(ctx)
}
