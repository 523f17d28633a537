package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Pauses between tries to store an outcome that the ledger could not take.
const (
	storePauseMin = 100 * time.Millisecond
	storePauseMax = 5 * time.Second
)

// outcome says what the attempt came to. cause is why its context ended, nil if it had not.
func (r *running) outcome(result json.RawMessage, err, cause error) *ledger.Outcome {
	took := time.Since(r.began)
	o := &ledger.Outcome{Fence: r.a.Fence, Generation: r.a.Generation, Attempt: r.a.Number, Duration: took,
		Progress: r.a.LastProgress(), Now: r.s.streamTime()}
	if err == nil {
		err = checkResult(result)
	}
	switch {
	case errors.Is(err, errYield): // where a cancel was asked for, the ledger makes it that
		o.Kind, o.Reason = schemas.EventReleased, releaseYield
	case err == nil:
		o.Kind, o.Result = schemas.EventCompleted, result
		o.Progress = finished(o.Progress)
	case r.a.CancelRequested():
		o.Kind = schemas.EventCanceled
		if !errors.Is(err, ErrCancelRequested) && !errors.Is(err, context.Canceled) {
			v := Classify(err, r.reg.Classify)
			if o.Reason = v.Reason; !v.Canceled {
				o.Error = &v.Error
			}
		}
	case errors.Is(cause, ErrTimedOut):
		o.Kind = schemas.EventTimedOut
		o.Error = &schemas.JobError{Class: schemas.ClassTimeout, Code: CodeDeadline,
			Message: fmt.Sprintf("the attempt passed its timeout of %s", r.a.Timeout)}
		if !errors.Is(err, ErrTimedOut) {
			o.Error.Cause = cut(err.Error(), causeMax)
		}
	case errors.Is(cause, ErrStopping):
		o.Kind, o.Reason = schemas.EventReleased, releaseDrain
	case errors.Is(cause, ErrCutOff):
		o.Kind, o.Reason = schemas.EventReleased, releaseCutOff
	default:
		r.judge(o, err)
	}
	return o
}

// finished is the last progress of an attempt that completed: 100 percent, and what it was at is done.
func finished(last *schemas.Progress) *schemas.Progress {
	if last == nil {
		return nil
	}
	p := *last // shared with the reporter
	p.Percent, p.Steps = 100, slices.Clone(last.Steps)
	for i := range p.Steps {
		if p.Steps[i].State == stepInProgress {
			p.Steps[i].State = stepDone
		}
	}
	return &p
}

// judge fills in what a handler's own error means.
func (r *running) judge(o *ledger.Outcome, err error) {
	v := Classify(err, r.reg.Classify)
	if v.Canceled {
		o.Kind, o.Reason = schemas.EventCanceled, v.Reason
		return
	}
	o.Kind, o.Error, o.RetryAfter = schemas.EventFailed, &v.Error, v.RetryAfter
}

// checkResult refuses what a completed event cannot hold.
func checkResult(result json.RawMessage) error {
	if err := checkResultSize("the result", int64(len(result))); err != nil || len(result) == 0 {
		return err
	}
	if err := schemas.CheckJSON("the result", result); err != nil {
		return &marked{err: err, class: schemas.ClassPermanent, code: CodeInvalidResult}
	}
	return nil
}

// store appends an outcome and does not give up before it is settled, or the session's end: until then every
// beat names the attempt. What the ledger will never take, such as an event over the server's limit, or what an
// object store goes on refusing, is replaced by a failure that says so.
//
// If this process dies before the append, the attempt is lost when its lease has passed.
func (r *running) store(o *ledger.Outcome) {
	p := pack(o)
	for pause := storePauseMin; ; pause = min(2*pause, storePauseMax) {
		e, err := r.send(o, p)
		if err == nil {
			r.report(o, e)
			return
		}
		if errors.Is(err, ledger.ErrUnreadable) {
			// A newer version wrote what this one must not build upon, and that stays so. Named in no beat any more, the
			// attempt is given up by a leader that can read it, when its lease has passed (DESIGN D8).
			r.s.log.Warn("outcome is dropped: the job holds an event of a newer version", r.fields()...)
			return
		}
		if r.s.w.cfg.Ledger.Conn().IsClosed() {
			// For good: nobody hears beats any more either, and the drain need not wait for what cannot come.
			r.s.log.Warn("outcome is dropped: the connection is closed", append(r.fields(), zap.Error(err))...)
			return
		}
		if p.hopeless(err, r.s.w.times.refusedWait) {
			o, p = r.unkept(o, err), nil
			continue
		}
		var coded *ledger.Error
		if errors.As(err, &coded) {
			switch coded.Code {
			case ledger.CodePayloadTooLarge, ledger.CodeInvalidArgument:
				if o, p = r.untakeable(o, err), nil; o != nil {
					continue
				}
				return
			case ledger.CodeUnavailable, ledger.CodeInternal:
			default: // the job is not as we knew it; there is nothing to add
				r.s.log.Warn("outcome was refused", append(r.fields(), zap.Error(err))...)
				return
			}
		}
		r.s.log.Warn("outcome could not be stored yet", append(r.fields(), zap.Error(err))...)
		t := time.NewTimer(pause)
		select {
		case <-r.s.settle.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// untakeable is what stands for an outcome that cannot be stored; nil if that was one already.
func (r *running) untakeable(o *ledger.Outcome, err error) *ledger.Outcome {
	if o.Error != nil && o.Error.Code == CodeInvalidResult {
		r.s.log.Error("outcome cannot be stored", append(r.fields(), zap.Error(err))...)
		return nil
	}
	return &ledger.Outcome{Fence: o.Fence, Generation: o.Generation, Attempt: o.Attempt, Kind: schemas.EventFailed,
		Duration: o.Duration, Now: o.Now, Error: &schemas.JobError{Class: schemas.ClassPermanent, Code: CodeInvalidResult,
			Message: cut("the outcome could not be stored: "+err.Error(), causeMax)}}
}

// report tells of a settled outcome.
func (r *running) report(o *ledger.Outcome, e *schemas.Event) {
	rep := Report{Org: r.a.Org, ID: r.a.ID, Type: r.a.Type, Attempt: r.a.Number, Duration: o.Duration, Error: o.Error}
	if e != nil {
		rep.Outcome = e.Name()
	}
	if rep.Outcome == schemas.EventCompleted {
		if log := r.s.log.Check(zap.DebugLevel, "attempt ended"); log != nil {
			log.Write(append(r.fields(), zap.String("event", string(rep.Outcome)))...)
		}
	} else {
		r.s.log.Info("attempt ended", append(r.fields(), zap.String("event", string(rep.Outcome)), errorField(o.Error))...)
	}
	if !r.traced.Swap(true) {
		r.trace(rep)
	}
	r.s.w.cfg.Report(rep)
}

func errorField(e *schemas.JobError) zap.Field {
	if e == nil {
		return zap.Skip()
	}
	return zap.String("err", e.Message)
}
