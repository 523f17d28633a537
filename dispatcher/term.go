package dispatcher

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// stand stands for leader, and leads when it wins, until ctx ends.
func (h *Host) stand(ctx context.Context) error {
	// A server that has far to fold must not keep the lease from one that is ready.
	for begin := time.Now(); ; {
		end, err := h.l.End(ctx)
		if err == nil {
			err = h.Reach(ctx, end.Seq)
		}
		if err == nil {
			events := end.Seq - min(end.Seq, h.from.Seq)
			h.log.Info("ledger folded", zap.Uint64("events", uint64(events)), zap.Float64("took_s", time.Since(begin).Seconds()))
			err = h.call(ctx, func() { h.saveSoon(events) })
		}
		if err == nil || ctx.Err() != nil {
			break
		}
		h.log.Warn("the ledger's end cannot be read", zap.Error(err))
		if h.l.Conn().IsClosed() {
			return err
		}
	}
	for {
		l, err := h.acquire(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if err := h.lead(ctx, l); err != nil {
			return err
		}
	}
}

// lead is one epoch, from the lease to its loss. The error ends the host.
func (h *Host) lead(ctx context.Context, l *lease) error {
	epochCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	wg.Add(2)
	go func() {
		defer wg.Done()
		l.keep(epochCtx)
	}()
	go func() {
		defer wg.Done()
		select {
		case <-l.ended:
			cancel()
		case <-epochCtx.Done():
		}
	}()
	err := h.epoch(epochCtx, l)
	cancel()
	wg.Wait()
	// The lease goes first: from here nothing is decided. Then the core forgets what was in flight.
	h.lease.Store(nil)
	if cerr := h.call(context.WithoutCancel(ctx), func() { h.core.Follow() }); cerr != nil {
		return cerr
	}
	reason := l.reason()
	if reason == "" {
		l.release()
	}
	var begin *beginError
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.As(err, &begin):
		h.log.Warn("the epoch could not begin", zap.Error(begin.err), zap.String("lease", reason))
		pause(ctx, h.cfg.Times.Renew)
		return nil
	case err != nil:
		return err
	}
	h.log.Warn("leadership ends", zap.String("reason", reason))
	return nil
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// beginError says why an epoch could not begin; another try may.
type beginError struct{ err error }

func (e *beginError) Error() string { return e.err.Error() }

// epoch wins the epoch, leads it and returns when ctx ends.
func (h *Host) epoch(ctx context.Context, l *lease) error {
	epoch, err := h.elect(ctx)
	if err == nil {
		err = h.Reach(ctx, epoch)
	}
	if err == nil {
		err = h.clearWork(ctx)
	}
	if err != nil {
		return &beginError{err}
	}
	l.epoch = epoch
	h.lease.Store(l)
	if err := h.call(ctx, func() { h.beginLeading(epoch) }); err != nil {
		return &beginError{err}
	}
	h.counters.Epochs.Add(1)
	h.log.Info("leading", zap.Uint64("epoch", uint64(epoch)), zap.String("cell", *h.cell.Load()))
	return h.whileLeading(ctx, epoch)
}

// whileLeading runs what runs on the leader alone. The first error ends the rest.
func (h *Host) whileLeading(ctx context.Context, epoch schemas.Seq) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	run := func(f func(context.Context, schemas.Seq) error) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := f(ctx, epoch); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		}()
	}
	run(h.reconcile)
	run(h.keepLive)
	for _, f := range h.cfg.WhileLeading {
		run(f)
	}
	<-ctx.Done()
	wg.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// elect appends leader_elected and returns its sequence, the epoch. If this process dies behind it, the
// epoch is one in which nothing was decided.
func (h *Host) elect(ctx context.Context) (schemas.Seq, error) {
	for {
		_, expect, err := h.l.LatestEpoch(ctx) // asks again and again: a request that meets an election is never answered
		if err != nil {
			return 0, fmt.Errorf("latest leader event: %w", err)
		}
		e := schemas.NewEvent(ledger.ControlLeader, &schemas.LeaderElected{Server: h.cfg.Server, Cell: h.cellNow()})
		err = h.l.Append(ctx, e, expect)
		if errors.Is(err, ledger.ErrRefused) && ctx.Err() == nil {
			continue // another server won an epoch meanwhile
		}
		if err != nil {
			return 0, fmt.Errorf("append leader_elected: %w", err)
		}
		at := time.Now()
		if stored, err := h.l.EventAt(ctx, e.Seq); err == nil {
			h.skew.Store(int64(stored.Time.Sub(at)))
		}
		return e.Seq, nil
	}
}

// cellNow is the cell's start as folded; a fold that is not there yet names none, and the event must.
func (h *Host) cellNow() string {
	if id := *h.cell.Load(); id != "" {
		return id
	}
	return "unknown"
}

// Reach returns when this server's fold has come as far as seq, with all that earlier leaders wrote up to it (DESIGN D6), or
// with the error of ctx. It needs Run.
func (h *Host) Reach(ctx context.Context, seq schemas.Seq) error {
	w := wait{seq: seq, done: make(chan struct{})}
	if err := h.call(ctx, func() { h.waits = append(h.waits, w); h.wake() }); err != nil {
		return err
	}
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
