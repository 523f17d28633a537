package projector

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// session is one opening of the views. Its fold is owned by the goroutine of run; a flush, one at a time,
// owns the puts it was given and gives them back through flushed.
type session struct {
	p       *Projector
	v       *views
	gone    <-chan string
	flushed chan error // takes one

	inFlight *batch
	first    time.Time // of the first change since the last flush took over; zero: nothing has changed
	timer    *time.Timer
	flushCtx context.Context // of the flushes: it outlives run's by stopWait
}

func (s *session) run(ctx context.Context) error {
	feedCtx, stopFeed := context.WithCancel(ctx)
	entries, fed := make(chan []*ledger.Entry, entriesAhead), make(chan struct{})
	var feedErr error
	go func() {
		defer close(fed)
		feedErr = s.p.follow(feedCtx, s.v.at, entries)
	}()
	var cancelFlush context.CancelFunc
	s.flushCtx, cancelFlush = context.WithCancel(context.WithoutCancel(ctx))
	defer cancelFlush()
	s.timer = time.NewTimer(flushIdle)
	defer s.timer.Stop()

	look := time.NewTicker(checkEvery)
	defer look.Stop()

	err := s.loop(ctx, entries, fed, look.C)
	stopFeed()
	<-fed
	late := time.AfterFunc(stopWait, cancelFlush)
	defer late.Stop()
	if s.inFlight != nil {
		if failed := s.returned(ctx, <-s.flushed); err == nil {
			err = failed
		}
	}
	if err == nil && ctx.Err() != nil && s.pending() {
		if err = s.flush(); err == nil {
			err = s.returned(ctx, <-s.flushed)
		}
	}
	switch {
	case err != nil:
		return err
	case errors.Is(feedErr, ledger.ErrPositionExpired):
		return s.p.mismatch(ctx, "the ledger went back to older data")
	}
	return feedErr
}

// loop folds and flushes until ctx ends, the feed does, or a view is lost.
func (s *session) loop(ctx context.Context, entries <-chan []*ledger.Entry, fed <-chan struct{}, look <-chan time.Time) error {
	s.changed() // counters that the fold began with
	// Not select alone tells the end: an event whose fold the end of ctx cut short must be the last, or the
	// next ones would be folded over a gap.
	for ctx.Err() == nil {
		in := entries
		if s.full() {
			in = nil // the flush under way makes room
		}
		var err error
		select {
		case <-ctx.Done():
			return nil
		case <-fed:
			return nil
		case bucket := <-s.gone:
			err = s.check(ctx, bucket)
		case <-look:
			err = s.checkAll(ctx)
		case es := <-in:
			err = s.fold(ctx, es)
		case <-s.timer.C:
			err = s.due()
		case failed := <-s.flushed:
			err = s.returned(ctx, failed)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *session) full() bool { return s.v.changed() >= dirtyMax }

func (s *session) pending() bool { return s.v.changed() > 0 || s.v.moved }

// check looks whether the bucket that was said to be deleted is the one we write: the news of one that was
// deleted before we opened may come late.
func (s *session) check(ctx context.Context, bucket string) error {
	there, err := s.p.w.stream(ctx, bucket)
	if lost(err) {
		return &lostError{bucket}
	}
	if err != nil {
		return err
	}
	created := there.CachedInfo().Created
	if (bucket == ledger.BucketJobs && !created.Equal(s.v.jobsBucket)) ||
		(bucket == ledger.BucketConfig && !created.Equal(s.v.configBucket)) ||
		(bucket == ledger.BucketCounts && !created.Equal(s.v.countsBucket)) {
		return &lostError{bucket}
	}
	return nil
}

// checkAll finds out about a bucket whose deletion nobody told us and that nothing is written to. What
// cannot be asked now is asked next time.
func (s *session) checkAll(ctx context.Context) error {
	for _, bucket := range []string{ledger.BucketJobs, ledger.BucketCounts, ledger.BucketConfig} {
		var gone *lostError
		if err := s.check(ctx, bucket); errors.As(err, &gone) {
			return err
		}
	}
	return nil
}

// fold applies entries in order. Where the ledger cannot be read it tries again: an entry is never skipped.
func (s *session) fold(ctx context.Context, es []*ledger.Entry) error {
	s.v.readAhead(ctx, es)
	for _, e := range es {
		for try := 0; ; try++ {
			err := s.v.apply(ctx, e.Event, e.Err)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return nil
			}
			if try == 0 {
				s.p.log.Warn("a job's subject cannot be read; trying again", zap.Error(err))
			}
			wait(ctx, retryWait)
		}
	}
	s.changed()
	if s.full() && s.inFlight == nil {
		return s.flush()
	}
	return nil
}

// follow hands over the ledger's entries behind from until ctx ends or the position turns out to be gone.
func (p *Projector) follow(ctx context.Context, from schemas.Position, out chan<- []*ledger.Entry) error {
	c := p.cfg.Feed.SubscribeHistory(from)
	defer c.Close()
	for {
		entries, err := c.Next(ctx)
		if err != nil {
			return err
		}
		select {
		case out <- entries:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// changed starts the clock of the next flush.
func (s *session) changed() {
	if s.first.IsZero() && s.pending() {
		s.first = time.Now()
		s.timer.Reset(flushIdle)
	}
}

// due flushes what has waited long enough; under load everything waits a little longer, so that short jobs
// cost one put.
func (s *session) due() error {
	if s.inFlight != nil || s.first.IsZero() {
		return nil // returned will ask again
	}
	age := time.Since(s.first)
	if s.v.changed() >= loadFrom && age < flushLoad {
		s.timer.Reset(flushLoad - age)
		return nil
	}
	return s.flush()
}

func (s *session) flush() error {
	b, err := s.v.take()
	if err != nil {
		return err
	}
	s.first, s.inFlight = time.Time{}, b
	go func() { s.flushed <- s.p.w.flush(s.flushCtx, b) }()
	return nil
}

// returned settles a flush that has ended.
func (s *session) returned(ctx context.Context, failed error) error {
	b := s.inFlight
	s.inFlight = nil
	doubted := s.v.done(b)
	switch {
	case failed == nil, b.settled():
		s.p.silent = 0
	case errors.Is(failed, context.DeadlineExceeded) && ctx.Err() == nil:
		if s.p.silent++; s.p.silent >= silentMax {
			s.p.silent = 0
			return s.p.mismatch(ctx, "a bucket answers no put, but says that it is there")
		}
	}
	if failed != nil {
		return failed
	}
	for _, ent := range doubted {
		if len(s.p.suspects) < suspectsMax {
			s.p.suspects[ent.key] = true
		}
		if err := s.v.prove(ctx, ent); err != nil {
			return err
		}
	}
	for _, p := range slices.Concat(b.docs, b.counts) {
		if p.err != nil && p.err != errSkipped {
			s.p.log.Warn("a document is not stored; trying again", zap.String("bucket", p.bucket), zap.String("key", p.key), zap.Error(p.err))
			break
		}
	}
	s.p.wrote(b)
	s.changed()
	if !s.first.IsZero() {
		s.timer.Reset(max(0, flushIdle-time.Since(s.first)))
	}
	return nil
}
