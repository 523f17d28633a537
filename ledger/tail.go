package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/schemas"
)

const (
	// tailHeartbeat is how often the server says that it is still there when nothing happens.
	tailHeartbeat = time.Second
	// tailEndHeartbeat is the same for a tail that has an end: where no event of its filter stands there, a
	// heartbeat is what tells. The least that the server takes.
	tailEndHeartbeat = 100 * time.Millisecond
	// tailSilence without a message or heartbeat means that the consumer is gone: its server died, its
	// stream was deleted. Two missed heartbeats and a half.
	tailSilence = 2500 * time.Millisecond
	// tailInactive is when the server drops a consumer nobody listens to.
	tailInactive = 10 * time.Second
	// tailOpenTimeout bounds the creation of a consumer; a try too many costs nothing.
	tailOpenTimeout = 2 * time.Second
	// tailPauseMax bounds the pause between two tries to open a consumer.
	tailPauseMax = 500 * time.Millisecond
	// tailComplain is the number of tries, about two seconds of them, after which the log is told.
	tailComplain = 8
	// tailBatch is how many entries one call hands out at most.
	tailBatch = 1024
	// decodeShare is how many messages are worth another processor, and decodeWorkersMax how many processors
	// one tail takes at most: the rest is for the folds.
	decodeShare      = 128
	decodeWorkersMax = 4
)

// ErrPositionExpired: the event at the position is no longer there, or another one is: the ledger went
// back to older data. What was folded up to it is to be thrown away and folded again from the beginning (DESIGN D2).
var ErrPositionExpired = errors.New("position expired: the ledger no longer holds the event it names")

// ErrPositionLeft is an ErrPositionExpired of a reader of LEDGER alone: what follows the position has left for the
// archive. The ledger is the same, and a fold of LEDGER begins again where that begins now (DESIGN D13).
var ErrPositionLeft = fmt.Errorf("what follows the position has left for the archive: %w", ErrPositionExpired)

// tail reads LEDGER in order from a position and goes on over reconnects, restarts, leader changes and
// missed heartbeats: it opens a consumer, and a new one behind the last entry whenever the old one is
// suspect. Each consumer starts at the position itself, whose event id is compared, so no entry is handed
// out that does not follow the one before.
//
// At most the server's flow control window (32 MiB) waits here when its user is slow. A tail belongs to one
// goroutine.
type tail struct {
	l      *Ledger
	filter string           // subject filter; empty for all
	pos    schemas.Position // of the last entry handed out
	start  schemas.Seq      // where a tail without a position begins
	until  schemas.Seq      // last sequence to hand out; 0 never ends
	status chan nats.Status
	pace   *pacer // nil: as fast as it goes

	// holes: what has left LEDGER is passed over.
	holes bool
	// cleared is the position if its event was found in ARCHIVE, with everything behind it in LEDGER.
	cleared schemas.Position

	src   *source  // nil while there is none
	try   int      // tries to open since the last sign of life
	batch []stored // taken from src, while take runs
	timer *time.Timer
}

// newTail returns a tail behind pos that never ends. It must be closed.
func (l *Ledger) newTail(pos schemas.Position, filter string) *tail {
	t := &tail{l: l, filter: filter, pos: pos, timer: time.NewTimer(tailSilence)}
	t.status = l.nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	return t
}

func (t *tail) close() {
	t.drop()
	t.timer.Stop()
	t.l.nc.RemoveStatusListener(t.status)
}

// next returns the next entries, at least one, waiting for them. The error is ErrPositionExpired, that of
// ctx, that the connection is closed, or io.EOF behind until; what else goes wrong is overcome, or retried
// for ever.
func (t *tail) next(ctx context.Context) ([]*Entry, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if t.until > 0 && t.pos.Seq >= t.until {
			return nil, io.EOF
		}
		if t.reconnected() {
			t.drop() // what was sent in between is lost, and what waits here may be of a ledger that is no more
		}
		if t.src == nil {
			if err := t.open(ctx); err != nil {
				return nil, err
			}
			continue
		}
		if t.repace(ctx); t.src == nil {
			continue
		}
		entries, err := t.take(ctx)
		if err != nil || len(entries) > 0 {
			return entries, err
		}
		if t.src == nil {
			continue // what came told that the consumer is no good
		}
		if t.until > 0 && t.src.passed >= t.until {
			return nil, io.EOF
		}
		if err := t.wait(ctx); err != nil {
			return nil, err
		}
	}
}

// reconnected reports whether the connection was lost and came back, or was closed, since the last call.
func (t *tail) reconnected() bool {
	news := false
	for len(t.status) > 0 {
		<-t.status
		news = true
	}
	return news
}

// wait returns when the source has something, or may have to be replaced.
func (t *tail) wait(ctx context.Context) error {
	t.timer.Reset(tailSilence)
	select {
	case <-t.src.wake:
	case <-ctx.Done():
		return ctx.Err()
	case <-t.status:
		t.drop()
	case <-t.timer.C:
		t.l.log.Warn("ledger tail: silence, opening it anew", zap.Uint64("seq", uint64(t.pos.Seq)))
		t.drop()
	}
	return nil
}

// take decodes what has arrived.
func (t *tail) take(ctx context.Context) ([]*Entry, error) {
	t.batch = t.batch[:0]
	for len(t.batch) < tailBatch {
		s, ok := t.src.next()
		if !ok {
			break
		}
		if s.msg != nil && s.msg.Subject == t.src.inbox {
			if !t.src.control(t.l.nc, s.msg) {
				t.drop()
				break
			}
			t.try = 0
			continue
		}
		if !t.src.accept(&s) { // a message before it is missing
			t.drop()
			break
		}
		if !t.src.verified {
			if s.decode().Position() == t.pos {
				t.src.verified = true
				continue
			}
			t.drop()
			return nil, t.suspect(ctx)
		}
		if t.until > 0 && s.seq > t.until {
			break
		}
		if t.skips(s.seq) {
			if len(t.batch) > 0 {
				t.drop() // what was read goes first
				break
			}
			if left, err := t.left(ctx); left || err != nil {
				t.drop()
				return nil, err
			}
		}
		t.batch = append(t.batch, s)
	}
	entries := decodeAll(t.batch)
	if n := len(entries); n > 0 {
		t.pos, t.try = entries[n-1].Position(), 0
	}
	clear(t.batch)
	return entries, nil
}

// after is the sequence behind which the tail goes on; 0: wherever LEDGER begins.
func (t *tail) after() schemas.Seq { return max(t.pos.Seq, t.start-min(t.start, 1)) }

// skips reports whether the message at seq does not follow the one before it. A purge in the middle of a read leaves a
// hole that the consumer passes over; behind a filter nobody can tell.
func (t *tail) skips(seq schemas.Seq) bool {
	before := t.after()
	if n := len(t.batch); n > 0 {
		before = t.batch[n-1].seq
	}
	return t.filter == "" && !t.holes && seq > before+1 && (before > 0 || t.start > 0)
}

// left says what became of messages that did not come: with ErrPositionLeft that they are in ARCHIVE. A
// hole that nobody archived is passed over: Verify finds it. True without error: nothing is known, try again.
func (t *tail) left(ctx context.Context) (bool, error) {
	state, err := t.l.Archived(ctx)
	switch {
	case err != nil:
		return true, ctx.Err()
	case state.Through.Seq > t.after():
		return true, ErrPositionLeft
	}
	return false, nil
}

// decodeAll decodes messages in order. Many are shared among a few processors: decoding is what reading a
// long stretch costs most.
func decodeAll(batch []stored) []*Entry {
	if len(batch) == 0 {
		return nil
	}
	entries := make([]*Entry, len(batch))
	workers := min(runtime.GOMAXPROCS(0), decodeWorkersMax, len(batch)/decodeShare)
	if workers < 2 {
		for i := range batch {
			entries[i] = batch[i].decode()
		}
		return entries
	}
	share := (len(batch) + workers - 1) / workers
	var wg sync.WaitGroup
	for from := 0; from < len(batch); from += share {
		to := min(from+share, len(batch))
		wg.Go(func() {
			for i := from; i < to; i++ {
				entries[i] = batch[i].decode()
			}
		})
	}
	wg.Wait()
	return entries
}

// drop gives the consumer up; next opens another one.
func (t *tail) drop() {
	t.cleared = schemas.Position{}
	if t.src != nil {
		t.src.close(t.l.js)
		t.src = nil
	}
}

// open creates a consumer, or waits a moment after a failure. nil without a source means: try again.
func (t *tail) open(ctx context.Context) error {
	if t.l.nc.IsClosed() {
		return nats.ErrConnectionClosed
	}
	if t.try > 0 {
		if err := t.pause(ctx); err != nil {
			return err
		}
	}
	t.reconnected() // news of before this try is no news
	t.try++
	octx, cancel := context.WithTimeout(ctx, tailOpenTimeout)
	defer cancel()
	from, heartbeat := max(t.pos.Seq, t.start), tailHeartbeat
	compared := t.pos.Seq == 0 || t.pos == t.cleared
	if t.pos.Seq > 0 && compared {
		from = t.pos.Seq + 1
	}
	if t.until > 0 {
		heartbeat = tailEndHeartbeat
	}
	src, exists, err := t.l.openSource(octx, from, t.filter, heartbeat, t.pace.bits())
	if err != nil {
		if t.try == tailComplain {
			t.l.log.Warn("ledger tail: cannot open, trying on", zap.Uint64("seq", uint64(t.pos.Seq)), zap.Error(err))
		}
		return ctx.Err()
	}
	if !compared && !exists {
		src.close(t.l.js)
		return t.suspect(ctx)
	}
	t.src = src
	t.src.verified = compared
	return nil
}

// suspect asks the stream's leader about the position: the consumer may live on a replica that lags behind.
func (t *tail) suspect(ctx context.Context) error {
	e, err := t.l.messageAt(ctx, t.pos.Seq)
	switch {
	case errors.Is(err, errNoMessage):
		return t.archived(ctx)
	case err != nil:
		return ctx.Err() // nothing is known: try again
	case e.Position() != t.pos:
		return ErrPositionExpired
	}
	return nil
}

// archived looks for the position in ARCHIVE. If nothing behind it has left LEDGER yet, the tail goes on there.
func (t *tail) archived(ctx context.Context) error {
	state, err := t.l.Archived(ctx)
	switch {
	case err != nil:
		return ctx.Err() // nothing is known: try again
	case state.Through.Seq < t.pos.Seq:
		return ErrPositionExpired
	case state.Through == t.pos:
		t.cleared = t.pos
		return nil
	}
	e, err := t.l.archivedAt(ctx, t.pos.Seq)
	switch {
	case errors.Is(err, ErrNotFound) && (t.pos.Seq < state.First || state.Removed > 0): // its time was over, and it was removed
	case errors.Is(err, ErrNotFound):
		return ErrPositionExpired
	case err != nil:
		return ctx.Err()
	case e.Position() != t.pos:
		return ErrPositionExpired
	}
	if state.Through.Seq > t.pos.Seq {
		return ErrPositionLeft
	}
	t.cleared = t.pos
	return nil
}

// pause waits before another try: longer with each, and only until the connection is there again.
func (t *tail) pause(ctx context.Context) error {
	timer := time.NewTimer(min(10*time.Millisecond<<min(t.try, 8), tailPauseMax))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-t.status:
	case <-ctx.Done():
	}
	return ctx.Err()
}
