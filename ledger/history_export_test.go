package ledger

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/schemas"
)

// MoveToArchive moves what stands in LEDGER up to through to ARCHIVE, in one step, as it is: nothing is carried. Without
// purge it stands in both, as after a crash between the commit and the purge.
func MoveToArchive(ctx context.Context, l *Ledger, through schemas.Seq, purge bool) error {
	state, err := l.Archived(ctx)
	if err != nil {
		return err
	}
	for state.Through.Seq < through {
		w := l.newSegment(state.Through.Seq)
		for seq := state.Through.Seq + 1; seq <= through && !w.Full(); seq++ {
			m, err := l.leaderMessage(ctx, StreamLedger, getRequest{Seq: seq})
			if errors.Is(err, errNoMessage) {
				continue
			}
			if err != nil {
				return err
			}
			raw := m.raw()
			w.Add(&raw)
		}
		last := w.Last()
		if _, err := w.Commit(ctx, last); err != nil {
			return err
		}
		if state.Through.Seq == last.Seq {
			break
		}
		state.Through = last
	}
	if !purge {
		return nil
	}
	s, err := l.js.Stream(ctx, StreamLedger)
	if err != nil {
		return err
	}
	return s.Purge(ctx, jetstream.WithPurgeSequence(uint64(through)+1))
}

// SinceBegun is what all folds of a job agree on, wherever they begin.
func SinceBegun(j *Job) *Job { return sinceBegun(j) }
