package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// leaderLagMax is how long the stream's leader may be behind what another replica has shown already. Beyond
// that the ledger has gone back to older data.
const leaderLagMax = 2 * time.Second

// What is stored on a replicated stream is applied by each replica in its own time, and the leader need not be
// the first: a consumer on another server may have handed out an event that the leader's get does not find
// yet. So the leader's "not there" is believed about an event that somebody has seen only once the leader has
// come as far.

// caughtUp returns when what the leader does not find at or before seq is not in the ledger: its last message
// is at seq or behind it, or older data was put back. The caller then reads again.
func (l *Ledger) caughtUp(ctx context.Context, seq schemas.Seq) error {
	begin := time.Now()
	for try := 0; ; try++ {
		last, err := l.leaderGet(ctx, getRequest{LastFor: ">"})
		switch {
		case err == nil && last.Seq >= seq:
			return nil
		case err != nil && !errors.Is(err, errNoMessage):
			return err
		case !l.replicated(ctx):
			return nil // one copy is behind nobody
		}
		if time.Since(begin) > leaderLagMax {
			return nil
		}
		if !pause(ctx, try) {
			return ctx.Err()
		}
	}
}

// FoldSince is Fold for a caller who has seen an event of the job at sequence seen, such as in a feed: that
// event is in the fold, however far behind the stream's leader may be. If it is not, it is not in the ledger
// any more.
func (l *Ledger) FoldSince(ctx context.Context, org schemas.OrgID, id schemas.JobID, seen schemas.Seq) (*Job, error) {
	j, err := l.Fold(ctx, org, id)
	if err != nil && !errors.Is(err, ErrNotFound) || j.LastSeq >= seen {
		return j, err
	}
	if err := l.reading(ctx, func(ctx context.Context) error { return l.caughtUp(ctx, seen) }); err != nil {
		return nil, fmt.Errorf("fold %s.%s up to %d: %w", org, id, seen, err)
	}
	return l.Fold(ctx, org, id)
}

// messageAt returns the message at seq. The error is errNoMessage if it is not in the ledger; any other means
// that nothing is known.
func (l *Ledger) messageAt(ctx context.Context, seq schemas.Seq) (*Entry, error) {
	e, err := l.leaderGet(ctx, getRequest{Seq: seq})
	if !errors.Is(err, errNoMessage) {
		return e, err
	}
	if err := l.caughtUp(ctx, seq); err != nil {
		return nil, err
	}
	return l.leaderGet(ctx, getRequest{Seq: seq})
}
