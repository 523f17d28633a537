package ledger

import (
	"context"

	"github.com/dartwing/jobledger/schemas"
)

// CloseBreaker closes the circuit breaker of one (type, org) by hand, whether it is open or not. It is in force
// when the leader has folded the event.
func (l *Ledger) CloseBreaker(ctx context.Context, org schemas.OrgID, typ schemas.TypeName, m Meta, reason string) (*schemas.Event, error) {
	closed := &schemas.BreakerClosed{Org: org, Type: typ, Reason: reason}
	if err := closed.Validate(); err != nil {
		return nil, badField("breaker", err)
	}
	return l.control(ctx, closed.Place(), func(ctx context.Context) (*schemas.Event, error) {
		_, seq, err := l.readSetting(ctx, closed.Place())
		if err != nil {
			return nil, err
		}
		e := m.event(closed.Place(), closed)
		if err := l.Append(ctx, e, seq); err != nil {
			return nil, err
		}
		return e, nil
	})
}
