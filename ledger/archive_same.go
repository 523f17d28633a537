package ledger

import (
	"context"
	"errors"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// sameLedgerTimeout bounds the comparison at a start: a server that cannot make it now starts all the same, and its
// archiver makes it before it moves anything.
const sameLedgerTimeout = 5 * time.Second

// sameLedger refuses to go on where LEDGER and the archive are not of one ledger: LEDGER went back to older data than the
// archive has, so that its sequences are given out again, and readers of the past would find other messages under them;
// or the archive is empty, and the beginning of LEDGER has left.
func (l *Ledger) sameLedger(ctx context.Context, through schemas.Position) error {
	state, err := l.state(ctx)
	switch {
	case err != nil:
		return err
	case schemas.Seq(state.LastSeq) < through.Seq:
		return Errorf(CodeInternal, "stream %s ends at %d, before the archive at %d: it was put back to older data; put back an archive of the same time",
			StreamLedger, state.LastSeq, through.Seq)
	case through.Seq == 0 && state.FirstSeq > 1:
		return Errorf(CodeInternal, "stream %s begins at %d, and the archive is empty: streams %s and %s were deleted, or messages were purged by hand; put them back from a backup",
			StreamLedger, state.FirstSeq, StreamArchive, StreamCatalog)
	case through.Seq < schemas.Seq(state.FirstSeq):
		return nil
	}
	e, err := l.EventAt(ctx, through.Seq)
	if err == nil && e.ID != through.ID {
		return Errorf(CodeInternal, "message %d of stream %s is %q, in the archive it is %q: the two are not of one ledger; put back both of the same time",
			through.Seq, StreamLedger, e.ID, through.ID)
	}
	if errors.Is(err, ErrNotFound) {
		return nil // purged meanwhile
	}
	return err
}

// checkBoundary is sameLedger at a start. A cell without an archive passes: who purged LEDGER by hand has done so.
func (l *Ledger) checkBoundary(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, sameLedgerTimeout)
	defer cancel()
	state, err := l.Archived(ctx)
	if err != nil || state.Through.Seq == 0 {
		return nil // an error is told by whoever reads the archive next
	}
	err = l.sameLedger(ctx, state.Through)
	if e := AsError(err); e != nil && e.Code == CodeInternal {
		return e
	}
	return nil
}
