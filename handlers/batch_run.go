package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// batchAtOnce is how many items of one batch are submitted, read or canceled at once.
	batchAtOnce = 16
	// batchKeepShare: a checkpoint is saved when this part of a batch's items has been submitted or has ended since the
	// last one, at most once a second: not more than twice as many, of some 2 KB each, for a batch of 10,000. What
	// is not in it is read again from the ledger after a restart.
	batchKeepShare = 32
	batchKeepEvery = time.Second
	// batchItemsWait is how long a canceled batch waits for the ends of its items, most of whose types have a grace of
	// half a minute. It is shorter than the batch's own.
	batchItemsWait = 45 * time.Second
	// batchEndWait is what is left of a batch's grace, at least, when it waits for its items no longer: to keep how they
	// ended, and to say that it is canceled.
	batchEndWait = 5 * time.Second
	// batchLastWords is how long the last checkpoint of a batch may take when its server stops or it is canceled.
	batchLastWords = 2 * time.Second
	// batchRefusedWait is the wait before items that the door has no room for are tried again.
	batchRefusedWait = time.Second
)

// batchRun is one attempt of a batch.
type batchRun struct {
	b     *Batches
	a     *Attempt // nil while a canceled batch is swept
	org   schemas.OrgID
	id    schemas.JobID
	items string // what the ids of its items begin with
	spec  *ledger.BatchSpec
	fresh bool // nothing was submitted before
	// generation is the batch's own: the ids of its items are of it.
	generation int

	// Of the handler's goroutine.
	s        *batchState
	pace     *pace
	ahead    time.Duration // the stream's clock before ours
	after    time.Time     // nothing is submitted before: the door refused the last ones
	note     string        // what the batch waits for, for people
	unsure   []int         // items whose submits were not settled: they may be there
	keptAt   time.Time
	begun    time.Time
	pausedAt time.Time // since when it is paused; zero: it is not

	mu    sync.Mutex
	ends  map[int]schemas.State // told by the pump, not taken yet
	again bool                  // the ledger went back
	wake  chan struct{}         // capacity 1
	// orgParked: the org is suspended, as of the event at orgAt.
	orgParked bool
	orgAt     schemas.Seq
}

func newBatchRun(b *Batches, org schemas.OrgID, id schemas.JobID, generation int, spec *ledger.BatchSpec, checkpoint json.RawMessage) *batchRun {
	r := &batchRun{b: b, org: org, id: id, items: ledger.BatchItems(org, id, generation), spec: spec, pace: newPace(spec.Pace),
		ends: make(map[int]schemas.State), wake: make(chan struct{}, 1)}
	r.s, _ = newBatchState(len(spec.Items), checkpoint)
	r.generation = generation
	if r.s.Told != generation { // the items of an earlier one have other ids
		r.s.Told, r.s.Waiting, r.s.given = 0, nil, nil
	}
	return r
}

// ended is told by the pump.
func (r *batchRun) ended(i int, to schemas.State) {
	if i >= len(r.spec.Items) {
		return
	}
	r.mu.Lock()
	if _, told := r.ends[i]; !told {
		r.ends[i] = to
	}
	r.mu.Unlock()
	r.stir()
}

func (r *batchRun) lookAgain() {
	r.mu.Lock()
	r.again, r.orgAt, r.orgParked = true, 0, false // an org that was never set has no event that says so
	r.mu.Unlock()
	r.stir()
}

// stir makes the handler look.
func (r *batchRun) stir() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run expands the batch and follows its items to their ends.
//
// If this process dies anywhere in here, the next attempt begins from the last checkpoint and asks the ledger what has
// become of every item that is not settled there.
func (r *batchRun) run(ctx context.Context) (json.RawMessage, error) {
	err := r.expand(ctx)
	cause := context.Cause(ctx)
	switch {
	case err == nil:
		return json.Marshal(r.s.result(r.items, len(r.spec.Items)))
	case cause == nil:
		return nil, err
	case errors.Is(cause, ErrCancelRequested):
		r.cancel(ctx)
	case errors.Is(cause, ErrLeaseLost):
		r.b.sweepLater(batchKey{r.org, r.id}) // if it was canceled meanwhile: what it has submitted since
	case errors.Is(cause, ErrStopping), errors.Is(cause, ErrCutOff):
		last, done := context.WithTimeout(context.WithoutCancel(ctx), batchLastWords)
		defer done()
		r.keep(last)
	}
	return nil, cause
}

func (r *batchRun) expand(ctx context.Context) error {
	if err := r.callback(ctx, r.a.Generation, r.a.SubmittedBy); err != nil {
		return err
	}
	if err := r.recover(ctx); err != nil {
		return err
	}
	r.begun = time.Now()
	for total := len(r.spec.Items); ; {
		if err := r.takeEnds(ctx); err != nil {
			return err
		}
		now := time.Now()
		n, until := r.room(ctx, now)
		r.a.Progress(r.s.progress(total, r.note))
		if r.s.total() == total {
			return nil
		}
		if r.s.changes >= max(1, total/batchKeepShare) && now.Sub(r.keptAt) >= batchKeepEvery {
			r.keep(ctx)
		}
		yields, at := r.yields(ctx, now)
		if yields {
			if r.keep(ctx) {
				return errYield
			}
			at = now.Add(batchKeepEvery) // it may stand still for long: not without saying where it stands
		}
		if n > 0 {
			r.submit(ctx, r.s.take(n, total))
		} else if !r.wait(ctx, earlier(until, at)) {
			return context.Cause(ctx)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// takeEnds counts the ends that the pump told.
func (r *batchRun) takeEnds(ctx context.Context) error {
	r.mu.Lock()
	ends, again := r.ends, r.again
	if len(ends) == 0 {
		ends = nil // it goes on being the pump's
	} else {
		r.ends = make(map[int]schemas.State)
	}
	r.again = false
	r.mu.Unlock()
	for i, to := range ends {
		r.s.settle(i, to)
	}
	if again {
		if err := r.lookAtOrg(ctx); err != nil {
			return err
		}
		return r.find(ctx, r.s.openItems())
	}
	return nil
}

// room is how many items may be submitted now; where it is none, when to look again, zero for when something happens.
func (r *batchRun) room(ctx context.Context, now time.Time) (n int, until time.Time) {
	r.note = ""
	if r.s.left(len(r.spec.Items)) == 0 {
		return 0, time.Time{}
	}
	if now.Before(r.after) {
		r.note = "waits for room"
		return 0, r.after
	}
	at := now.Add(r.ahead)
	if r.note, until = r.paused(at); r.note != "" {
		return 0, r.ours(until)
	}
	n = min(r.spec.Parallel-r.s.nOpen, r.s.left(len(r.spec.Items)), batchAtOnce)
	if n <= 0 {
		return 0, time.Time{}
	}
	if n, until = r.free(ctx, n, at); n == 0 {
		r.note = "paused"
		return 0, r.ours(until)
	}
	return r.pace.room(n, now)
}

// ours is a stream time by this process's clock; zero stays zero.
func (r *batchRun) ours(at time.Time) time.Time {
	if at.IsZero() {
		return at
	}
	return at.Add(-r.ahead)
}

// wait waits until something happens, or a time; false when ctx has ended.
func (r *batchRun) wait(ctx context.Context, until time.Time) bool {
	var due <-chan time.Time
	if !until.IsZero() {
		t := time.NewTimer(time.Until(until))
		defer t.Stop()
		due = t.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-r.wake:
	case <-due:
	}
	return true
}

// keep saves a checkpoint; false: it is not stored. That costs time after a restart, and nothing else as long as the
// history of what the batch has submitted since the last one is kept.
func (r *batchRun) keep(ctx context.Context) bool {
	r.keptAt = time.Now()
	value, err := r.s.checkpoint()
	if err == nil {
		err = r.a.SaveCheckpoint(ctx, value)
	}
	if err != nil {
		r.b.log.Debug("a batch's checkpoint was not stored", zap.String("org", string(r.org)), zap.String("job", string(r.id)), zap.Error(err))
		return false
	}
	r.s.changes = 0
	return true
}

// cancel cancels what the batch has submitted, within its grace.
func (r *batchRun) cancel(ctx context.Context) {
	grace, done := context.WithTimeout(context.WithoutCancel(ctx), r.a.Grace)
	defer done()
	if len(r.unsure) > 0 { // one that is not there yet may come still: behind the batch's own end it is looked for again
		r.b.sweepWhenCanceled(batchKey{r.org, r.id})
		if err := r.find(grace, r.unsure); err != nil {
			r.b.log.Debug("it is not known what a canceled batch has submitted", zap.String("org", string(r.org)), zap.String("job", string(r.id)), zap.Error(err))
		}
	}
	err := r.cancelItems(grace)
	if err == nil {
		r.awaitItems(grace)
	}
	last, kept := context.WithTimeout(context.WithoutCancel(ctx), batchLastWords)
	defer kept()
	r.keep(last) // what its callback is told of it
	if err != nil {
		r.b.log.Warn("not all items of a canceled batch could be canceled in time", zap.String("org", string(r.org)), zap.String("job", string(r.id)), zap.Error(err))
		r.b.sweepLater(batchKey{r.org, r.id})
	}
	r.a.Progress(r.s.progress(len(r.spec.Items), ""))
}

// awaitItems waits for the ends of items that ran when they were canceled, so that the batch ends after them, as long as
// its own grace leaves time to say how they ended.
func (r *batchRun) awaitItems(grace context.Context) {
	until := time.Now().Add(batchItemsWait)
	if end, ok := grace.Deadline(); ok && end.Add(-batchEndWait).Before(until) { // to cancel them took long
		until = end.Add(-batchEndWait)
	}
	for r.takeEnds(grace) == nil && r.s.nOpen > 0 && time.Now().Before(until) && r.wait(grace, until) {
	}
}

// cancelItems cancels the items that are open, as far as is known.
func (r *batchRun) cancelItems(ctx context.Context) error {
	meta := r.meta()
	return r.each(ctx, r.s.openItems(), func(ctx context.Context, i int) error {
		j, _, err := r.b.l.Do(ctx, r.org, ledger.BatchItemID(r.items, i), &ledger.Cancel{Reason: "its batch was canceled"}, meta)
		var state *ledger.StateError
		if errors.As(err, &state) || errors.Is(err, ledger.ErrNotFound) {
			err = nil // it has ended, or was never there
		}
		if err == nil && j != nil && j.State.Finished() {
			r.ended(i, j.State)
		}
		return err
	}, func() {
		_ = r.takeEnds(ctx) // asks nothing of the ledger unless that went back; then there is nothing to count
	})
}
