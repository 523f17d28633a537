package ledger

import (
	"context"
	"errors"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

const (
	// archiveRestMax is the longest rest between two pieces of work.
	archiveRestMax = 2 * time.Second
	// segmentsLate and segmentsUrgent are how many segments have come of age, the one that is being moved among them, from
	// which the archiver rests less, and not at all: LEDGER, and with it the server's memory, would otherwise grow for as
	// long as the load goes on.
	segmentsLate   = 2
	segmentsUrgent = 4
)

// rests says how much of the time is work.
type rests byte

const (
	restNever  rests = iota
	restAlways       // as if nothing was late
	restByNeed       // the less, the more has come of age
)

// rester keeps the archiver from taking the server's time: after each piece of work it rests for some times as long.
type rester struct {
	rests rests
	wait  int // segments that have come of age, if that is segmentsLate or more
	began time.Time
}

// work begins a piece of work.
func (r *rester) work() { r.began = time.Now() }

// rest waits after a piece of work.
func (r *rester) rest(ctx context.Context) error {
	const idle, busy = 3, 1 // of four or of two parts of the time one is work
	times := time.Duration(idle)
	switch {
	case r.rests == restNever, r.rests == restByNeed && r.wait >= segmentsUrgent:
		return ctx.Err()
	case r.rests == restByNeed && r.wait >= segmentsLate:
		times = busy
	}
	if d := min(times*time.Since(r.began), archiveRestMax); !r.began.IsZero() && !sleep(ctx, d) {
		return ctx.Err()
	}
	return nil
}

// look finds out how many segments have come of age from a message on.
func (r *rester) look(ctx context.Context, a *Archiver, first schemas.Seq, before time.Time) error {
	r.wait = 0
	if r.rests != restByNeed {
		return nil
	}
	for _, n := range []int{segmentsUrgent, segmentsLate} {
		last, err := a.l.EventAt(ctx, first+schemas.Seq(n*a.segment)-1)
		switch {
		case errors.Is(err, ErrNotFound):
		case err != nil:
			return err
		case !last.Time.After(before):
			r.wait = n
			return nil
		}
	}
	return nil
}
