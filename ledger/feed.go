package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/schemas"
)

const (
	// feedEventsDefault is how many of the newest events a Feed keeps for its folds.
	feedEventsDefault = 65_536
	// feedBytesDefault bounds what they occupy, roughly.
	feedBytesDefault = 64 << 20
	// entryOverhead is about what an entry occupies beside its body.
	entryOverhead = 1024
	// feedBatch is how many entries Cursor.Next returns at most.
	feedBatch = 1024
)

// FeedConfig configures a Feed.
type FeedConfig struct {
	// Ledger to read. Required. Give the feed a connection of its own (ENGINE 10).
	Ledger *Ledger
	// Capacity is how many of the newest events are kept, 65,536 if 0. A fold that is further behind reads
	// the stream itself until it has caught up.
	Capacity int
	// CapacityBytes bounds the memory of the events kept, roughly; 64 MiB if 0.
	CapacityBytes int
	// Logger; that of Ledger if nil.
	Logger *zap.Logger
}

// Feed is the one tail of a server process (DESIGN D8): it reads LEDGER once, unfiltered, decodes each
// event once and keeps the newest for any number of folds, each of which reads through a Cursor of its
// own. A slow or starting fold delays no other. A message that is no event is delivered as such, counted,
// and stops nothing.
type Feed struct {
	cfg         FeedConfig
	l           *Ledger
	log         *zap.Logger
	quarantined atomic.Int64

	mu   sync.Mutex
	life int // rises whenever the ledger has gone back to older data; 0 before Run knows where it stands
	ring ring
	more chan struct{} // closed when something was added; nil while nobody waits
}

// NewFeed returns a feed. Run makes it work.
func NewFeed(cfg FeedConfig) (*Feed, error) {
	if cfg.Ledger == nil {
		return nil, errors.New("ledger: FeedConfig.Ledger is required")
	}
	if cfg.Capacity < 0 || cfg.CapacityBytes < 0 {
		return nil, fmt.Errorf("ledger: a feed of %d events and %d bytes is none", cfg.Capacity, cfg.CapacityBytes)
	}
	if cfg.Capacity == 0 {
		cfg.Capacity = feedEventsDefault
	}
	if cfg.CapacityBytes == 0 {
		cfg.CapacityBytes = feedBytesDefault
	}
	if cfg.Logger == nil {
		cfg.Logger = cfg.Ledger.log
	}
	return &Feed{cfg: cfg, l: cfg.Ledger, log: cfg.Logger}, nil
}

// Run reads the ledger from its current end on until ctx ends, whose error it returns, or the connection
// is closed. It goes on over restarts of the server and leader changes, within about a second of the
// server's return. If the ledger has gone back to older data it starts again at the new end; cursors whose
// position is gone are told.
func (f *Feed) Run(ctx context.Context) error {
	for {
		end, err := f.l.End(ctx)
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			continue // the ledger is away for longer than one read waits
		}
		if err != nil {
			return fmt.Errorf("ledger feed: %w", err)
		}
		f.begin(end)
		if err = f.follow(ctx, end); !errors.Is(err, ErrPositionExpired) {
			return fmt.Errorf("ledger feed: %w", err)
		}
		f.log.Warn("ledger feed: it begins anew at the ledger's end", zap.Uint64("seq", uint64(f.Last().Seq)), zap.Error(err))
	}
}

// follow feeds the ring until the tail ends.
func (f *Feed) follow(ctx context.Context, from schemas.Position) error {
	t := f.l.newTail(from, "")
	defer t.close()
	for {
		entries, err := t.next(ctx)
		if err != nil {
			return err
		}
		f.add(entries)
	}
}

// begin empties the ring: it starts behind end.
func (f *Feed) begin(end schemas.Position) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.life++
	f.ring = newRing(f.cfg.Capacity, f.cfg.CapacityBytes, end)
	f.wake()
}

func (f *Feed) add(entries []*Entry) {
	var bad []*Entry
	for _, e := range entries {
		if e.Err != nil {
			bad = append(bad, e)
		}
	}
	if len(bad) > 0 { // one line, however many: whoever floods the ledger must not flood the log
		f.quarantined.Add(int64(len(bad)))
		f.log.Warn("quarantined messages in the ledger", zap.Int("count", len(bad)),
			zap.Uint64("seq", uint64(bad[0].Seq)), zap.String("subject", bad[0].RawSubject), zap.Error(bad[0].Err))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, e := range entries {
		f.ring.add(e)
	}
	f.wake()
}

// wake lets all who wait look again. f.mu is held.
func (f *Feed) wake() {
	if f.more != nil {
		close(f.more)
		f.more = nil
	}
}

// changed is closed at the next wake. f.mu is held.
func (f *Feed) changed() <-chan struct{} {
	if f.more == nil {
		f.more = make(chan struct{})
	}
	return f.more
}

// Last is the position of the newest entry that the feed has read; zero before Run knows the ledger's end,
// and in an empty ledger.
func (f *Feed) Last() schemas.Position {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ring.last()
}

// Quarantined is the number of messages without an event that the feed has met since it was made.
func (f *Feed) Quarantined() int64 { return f.quarantined.Load() }

// WaitFor returns when the feed has read up to seq; for 0, when it knows where the ledger ends. It says
// nothing about how far a fold is.
func (f *Feed) WaitFor(ctx context.Context, seq schemas.Seq) error {
	for {
		f.mu.Lock()
		reached, more := f.life > 0 && f.ring.last().Seq >= seq, f.changed()
		f.mu.Unlock()
		if reached {
			return nil
		}
		select {
		case <-more:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Subscribe returns a cursor behind after; the zero Position is the ledger's beginning. It may be called
// before Run. Whoever is done with a cursor closes it.
func (f *Feed) Subscribe(after schemas.Position) *Cursor { return &Cursor{f: f, pos: after} }

// SubscribeHistory is Subscribe for a fold of the one history: what has left LEDGER is read from ARCHIVE, so that no
// position is too old, and the zero Position is the beginning of all (DESIGN D13).
func (f *Feed) SubscribeHistory(after schemas.Position) *Cursor {
	return &Cursor{f: f, pos: after, history: true}
}

// Cursor hands the ledger's entries to one fold, in order and without a gap. It belongs to one goroutine.
type Cursor struct {
	f       *Feed
	history bool // ARCHIVE, too
	pos     schemas.Position
	life    int         // the feed's life in which pos was known to be in the ledger; 0: not yet
	t       *tail       // while it is behind the ring
	cold    *coldReader // while it is behind LEDGER
	err     error       // for good
}

// Position is where the next call of Next goes on.
func (c *Cursor) Position() schemas.Position { return c.pos }

// Close releases what the cursor holds. It may be called twice.
func (c *Cursor) Close() {
	if c.t != nil {
		c.t.close()
		c.t = nil
	}
	if c.cold != nil {
		c.cold.close()
		c.cold = nil
	}
}

// Next returns the entries behind the cursor's position, at least one, waiting for them; all that there
// are, up to a bound. Quarantined messages are among them (Entry.Err). Entries have no Body.
//
// The error is that of ctx, or ErrPositionExpired: the fold starts again with a new cursor from the
// beginning. It is an ErrPositionLeft where a fold of LEDGER alone was passed by the archive. Of SubscribeHistory it may
// also be that the archive cannot be read.
func (c *Cursor) Next(ctx context.Context) ([]*Entry, error) {
	for c.err == nil {
		entries, more := c.fromRing()
		if len(entries) > 0 {
			return entries, nil
		}
		if more == nil {
			entries, err := c.behind(ctx)
			if err != nil || len(entries) > 0 {
				return entries, err
			}
			continue
		}
		select {
		case <-more:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, c.err
}

// fromRing returns what the ring holds behind the position, or a channel to wait on, or neither: then the
// stream has to be read.
func (c *Cursor) fromRing() ([]*Entry, <-chan struct{}) {
	f := c.f
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.life == 0 {
		return nil, f.changed()
	}
	at, ok := f.ring.find(c.pos)
	switch {
	case ok:
		c.Close()
		c.life = f.life
		if entries := f.ring.from(at, feedBatch); len(entries) > 0 {
			c.pos = entries[len(entries)-1].Position()
			return entries, nil
		}
		return nil, f.changed()
	case c.life == f.life && c.pos.Seq > f.ring.last().Seq:
		return nil, f.changed() // ahead of the ring, having read the stream: the ring will be there soon
	}
	return nil, nil
}

// behind reads behind the position where the ring does not: from LEDGER, or from ARCHIVE what has left it. Nothing
// without error: look again.
func (c *Cursor) behind(ctx context.Context) ([]*Entry, error) {
	if c.cold == nil && (!c.history || c.pos.Seq > 0 || c.t != nil) {
		return c.fromStream(ctx)
	}
	if c.cold == nil {
		cold, err := c.f.l.readCold(ctx, 0)
		if err != nil {
			return nil, err
		}
		if cold == nil {
			return c.fromStream(ctx)
		}
		c.cold = cold
	}
	entries, err := c.cold.next(ctx)
	switch {
	case errors.Is(err, io.EOF):
		c.pos = c.cold.through
		c.Close()
		return nil, nil
	case err != nil && ctx.Err() == nil:
		c.Close() // and begin again behind the position
		return nil, err
	case err != nil:
		return nil, err
	}
	for _, e := range entries {
		stripBody(e)
	}
	c.pos = entries[len(entries)-1].Position()
	return entries, nil
}

// fromStream reads behind the position until the ring is reached. It compares the event at the position
// before anything is handed out.
func (c *Cursor) fromStream(ctx context.Context) ([]*Entry, error) {
	f := c.f
	if c.t == nil {
		c.t = f.l.newTail(c.pos, "")
		if c.history && c.pos.Seq == 0 {
			c.t.start = 1
		}
	}
	f.mu.Lock()
	life := f.life
	f.mu.Unlock()
	entries, err := c.t.next(ctx)
	if c.history && errors.Is(err, ErrPositionLeft) {
		c.Close()
		c.cold, err = f.l.readCold(ctx, c.pos.Seq)
		return nil, err
	}
	if errors.Is(err, ErrPositionExpired) {
		c.Close()
		c.err = err
	}
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		stripBody(e)
	}
	c.pos, c.life = c.t.pos, life
	return entries, nil
}

// stripBody drops the body of an event, whose data is decoded.
func stripBody(e *Entry) {
	if e.Err == nil {
		e.Body = nil
	}
}
