package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/schemas"
)

// After each purge of a stream by sequence the server writes anew what it knows of all its subjects, and takes no append
// while it collects that (nats-server 2.15, filestore.go, compact): 0.7 s of CPU for each million of subjects, whether one
// message was purged or many. So what has left stays in LEDGER beside the archive until it is a good part of all: then a
// purge costs each job that it removes as much as purgeShare subjects do, and is as rare as that part of a hot window.
const (
	// purgeShare: LEDGER is purged when this part of its messages is in the archive, one of so many.
	purgeShare = 4
	// purgeStep is how many messages are purged at a time at least: some blocks of the stream's files, what is left of the
	// last of which the server may write anew (ENGINE 6).
	purgeStep = 1 << 14
	// purgeTimeout bounds one purge: a busy server with millions of subjects takes seconds.
	purgeTimeout = time.Minute
)

// purge removes from LEDGER what the archive holds, up to through, if that is enough to be worth it. Done in part it is
// gone on with by the next look. durable is how long what covers it is left to reach the disk before.
func (a *Archiver) purge(ctx context.Context, through schemas.Seq, rest *rester, durable time.Duration) error {
	if through == 0 {
		return nil
	}
	state, err := a.l.state(ctx)
	if err != nil {
		return err
	}
	first := schemas.Seq(state.FirstSeq)
	if through < first || uint64(through-first)+1 < state.Msgs/purgeShare {
		return nil
	}
	if !sleep(ctx, durable) {
		return ctx.Err()
	}
	step := schemas.Seq(max(purgeStep, state.Msgs/purgeShare))
	for first <= through {
		rest.work()
		if err := a.reach("purge"); err != nil {
			return err
		}
		next := min(first+step, through+1)
		if err := a.l.purgeBelow(ctx, next); err != nil {
			return err
		}
		first = next
		if err := rest.rest(ctx); err != nil {
			return err
		}
	}
	return nil
}

// leftLedger removes from LEDGER what it still holds of segments that are to go: what is gone from the archive is gone.
func (l *Ledger) leftLedger(ctx context.Context, segments []*archiveSegment, durable time.Duration) error {
	state, err := l.state(ctx)
	if err != nil {
		return err
	}
	last := schemas.Seq(0)
	for _, s := range segments {
		last = max(last, s.Last)
	}
	if last < schemas.Seq(state.FirstSeq) {
		return nil
	}
	if !sleep(ctx, durable) { // what covers it may have been committed just now
		return ctx.Err()
	}
	return l.purgeBelow(ctx, last+1)
}

// purgeBelow removes the messages of LEDGER below a sequence.
func (l *Ledger) purgeBelow(ctx context.Context, seq schemas.Seq) error {
	ctx, cancel := context.WithTimeout(ctx, purgeTimeout)
	defer cancel()
	err := l.asking(ctx, func(ctx context.Context) error {
		s, err := l.js.Stream(ctx, StreamLedger)
		if err != nil {
			return err
		}
		return s.Purge(ctx, jetstream.WithPurgeSequence(uint64(seq)))
	})
	if err != nil {
		return fmt.Errorf("purge stream %s below %d: %w", StreamLedger, seq, err)
	}
	return nil
}
