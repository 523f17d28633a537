package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// onDrain takes an operator's request to drain and answers it at once: Run drains as if its context had ended
// . Asked again it answers again.
func (s *session) onDrain(m *nats.Msg) {
	var r ledger.DrainRequest
	if err := json.Unmarshal(m.Data, &r); err != nil {
		s.log.Warn("drain request does not decode", zap.Error(err))
		return
	}
	s.mu.Lock()
	first := !s.toDrain && !s.draining
	s.toDrain = s.toDrain || first
	s.mu.Unlock()
	if first {
		s.log.Info("drain was asked for", zap.String("actor", r.Actor), zap.String("reason", r.Reason))
		defer close(s.asked) // behind the answer: a worker without jobs is gone, and its connection with it, at once
	}
	busy, _, _ := s.pool.state()
	body, err := json.Marshal(ledger.DrainAnswer{Session: s.id, Busy: busy, GraceMS: schemas.MillisOf(max(s.w.cfg.Grace, 0))})
	if err == nil {
		err = m.Respond(body)
	}
	if err != nil {
		s.log.Warn("drain request was not answered", zap.Error(err))
	}
}

// drain ends the session's work: no more pulls, a grace for handlers, then their jobs are handed back. An
// error says that something is not settled; without one the session may leave.
func (s *session) drain(abort <-chan struct{}) error {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	errs := []error{s.pool.close()}
	s.wake() // the leader stops counting our slots
	if !s.waitQuiet(s.w.cfg.Grace, abort) {
		s.stopHandlers(abort)
	}
	busy, _, _ := s.pool.state()
	s.mu.Lock()
	left := len(s.running)
	s.mu.Unlock()
	switch {
	case left > 0:
		errs = append(errs, fmt.Errorf("handlers: %d handlers did not return, or their outcomes could not be settled: exit", left))
	case busy > 0:
		errs = append(errs, fmt.Errorf("handlers: %d claims could not be settled", busy))
	}
	return errors.Join(append(errs, s.deafen())...)
}

// stopHandlers tells all handlers to stop, waits a little, and hands back the jobs of those that have not.
func (s *session) stopHandlers(abort <-chan struct{}) {
	for _, r := range s.all() {
		s.log.Info("handler is stopped by the drain", r.fields()...)
		r.end(ErrStopping)
	}
	wait := stopWait
	select {
	case <-abort:
		wait = abortWait
	default:
	}
	if s.waitQuiet(wait, nil) {
		return
	}
	// Whoever claims these jobs next must not meet what they left running: an Exec kills its processes.
	if err := s.w.closeHandlers(); err != nil {
		s.log.Warn("handlers could not be closed", zap.Error(err))
	}
	if s.waitQuiet(abortWait, nil) {
		return
	}
	for _, r := range s.all() {
		go r.abandon()
	}
	t := time.AfterFunc(settleWait, s.settleCtxEnd)
	defer t.Stop()
	s.waitSettled(settleWait)
}

func (s *session) all() []*running {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*running, 0, len(s.running))
	for _, r := range s.running {
		out = append(out, r)
	}
	return out
}

// waitQuiet waits until no slot is taken; false if the time or abort ends first.
func (s *session) waitQuiet(d time.Duration, abort <-chan struct{}) bool {
	t := time.NewTimer(max(d, 0))
	defer t.Stop()
	for {
		if busy, _, _ := s.pool.state(); busy == 0 {
			return true
		}
		select {
		case <-s.pool.quiet:
		case <-abort:
			return false
		case <-t.C:
			busy, _, _ := s.pool.state()
			return busy == 0
		}
	}
}

// waitSettled waits until every attempt that was abandoned has settled.
func (s *session) waitSettled(d time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	for _, r := range s.all() {
		select {
		case <-r.settled:
		case <-ctx.Done():
			return
		}
	}
}

// leaveTries is how often the last beat is sent until it is answered.
const leaveTries = 3

// leave says that the session ends with nothing unsettled: a courtesy, without which the leader counts its
// slots until the lease ends. The beat loop has ended by then: an ordinary beat behind this one would call
// the session back to life.
func (s *session) leave() {
	for range leaveTries {
		err := s.beat(s.settle, true)
		if err == nil {
			return
		}
		s.log.Debug("last beat was not answered", zap.Error(err))
	}
}
