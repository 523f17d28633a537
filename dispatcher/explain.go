package dispatcher

import (
	"encoding/json"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
)

// onExplain answers why a job does not start, if this host leads. It runs in the subscription's goroutine; the core
// is asked in the loop.
func (h *Host) onExplain(m *nats.Msg) {
	if m.Reply == "" || h.lease.Load() == nil {
		return
	}
	var q ledger.ExplainRequest
	if err := json.Unmarshal(m.Data, &q); err != nil {
		h.log.Warn("request to explain is not usable", zap.Error(err))
		return
	}
	select {
	case h.asks <- ask{q: q, reply: m}:
	default: // whoever asks gets no answer in time, and may ask again
	}
}

// ask is a request to explain on its way to the loop.
type ask struct {
	q     ledger.ExplainRequest
	reply *nats.Msg
}

// asksMax bounds requests to explain that wait for the loop.
const asksMax = 256

// explain answers in the loop.
func (h *Host) explain(a ask) {
	if l := h.lease.Load(); !h.core.Leading() || l == nil || !l.valid() {
		return
	}
	x := h.core.Explain(&a.q, h.now())
	if h.right.Failing(a.q.Submitted) && x.Place != ledger.PlaceRunning && x.Place != ledger.PlaceUnknown {
		x.Blockers = append(x.Blockers, ledger.Blocker{Kind: ledger.BlockRight})
		x.EarliestStart = time.Time{}
	}
	body, err := json.Marshal(x)
	if err == nil {
		err = a.reply.Respond(body)
	}
	if err != nil {
		h.log.Debug("request to explain was not answered", zap.Error(err))
	}
}
