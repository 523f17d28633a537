package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// subjectArchiver takes a request without a body; the leader's archiver answers with its ArchiverStatus, also while it
// works. It is core NATS, like subjectArchive.
const subjectArchiver = "jl.archiver"

// ArchiverStatus says how the leader's archiver does.
type ArchiverStatus struct {
	// LookedAt is when its last look ended, by the leader's clock; zero: it has not looked since it leads.
	LookedAt time.Time `json:"looked_at,omitzero"`
	// Held is what the boundary waited for then, nil if for nothing but time.
	Held *ArchiverHeld `json:"held"`
	// Error is why the last look that failed did, and ErrorAt when; empty: none has since it leads.
	Error   string    `json:"last_error,omitempty"`
	ErrorAt time.Time `json:"last_error_at,omitzero"`
}

// Late is how long what holds the boundary has been kept in the ledger beyond a hot window; 0 if it is not, or nothing does.
func (h *ArchiverHeld) Late(window time.Duration, now time.Time) time.Duration {
	if h == nil || window <= 0 {
		return 0
	}
	return max(0, now.Sub(h.Since)-window)
}

// HotLatest is the age at which an event has left LEDGER at the latest, if nothing holds it: a small segment is written
// only when a part of the window more has passed.
func HotLatest(window time.Duration) time.Duration { return window + leaveMargin(window) }

// ArchiverStatus asks the leader. The error is ErrNoArchiver if nobody leads, or a server of an earlier version does.
func (l *Ledger) ArchiverStatus(ctx context.Context) (*ArchiverStatus, error) {
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	m, err := l.nc.RequestWithContext(ctx, subjectArchiver, nil)
	if errors.Is(err, nats.ErrNoResponders) {
		return nil, ErrNoArchiver
	}
	if err != nil {
		return nil, err
	}
	var s ArchiverStatus
	if err := json.Unmarshal(m.Data, &s); err != nil {
		return nil, fmt.Errorf("answer of the archiver: %w", err)
	}
	return &s, nil
}

// name tells people what holds the boundary, louder where it does so for longer than a window.
func (a *Archiver) name(ctx context.Context, held *ArchiverHeld) {
	window := a.cfg.Window
	if window == 0 {
		window, _ = a.l.HotWindow(ctx) // where it is not known now nothing is late
	}
	say := a.cfg.Logger.Info
	if held.Late(window, time.Now()) > window {
		say = a.cfg.Logger.Warn
	}
	say("older events stay in the ledger until this one may leave", zap.String("subject", held.Subject), zap.String("why", held.Why),
		zap.Uint64("seq", uint64(held.Seq)), zap.Time("since", held.Since))
}

// looked notes how a look ended.
func (a *Archiver) looked(err error) {
	s := ArchiverStatus{LookedAt: time.Now().UTC(), Held: a.Held()}
	if last := a.status.Load(); last != nil {
		s.Error, s.ErrorAt = last.Error, last.ErrorAt
	}
	if err != nil {
		s.Error, s.ErrorAt = err.Error(), s.LookedAt
	}
	a.status.Store(&s)
}

// tell answers those who ask for its status, until stop.
func (a *Archiver) tell() (stop func(), err error) {
	a.status.Store(&ArchiverStatus{})
	sub, err := a.l.nc.Subscribe(subjectArchiver, func(m *nats.Msg) {
		if body, err := json.Marshal(a.status.Load()); err == nil {
			_ = m.Respond(body) // who asked asks again
		}
	})
	if err != nil {
		return nil, fmt.Errorf("take requests for the archiver's status: %w", err)
	}
	return func() { _ = sub.Unsubscribe() }, nil // fails only when the connection is closed, which ends it too
}
