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

// keepLive makes LIVE again while this server leads, when it is missing or its one server does not answer
// (DESIGN D2). Nothing is lost with it but what workers are about to write again: who reports, reports on.
func (h *Host) keepLive(ctx context.Context, _ schemas.Seq) error {
	t := time.NewTicker(h.cfg.Times.Reconcile)
	defer t.Stop()
	for {
		h.lookAtLive(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

func (h *Host) lookAtLive(ctx context.Context) {
	once, cancel := context.WithTimeout(ctx, workAnswerMax)
	_, cause := h.l.JetStream().Stream(once, ledger.StreamLive)
	cancel()
	if cause == nil || ctx.Err() != nil {
		return
	}
	once, cancel = context.WithTimeout(ctx, workAnswerMax)
	_, err := h.l.JetStream().AccountInfo(once)
	cancel()
	if err != nil {
		return // the server is away, not LIVE: its return is the lease's affair
	}
	h.log.Warn("LIVE is made anew", zap.Error(cause))
	once, cancel = context.WithTimeout(ctx, 2*workAnswerMax)
	defer cancel()
	if errors.Is(cause, jetstream.ErrStreamNotFound) {
		err = h.l.EnsureBucket(once, ledger.BucketLive)
	} else {
		err = h.l.RecreateLive(once)
	}
	if err != nil {
		h.log.Warn("LIVE cannot be made", zap.Error(err))
	}
}
