package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/dartwing/jobledger/schemas"
)

// Follow is a Replay without an end: it calls fn with every matching event from q.From on, those that are yet
// to come included, until ctx ends, whose error it returns. An open q.From is now; q.To must be open. It goes
// on over reconnects and leader changes; what fn returns ends it and is returned.
//
// The error is ErrPositionExpired when the ledger went back to older data meanwhile: what fn has seen is void
// then.
func (l *Ledger) Follow(ctx context.Context, q ReplayQuery, fn func(*Entry) error) error {
	if q.To != (ReplayBound{}) {
		return badField("to", errors.New("following has no end"))
	}
	if err := q.validate(); err != nil {
		return err
	}
	start, err := l.followStart(ctx, q.From)
	if err != nil {
		return fmt.Errorf("follow: %w", err)
	}
	if q.Job != "" {
		if start, err = l.followJob(ctx, &q, start, fn); err != nil {
			return err
		}
	}
	var ended error // what fn returned
	err = (&stretch{l: l, org: q.Org, filter: q.filter(), next: start}).run(ctx, func(entries []*Entry) error {
		for _, e := range entries {
			if e.Seq < q.From.Seq || q.Job != "" && e.Job != q.Job {
				continue // the bound lies ahead of the ledger's end, or what left for ARCHIVE is of another job of the org
			}
			if ended = q.hand(e, fn); ended != nil {
				return ended
			}
		}
		return nil
	})
	if ended != nil {
		return ended
	}
	return fmt.Errorf("follow: %w", err)
}

// followJob hands out what is known of a job from start on, and returns where to follow it from.
func (l *Ledger) followJob(ctx context.Context, q *ReplayQuery, start schemas.Seq, fn func(*Entry) error) (schemas.Seq, error) {
	end, err := l.End(ctx)
	if err != nil {
		return 0, fmt.Errorf("follow: %w", err)
	}
	known := *q
	known.From.Seq, known.To.Seq = start, end.Seq
	if start > end.Seq {
		return start, nil
	}
	return end.Seq + 1, l.replayJob(ctx, &known, fn)
}

// followStart is the first sequence that b lets in, or one before it; an open bound lets in what follows the
// ledger's end.
func (l *Ledger) followStart(ctx context.Context, b ReplayBound) (schemas.Seq, error) {
	end, err := l.End(ctx)
	if err != nil {
		return 0, err
	}
	if b == (ReplayBound{}) {
		return end.Seq + 1, nil
	}
	start, err := l.replayStart(ctx, b)
	return max(min(start, end.Seq+1), 1), err
}
