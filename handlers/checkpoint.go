package handlers

import (
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

// Bounds of what one attempt may keep. A checkpoint is an event of the job, and every reader of the job reads
// all of them.
const (
	// CheckpointMax is the greatest size in bytes of a checkpoint.
	CheckpointMax = schemas.CheckpointMax
	// CheckpointsMax is how many checkpoints one attempt may save.
	CheckpointsMax = 10_000
	// CheckpointBytesMax is how many bytes its checkpoints may have together.
	CheckpointBytesMax = 8 << 20
	// CheckpointPause is the least time between two checkpoints of an attempt; who is faster waits.
	CheckpointPause = 100 * time.Millisecond
)

// ErrNoCheckpoints is returned by SaveCheckpoint where the worker has nowhere to keep one. The handler may
// go on: a later attempt then begins from the start.
var ErrNoCheckpoints = errors.New("this worker keeps no checkpoints")

// ErrCheckpointBudget is returned by SaveCheckpoint when the attempt has saved as much as it may. The handler
// may go on: a later attempt resumes from the last checkpoint that was saved.
var ErrCheckpointBudget = errors.New("the attempt has saved as many checkpoints as it may: save less often, or smaller ones")

// SaveCheckpoint stores value, one JSON value of at most CheckpointMax bytes, for later attempts to begin
// from; null takes it away. When it returns nil the checkpoint is durable. It waits where the last one is
// younger than CheckpointPause. A handler that was told to stop may save a last one with a context of its
// own (context.WithoutCancel) while its attempt is not closed.
//
// The error is ErrCheckpointBudget, ErrNoCheckpoints, one that wraps ErrLeaseLost (the attempt is closed, or
// no longer the current one: nothing is stored), that of ctx, or a *ledger.Error.
func (a *Attempt) SaveCheckpoint(ctx context.Context, value json.RawMessage) error {
	if len(value) > CheckpointMax {
		return fmt.Errorf("checkpoint is %d bytes: at most %d are kept", len(value), CheckpointMax)
	}
	if err := schemas.CheckJSON("checkpoint", value); err != nil {
		return err
	}
	if a.host.save == nil {
		return ErrNoCheckpoints
	}
	return a.host.save(ctx, value)
}

// checkpoints counts and paces what one attempt saves, one checkpoint at a time.
type checkpoints struct {
	turn  chan struct{} // capacity 1; holds a token while one is being saved
	n     int
	bytes int
	last  time.Time
}

func newCheckpoints() checkpoints { return checkpoints{turn: make(chan struct{}, 1)} }

// begin waits for its turn, and for the pause since the last one.
func (c *checkpoints) begin(ctx context.Context, size int) error {
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if c.n >= CheckpointsMax || c.bytes+size > CheckpointBytesMax {
		<-c.turn
		return ErrCheckpointBudget
	}
	if !waitUntil(ctx.Done(), c.last.Add(CheckpointPause)) {
		<-c.turn
		return context.Cause(ctx)
	}
	return nil
}

// end gives the turn back. What may be stored counts.
func (c *checkpoints) end(size int, stored bool) {
	if stored {
		c.n++
		c.bytes += size
	}
	c.last = time.Now()
	<-c.turn
}

// waitUntil waits for t; false if done is closed first.
func waitUntil(done <-chan struct{}, t time.Time) bool {
	d := time.Until(t)
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-done:
		return false
	}
}

// save appends a checkpoint of the attempt. If this process dies before, the next attempt resumes from the one
// before; if it dies behind it, from this one.
func (r *running) save(ctx context.Context, value json.RawMessage) error {
	if err := r.checkpoints.begin(ctx, len(value)); err != nil {
		return err
	}
	life := r.s.w.cfg.Ledger.Life()
	job, e, err := r.do(ctx, &ledger.Checkpoint{Fence: r.a.Fence, Value: value}, ledger.Meta{})
	r.checkpoints.end(len(value), e != nil || errors.Is(err, ledger.ErrUnknown))
	if errors.Is(err, ledger.ErrStaleAttempt) {
		return fmt.Errorf("%w: %w", ErrLeaseLost, err)
	}
	if err == nil {
		r.moved(job, life) // or the next append would be refused, and have to read
	}
	return err
}

// checkpointer saves the checkpoints that a process or a service sends, beside the reading of what it sends.
// Of those that come while one is being saved the latest is kept. They are paced so that what an attempt may
// save lasts until its timeout.
type checkpointer struct {
	attempt *Attempt
	warn    func(what string, err error)
	ended   chan struct{} // closed by close
	done    chan struct{} // closed when the last one is saved; nil before the first

	mu     sync.Mutex
	latest json.RawMessage // nil: all saved
	more   chan struct{}   // capacity 1
}

// Pace of a checkpointer, and how long its last save may take once the process or service has ended.
const (
	checkpointEvery = time.Second
	lastSaveMax     = 5 * time.Second
)

func newCheckpointer(a *Attempt, warn func(string, error)) *checkpointer {
	return &checkpointer{attempt: a, warn: warn, ended: make(chan struct{}), more: make(chan struct{}, 1)}
}

// put hands a checkpoint over and returns at once. It is not called after close.
func (c *checkpointer) put(ctx context.Context, value json.RawMessage) {
	c.mu.Lock()
	c.latest = value
	c.mu.Unlock()
	select {
	case c.more <- struct{}{}:
	default:
	}
	if c.done == nil {
		c.done = make(chan struct{})
		go c.run(context.WithoutCancel(ctx)) // one sent on the way out, after SIGTERM, is worth saving
	}
}

// close saves the last one and returns when that is done, or lastSaveMax has passed.
func (c *checkpointer) close() {
	if c.done != nil {
		close(c.ended)
		<-c.done
	}
}

func (c *checkpointer) run(ctx context.Context) {
	defer close(c.done)
	for over := false; !over; {
		select {
		case <-c.more:
		case <-c.ended:
			over = true
		}
		c.mu.Lock()
		value := c.latest
		c.latest = nil
		c.mu.Unlock()
		if value == nil {
			continue
		}
		begun := time.Now()
		saving, cancel := context.WithTimeout(ctx, lastSaveMax)
		if err := c.attempt.SaveCheckpoint(saving, value); err != nil {
			c.warn("checkpoint was not stored", err)
		}
		cancel()
		waitUntil(c.ended, begun.Add(c.pause(len(value))))
	}
}

// pause is the time between checkpoints of a size. Two are set aside, for the first and the last.
func (c *checkpointer) pause(size int) time.Duration {
	t := c.attempt.Timeout
	return max(checkpointEvery, t/(CheckpointsMax-2), time.Duration(float64(t)*float64(size)/float64(CheckpointBytesMax-2*CheckpointMax)))
}

// warnOnce logs the first of a kind of complaint about an attempt; the others are left out in silence.
type warnOnce struct {
	log    *zap.Logger
	mu     sync.Mutex
	warned bool
}

func (w *warnOnce) warn(source, what string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.warned {
		w.warned = true
		w.log.Warn(source+": further lines like this are ignored in silence", zap.String("what", what), zap.Error(err))
	}
}
