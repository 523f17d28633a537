package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/dartwing/jobledger/schemas"
)

// SetLegalHold lays a legal hold on a scope, or releases it. From the moment at which it returns without an error,
// no history of the scope is removed as long as the hold is on: what was decided without it is refused. To hold what is
// held writes nothing, and the event is nil; so does to release what is not held, where the error is not_found.
//
// A hold keeps what is there: what was removed before is gone. If the error is unavailable the hold may be laid: repeat it.
func (l *Ledger) SetLegalHold(ctx context.Context, scope schemas.LegalScope, on bool, m Meta, reason string) (*schemas.Event, error) {
	if err := scope.Validate(); err != nil {
		return nil, badField("scope", err)
	}
	if reason == "" {
		return nil, badField("reason", errors.New("a reason is required"))
	}
	want := &schemas.LegalHoldSet{Settings: schemas.LegalHoldSettings{Scope: scope, On: on}, Reason: reason}
	e, err := l.Put(ctx, m, want.Place(), func(have schemas.Setting) (schemas.Setting, error) {
		if was, _ := have.(*schemas.LegalHoldSet); !on && (was == nil || !was.Settings.On) {
			return nil, Errorf(CodeNotFound, "no legal hold stands on %s: `jobledger log hold ls` shows all", scope)
		}
		return want, nil
	})
	if err != nil || !on {
		return e, err
	}
	// If this process dies here, a removal that was decided before the hold may still be made: whoever laid it has no
	// answer, and repeats it.
	return e, coded(l.fenceRemovals(ctx, scope.ID()))
}

// fenceRemovals moves the end of the catalogue, so that a removal which was decided before is refused. why says of what.
func (l *Ledger) fenceRemovals(ctx context.Context, why string) error {
	ctx, cancel := withSettleTimeout(ctx)
	defer cancel()
	for try := 0; ; try++ {
		c, err := l.archive.refresh(ctx)
		if err != nil {
			return fmt.Errorf("archive: keep: %w", err)
		}
		if c.at == 0 {
			return nil // nothing was ever archived
		}
		r := &archiveRecord{V: recordVersion, Kind: recordHold, ID: uuid.NewString(), Prev: c.sum, Hold: why}
		if err = l.appendRecord(ctx, r, c.at); err == nil {
			return nil
		}
		if !errors.Is(err, ErrRefused) || !pause(ctx, try) {
			return fmt.Errorf("archive: keep: %w", err)
		}
	}
}

// LegalHolds are the events of the legal holds that are on, the oldest first.
func (l *Ledger) LegalHolds(ctx context.Context) ([]*Entry, error) {
	all, err := l.Settings(ctx, KindLegalHold)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(e *Entry) bool { return !e.Data.(*schemas.LegalHoldSet).Settings.On })
	slices.SortFunc(all, func(a, b *Entry) int { return int(int64(a.Seq) - int64(b.Seq)) })
	return all, nil
}
