package ledger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// stretch reads the one history in order, from a sequence on: what has left LEDGER from ARCHIVE, the rest from LEDGER
// (DESIGN D13). What leaves LEDGER while it is read is read from ARCHIVE then: a stretch has no hole, and hands nothing
// out twice. It belongs to one goroutine.
type stretch struct {
	l      *Ledger
	org    schemas.OrgID // empty: all, and the control events
	filter string        // of what is read from LEDGER; empty: all
	next   schemas.Seq   // to be handed out, at least 1
	until  schemas.Seq   // the last one; 0 never ends
	pace   *pacer        // nil: as fast as it goes
}

// errMoved: what is to be read next has left LEDGER, or may have.
var errMoved = errors.New("it left for the archive")

// run calls fn with the messages, many at a time. What fn returns ends it and is returned as it is.
func (r *stretch) run(ctx context.Context, fn func([]*Entry) error) error {
	for r.until == 0 || r.next <= r.until {
		state, err := r.l.Archived(ctx)
		if err != nil {
			return err
		}
		if state.Through.Seq >= r.next {
			err = r.cold(ctx, state.Through.Seq, fn)
		} else if err = r.hot(ctx, fn); errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.Is(err, errMoved) {
			return err
		}
	}
	return nil
}

// cold reads from ARCHIVE, up to its end as it is known.
func (r *stretch) cold(ctx context.Context, through schemas.Seq, fn func([]*Entry) error) error {
	if r.until > 0 {
		through = min(through, r.until)
	}
	var ended error
	err := r.l.archivedRange(ctx, r.next, through, r.org, func(entries []*Entry) error {
		if ended = fn(entries); ended == nil {
			r.next = entries[len(entries)-1].Seq + 1
			ended = r.pace.pause(ctx, entries)
		}
		return ended
	})
	switch {
	case ended != nil:
		return ended
	case err != nil:
		return err
	}
	r.next = through + 1
	return nil
}

// hot reads from LEDGER until what comes next has left it. The error is io.EOF at the end.
func (r *stretch) hot(ctx context.Context, fn func([]*Entry) error) error {
	t := r.l.newTail(schemas.Position{}, r.filter)
	defer t.close()
	t.start, t.until, t.pace = r.next, r.until, r.pace
	for {
		entries, err := t.next(ctx)
		end := errors.Is(err, io.EOF)
		switch {
		case errors.Is(err, ErrPositionLeft):
			return errMoved
		case err != nil && !end:
			return err
		case end || r.filter != "": // else the tail itself sees what is missing
			if err := r.moved(ctx); err != nil {
				return err
			}
		}
		if end {
			return io.EOF
		}
		if err := fn(entries); err != nil {
			return err
		}
		r.next = entries[len(entries)-1].Seq + 1
	}
}

// moved reports with errMoved that something which was not handed out yet may have left LEDGER.
func (r *stretch) moved(ctx context.Context) error {
	state, err := r.l.Archived(ctx)
	if err != nil {
		return err
	}
	if state.Through.Seq >= r.next && (r.until == 0 || r.next <= r.until) {
		return errMoved
	}
	return nil
}

// coldReader hands out a stretch of ARCHIVE on request. It holds a few batches at most.
type coldReader struct {
	through schemas.Position // the archive's end when it began
	batches chan []*Entry
	cancel  context.CancelFunc
	done    chan struct{}
	err     error // once done is closed
}

// coldAhead is how many batches are read ahead.
const coldAhead = 4

// readCold begins to read what ARCHIVE holds behind a sequence; nil if it holds nothing there. It must be closed.
func (l *Ledger) readCold(ctx context.Context, behind schemas.Seq) (*coldReader, error) {
	state, err := l.Archived(ctx)
	if err != nil || state.Through.Seq <= behind {
		return nil, err
	}
	life, cancel := context.WithCancel(context.Background())
	r := &coldReader{through: state.Through, batches: make(chan []*Entry, coldAhead), cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = l.archivedRange(life, behind+1, state.Through.Seq, "", func(entries []*Entry) error {
			select {
			case r.batches <- entries:
				return nil
			case <-life.Done():
				return life.Err()
			}
		})
	}()
	return r, nil
}

// next returns the next entries; io.EOF behind the last.
func (r *coldReader) next(ctx context.Context) ([]*Entry, error) {
	select {
	case entries := <-r.batches:
		return entries, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-r.done:
	}
	select {
	case entries := <-r.batches: // it was put there before the end
		return entries, nil
	default:
	}
	if r.err != nil {
		return nil, r.err
	}
	return nil, io.EOF
}

// close ends the reading and waits for that.
func (r *coldReader) close() {
	r.cancel()
	<-r.done
}

// archivedFrom is a sequence in ARCHIVE below which every message is older than a stream time; 0 if all of them are.
func (l *Ledger) archivedFrom(ctx context.Context, since time.Time) (schemas.Seq, error) {
	c, err := l.archive.refresh(ctx)
	if err != nil {
		return 0, fmt.Errorf("archive: %w", err)
	}
	for _, k := range c.chunks {
		for _, s := range k.segments {
			if !s.LastAt.Before(since) {
				return k.from + 1, nil
			}
		}
	}
	return 0, nil
}
