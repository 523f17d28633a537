package ledger

import (
	"context"

	"github.com/dartwing/jobledger/schemas"
)

// ArchiveThrough copies LEDGER up to through, or its end if 0, into the archive, in steps of at most events, and
// purges nothing.
func (l *Ledger) ArchiveThrough(ctx context.Context, through schemas.Seq, events int) error {
	for {
		state, err := l.Archived(ctx)
		if err != nil {
			return err
		}
		w := l.newSegment(state.Through.Seq)
		if err := l.fillSegment(ctx, w, through, events); err != nil {
			return err
		}
		if len(w.messages) == 0 {
			return nil
		}
		if _, err := w.Commit(ctx, w.Last()); err != nil {
			return err
		}
	}
}

func (l *Ledger) fillSegment(ctx context.Context, w *segmentWriter, through schemas.Seq, events int) error {
	for next := w.from + 1; ; {
		batch, err := l.rawFrom(ctx, next)
		if err != nil || len(batch) == 0 {
			return err
		}
		for _, m := range batch {
			if through > 0 && m.Seq > through || events > 0 && len(w.messages) >= events || w.Full() {
				return nil
			}
			w.Add(m)
			next = m.Seq + 1
		}
	}
}

// ArchivedSubject and ArchivedRange are what histories and replays read.
func (l *Ledger) ArchivedSubject(ctx context.Context, org schemas.OrgID, id schemas.JobID) ([]*Entry, error) {
	return l.archivedSubject(ctx, org, id)
}

// ArchivedRange reads a stretch.
func (l *Ledger) ArchivedRange(ctx context.Context, from, to schemas.Seq, org schemas.OrgID, fn func([]*Entry) error) error {
	return l.archivedRange(ctx, from, to, org, fn)
}
