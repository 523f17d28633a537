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
	filter := ""
	switch {
	case q.Job != "":
		filter = schemas.JobSubject(q.Org, q.Job).String()
	case q.Org != "":
		filter = "jobs." + string(q.Org) + ".>"
	}
	t := l.newTail(schemas.Position{}, filter)
	defer t.close()
	t.start = start
	for {
		entries, err := t.next(ctx)
		if err != nil {
			return fmt.Errorf("follow: %w", err)
		}
		for _, e := range entries {
			if e.Seq < q.From.Seq {
				continue // the bound lies ahead of the ledger's end
			}
			if err := q.hand(e, fn); err != nil {
				return err
			}
		}
	}
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
	return min(start, end.Seq+1), err
}
