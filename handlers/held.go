package handlers

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
)

const (
	// holdsFreshFor is how old the settings may be by which an offer is claimed: no job is claimed later than that after
	// a hold was laid on it, whoever leads.
	holdsFreshFor = time.Second
	// holdsWait is how long the look at them may take; the offer is another worker's then.
	holdsWait = ledger.AckWait
)

// startable reports whether neither a hold nor its org's state keeps the job of an offer, which came at a time, from
// being claimed. The leader takes such offers back, and makes them again when the hold has ended: this look is for those
// that are in a worker's hand already, and for holds that are laid while nobody leads (DESIGN D7).
//
// An offer that is held is acked and dropped: put back, it would come straight again. No attempt is used up. If the
// leader knows of no hold, as one of an earlier version, it offers the job again in a second or more.
func (s *session) startable(m *nats.Msg, o *ledger.Offer, came time.Time) bool {
	ctx, cancel := context.WithTimeout(s.settle, holdsWait)
	defer cancel()
	by, err := s.w.cfg.Ledger.Held(ctx, o.Job, s.streamTime(), came.Add(-s.w.times.holdsFresh))
	if err == nil && by != "" { // it may have been lifted, and the job been offered because of that
		by, err = s.w.cfg.Ledger.Held(ctx, o.Job, s.streamTime(), came)
	}
	switch {
	case err != nil:
		s.log.Warn("offer is not claimed: holds cannot be read", zap.String("subject", m.Subject), zap.Error(err))
		return false // it comes again
	case by != "":
		s.pool.answer(m, ackBody)
		s.log.Debug("offer is dropped: its job is held", zap.String("subject", m.Subject), zap.String("by", by))
		return false
	}
	return true
}
