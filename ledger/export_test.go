package ledger

import (
	"context"
	"time"
)

// FreshFor makes payloads old sooner than PayloadFresh, as a suspended process finds them.
func (l *Ledger) FreshFor(d time.Duration) { l.fresh = d }

// AtTheDoor judges a submission and stores nothing.
func AtTheDoor(ctx context.Context, l *Ledger, r *SubmitRequest) error {
	t, err := l.Type(ctx, r.Type)
	if err != nil {
		return err
	}
	s := &submission{l: l, org: r.Org, spec: r.spec(t)}
	if err := s.admit(ctx, r, t); err != nil {
		return err
	}
	s.pass.leave(Receipt{Duplicate: true}, nil)
	return nil
}
