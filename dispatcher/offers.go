package dispatcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
)

// workAnswerMax is how long WORK, which lives in one server's memory, may take to answer before it is
// recreated (ENGINE 12).
const workAnswerMax = 2 * time.Second

// codeSubjectFull is how WORK refuses a second offer of a job; it has other meanings, too (ENGINE 12).
const codeSubjectFull = 10077

// offer publishes the offer of a Queued job and returns its WORK sequence, 0 if none is known to stand: the
// job is offered again then.
func (h *Host) offer(ctx context.Context, j *ledger.Job, a act) uint64 {
	l := a.lease
	o := ledger.Offer{Epoch: l.epoch, Cell: *h.cell.Load(), Job: j, Alone: a.d.Alone}
	body, err := o.Encode()
	if err != nil {
		h.log.Error("offer does not encode", zap.String("org", string(j.Org)), zap.String("job", string(j.ID)), zap.Error(err))
		return 0
	}
	m := &nats.Msg{Subject: ledger.OfferSubject(j.Spec.Queue, j.Spec.Type, j.Org, j.ID), Data: body}
	for range 3 { // a refused one, its removal, and once more for a race with the reconciler
		if !l.valid() {
			return 0
		}
		seq, err := h.publishOffer(ctx, m)
		if err == nil {
			h.counters.Offered.Add(1)
			return seq
		}
		var api *jetstream.APIError
		if !errors.As(err, &api) || api.ErrorCode != codeSubjectFull {
			if ctx.Err() == nil || errors.Is(ctx.Err(), context.DeadlineExceeded) {
				h.doubtWork()
			}
			h.log.Debug("offer was not published", zap.String("subject", m.Subject), zap.Error(err))
			return 0
		}
		once, cancel := context.WithTimeout(ctx, workAnswerMax)
		seq, done := h.standing(once, m.Subject, j, l)
		cancel()
		if done {
			return seq
		}
	}
	return 0
}

func (h *Host) publishOffer(ctx context.Context, m *nats.Msg) (uint64, error) {
	reply, err := h.l.Request(ctx, m, workAnswerMax)
	if err != nil {
		return 0, err
	}
	if seq, ok := ledger.PlainAck(ledger.StreamWork, reply.Data); ok {
		return seq, nil
	}
	ack, err := decodeAck(reply.Data)
	if err != nil {
		return 0, err
	}
	if ack.Error != nil {
		return 0, ack.Error
	}
	return ack.Seq, nil
}

// standing judges the offer that was found in place of ours: a refusal is no proof of a usable one
// (DESIGN D7). One of an older epoch or another generation is removed; false then: publish again.
func (h *Host) standing(ctx context.Context, subject string, j *ledger.Job, l *lease) (uint64, bool) {
	s, err := h.l.JetStream().Stream(ctx, ledger.StreamWork)
	if err != nil {
		h.doubtWork()
		return 0, true
	}
	m, err := s.GetLastMsgForSubject(ctx, subject)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return 0, false // taken meanwhile
	}
	if err != nil {
		h.log.Debug("standing offer cannot be read", zap.String("subject", subject), zap.Error(err))
		return 0, true
	}
	o, err := ledger.DecodeOffer(m.Data)
	if err == nil && o.Epoch == l.epoch && o.Job.Generation == j.Generation && o.Job.SubmittedSeq == j.SubmittedSeq {
		return m.Sequence, true
	}
	h.counters.OffersStale.Add(1)
	h.removeOffer(ctx, m.Sequence)
	return 0, false
}

// removeOffer removes an offer by its sequence. One that is not there is as good; one that stays is found by
// the reconciler, and refused at its claim.
func (h *Host) removeOffer(ctx context.Context, work uint64) {
	body := fmt.Appendf(nil, `{"seq":%d,"no_erase":true}`, work)
	reply, err := h.l.Conn().RequestWithContext(ctx, subjectWorkDelete, body)
	if err != nil {
		h.log.Debug("offer was not removed", zap.Uint64("work_seq", work), zap.Error(err))
		return
	}
	var deleted struct {
		Success bool `json:"success"`
	}
	if json.Unmarshal(reply.Data, &deleted) == nil && deleted.Success {
		h.counters.OffersRemoved.Add(1)
	}
}

// subjectWorkDelete removes one message of WORK.
const subjectWorkDelete = "$JS.API.STREAM.MSG.DELETE." + ledger.StreamWork

// clearWork makes WORK hold no offer of an earlier leader (DESIGN D6): what is published from here on has a
// greater sequence.
func (h *Host) clearWork(ctx context.Context) error {
	err := h.purgeWork(ctx)
	for try := 0; err != nil && try < 3 && ctx.Err() == nil; try++ {
		h.log.Warn("WORK is made anew", zap.Error(err))
		err = h.remakeWork(ctx, err)
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", ledger.StreamWork, err)
	}
	return nil
}

func (h *Host) purgeWork(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, workAnswerMax)
	defer cancel()
	s, err := h.l.JetStream().Stream(ctx, ledger.StreamWork)
	if err != nil {
		return err
	}
	last := s.CachedInfo().State.LastSeq
	if s.CachedInfo().State.Msgs == 0 {
		return nil
	}
	return s.Purge(ctx, jetstream.WithPurgeSequence(last+1))
}

// remakeWork creates WORK if it is missing, and recreates one that does not answer. Consumers are made again
// as beats announce their pairs, and every Queued job is offered again.
func (h *Host) remakeWork(ctx context.Context, cause error) error {
	ctx, cancel := context.WithTimeout(ctx, 2*workAnswerMax)
	defer cancel()
	var err error
	if errors.Is(cause, jetstream.ErrStreamNotFound) {
		err = h.l.EnsureWork(ctx)
	} else {
		err = h.l.RecreateWork(ctx)
	}
	if err != nil {
		return err
	}
	h.counters.WorkRecreated.Add(1)
	return h.call(ctx, h.forgetWork)
}

// forgetWork is called in the loop when WORK began anew.
func (h *Host) forgetWork() {
	clear(h.ensured)
	h.core.OfferAll()
	h.pairsChanged()
}

// pairsChanged has the consumers of all live pairs made again.
func (h *Host) pairsChanged() {
	var pairs []ledger.Serves
	for _, p := range h.core.pools {
		for _, queue := range p.queues {
			for _, pr := range queue {
				pairs = append(pairs, ledger.Serves{Queue: pr.queue.name, Type: pr.typ})
			}
		}
	}
	if len(pairs) == 0 {
		return
	}
	select {
	case h.ensures <- ensureRequest{pairs: pairs}:
	default: // each pair's next beat asks
	}
}
