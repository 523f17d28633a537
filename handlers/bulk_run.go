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

const (
	// bulkAtOnce is how many jobs of one bulk are acted upon at once.
	bulkAtOnce = 16
	// bulkKeepEvery is the least time between two checkpoints of a bulk, and bulkKeepShare of what time it has run already:
	// what is not in one is looked up again after a restart, so one that runs for long needs none more each second.
	bulkKeepEvery = time.Second
	bulkKeepShare = 64
	// bulkActRest is how long what is under way may go on when the bulk is canceled or its server stops.
	bulkActRest = 2 * time.Second
	// bulkTriesMax is how often, a second between, a job is tried that cannot be reached. Where nothing can be, the attempt ends
	// sooner: it is cut off.
	bulkTriesMax = 60
	// bulkErrorBytes bounds the text of one refusal.
	bulkErrorBytes = 300
)

// bulkRun is one attempt of a bulk, all of it its handler's goroutine's.
type bulkRun struct {
	b     *Bulks
	a     *Attempt
	actor schemas.Actor
	spec  ledger.BulkSpec
	s     ledger.BulkState
	pace  *pace
	// recovered: an earlier attempt may have come further than its last checkpoint says.
	recovered bool
	changed   bool // since the last checkpoint
	begun     time.Time
	keptAt    time.Time
	note      string      // what the bulk waits for, for people
	tries     map[int]int // of jobs that could not be reached
}

func newBulkRun(b *Bulks, a *Attempt) (*bulkRun, error) {
	r := &bulkRun{b: b, a: a}
	if err := json.Unmarshal(a.Args, &r.spec); err != nil {
		return nil, fmt.Errorf("the bulk cannot be read: %w", err)
	}
	if len(r.spec.IDs) == 0 {
		return nil, errors.New("the bulk names no job")
	}
	if a.SubmittedBy != "" {
		var err error
		if r.actor, err = schemas.ParseActor(a.SubmittedBy); err != nil {
			return nil, err
		}
	}
	r.s = ledger.BulkState{BulkCounts: r.spec.Begin()}
	var kept ledger.BulkState
	if len(a.Checkpoint) > 0 && json.Unmarshal(a.Checkpoint, &kept) == nil && kept.Jobs == len(r.spec.IDs) && kept.Next >= 0 && kept.Next <= kept.Jobs &&
		!slices.ContainsFunc(kept.Open, func(i int) bool { return i < 0 || i >= kept.Next }) {
		r.s = kept
	}
	r.recovered = a.Number > 1 && r.s.Clean != a.Number-1
	r.s.Clean = 0
	rate := r.spec.Rate
	if rate == 0 {
		rate = ledger.BulkRateDefault
	}
	r.pace = newPace(&schemas.Rate{Count: rate, PerMS: schemas.MillisOf(time.Second)})
	return r, nil
}

// run goes through the jobs.
//
// If this process dies anywhere in here, the next attempt begins from the last checkpoint and has each job that comes looked
// at first: whether this bulk was there before.
func (r *bulkRun) run(ctx context.Context) (json.RawMessage, error) {
	err := r.through(ctx)
	cause := context.Cause(ctx)
	switch {
	case err == nil:
		return json.Marshal(&r.s.BulkCounts)
	case errors.Is(err, errYield), cause == nil:
		return nil, err
	case errors.Is(cause, ErrCancelRequested), errors.Is(cause, ErrStopping), errors.Is(cause, ErrCutOff):
		last, done := context.WithTimeout(context.WithoutCancel(ctx), batchLastWords)
		defer done()
		r.keepClean(last)
		r.tell()
	}
	return nil, cause
}

func (r *bulkRun) through(ctx context.Context) error {
	r.begun = time.Now()
	if len(r.a.Checkpoint) == 0 { // so that how far it is can be told without its args
		r.keep(ctx)
	}
	for {
		r.tell()
		if r.left() == 0 {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		now := time.Now()
		if r.changed && now.Sub(r.keptAt) >= max(bulkKeepEvery, now.Sub(r.begun)/bulkKeepShare) {
			r.keep(ctx)
		}
		if now.Sub(r.begun) >= r.b.turnMax() && r.keepClean(ctx) {
			return errYield
		}
		n, until := r.pace.room(min(bulkAtOnce, r.left()), now)
		if n == 0 {
			waitUntil(ctx.Done(), until)
			continue
		}
		if err := r.act(ctx, n); err != nil {
			return err
		}
	}
}

// left is how many jobs it has not come to, or not heard of.
func (r *bulkRun) left() int { return r.s.Jobs - r.s.Next + len(r.s.Open) }

// take returns up to n jobs to act upon next. again: this bulk may have been there before.
func (r *bulkRun) take(n int) (jobs []int, again bool) {
	if len(r.s.Open) > 0 {
		n = min(n, len(r.s.Open))
		jobs = slices.Clone(r.s.Open[:n])
		r.s.Open = slices.Delete(r.s.Open, 0, n)
		return jobs, true
	}
	for len(jobs) < n && r.s.Next < r.s.Jobs {
		jobs = append(jobs, r.s.Next)
		r.s.Next++
	}
	return jobs, r.recovered
}

// act acts upon the next n jobs at once. The error is one that no further try can mend.
func (r *bulkRun) act(ctx context.Context, n int) error {
	jobs, again := r.take(n)
	o := BulkOrder{Org: r.a.Org, Bulk: r.a.ID, Actor: r.actor, Spec: &r.spec, Again: again}
	for _, i := range jobs {
		o.IDs = append(o.IDs, r.spec.IDs[i])
	}
	longer, settled := lasting(ctx, bulkActRest)
	outcomes, err := r.b.cfg.Act(longer, &o)
	settled()
	r.changed = true
	if err != nil && ctx.Err() == nil && ledger.AsError(err).Code != ledger.CodeUnavailable {
		r.s.Open = append(jobs, r.s.Open...)
		r.keepClean(ctx)
		if code := ledger.AsError(err).Code; code == ledger.CodePermissionDenied {
			return &marked{err: err, class: schemas.ClassPermanent, code: string(code)}
		}
		return fmt.Errorf("the bulk cannot go on: %w", err)
	}
	var open []int
	for k, i := range jobs {
		if err != nil || r.unsettled(ctx, i, outcomes[k].Err) {
			open = append(open, i)
			continue
		}
		r.count(r.spec.IDs[i], outcomes[k])
	}
	r.pace.took(len(jobs)-len(open), time.Now())
	r.note = ""
	if len(open) > 0 {
		r.s.Open = append(open, r.s.Open...)
		r.note = "waits for the ledger"
		r.tell()
		waitUntil(ctx.Done(), time.Now().Add(batchesPause))
	}
	return nil
}

// unsettled reports whether a job is to be looked at again. One that cannot be reached while the rest of the ledger can is
// given up at last: it must not keep the others waiting.
func (r *bulkRun) unsettled(ctx context.Context, i int, e *ledger.Error) bool {
	if e == nil || e.Code != ledger.CodeUnavailable {
		return false
	}
	if r.tries == nil {
		r.tries = map[int]int{}
	}
	r.tries[i]++
	return ctx.Err() != nil || r.tries[i] < bulkTriesMax
}

// count adds what became of a job.
func (r *bulkRun) count(id schemas.JobID, o BulkOutcome) {
	e := ledger.BulkError{ID: id, Skipped: o.Skipped}
	why := o.Skipped
	switch {
	case o.Skipped != "":
		r.s.Skipped++
	case o.Err != nil:
		r.s.Failed++
		why, e.Code, e.Message = string(o.Err.Code), o.Err.Code, cut(o.Err.Message, bulkErrorBytes)
	default:
		r.s.Done++
		return
	}
	if r.s.Why == nil {
		r.s.Why = map[string]int{}
	}
	r.s.Why[why]++
	if len(r.s.Errors) < ledger.BulkErrorsMax {
		r.s.Errors = append(r.s.Errors, e)
	}
}

// tell reports progress, such as "812 of 1,279 jobs, 3 refused".
func (r *bulkRun) tell() {
	through := r.s.Jobs - r.left()
	text := fmt.Sprintf("%s of %s jobs", thousands(through), thousands(r.s.Jobs))
	if n := through - r.s.Done - r.s.Failed; n > 0 {
		text += fmt.Sprintf(", %s left alone", thousands(n))
	}
	if r.s.Failed > 0 {
		text += fmt.Sprintf(", %s refused", thousands(r.s.Failed))
	}
	if r.note != "" {
		text += "; " + r.note
	}
	r.a.Progress(schemas.Progress{Percent: 100 * through / r.s.Jobs, Message: text})
}

// keepClean saves a checkpoint behind which this attempt does nothing more.
func (r *bulkRun) keepClean(ctx context.Context) bool {
	r.s.Clean = r.a.Number
	ok := r.keep(ctx)
	r.s.Clean = 0
	return ok
}

// keep saves a checkpoint; false: it is not stored, which costs reads after a restart and nothing else.
func (r *bulkRun) keep(ctx context.Context) bool {
	r.keptAt = time.Now()
	value, err := json.Marshal(&r.s)
	if err == nil {
		err = r.a.SaveCheckpoint(ctx, value)
	}
	if err != nil {
		r.b.cfg.Logger.Debug("a bulk's checkpoint was not stored", zap.String("org", string(r.a.Org)), zap.String("job", string(r.a.ID)), zap.Error(err))
		return false
	}
	r.changed = false
	return true
}
