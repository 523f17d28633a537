package dispatcher

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// servesMax is how many pairs one session may announce.
	servesMax = 1000
	// ensureTimeout bounds the making of one consumer.
	ensureTimeout = 2 * time.Second
)

// onBeat takes a beat off the wire. It runs in the subscription's goroutine, so that decoding holds up
// no decision.
func (h *Host) onBeat(m *nats.Msg) {
	at := h.mono()
	b := new(ledger.Beat)
	err := json.Unmarshal(m.Data, b)
	if err == nil {
		err = checkBeat(b)
	}
	if err != nil {
		h.log.Warn("beat is not usable", zap.Error(err))
		return
	}
	reply := m.Reply
	answer := func(body []byte) {
		if reply == "" {
			return
		}
		if err := h.l.Conn().Publish(reply, body); err != nil { // the worker beats again
			h.log.Debug("beat was not answered", zap.Error(err))
		}
	}
	select {
	case h.beats <- heardBeat{b: b, at: at, answer: answer}:
	default:
		h.counters.BeatsDropped.Add(1)
	}
}

func checkBeat(b *ledger.Beat) error {
	if err := schemas.CheckToken("session", string(b.Session)); err != nil {
		return err
	}
	if len(b.Serves) > servesMax || len(b.Attempts) > ledger.BeatAttemptsMax {
		return errors.New("it names too many pairs or attempts")
	}
	for _, s := range b.Serves {
		if err := errors.Join(schemas.CheckToken("queue", string(s.Queue)), schemas.CheckToken("type", string(s.Type))); err != nil {
			return err
		}
	}
	return nil
}

// answer tells a worker how its attempts stand.
func (h *Host) answer(b heardBeat) {
	a := h.core.Answer(b.b)
	a.Cell, a.Now = *h.cell.Load(), h.now().UTC()
	body, err := json.Marshal(&a)
	if err != nil {
		h.log.Error("answer to a beat does not encode", zap.Error(err))
		return
	}
	b.answer(body)
	h.present(b.b)
}

// ensureRequest asks for the consumers of pairs, and to answer a beat then, if there is one.
type ensureRequest struct {
	pairs []ledger.Serves
	beat  heardBeat
}

// ensureLoop makes consumers, so that the loop waits for none.
func (h *Host) ensureLoop(ctx context.Context) {
	for {
		select {
		case r := <-h.ensures:
			if h.ensure(ctx, r.pairs) && r.beat.b != nil {
				r.beat.ensured = true
				select {
				case h.beats <- r.beat:
				default:
					h.counters.BeatsDropped.Add(1)
				}
			}
		case <-ctx.Done():
			return
		}
	}
}

// ensure makes the consumers of pairs that are not known to exist; false if one could not be made: the
// worker's next beat asks again.
func (h *Host) ensure(ctx context.Context, pairs []ledger.Serves) bool {
	for _, p := range pairs {
		exists := false
		if h.call(ctx, func() { exists = h.ensured[p] }) != nil {
			return false
		}
		if exists {
			continue
		}
		once, cancel := context.WithTimeout(ctx, ensureTimeout)
		_, err := h.l.EnsureConsumer(once, p.Queue, p.Type)
		cancel()
		if err != nil {
			if ctx.Err() == nil {
				h.log.Warn("consumer of a pair cannot be made", zap.String("queue", string(p.Queue)), zap.String("type", string(p.Type)), zap.Error(err))
				h.doubtWork()
			}
			return false
		}
		if h.call(ctx, func() { h.ensured[p] = true }) != nil {
			return false
		}
	}
	return true
}

// doubtWork has the reconciler look at WORK now.
func (h *Host) doubtWork() {
	select {
	case h.repair <- struct{}{}:
	default:
	}
}
