package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Reasons of a released event.
const (
	releaseDrain     = "drain"
	releaseCutOff    = "cut_off"
	releaseLateClaim = "late_claim"
	releaseYield     = "yield"
)

// doubtfulClaim is how long a claim takes to settle only when its first reply was lost: by then others may have
// built upon it.
const doubtfulClaim = 500 * time.Millisecond

// running is one attempt that this session has claimed.
type running struct {
	s     *session
	reg   *Registration
	a     *Attempt
	began time.Time

	mu   sync.Mutex
	job  *ledger.Job // as it was when the claim, or the last checkpoint, was stored
	life uint64      // the ledger's from before that

	trace  func(Report) // ends the attempt's span
	traced atomic.Bool  // it has ended; an outcome that comes late is not told again

	checkpoints checkpoints
	reported    atomic.Bool // marked for the reporter
	reportsOver bool        // guarded by reporter.mu

	cancel context.CancelCauseFunc
	// closing is set by who writes the outcome: the handler's return, the deadline, the end of the cancel's
	// grace, or the drain, whoever comes first. The others write nothing.
	closing  atomic.Bool
	returned chan struct{} // closed when the handler has returned
	settled  chan struct{} // closed when the outcome is settled, or nothing is left to settle

	// hung: the attempt has ended in the ledger, its handler has not returned. Guarded by session.mu.
	hung bool
	// exclusive: no other attempt may run beside it, so it is stopped when the leader may take this one for dead.
	exclusive bool
}

func (r *running) fields() []zap.Field {
	return []zap.Field{zap.String("org", string(r.a.Org)), zap.String("job", string(r.a.ID)), zap.String("type", string(r.a.Type)),
		zap.String("queue", string(r.a.Queue)), zap.Int("attempt", r.a.Number), zap.Uint64("seq", uint64(r.a.Fence.Seq))}
}

// offered is an offer on its way to be worked off.
type offered struct {
	u *puller
	m *nats.Msg
}

// take has an offer worked off, by a goroutine that has done so before if one is free: its stack has grown to what that
// takes, which costs as much as a request.
func (s *session) take(u *puller, m *nats.Msg) {
	o := offered{u, m}
	select {
	case s.offers <- o:
	default:
		go s.hand(o)
	}
}

// hand works offers off, one after the other, until the session ends. A handler may end its goroutine.
func (s *session) hand(o offered) {
	defer s.hands.Add(-1)
	many := int(s.hands.Add(1)) > s.w.cfg.Slots
	for {
		s.work(o.u, o.m)
		if many { // one that has freed its slot and not come back yet is as good
			return
		}
		select {
		case o = <-s.offers:
		case <-s.settle.Done():
			return
		}
	}
}

// work carries an offer from its arrival to the handler's return. It runs in a hand and frees the slot at its end,
// whatever happens.
func (s *session) work(u *puller, m *nats.Msg) {
	started := false
	defer func() { s.pool.release(started) }()
	life := s.w.cfg.Ledger.Life()
	job, alone, trace := s.claim(m)
	s.pool.claimed(job != nil)
	if job == nil {
		return
	}
	ctx, cancel := context.WithCancelCause(trace.ctx)
	defer cancel(nil)
	r := s.newRunning(u.reg, job, life, cancel)
	r.trace = trace.end
	r.a.Traceparent, r.a.Tracestate = trace.own.Parent, trace.own.State
	r.exclusive = alone || u.reg.Exclusive
	if !s.register(r) {
		s.release(job, releaseDrain)
		return
	}
	started = true
	r.run(ctx)
}

// claim appends running for an offer. It returns the job as it then is, or nil if nothing is to be started;
// alone: it is under a limit of one.
//
// If this process dies before the append, the offer comes again after ledger.AckWait. If it dies behind it,
// the leader finds a running job whose session is silent, and ends the attempt when the lease has passed.
func (s *session) claim(m *nats.Msg) (job *ledger.Job, alone bool, trace claimTrace) {
	came := time.Now()
	o, err := ledger.DecodeOffer(m.Data)
	if err != nil {
		s.log.Warn("offer does not decode", zap.String("subject", m.Subject), zap.Error(err))
		s.pool.answer(m, ackBody) // the leader offers again what is Queued
		return nil, false, trace
	}
	if !s.ready(m, o) || !s.startable(m, o, came) || !s.ready(m, o) { // again: the look at holds may have taken long
		return nil, false, trace
	}
	from := o.Job
	if o.ArgsOmitted {
		if from, err = s.w.cfg.Ledger.Fold(s.settle, from.Org, from.ID); err != nil {
			s.log.Warn("args of an offer could not be read", zap.String("subject", m.Subject), zap.Error(err))
			return nil, false, trace // it comes again
		}
	}
	right := s.w.cfg.Ledger.RightStands(s.settle, from)
	if right == nil {
		right = s.w.right.Judge(s.settle, from)
	}
	if right != nil && !errors.Is(right, ledger.ErrRightLost) {
		s.log.Warn("job is not claimed", zap.String("org", string(from.Org)), zap.String("job", string(from.ID)), zap.Error(right))
		return nil, false, trace // it comes again, after ledger.AckWait
	}
	trace = s.w.trace(from)
	sent := time.Now()
	var e *schemas.Event
	job, e, err = s.w.cfg.Ledger.DoFrom(s.settle, from, &ledger.Claim{Generation: o.Job.Generation, Submitted: o.Job.SubmittedSeq,
		Session: s.id, Worker: s.w.cfg.Name, Denied: right != nil}, ledger.Meta{Traceparent: trace.own.Parent, Tracestate: trace.own.State})
	switch {
	case err == nil && e != nil:
	case refusedClaim(err):
		s.pool.answer(m, ackBody) // claimed, canceled or of an earlier life: nothing to do
		return nil, false, trace
	default:
		// Not stored, or not known. The offer comes again; if it is stored the leader misses the attempt
		// in our beats.
		s.log.Warn("claim failed", zap.String("subject", m.Subject), zap.Error(err))
		return nil, false, trace
	}
	s.pool.answer(m, ackBody)
	if right != nil {
		s.log.Info("job was dead-lettered: its principal lost the right to run it", zap.String("org", string(job.Org)), zap.String("job", string(job.ID)),
			zap.String("principal", job.Principal()))
		return nil, false, trace
	}
	late := func() bool { return time.Since(sent) > s.w.times.lateClaim }
	// The look at the subject may itself take long; its answer is then as old as the claim was.
	if late() || time.Since(sent) > doubtfulClaim && (!s.current(job) || late()) {
		if late() { // else somebody was quicker, with a cancel for example
			s.pool.late(sent)
		}
		s.release(job, releaseLateClaim) // the leader may have given it up already (DESIGN D7)
		return nil, false, trace
	}
	return job, o.Alone, trace
}

// ready reports whether this session may claim an offer at all, and answers it if not.
func (s *session) ready(m *nats.Msg, o *ledger.Offer) bool {
	if !s.usable(o) {
		s.pool.answer(m, ackBody)
		return false
	}
	if !s.mayClaim() {
		s.pool.setOpen(false) // or it would come straight back; an answered beat opens the pool again
		s.pool.answer(m, nakBody)
		return false
	}
	return true
}

// current reports that nothing was stored on the job's subject behind its claim.
func (s *session) current(job *ledger.Job) bool {
	now, err := s.w.cfg.Ledger.Fold(s.settle, job.Org, job.ID)
	return err == nil && now.LastSeq == job.LastSeq && now.LastID == job.LastID
}

// refusedClaim reports that the ledger answered, and the offer is not to be claimed by anybody.
func refusedClaim(err error) bool {
	var state *ledger.StateError
	return errors.As(err, &state) || errors.Is(err, ledger.ErrStaleAttempt) || errors.Is(err, ledger.ErrNotFound) || errors.Is(err, ledger.ErrUnreadable)
}

// release hands back a job that was claimed and not started.
func (s *session) release(job *ledger.Job, reason string) {
	log := s.log.With(zap.String("org", string(job.Org)), zap.String("job", string(job.ID)), zap.Int("attempt", job.Attempt), zap.String("reason", reason))
	o := &ledger.Outcome{Fence: job.Fence, Generation: job.Generation, Attempt: job.Attempt, Kind: schemas.EventReleased, Reason: reason}
	if _, _, err := s.w.cfg.Ledger.DoFrom(s.settle, job, o, ledger.Meta{}); err != nil {
		log.Warn("claim could not be released", zap.Error(err)) // its lease passes
		return
	}
	log.Info("claim was released")
}

func (s *session) newRunning(reg *Registration, job *ledger.Job, life uint64, cancel context.CancelCauseFunc) *running {
	began := time.Now()
	timeout := job.Policy.TimeoutMS.Duration()
	r := &running{s: s, reg: reg, job: job, life: life, began: began, cancel: cancel, returned: make(chan struct{}), settled: make(chan struct{}),
		checkpoints: newCheckpoints()}
	r.a = &Attempt{
		Org: job.Org, ID: job.ID, Type: job.Spec.Type, Queue: job.Spec.Queue,
		Generation: job.Generation, Number: job.Attempt, MaxAttempts: job.Policy.MaxAttempts,
		Timeout: timeout, Deadline: began.Add(timeout), Grace: job.Policy.GraceMS.Duration(),
		Fence: job.Fence, Token: string(job.Org) + "-" + string(job.ID) + "-" + strconv.Itoa(job.Generation),
		SubmittedBy: job.Principal(), CorrelationID: job.CorrelationID,
		Args: job.Spec.Args, Checkpoint: job.Checkpoint,
		host: host{progressed: func() { s.reports.mark(r) }, save: r.save, result: r.parentResult},
	}
	return r
}

// latest is the job as this attempt knows it.
func (r *running) latest() *ledger.Job {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.job
}

// do carries out a command of this attempt. The attempt may have lasted over a restart of the server with older
// data, which gives its sequence to others: what it knows is compared first then (DESIGN D2).
func (r *running) do(ctx context.Context, cmd ledger.Command, m ledger.Meta) (*ledger.Job, *schemas.Event, error) {
	r.mu.Lock()
	job, life := r.job, r.life
	r.mu.Unlock()
	return r.s.w.cfg.Ledger.DoHeld(ctx, job, life, cmd, m)
}

// moved takes the job as it is behind an append of this attempt, which began in a life of the ledger.
func (r *running) moved(job *ledger.Job, life uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.job, r.life = job, life
}

// run calls the handler and settles the attempt. It ends when the handler has returned. The handler's context
// is base with the deadline.
func (r *running) run(base context.Context) {
	defer r.s.forget(r)
	ctx, stop := context.WithDeadlineCause(base, r.a.Deadline, ErrTimedOut)
	defer stop()
	unwatch := context.AfterFunc(ctx, func() { r.interrupted(context.Cause(ctx)) })
	var result json.RawMessage
	err := errGoexit
	defer func() { // deferred, so that it is done also when the handler ends this goroutine
		unwatch()
		r.finish(result, err, context.Cause(ctx))
	}()
	result, err = r.call(ctx)
}

// finish settles an attempt whose handler has returned.
func (r *running) finish(result json.RawMessage, err, cause error) {
	close(r.returned)
	if r.closing.CompareAndSwap(false, true) {
		r.s.reports.over(r)
		r.store(r.outcome(result, err, cause))
		close(r.settled)
		if errors.Is(err, errYield) {
			r.s.forget(r) // it has ended, whatever becomes of the rest
			r.carry()
		}
		return
	}
	<-r.settled
	if err == nil { // the work was done after all: kept beside the outcome
		r.store(r.outcome(result, nil, nil))
	}
}

// errGoexit: the handler called runtime.Goexit, as a failed check of a test does.
var errGoexit = errors.New("handler ended its goroutine without returning")

// call runs the handler. A panic is an error like others.
func (r *running) call(ctx context.Context) (result json.RawMessage, err error) {
	defer func() {
		if v := recover(); v != nil {
			result, err = nil, r.panicked(v)
		}
	}()
	if err := r.fetchArgs(ctx); err != nil {
		return nil, err
	}
	if err := r.fetchParents(ctx); err != nil {
		return nil, err
	}
	if job := r.latest(); ctx.Err() != nil && (job.Spec.ArgsRef != nil || len(job.Spec.Parents) > 0) {
		return nil, context.Cause(ctx) // the attempt ended while those were read, and its successor may run already
	}
	switch r.reg.Handler.(type) {
	case *Exec, *HTTP: // these leave nothing behind
		return r.reg.Handler.Run(ctx, r.a)
	}
	return r.apart(ctx)
}

// apart runs the handler on a goroutine of its own, and so what it leaves on it is nobody's: a thread that it has locked, as
// one that has changed its namespace or user, ends with it.
func (r *running) apart(ctx context.Context) (result json.RawMessage, err error) {
	err = errGoexit
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		defer func() {
			if v := recover(); v != nil {
				result, err = nil, r.panicked(v)
			}
		}()
		result, err = r.reg.Handler.Run(ctx, r.a)
	}()
	<-returned
	return result, err
}

// panicked is the error of a handler that panicked.
func (r *running) panicked(v any) error {
	p := newPanic(v)
	r.s.log.Error("handler panicked", append(r.fields(), zap.String("stack", p.stack), zap.Error(p))...)
	return p
}

// end tells the handler to stop.
func (r *running) end(cause error) { r.cancel(cause) }

func (r *running) requestCancel() {
	r.a.cancel.Store(true)
	r.end(ErrCancelRequested)
}

// interrupted is called when the context ends before the handler has returned. It writes the outcomes that
// do not wait for the handler.
func (r *running) interrupted(cause error) {
	switch {
	case errors.Is(cause, ErrTimedOut):
		r.close(func() { r.store(r.outcome(nil, cause, cause)) })
	case errors.Is(cause, ErrLeaseLost):
		r.close(func() {}) // the ledger holds an end of it already
	case errors.Is(cause, ErrCancelRequested):
		t := time.NewTimer(r.a.Grace)
		defer t.Stop()
		select {
		case <-r.returned:
		case <-t.C:
			r.close(func() {
				o := r.outcome(nil, cause, cause)
				o.Forced = true
				r.store(o)
			})
		}
	}
}

// abandon hands the job back although its handler has not returned: the process is about to exit.
func (r *running) abandon() {
	r.close(func() { r.store(r.outcome(nil, ErrStopping, ErrStopping)) })
}

// close runs settle if nobody else writes the outcome, and marks the handler as outliving its attempt.
func (r *running) close(settle func()) {
	if !r.closing.CompareAndSwap(false, true) {
		return
	}
	r.s.reports.over(r)
	settle()
	r.s.mu.Lock()
	r.hung = true
	r.s.mu.Unlock()
	close(r.settled)
	r.s.log.Info("handler outlives its attempt", r.fields()...)
}
