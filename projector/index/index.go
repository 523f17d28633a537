package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// entriesAhead is how many batches of entries the feed may be ahead of the fold.
const entriesAhead = 4

// ErrFolding: the index is not yet where the ledger was when it was opened, or turned out not to be readable.
var ErrFolding = errors.New("the index is being folded")

// Config says what to index, and where.
type Config struct {
	// Ledger is asked for events by their position. Required.
	Ledger *ledger.Ledger
	// Feed is the process's one tail of the ledger. Required.
	Feed *ledger.Feed
	// Dir is the folder of the file; it belongs to one process at a time. Required.
	Dir string
	// Server names this process to who asks about its index.
	Server string
	// Logger is required; use zap.NewNop() for none.
	Logger *zap.Logger
}

func (c *Config) validate() error {
	switch {
	case c.Ledger == nil:
		return errors.New("index: Config.Ledger is required")
	case c.Feed == nil:
		return errors.New("index: Config.Feed is required")
	case c.Dir == "":
		return errors.New("index: Config.Dir is required")
	case c.Logger == nil:
		return errors.New("index: Config.Logger is required")
	}
	return nil
}

// Index is one server's index. Run keeps it; all others only read.
type Index struct {
	cfg     Config
	history history
	rebuild chan struct{} // takes one

	asked     chan rowsAsked
	tellers   chan struct{} // holds a token for each who asked and is not answered to the end
	walks     chan struct{} // holds a token while rows are walked
	partEvery time.Duration

	mu     sync.Mutex
	walk   context.CancelCauseFunc // ends the latest walk; nil before the first
	file   *file                   // nil while none is open
	users  *sync.WaitGroup         // of that file: it is closed when they are done
	at     schemas.Position
	ready  bool          // at has been where the ledger ended when the file was opened
	wanted int           // how often a fold from zero was asked for: a session begun before is not shown any more
	moved  chan struct{} // closed when at or ready changes
}

// New returns an index. It opens nothing yet.
func New(cfg Config) (*Index, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return newIndex(cfg), nil
}

func newIndex(cfg Config) *Index {
	return &Index{cfg: cfg, history: historyOf(cfg.Ledger), rebuild: make(chan struct{}, 1), asked: make(chan rowsAsked, tellersMax),
		tellers: make(chan struct{}, tellersMax), walks: make(chan struct{}, 1), partEvery: partEvery, moved: make(chan struct{})}
}

// Run keeps the index until ctx ends, and returns nil then. Whatever is wrong with the file costs a fold from zero, never
// more.
func (x *Index) Run(ctx context.Context) error {
	silent, err := x.listen()
	if err != nil {
		return err
	}
	var telling sync.WaitGroup
	for range tellersMax {
		telling.Go(func() { x.tellRows(ctx) })
	}
	defer telling.Wait()
	defer silent()
	var t trouble
	for ctx.Err() == nil {
		s := &session{x: x}
		err := s.run(ctx)
		if ctx.Err() != nil {
			return nil
		}
		anew, pause := t.after(err, s.wrote)
		if anew {
			x.cfg.Logger.Info("the index is thrown away and folded from zero", zap.Error(err))
			if err := remove(x.cfg.Dir); err != nil {
				x.cfg.Logger.Warn("the file of the index cannot be removed", zap.Error(err))
				pause = retryWait
			}
		} else {
			x.cfg.Logger.Warn("the index cannot be kept; trying again", zap.Error(err), zap.Duration("pause", pause))
		}
		wait(ctx, pause)
	}
	return nil
}

// errAnew: what stands in the file is worth nothing.
var errAnew = errors.New("the index begins anew")

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// Rebuild throws the file away while the index goes on; it is folded from zero. WaitFor tells when that is done.
func (x *Index) Rebuild() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.begin()
}

// begin has the file thrown away, which no reader is let at any more. x.mu is held.
func (x *Index) begin() {
	x.ready = false
	x.wanted++
	x.endWalk()
	x.change()
	select {
	case x.rebuild <- struct{}{}:
	default: // it is asked for already
	}
}

// change lets all who wait look again. x.mu is held.
func (x *Index) change() {
	close(x.moved)
	x.moved = make(chan struct{})
}

// Position is how far the file is, and whether it may be read.
func (x *Index) Position() (at schemas.Position, ready bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.at, x.ready
}

// WaitFor returns when the index may be read and includes seq. The error wraps that of ctx.
func (x *Index) WaitFor(ctx context.Context, seq schemas.Seq) error {
	for {
		x.mu.Lock()
		at, ready, moved := x.at, x.ready, x.moved
		x.mu.Unlock()
		if ready && at.Seq >= seq {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("the index is at %s, not at %s: %w", at.Seq, seq, ctx.Err())
		}
	}
}

// read calls do with the file while it is open. A file that cannot be read is thrown away: the fold reads few of its old
// pages, so that nobody but readers meets damage there.
func (x *Index) read(ctx context.Context, do func(*file) error) error {
	x.mu.Lock()
	if !x.ready || x.file == nil {
		x.mu.Unlock()
		return ErrFolding
	}
	f, users, wanted := x.file, x.users, x.wanted
	users.Add(1)
	x.mu.Unlock()
	defer users.Done() // behind begin: the next file is not met by it
	err := do(f)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	x.cfg.Logger.Warn("the index cannot be read", zap.Error(err))
	if !passing(err) {
		x.mu.Lock()
		if x.wanted == wanted {
			x.begin()
		}
		x.mu.Unlock()
	}
	return fmt.Errorf("%w: %w", ErrFolding, err)
}

// Find answers a query. The error is ctx's, or ErrFolding while the index is not there.
func (x *Index) Find(ctx context.Context, q *Query) (page *Page, err error) {
	err = x.read(ctx, func(f *file) error {
		page, err = f.find(ctx, q)
		return err
	})
	return page, err
}

// Each hands over every job of an org that a filter chooses, the latest submitted first, until take has had enough. It
// reports false in whole if it gave up behind rowsMax rows. The error is ctx's, or ErrFolding while the index is not there.
func (x *Index) Each(ctx context.Context, q *Query, rowsMax int, take func(ledger.Record) bool) (at schemas.Position, whole bool, err error) {
	var next schemas.Seq
	err = x.read(ctx, func(f *file) error {
		select {
		case f.long <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		defer func() { <-f.long }()
		at, err = f.look(ctx, q.Org, &q.Where, q.Before, q.Now, 1<<30, rowsMax, take, &next)
		return err
	})
	return at, next == 0, err
}

// Counts are the counters of an org, or of all for "", and the position that they are exact at.
func (x *Index) Counts(ctx context.Context, org schemas.OrgID) (counts map[ledger.CountKey]ledger.Count, at schemas.Position, err error) {
	err = x.read(ctx, func(f *file) error {
		counts, at, err = f.counted(ctx, org)
		return err
	})
	return counts, at, err
}

func (f *file) counted(ctx context.Context, org schemas.OrgID) (map[ledger.CountKey]ledger.Count, schemas.Position, error) {
	tx, err := f.reads.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, schemas.Position{}, err
	}
	defer func() { _ = tx.Rollback() }() // it has read only
	at, err := position(ctx, tx)
	if err != nil {
		return nil, at, err
	}
	counts, id := map[ledger.CountKey]ledger.Count{}, int64(0)
	if org != "" {
		p := planner{ctx: ctx, q: tx, f: f}
		if id, err = p.number(string(org)); err != nil || id == 0 {
			return counts, at, err
		}
	}
	return counts, at, f.counters(ctx, tx, id, func(k ledger.CountKey, n ledger.Count) { counts[k] = n })
}
