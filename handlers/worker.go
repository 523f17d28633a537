package handlers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
)

// Times of a worker's end.
const (
	// stopWait is how long a handler that was told to stop by a drain may take before its job is handed back
	// all the same; abortWait is that after Abort.
	stopWait  = 5 * time.Second
	abortWait = time.Second
	// settleWait is how long the last outcomes may take once all handlers have been given up.
	settleWait = 5 * time.Second
)

// Causes of the end of an attempt's context, as context.Cause returns them.
var (
	// ErrTimedOut: the attempt passed its timeout.
	ErrTimedOut = errors.New("attempt passed its timeout")
	// ErrCancelRequested: somebody asked to cancel the job.
	ErrCancelRequested = errors.New("cancel was requested")
	// ErrLeaseLost: the attempt is no longer the job's current one; its outcome will be a late result.
	ErrLeaseLost = errors.New("attempt is no longer the job's current one")
	// ErrStopping: the worker ends and hands the job back.
	ErrStopping = errors.New("worker is stopping")
	// ErrCutOff: the worker has lost the leader, and this type may run once only (DESIGN D7).
	ErrCutOff = errors.New("worker is cut off from the leader")
)

// times are the intervals that tests shorten.
type times struct {
	beatEvery, beatRetry, beatTimeout time.Duration
	cutoff                            time.Duration // unanswered beats after which nothing is claimed
	stuckWait                         time.Duration // after that, until a handler that must run alone has to have returned
	lateClaim                         time.Duration // a claim that took longer to settle is not started
	holdsFresh                        time.Duration // age of the settings that a claim goes by
	upkeep                            time.Duration // looking after pulls
	refusedWait                       time.Duration // for an object store that refuses a result
	progressEvery                     time.Duration // between writes of one attempt's progress
}

func defaultTimes() times {
	return times{beatEvery: ledger.BeatEvery, beatRetry: 250 * time.Millisecond, beatTimeout: 2 * time.Second,
		cutoff: ledger.BeatCutoff, stuckWait: 4 * time.Second, lateClaim: 5 * time.Second, holdsFresh: holdsFreshFor, upkeep: 500 * time.Millisecond, refusedWait: refusedWait,
		progressEvery: progressEvery}
}

// Worker serves jobs (DESIGN D7).
type Worker struct {
	cfg   Config
	times times
	right *ledger.RightCheck

	mu    sync.Mutex
	abort chan struct{} // of the Run that goes on; nil between
}

// New returns a worker; it does nothing before Run.
func New(cfg Config) (*Worker, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Worker{cfg: cfg, times: defaultTimes(), right: ledger.NewRightCheck(cfg.Right)}, nil
}

// Run serves jobs until ctx ends, the bounds of Config are reached, an operator asks for a drain
// (ledger.DrainRequest), or the connection is closed. Then it drains: it claims nothing more, lets handlers finish within Config.Grace, and hands back the jobs of those
// that have not. It returns when all handlers have returned and all outcomes are settled, or could not be in
// time: the error says so, their attempts are ended by the leader when the lease has passed, and the caller
// should exit, for a handler that does not return cannot be ended otherwise.
//
// One Run is one session. Run may be called again after it has returned, but not while it goes on.
func (w *Worker) Run(ctx context.Context) error {
	abort := make(chan struct{})
	w.mu.Lock()
	if w.abort != nil {
		w.mu.Unlock()
		return errors.New("handlers: Run is called while it goes on")
	}
	w.abort = abort
	w.mu.Unlock()
	err := w.run(ctx, abort)
	w.mu.Lock()
	w.abort = nil
	w.mu.Unlock()
	return errors.Join(err, w.closeHandlers())
}

// errStuck ends Run when no leader answers and a handler that must run alone does not stop (DESIGN D7).
var errStuck = errors.New("handlers: no leader answers, and a handler that must run alone did not stop: exit")

// Abort cuts a drain short, or begins one that ends at once: handlers are told to stop and their jobs handed
// back (R-25, second signal). Run returns soon after. Between runs it does nothing.
func (w *Worker) Abort() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.abort == nil {
		return
	}
	select {
	case <-w.abort:
	default:
		close(w.abort)
	}
}

func (w *Worker) run(ctx context.Context, abort <-chan struct{}) error {
	s, err := newSession(w)
	if err != nil {
		return err
	}
	// The loops outlive ctx: a drain beats on, or its attempts would be lost.
	loops, stopLoops := context.WithCancel(context.WithoutCancel(ctx))
	var joined sync.WaitGroup
	joined.Go(func() { s.beatLoop(loops) })
	joined.Go(func() { s.upkeepLoop(loops) })
	joined.Go(func() { s.cutOffLoop(loops) })
	joined.Go(func() { s.reports.run(loops) })
	tooOld := make(chan error, 1)
	joined.Go(func() {
		if err := w.cfg.Ledger.WatchLevel(loops); err != nil {
			tooOld <- err
		}
	})
	s.log.Info("worker started", zap.String("session", string(s.id)), zap.Int("slots", w.cfg.Slots))
	var cause error
	select {
	case <-ctx.Done():
	case <-abort:
	case <-s.done: // MaxJobs or ExitIdle
	case <-s.asked: // an operator asked for a drain
	case cause = <-tooOld: // what runs is not in the archive: it may end as at any drain
	case <-s.closed:
		cause = fmt.Errorf("handlers: %w", nats.ErrConnectionClosed)
	case <-s.stuck:
		stopLoops()
		ended := make(chan struct{})
		go func() { joined.Wait(); close(ended) }()
		return s.endStuck(ended)
	}
	drained := s.drain(abort)
	stopLoops()
	joined.Wait()
	if drained == nil {
		s.leave()
	}
	s.settleCtxEnd()
	err = errors.Join(cause, drained)
	s.log.Info("worker stopped", zap.Error(err))
	return err
}

// closeHandlers closes handlers that hold something between attempts.
func (w *Worker) closeHandlers() error {
	var errs []error
	for i := range w.cfg.Serves {
		if c, ok := w.cfg.Serves[i].Handler.(io.Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}
