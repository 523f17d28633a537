package ledger

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/schemas"
)

// ViewsAt is up to where all views in KV are written, so that a projector which starts reads on behind it; 0 while one of
// them is not there, belongs to another version, or is folded anew.
func (l *Ledger) ViewsAt(ctx context.Context) (schemas.Seq, error) {
	created, err := l.bucketsCreated(ctx)
	if err != nil {
		return 0, err
	}
	all, err := l.countsDocument(ctx)
	if err != nil || all == nil || all.Form != ViewsForm() ||
		!all.JobsBucket.Equal(created[0]) || !all.CountsBucket.Equal(created[1]) || !all.ConfigBucket.Equal(created[2]) {
		return 0, err
	}
	return min(all.Seq, all.Jobs.Seq, all.Config.Seq), nil
}

// shown lets nothing go before the views have come to the end of the archive. A projector that begins behind what is gone
// would not meet the events of jobs that were there, or only the later ones, and count these jobs as they were, for ever.
// What is to go ended before the archive does (over), so that nothing of it is behind that.
func (r *Remover) shown(ctx context.Context, d *duty) error {
	if r.cfg.Views == nil || len(d.segments) == 0 {
		return nil
	}
	at, err := r.cfg.Views(ctx)
	if err != nil {
		return fmt.Errorf("history stays, for it is not known how far the views are: %w", err)
	}
	if end := d.c.through.Seq; at < end {
		r.cfg.Logger.Info("history whose time is over stays until the views have come to the end of the archive",
			zap.Int("segments", len(d.segments)), zap.Uint64("views_seq", uint64(at)), zap.Uint64("archive_seq", uint64(end)))
		d.segments = nil
	}
	return nil
}
