package dispatcher

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// orphanAge is how old an offer without a Queued job must be before it is removed: its worker acks it as a
	// rule, and its queued event may not be in the fold yet.
	orphanAge = 3 * time.Second
	// scanMax bounds one look through WORK.
	scanMax = 10_000
	// scanEvery is the least time between two looks.
	scanEvery = 5 * time.Second
)

// reconciler keeps WORK true while this server leads: the stream and its consumers are there, and every
// offer has a Queued job. That every Queued job has an offer is the core's care.
type reconciler struct {
	h       *Host
	created time.Time // of the WORK that was seen last
	scanned time.Time
}

// reconcile runs until ctx ends.
func (h *Host) reconcile(ctx context.Context, _ schemas.Seq) error {
	r := &reconciler{h: h}
	t := time.NewTicker(h.cfg.Times.Reconcile)
	defer t.Stop()
	for {
		r.look(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		case <-h.repair:
		}
	}
}

func (r *reconciler) look(ctx context.Context) {
	once, cancel := context.WithTimeout(ctx, workAnswerMax)
	s, err := r.h.l.JetStream().Stream(once, ledger.StreamWork)
	cancel()
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		r.remake(ctx, err)
		return
	}
	info := s.CachedInfo()
	if r.created.IsZero() {
		r.created = info.Created
	}
	if !info.Created.Equal(r.created) {
		// Somebody else made it anew: its offers and consumers are gone.
		r.h.log.Warn("WORK was made anew by somebody else")
		r.created = info.Created
		_ = r.h.call(ctx, r.h.forgetWork) // fails only when the host ends
		return
	}
	r.consumers(ctx, info.State.Consumers)
	r.offers(ctx, s, &info.State)
}

// remake repairs a WORK that is missing or silent, if it is WORK and not the whole server.
func (r *reconciler) remake(ctx context.Context, cause error) {
	once, cancel := context.WithTimeout(ctx, workAnswerMax)
	_, err := r.h.l.JetStream().AccountInfo(once)
	cancel()
	if err != nil {
		return // the server is away: its return is the lease's affair
	}
	r.h.log.Warn("WORK is made anew", zap.Error(cause))
	if err := r.h.remakeWork(ctx, cause); err != nil {
		r.h.log.Warn("WORK cannot be made", zap.Error(err))
		return
	}
	r.created = time.Time{}
}

// consumers makes those of live pairs again when some are missing.
func (r *reconciler) consumers(ctx context.Context, have int) {
	_ = r.h.call(ctx, func() {
		want := 0
		for _, ok := range r.h.ensured {
			if ok {
				want++
			}
		}
		if have < want {
			r.h.log.Warn("consumers of WORK are missing", zap.Int("have", have), zap.Int("want", want))
			clear(r.h.ensured)
			r.h.pairsChanged()
		}
	})
}

// offers removes those without a Queued job. It looks only when there are more than Queued jobs.
func (r *reconciler) offers(ctx context.Context, s jetstream.Stream, state *jetstream.StreamState) {
	var stats Stats
	if r.h.call(ctx, func() { stats = r.h.core.Stats() }) != nil {
		return
	}
	if int(state.Msgs) <= stats.Queued+stats.InFlight || time.Since(r.scanned) < scanEvery {
		return
	}
	r.scanned = time.Now()
	now := r.h.now()
	for next, n := state.FirstSeq, 0; n < scanMax && ctx.Err() == nil; n++ {
		once, cancel := context.WithTimeout(ctx, workAnswerMax)
		m, err := s.GetMsg(once, next, jetstream.WithGetMsgSubject("work.>"))
		young := err == nil && now.Sub(m.Time) < orphanAge
		if err == nil && !young && r.orphan(once, m) {
			r.h.removeOffer(once, m.Sequence)
		}
		cancel()
		if young {
			return // so are all behind it
		}
		if err != nil {
			if !errors.Is(err, jetstream.ErrMsgNotFound) && ctx.Err() == nil {
				r.h.log.Debug("WORK cannot be looked through", zap.Error(err))
			}
			return
		}
		next = m.Sequence + 1
	}
}

// orphan reports whether no Queued job is known behind an offer that this fold should know.
func (r *reconciler) orphan(ctx context.Context, m *jetstream.RawStreamMsg) bool {
	o, err := ledger.DecodeOffer(m.Data)
	if err != nil {
		return true // no offer of ours
	}
	gone := false
	_ = r.h.call(ctx, func() {
		queued, _ := r.h.core.Holds(o.Job.SubmittedSeq)
		gone = !queued && o.Job.LastSeq <= r.h.core.Position()
	})
	return gone
}
