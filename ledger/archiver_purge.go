package ledger

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/schemas"
)

// purgeStep is how many messages are purged at a time: about one block of the stream's files, what is left of which the server
// may write anew, while it takes no append (ENGINE 6). A quarter of it costs a tenth more for each event.
const purgeStep = 1 << 14

// purge removes from LEDGER what the archive holds, up to through. Done in part it is gone on with by the next look.
func (a *Archiver) purge(ctx context.Context, through schemas.Seq, rest *rester) error {
	if through == 0 {
		return nil
	}
	state, err := a.l.state(ctx)
	if err != nil {
		return err
	}
	for first := schemas.Seq(state.FirstSeq); first <= through; {
		rest.work()
		if err := a.reach("purge"); err != nil {
			return err
		}
		next := min(first+purgeStep, through+1)
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

// purgeBelow removes the messages of LEDGER below a sequence.
func (l *Ledger) purgeBelow(ctx context.Context, seq schemas.Seq) error {
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
