package projector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// View names what Rebuild throws away.
type View string

// The views. ViewIndex is none of the leader's: see ledger.RebuildIndexes.
const (
	ViewJobs   View = "jobs"
	ViewCounts View = "counts"
	ViewConfig View = "config"
	ViewIndex  View = "index"
	ViewAll    View = "all"
)

// rebuildPoll is how often Rebuild asks how far the leader is.
const rebuildPoll = 100 * time.Millisecond

// Rebuild deletes views while the system runs and waits until the leader has folded them again up to the
// ledger's last sequence at the call, which it returns. Any process in the ledger's account may call it.
// The error wraps that of ctx if no leader did it in time: the views are then rebuilt by the next one.
func Rebuild(ctx context.Context, l *ledger.Ledger, view View) (schemas.Seq, error) {
	var buckets []string
	switch view {
	case ViewJobs:
		buckets = []string{ledger.BucketJobs}
	case ViewCounts:
		buckets = []string{ledger.BucketCounts}
	case ViewConfig:
		buckets = []string{ledger.BucketConfig}
	case ViewAll:
		buckets = []string{ledger.BucketCounts, ledger.BucketJobs, ledger.BucketConfig}
	default:
		return 0, ledger.Errorf(ledger.CodeInvalidArgument, "view %q is unknown: use jobs, counts, config or all", view)
	}
	end, err := l.End(ctx)
	if err != nil {
		return 0, err
	}
	for _, bucket := range buckets {
		if err := deleteBucket(ctx, l.JetStream(), bucket); err != nil {
			return 0, err
		}
	}
	return end.Seq, WaitFor(ctx, l, end.Seq)
}

// WaitFor returns when the leader has written all views up to seq, in the buckets that exist now. The error
// wraps that of ctx.
func WaitFor(ctx context.Context, l *ledger.Ledger, seq schemas.Seq) error {
	w, err := newWriter(l.Conn(), l.Groups)
	if err != nil {
		return err
	}
	ticker := time.NewTicker(rebuildPoll)
	defer ticker.Stop()
	for {
		done, err := w.caughtUp(ctx, seq)
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("no leader has written the views up to %s: %w", seq, ctx.Err()), err)
		case <-ticker.C:
		}
	}
}

// caughtUp reports whether all three views of the buckets that exist now are written up to target.
func (w *writer) caughtUp(ctx context.Context, target schemas.Seq) (bool, error) {
	doc, _, err := w.stored(ctx)
	if err != nil || doc == nil {
		return false, err
	}
	for _, b := range []struct {
		bucket  string
		at      schemas.Position
		created time.Time
	}{{ledger.BucketCounts, doc.Position, doc.CountsBucket}, {ledger.BucketJobs, doc.Jobs, doc.JobsBucket}, {ledger.BucketConfig, doc.Config, doc.ConfigBucket}} {
		s, err := w.stream(ctx, b.bucket)
		if err != nil {
			return false, err
		}
		if b.at.Seq < target || !b.created.IsZero() && !b.created.Equal(s.CachedInfo().Created) {
			return false, nil
		}
	}
	return doc.Seq >= target, nil
}
