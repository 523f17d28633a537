package ledger

import (
	"context"
	"errors"

	"github.com/dartwing/jobledger/schemas"
)

// CloseBreaker closes the circuit breaker of one (type, org) by hand, whether it is open or not. It is in force
// when the leader has folded the event.
func (l *Ledger) CloseBreaker(ctx context.Context, org schemas.OrgID, typ schemas.TypeName, m Meta, reason string) (*schemas.Event, error) {
	closed := &schemas.BreakerClosed{Org: org, Type: typ, Reason: reason}
	if err := closed.Validate(); err != nil {
		return nil, badField("breaker", err)
	}
	ctx, cancel := withSettleTimeout(ctx)
	defer cancel()
	for try := 0; ; try++ {
		_, seq, err := l.readSetting(ctx, closed.Place())
		if err != nil {
			return nil, coded(err)
		}
		e := m.event(closed.Place(), closed)
		err = l.Append(ctx, e, seq)
		switch {
		case err == nil:
			return e, nil
		case !errors.Is(err, ErrRefused):
			return nil, coded(err)
		case !pause(ctx, try):
			return nil, Errorf(CodeUnavailable, "other writers of %s were always faster: %v", closed.Place(), err)
		}
	}
}
