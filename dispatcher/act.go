package dispatcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// laterPause is how long a job waits whose decision fails for a reason of its own, such as an event that
// does not encode: it must not hold up the others.
const laterPause = 5 * time.Second

// rightsLogged: of so many jobs that wait because their right is not known one is logged.
const rightsLogged = 1000

// errGone: the job's own fold says that the decision is moot.
var errGone = errors.New("the decision is moot")

// errDeposed: the lease ended before the append.
var errDeposed = errors.New("leadership ended")

// actLoop is one hand: it carries out decisions, one after the other.
func (h *Host) actLoop(ctx context.Context) {
	for {
		select {
		case a := <-h.acts:
			h.act(ctx, a)
		case <-ctx.Done():
			return
		}
	}
}

// act carries one decision out and settles it. If this process dies anywhere in here, the event is stored or
// not; the next leader's fold shows which, and decides again what is not.
func (h *Host) act(ctx context.Context, a act) {
	once, cancel := context.WithTimeout(ctx, actTimeout)
	defer cancel()
	switch a.d.Kind {
	case DecideRemove:
		h.removeOffer(once, a.d.Work)
		return
	case DecideSignal:
		h.signal(a.d)
		return
	}
	r := h.carryOut(once, a)
	select {
	case h.settled <- settlement{d: a.d, r: r, at: time.Now()}:
	case <-ctx.Done():
	}
}

func (h *Host) carryOut(ctx context.Context, a act) Result {
	switch a.d.Kind {
	case DecideLookup:
		return h.lookUp(ctx, &a.d)
	case DecideTick:
		return h.tick(ctx, a)
	}
	j, err := h.job(ctx, &a.d)
	if err != nil {
		return h.failed(a.d, j, err)
	}
	if a.d.Kind == DecideOffer {
		// It may be Queued again, behind an attempt that this core has not read of: what is to be said of that, the tail
		// brings, behind the holds that were laid before it.
		if j.SubmittedSeq != a.d.ID || j.State != schemas.StateQueued || j.LastFence.Seq > a.d.At {
			return Result{Outcome: Gone}
		}
		h.counters.Reoffered.Add(1)
		return Result{Outcome: Stored, Work: h.offer(ctx, j, a)}
	}
	j, e, err := h.do(ctx, j, a)
	if err != nil {
		return h.failed(a.d, j, err)
	}
	h.count(a.d.Kind, e.Name())
	r := Result{Outcome: Stored, Event: e}
	if e.Name() == schemas.EventQueued {
		// If this process dies here the job is Queued without an offer; the next leader offers it.
		r.Work = h.offer(ctx, j, a)
	}
	return r
}

// job returns the fold of the job a decision is about: for a job that just came in, from its one event;
// that is a hint, which the append's expectation judges.
func (h *Host) job(ctx context.Context, d *Decision) (*ledger.Job, error) {
	if d.Job == "" {
		e, err := h.eventAt(ctx, d.At)
		if err != nil {
			return nil, err
		}
		if e.Job == "" {
			return nil, errGone
		}
		d.Org, d.Job = e.Org, e.Job
		if s, ok := e.Data.(*schemas.Submitted); ok && s.Generation == 1 && d.Kind == DecideQueue && d.At == d.ID {
			return ledger.FoldEvents(e.Org, e.Job, []*ledger.Entry{e}), nil
		}
	}
	return h.l.FoldSince(ctx, d.Org, d.Job, d.At)
}

// do decides on the job and appends, and again from a fresh fold as long as others were faster. It returns
// the job with the event applied. Unlike ledger.Do it acts only on the generation the decision is about.
func (h *Host) do(ctx context.Context, j *ledger.Job, a act) (*ledger.Job, *schemas.Event, error) {
	for {
		if j.SubmittedSeq != a.d.ID {
			return j, nil, errGone
		}
		cmd, meta, err := h.command(ctx, j, a)
		if err != nil {
			return j, nil, err
		}
		data, err := ledger.Decide(j, cmd)
		if err != nil {
			return j, nil, err
		}
		if data == nil {
			return j, nil, errGone
		}
		if !a.lease.valid() {
			return j, nil, errDeposed
		}
		e := schemas.NewEvent(schemas.JobSubject(j.Org, j.ID), data)
		e.Actor, e.CausationID, e.CorrelationID = meta.Actor, meta.CausationID, j.CorrelationID
		switch err := h.l.Append(ctx, e, j.Expect()); {
		case err == nil:
			e.Time = h.now() // Append's own estimate is by this machine's clock
			ledger.Apply(j, e)
			return j, e, nil
		case !errors.Is(err, ledger.ErrRefused):
			return j, nil, err
		}
		// What this fold has seen the stream's leader may not have applied yet; a job is not gone for that.
		if j, err = h.l.FoldSince(ctx, j.Org, j.ID, j.LastSeq); err != nil {
			return j, nil, err
		}
	}
}

// command translates a decision, and says in whose name it is carried out if not in the dispatcher's own.
func (h *Host) command(ctx context.Context, j *ledger.Job, a act) (cmd ledger.Command, meta ledger.Meta, err error) {
	switch a.d.Kind {
	case DecideDependency:
		return h.dependency(ctx, j, &a.d)
	case DecideDissolve:
		return &ledger.DeadLetter{Reason: schemas.DeadOrgDeleted, Error: orgGone()}, ledger.Meta{CausationID: string(a.d.By)}, nil
	case DecideQueue:
		if cmd, err = h.again(ctx, j); cmd != nil || err != nil {
			return cmd, meta, err
		}
		if err = h.parentsStand(ctx, j, &a.d); err == nil {
			err = h.l.RightStands(ctx, j)
		}
		if err == nil {
			err = h.right.Judge(ctx, j)
		}
		switch {
		case err == nil:
			cmd, err = h.queueing(ctx, j, a)
		case errors.Is(err, ledger.ErrRightLost):
			cmd, err = &ledger.DeadLetter{Reason: schemas.DeadPermanentError, Error: ledger.RightDenied()}, nil
		}
	default:
		cmd, err = h.ending(ctx, j, &a.d)
	}
	return cmd, meta, err
}

// again is how a job ends whose id an earlier one has used that had left the ledger, as the policy of the id says; nil if
// there was none, or it may run. A job that has run was judged before.
func (h *Host) again(ctx context.Context, j *ledger.Job) (ledger.Command, error) {
	if j.State != schemas.StateSubmitted || j.Attempt > 0 {
		return nil, nil
	}
	earlier, err := h.l.Earlier(ctx, j)
	if err != nil || earlier == nil {
		return nil, err
	}
	settings, err := h.l.Type(ctx, j.Spec.Type)
	if err != nil && ledger.AsError(err).Code != ledger.CodeUnknownType {
		return nil, err
	}
	if settings == nil {
		settings = &schemas.TypeSettings{}
	}
	return ledger.JudgeAgain(j, earlier, settings.Reuse), nil
}

// ending is the command of a decision that ends a job or an attempt.
func (h *Host) ending(ctx context.Context, j *ledger.Job, d *Decision) (ledger.Command, error) {
	switch d.Kind {
	case DecideExpire:
		if rejected := refusedAtDoor(j); rejected != nil {
			return rejected, nil
		}
		if j.Deadline.IsZero() || j.Deadline.After(h.now()) {
			return nil, errGone // a later deadline was given
		}
		return &ledger.DeadLetter{Reason: schemas.DeadExpired}, nil
	case DecideDuplicate:
		of, err := h.l.EventAt(ctx, d.Of)
		if err != nil {
			return nil, err
		}
		ref := &schemas.JobRef{ID: of.Job}
		switch s := of.Data.(type) {
		case *schemas.Submitted:
			ref.Generation = s.Generation
		case *schemas.Carried:
			ref.Generation = s.Generation
		}
		return &ledger.Cancel{DuplicateOf: ref}, nil
	case DecideLose:
		return &ledger.Lose{Fence: d.Fence, Cause: d.Cause}, nil
	case DecideOverrun:
		return &ledger.Overrun{Fence: d.Fence, Now: h.now()}, nil
	case DecideEndCancel:
		return &ledger.EndCancel{Fence: d.Fence}, nil
	}
	return nil, fmt.Errorf("decision of kind %d is none that ends a job", d.Kind)
}

// orgGone is the error of a job whose org was deleted.
func orgGone() *schemas.JobError {
	return &schemas.JobError{Class: schemas.ClassPermanent, Code: string(ledger.CodeOrgNotFound), Message: "Organization not found"}
}

// refusedAtDoor dead-letters a submission that was refused when it came, with why: nobody waited for the
// answer. Nil for any other job, and for one that somebody has retried.
func refusedAtDoor(j *ledger.Job) ledger.Command {
	r := j.Spec.Refused
	if r == nil || j.State != schemas.StateSubmitted {
		return nil
	}
	message := r.Message
	if r.Field != "" {
		message = r.Field + ": " + message
	}
	return &ledger.DeadLetter{Reason: schemas.DeadRejected, Error: &schemas.JobError{Class: schemas.ClassPermanent, Code: r.Code, Message: message}}
}

// queueing makes the job claimable under the policy that its type has now.
func (h *Host) queueing(ctx context.Context, j *ledger.Job, a act) (ledger.Command, error) {
	if rejected := refusedAtDoor(j); rejected != nil {
		return rejected, nil
	}
	settings, err := h.l.Type(ctx, j.Spec.Type)
	if err != nil && ledger.AsError(err).Code != ledger.CodeUnknownType {
		return nil, err
	}
	policy := settings.Effective(j.Spec.Override)
	if err := policy.Validate(); err != nil {
		if j.State == schemas.StateSubmitted {
			return &ledger.DeadLetter{Reason: schemas.DeadRejected,
				Error: &schemas.JobError{Class: schemas.ClassPermanent, Code: ledger.CodePolicy, Message: err.Error()}}, nil
		}
		policy = schemas.DefaultPolicy() // the type was changed to nonsense after the job's first attempt
	}
	return &ledger.Queue{Policy: policy, Epoch: a.lease.epoch, Now: h.now()}, nil
}

// failed says what an error means for the core.
func (h *Host) failed(d Decision, j *ledger.Job, err error) Result {
	var state *ledger.StateError
	switch {
	case errors.Is(err, errDeposed):
		return Result{Outcome: Failed}
	case errors.Is(err, ledger.ErrUnreadable), j != nil && j.Unreadable:
		h.log.Warn("job holds an event of a newer version, it is left alone", zap.String("org", string(d.Org)), zap.String("job", string(d.Job)))
		return Result{Outcome: Unreadable}
	case errors.Is(err, ledger.ErrRightUnknown):
		if h.counters.RightsUnknown.Add(1)%rightsLogged == 1 {
			h.log.Warn("job is not queued", zap.String("org", string(j.Org)), zap.String("job", string(j.ID)), zap.Error(err))
		}
		return Result{Outcome: Later, Until: h.now().Add(ledger.RightPause)}
	case errors.Is(err, errWaits):
		return Result{Outcome: Later, Until: h.now().Add(laterPause)} // what the tail brings comes sooner
	case errors.As(err, &state) && d.Kind == DecideQueue && (j.State == schemas.StateSubmitted || j.State == schemas.StateRetrying):
		if until := laterOf(j.NotBefore, j.RetryAt); !until.IsZero() {
			return Result{Outcome: Later, Until: until}
		}
		return Result{Outcome: Gone}
	case errors.Is(err, errGone), errors.As(err, &state), errors.Is(err, ledger.ErrStaleAttempt), errors.Is(err, ledger.ErrNotFound):
		return Result{Outcome: Gone}
	case ledger.AsError(err).Code == ledger.CodeUnavailable:
		h.log.Debug("decision not carried out", zap.String("org", string(d.Org)), zap.String("job", string(d.Job)), zap.Error(err))
		return Result{Outcome: Failed}
	}
	h.log.Warn("decision cannot be carried out", zap.String("org", string(d.Org)), zap.String("job", string(d.Job)), zap.Error(err))
	if d.Kind == DecideQueue {
		return Result{Outcome: Later, Until: h.now().Add(laterPause)}
	}
	return Result{Outcome: Failed}
}

// signal wakes a session; a lost signal costs until the next beat's answer.
func (h *Host) signal(d Decision) {
	body, err := json.Marshal(&ledger.CancelSignal{Org: d.Org, Job: d.Job, Fence: d.Fence})
	if err == nil {
		err = h.l.Conn().Publish(ledger.SubjectCancel(d.Session), body)
	}
	if err != nil {
		h.log.Debug("cancel signal was not sent", zap.Error(err))
	}
}

func (h *Host) count(k Kind, e schemas.EventName) {
	c := &h.counters
	switch {
	case e == schemas.EventQueued:
		c.Queued.Add(1)
	case k == DecideQueue && e == schemas.EventCanceled:
		c.Duplicates.Add(1)
	case k == DecideQueue:
		c.Denied.Add(1)
	case k == DecideDuplicate:
		c.Duplicates.Add(1)
	case k == DecideDependency:
		c.Dependencies.Add(1)
	case k == DecideDissolve:
		c.Dissolved.Add(1)
	case k == DecideLose:
		c.Lost.Add(1)
	case k == DecideOverrun:
		c.Overrun.Add(1)
	case k == DecideEndCancel:
		c.EndedCancels.Add(1)
	default:
		c.Expired.Add(1)
	}
}
