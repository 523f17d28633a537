package index

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// session is one opening of the file.
type session struct {
	x       *Index
	file    *file
	fold    *fold
	writer  *writer
	end     schemas.Seq // where the ledger ended when the file was opened
	wrote   bool
	leaving leaving
	wanted  int          // Index.wanted at the beginning
	written atomic.Int64 // number of the last batch written
}

func (s *session) run(ctx context.Context) (err error) {
	if err := s.open(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	s.show(s.fold.at)
	own, stop := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { s.watchRemovals(own) })
	err = s.pump(ctx, s.follow)
	stop()
	watching.Wait()
	if errors.Is(err, ledger.ErrPositionExpired) {
		return fmt.Errorf("%w: %w", errAnew, err)
	}
	return err
}

// pump folds what follow hands over, and writes one batch while the next is folded, until follow ends, whose error it
// returns unless another came first.
func (s *session) pump(ctx context.Context, follow func(context.Context, chan<- []*ledger.Entry) error) error {
	own, stop := context.WithCancel(ctx)
	defer stop()
	entries, batches, idle := make(chan []*ledger.Entry, entriesAhead), make(chan *changes), make(chan struct{}, 1)
	idle <- struct{}{}
	var group sync.WaitGroup
	var feedErr, writeErr error
	group.Go(func() {
		defer close(entries)
		feedErr = follow(own, entries)
	})
	group.Go(func() {
		for c := range batches {
			if writeErr == nil {
				if writeErr = s.write(own, c); writeErr != nil {
					stop()
				}
			}
			idle <- struct{}{}
		}
	})
	err := s.loop(own, entries, batches, idle)
	if err != nil {
		stop()
	}
	close(batches)
	for range entries { // what is not folded any more
	}
	group.Wait()
	switch {
	case err != nil && !errors.Is(err, context.Canceled):
		return err
	case writeErr != nil && !errors.Is(writeErr, context.Canceled):
		return writeErr
	}
	return feedErr
}

// open opens the file and makes sure that it belongs to this ledger.
func (s *session) open(ctx context.Context) (err error) {
	s.x.mu.Lock()
	s.wanted = s.x.wanted
	s.x.mu.Unlock()
	end, err := s.x.cfg.Ledger.End(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", errOutside, err)
	}
	s.end = end.Seq
	if s.file, err = openFile(ctx, s.x.cfg.Dir); err != nil {
		return err
	}
	if err = s.begin(ctx); err != nil {
		err = errors.Join(err, s.close())
	}
	return err
}

func (s *session) begin(ctx context.Context) error {
	at, err := position(ctx, s.file.write)
	switch {
	case errors.Is(err, errForm):
		return fmt.Errorf("%w: %w", errAnew, err)
	case err != nil:
		return err
	}
	if at.Seq > 0 {
		there, err := s.x.cfg.Ledger.EventAt(ctx, at.Seq)
		switch {
		case errors.Is(err, ledger.ErrNotFound), err == nil && there.ID != at.ID:
			return fmt.Errorf("%w: the ledger does not hold the event at %s that it was written at", errAnew, at.Seq)
		case err != nil:
			return fmt.Errorf("%w: %w", errOutside, err)
		}
	}
	if err := s.removals(ctx); err != nil {
		return err
	}
	s.fold = newFold(at, s.file.lookup, s.written.Load)
	if err := s.file.load(ctx, s.fold); err != nil {
		return err
	}
	s.writer, err = newWriter(ctx, s.file)
	return err
}

// show lets readers at the file.
func (s *session) show(at schemas.Position) {
	x := s.x
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.file == nil {
		x.file, x.users = s.file, new(sync.WaitGroup)
	}
	x.at, x.ready = at, at.Seq >= s.end && s.wanted == x.wanted
	x.change()
}

// close takes the file away from readers, waits for them but ends a walk, and closes it.
func (s *session) close() error {
	x := s.x
	x.mu.Lock()
	users := x.users
	shown := x.file == s.file && x.file != nil
	if shown {
		x.file, x.users, x.ready = nil, nil, false
		x.endWalk()
		x.change()
	}
	x.mu.Unlock()
	if shown {
		users.Wait()
	}
	if s.writer != nil {
		s.writer.close()
	}
	return s.file.close()
}

// follow hands over the ledger's entries behind the fold's position.
func (s *session) follow(ctx context.Context, out chan<- []*ledger.Entry) error {
	c := s.x.cfg.Feed.SubscribeHistory(s.fold.at)
	defer c.Close()
	for {
		entries, err := c.Next(ctx)
		if err != nil {
			return fmt.Errorf("%w: %w", errOutside, err)
		}
		select {
		case out <- entries:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// loop folds, and hands over batches, until ctx ends or there are no more entries. A batch is made when it is due and the
// writer is idle: while it is not, more is folded into the next one.
func (s *session) loop(ctx context.Context, entries <-chan []*ledger.Entry, batches chan<- *changes, idle <-chan struct{}) error {
	timer := time.NewTimer(batchWait)
	timer.Stop()
	defer timer.Stop()
	due, open := false, true
	begin := func() { // of a batch, if it is
		if s.fold.messages == 0 {
			due = false
			timer.Reset(batchWait)
		}
	}
	for open || s.fold.messages > 0 {
		in, leaving, some, ready := entries, s.leaving.segments, always, (<-chan struct{})(nil)
		if s.leaving.now == nil {
			some = nil
		} else {
			leaving = nil
		}
		if !open || s.fold.messages >= batchMessages {
			in, some, due = nil, nil, true
		}
		if due && s.fold.messages > 0 {
			ready = idle
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.x.rebuild:
			return fmt.Errorf("%w: it was asked for", errAnew)
		case err := <-s.leaving.failed:
			return err
		case es, more := <-in:
			begin()
			open = more
			if err := s.fold.applyAll(ctx, es); err != nil {
				return err
			}
		case s.leaving.now = <-leaving:
			s.leaving.left = s.leaving.now.Jobs
		case <-some:
			begin()
			if err := s.followSome(ctx); err != nil {
				return err
			}
		case <-timer.C:
			due = true
		case <-ready:
			if err := s.handOver(ctx, batches); err != nil {
				return err
			}
			due = false
		}
	}
	return nil
}

// always never blocks.
var always = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// handOver makes a batch and hands it to the writer.
func (s *session) handOver(ctx context.Context, batches chan<- *changes) error {
	c, err := s.fold.take()
	if err != nil {
		return err
	}
	select {
	case batches <- c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *session) write(ctx context.Context, c *changes) error {
	if err := s.writer.write(ctx, c); err != nil {
		return err
	}
	s.wrote = true
	s.written.Store(c.number)
	s.show(c.at)
	return nil
}
