package handlers

import (
	"context"
	"time"

	"go.uber.org/zap"
)

// stuckJoin is how long a Run that ends because a handler does not stop waits for its own loops: they may hang in the
// client of a server that is not there, which locks itself for seconds while it tries to connect.
const stuckJoin = 100 * time.Millisecond

// cutOffLoop sees in time that no leader answers, until ctx ends. It asks nothing of the connection: what does may hang
// when it matters, and between the end of a worker that must end itself and the next attempt there is one second.
func (s *session) cutOffLoop(ctx context.Context) {
	for {
		s.mu.Lock()
		since := s.lastAnswer()
		s.mu.Unlock()
		due := time.Until(since.Add(s.w.times.cutoff))
		if due <= 0 {
			due = time.Until(since.Add(s.w.times.cutoff + s.w.times.stuckWait))
		}
		if due <= 0 {
			due = s.w.times.upkeep
		}
		if !waitUntil(ctx.Done(), time.Now().Add(due)) {
			return
		}
		s.checkCutOff()
	}
}

// lastAnswer is when the latest beat that was answered was sent, or the session began. The caller holds mu.
func (s *session) lastAnswer() time.Time {
	if s.answered.IsZero() {
		return s.started
	}
	return s.answered
}

// checkCutOff stops, in a session that the leader does not answer, the handlers of its exclusive types, and of jobs under
// a limit of one: the leader may give their jobs to others soon. If one of those does not return, Run ends, and with it
// the process.
func (s *session) checkCutOff() {
	s.mu.Lock()
	defer s.mu.Unlock()
	silence := time.Since(s.lastAnswer())
	if silence < s.w.times.cutoff {
		return
	}
	if !s.cut {
		s.cut = true
		s.log.Warn("no leader answers: nothing is claimed until one does", zap.Duration("silence", silence))
	}
	exclusive := 0
	for _, r := range s.running {
		if r.exclusive {
			exclusive++
			r.end(ErrCutOff)
		}
	}
	if exclusive > 0 && !s.isStuck && silence >= s.w.times.cutoff+s.w.times.stuckWait {
		s.isStuck = true
		close(s.stuck)
	}
}

// isCut reports whether no leader answers.
func (s *session) isCut() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cut
}

// endStuck ends a session whose handlers do not stop: another attempt may start within a second. Processes that attempts
// have started are killed at once, and nothing is handed back: nobody answers. joined tells when the loops have ended.
func (s *session) endStuck(joined <-chan struct{}) error {
	if err := s.w.closeHandlers(); err != nil {
		s.log.Warn("handlers could not be closed", zap.Error(err))
	}
	s.settleCtxEnd()
	unsubscribed := make(chan error, 1)
	go func() {
		<-joined
		unsubscribed <- s.unsubscribe()
	}()
	t := time.NewTimer(stuckJoin)
	defer t.Stop()
	select {
	case err := <-unsubscribed:
		if err != nil {
			s.log.Debug("signals could not be given up", zap.Error(err))
		}
	case <-t.C:
	}
	return errStuck
}
