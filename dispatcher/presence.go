package dispatcher

import (
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// present shows in LIVE what a beat said, with what the fold knows of its attempts. Nobody waits for it to be
// stored: the next beat says it again.
func (h *Host) present(b *ledger.Beat) {
	m, err := (*nats.Msg)(nil), error(nil)
	if b.Leaving {
		m = ledger.Departure(b.Session)
	} else {
		m, err = h.core.presence(b, h.now()).Encode()
	}
	if err == nil {
		err = h.l.Conn().PublishMsg(m)
	}
	if err != nil {
		h.log.Debug("presence was not published", zap.String("session", string(b.Session)), zap.Error(err))
	}
}

func (c *Core) presence(b *ledger.Beat, now time.Time) *ledger.Presence {
	p := &ledger.Presence{Session: b.Session, Worker: b.Worker, Host: b.Host, Version: b.Version, StartedAt: b.StartedAt,
		SeenAt: now.UTC(), Serves: b.Serves, Slots: b.Slots, Busy: b.Busy, Draining: b.Draining,
		Attempts: make([]ledger.PresentAttempt, 0, min(len(b.Attempts), ledger.PresenceAttemptsMax))}
	for _, ref := range b.Attempts {
		if len(p.Attempts) == ledger.PresenceAttemptsMax {
			p.More = len(b.Attempts) - len(p.Attempts)
			break
		}
		at := ledger.PresentAttempt{AttemptRef: ref}
		if a, ok := c.fences[ref.Fence.Seq]; ok && a.fence == ref.Fence {
			at.Type = a.pair.typ
			at.Since = time.Unix(0, a.hardAt).Add(-a.timeout - schemas.HardLimitMargin).UTC()
		}
		p.Attempts = append(p.Attempts, at)
	}
	return p
}
