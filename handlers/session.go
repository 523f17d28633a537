package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// ensureTimeout bounds the making of one durable consumer that was not there. Short: a request that is lost to a
// restart holds up the upkeep for so long, and is made again.
const ensureTimeout = time.Second

// session is one Run of a worker: the holder of its leases.
type session struct {
	w       *Worker
	id      schemas.SessionID
	log     *zap.Logger
	nc      *nats.Conn
	pool    *pool
	offers  chan offered // to a hand that is free
	hands   atomic.Int32 // goroutines that work offers off, idle ones too
	reports *reporter
	signals []*nats.Subscription // cancels of single attempts, and a drain
	host    string
	started time.Time
	beatNow chan struct{} // capacity 1
	done    chan struct{} // closed when the session has reached its bounds
	asked   chan struct{} // closed when somebody asked it to drain
	closed  chan struct{} // closed when the connection is
	stuck   chan struct{} // closed when a cut-off session cannot stop a handler that must run alone

	// settle ends when outcomes may no longer be waited for. It is the session's own life, not a call's.
	settle       context.Context
	settleCtxEnd context.CancelFunc

	mu       sync.Mutex
	running  map[schemas.Fence]*running // named in every beat; of two with one sequence the older is hung
	early    map[schemas.Fence]struct{} // of cancels that no attempt is known for
	cell     string                     // of the latest answer
	epoch    schemas.Seq                // newest known in cell
	answered time.Time                  // when the latest beat that was answered was sent; zero before
	ahead    time.Duration              // the stream's clock before ours, by the latest answer that told
	draining bool
	ended    bool               // done is closed
	toDrain  bool               // asked is closed
	cut      bool               // it was said that the leader does not answer
	isStuck  bool               // stuck is closed
	giveUp   context.CancelFunc // ends the wait for the answer to the beat that is out; nil before the first
}

func newSession(w *Worker) (*session, error) {
	host, _ := os.Hostname() // shown to people only
	s := &session{w: w, id: schemas.NewSessionID(), nc: w.cfg.Work, host: host, started: time.Now(), offers: make(chan offered),
		beatNow: make(chan struct{}, 1), done: make(chan struct{}), asked: make(chan struct{}), closed: make(chan struct{}), stuck: make(chan struct{}),
		running: make(map[schemas.Fence]*running), early: make(map[schemas.Fence]struct{})}
	s.log = w.cfg.Logger.With(zap.String("component", "worker"), zap.String("worker", w.cfg.Name))
	s.settle, s.settleCtxEnd = context.WithDeadline(context.Background(), s.started.Add(settleDeadline))
	s.pool = newPool(s.nc, s.log, w.cfg.Slots, w.cfg.MaxJobs, s.take)
	s.reports = newReporter(w.cfg.Live, s.log, w.times.progressEvery)
	for subject, take := range map[string]nats.MsgHandler{ledger.SubjectCancel(s.id): s.onCancel, ledger.SubjectDrain(s.id): s.onDrain} {
		sub, err := s.nc.Subscribe(subject, take)
		if err != nil {
			s.settleCtxEnd()
			return nil, errors.Join(fmt.Errorf("handlers: %w", err), s.unsubscribe())
		}
		s.signals = append(s.signals, sub)
	}
	for i := range w.cfg.Serves {
		if err := s.pool.add(&w.cfg.Serves[i]); err != nil {
			s.settleCtxEnd()
			return nil, errors.Join(fmt.Errorf("handlers: %w", err), s.unsubscribe())
		}
	}
	return s, nil
}

// settleDeadline lets outcomes be retried for as long as the session may live: without a deadline of its own
// the ledger would give up after ledger.SettleTimeout.
const settleDeadline = 100 * 365 * 24 * time.Hour

func (s *session) unsubscribe() error { return errors.Join(s.deafen(), s.pool.close()) }

// deafen ends the signals.
func (s *session) deafen() (err error) {
	for _, sub := range s.signals {
		err = errors.Join(err, sub.Unsubscribe())
	}
	return err
}

// beatLoop beats until ctx ends.
func (s *session) beatLoop(ctx context.Context) {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.beatNow:
		case <-t.C:
		}
		wait := s.w.times.beatEvery
		if err := s.beat(ctx, false); err != nil {
			wait = s.w.times.beatRetry
			s.log.Debug("beat was not answered", zap.Error(err))
		}
		t.Reset(wait)
	}
}

// beat sends one sign of life and obeys the answer.
func (s *session) beat(ctx context.Context, leaving bool) error {
	said := s.signOfLife(leaving)
	body, err := json.Marshal(said)
	if err != nil {
		return err
	}
	sent := time.Now()
	ctx, cancel := context.WithTimeout(ctx, s.w.times.beatTimeout)
	defer cancel()
	s.mu.Lock()
	s.giveUp = cancel
	s.mu.Unlock()
	m, err := s.nc.RequestWithContext(ctx, ledger.SubjectBeat, body)
	if err != nil {
		return err
	}
	var answer ledger.BeatAnswer
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return fmt.Errorf("answer to a beat: %w", err)
	}
	s.obey(&answer, said.Attempts, sent)
	return nil
}

func (s *session) signOfLife(leaving bool) *ledger.Beat {
	b := &ledger.Beat{Session: s.id, Worker: s.w.cfg.Name, Host: s.host, Version: s.w.cfg.Version,
		StartedAt: s.started.UTC(), Slots: s.w.cfg.Slots, Leaving: leaving}
	for i := range s.w.cfg.Serves {
		r := &s.w.cfg.Serves[i]
		b.Serves = append(b.Serves, ledger.Serves{Queue: r.Queue, Type: r.Type})
	}
	b.Busy, _, _ = s.pool.state()
	s.mu.Lock()
	defer s.mu.Unlock()
	b.Draining = s.draining
	b.Attempts = make([]ledger.AttemptRef, 0, len(s.running))
	for _, r := range s.running {
		ref := ledger.AttemptRef{Org: r.a.Org, Job: r.a.ID, Attempt: r.a.Number, Fence: r.a.Fence, Hung: r.hung}
		if r.hung { // the leader may have no record of it any more, and counts it all the same
			ref.Queue, ref.Type, ref.Resource = r.a.Queue, r.a.Type, r.latest().Spec.Resource
		}
		b.Attempts = append(b.Attempts, ref)
	}
	b.Epoch = s.epoch
	return b
}

// obey does what the leader's answer to a beat that named these attempts, sent at that time, says. The answer names
// sequences: of what was claimed since the beat it says nothing, even if the sequence is the same (DESIGN D2).
func (s *session) obey(answer *ledger.BeatAnswer, named []ledger.AttemptRef, sent time.Time) {
	s.mu.Lock()
	if answer.Cell != s.cell {
		s.cell, s.epoch = answer.Cell, 0 // sequences may have been given out again (DESIGN D6)
	}
	newer := answer.Epoch > s.epoch
	s.epoch = max(s.epoch, answer.Epoch)
	s.answered = sent
	if !answer.Now.IsZero() {
		s.ahead = time.Until(answer.Now)
	}
	open, back := !s.draining, s.cut
	s.cut = false
	var canceled, invalid []*running
	for _, ref := range named {
		r := s.running[ref.Fence]
		if r == nil || ref.Hung {
			continue
		}
		if slices.Contains(answer.Canceled, ref.Fence.Seq) {
			canceled = append(canceled, r)
		}
		if slices.Contains(answer.Invalid, ref.Fence.Seq) && ref.Fence.Seq <= answer.Position {
			invalid = append(invalid, r)
		}
	}
	s.mu.Unlock()
	if back {
		s.log.Info("the leader answers again")
	}
	for _, r := range canceled {
		r.requestCancel()
	}
	for _, r := range invalid {
		s.log.Info("attempt is no longer current", r.fields()...)
		r.end(ErrLeaseLost)
	}
	if open {
		s.pool.setOpen(true)
	}
	if newer {
		s.wake() // a new leader waits for this under limits of one: we take no offer of an earlier one from here on
	}
}

// streamTime is the time by the stream's clock, up to the length of a request.
func (s *session) streamTime() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.ahead)
}

// onCancel takes the leader's wake-up after a cancel_requested; the beat's answer names those that are lost.
func (s *session) onCancel(m *nats.Msg) {
	var c ledger.CancelSignal
	if err := json.Unmarshal(m.Data, &c); err != nil {
		s.log.Warn("cancel signal does not decode", zap.Error(err))
		return
	}
	s.mu.Lock()
	r := s.running[c.Fence]
	if r == nil {
		// It was faster than the reply to our claim, or the attempt has ended.
		if len(s.early) >= earlyMax {
			clear(s.early)
		}
		s.early[c.Fence] = struct{}{}
	}
	s.mu.Unlock()
	if r != nil {
		r.requestCancel()
	}
}

// earlyMax bounds the cancels kept for attempts that are not known yet; those that are forgotten come with the
// answer to the next beat.
const earlyMax = 1024

// usable reports whether an offer comes from no leader older than the newest known, and learns of newer ones.
// An offer of another start of the cell cannot be compared: the claim decides.
func (s *session) usable(o *ledger.Offer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.Cell != s.cell {
		return true
	}
	if o.Epoch < s.epoch {
		return false
	}
	s.epoch = o.Epoch
	return true
}

// register makes an attempt known, so that every beat names it. False: a drain has begun, it must not start.
func (s *session) register(r *running) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	if s.w.cfg.Ledger.Life() > 0 {
		s.supersede(r.a.Fence)
	}
	s.running[r.a.Fence] = r
	if _, ok := s.early[r.a.Fence]; ok {
		delete(s.early, r.a.Fence)
		r.requestCancel()
	}
	return true
}

// supersede ends the attempt whose sequence was given to another one: the ledger went back to older data, and does
// not know it any more. The caller holds mu.
func (s *session) supersede(by schemas.Fence) {
	for fence, old := range s.running {
		if fence.Seq == by.Seq {
			old.hung = true // so that no beat names two attempts of one sequence as running
			old.end(ErrLeaseLost)
		}
	}
}

// forget takes an attempt out of the beats: its outcome is settled and its handler has returned.
func (s *session) forget(r *running) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.hung {
		s.wake() // what it held of limits is free
	}
	if s.running[r.a.Fence] == r {
		delete(s.running, r.a.Fence)
	}
}

// mayClaim reports whether this session may take a job now: it knows a leader that hears it, and goes on.
func (s *session) mayClaim() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.draining && s.heard()
}

// heard reports whether a beat was answered lately. The caller holds mu.
func (s *session) heard() bool {
	return !s.answered.IsZero() && time.Since(s.answered) < s.w.times.cutoff
}

// upkeepLoop looks after pulls, the connection and the session's bounds until ctx ends.
func (s *session) upkeepLoop(ctx context.Context) {
	status := s.nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer s.nc.RemoveStatusListener(status)
	t := time.NewTicker(s.w.times.upkeep)
	defer t.Stop()
	if s.nc.IsClosed() {
		close(s.closed)
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case st := <-status:
			if st == nats.CLOSED {
				close(s.closed)
				return
			}
			// The server forgot what was open, and may be another one: beat and pull at once.
			s.pool.reset(true)
			s.rebeat()
		case <-t.C:
			s.pool.reset(false)
		}
		if s.checkCutOff(); s.isCut() {
			s.pool.setOpen(false) // until a beat is answered
		}
		s.ensure(ctx)
		s.checkBounds()
	}
}

// rebeat gives up the beat that is out, whose answer cannot come any more, and beats now.
func (s *session) rebeat() {
	s.mu.Lock()
	if s.giveUp != nil {
		s.giveUp()
	}
	s.mu.Unlock()
	s.wake()
}

// wake makes the next beat come now.
func (s *session) wake() {
	select {
	case s.beatNow <- struct{}{}:
	default:
	}
}

// ensure makes the consumers that were not there. The leader does so too, when it hears the first beat; who
// comes second finds them.
func (s *session) ensure(ctx context.Context) {
	if !s.mayClaim() {
		return
	}
	for _, reg := range s.pool.absent() {
		one, cancel := context.WithTimeout(ctx, ensureTimeout)
		_, err := s.w.cfg.Ledger.EnsureConsumer(one, reg.Queue, reg.Type)
		cancel()
		if err != nil {
			s.log.Debug("consumer is not there", zap.String("queue", string(reg.Queue)), zap.String("type", string(reg.Type)), zap.Error(err))
			return // WORK is not there, or nobody answers: the next tick tries again
		}
		s.pool.present(reg)
	}
}

// checkBounds ends the session when it has done what Config asks for.
func (s *session) checkBounds() {
	busy, idle, exhausted := s.pool.state()
	if busy > 0 || !exhausted && (s.w.cfg.ExitIdle == 0 || time.Since(idle) < s.w.cfg.ExitIdle) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended && !s.answered.IsZero() {
		s.ended = true
		close(s.done)
	}
}
