package handlers

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// batchActor is who submits and cancels items.
var batchActor = schemas.Actor{Type: "system", ID: "batch"}

func (r *batchRun) meta() ledger.Meta {
	m := ledger.Meta{Actor: batchActor, CausationID: string(r.id), CorrelationID: string(r.id)}
	if a := r.a; a != nil {
		m.CausationID, m.CorrelationID = string(a.Fence.ID), cmp.Or(a.CorrelationID, m.CorrelationID)
		m.Traceparent, m.Tracestate = a.Traceparent, a.Tracestate
	}
	return m
}

// each calls do for all items, some at once, and again for those where it fails, until ctx ends. between is called
// after each round, by the caller's goroutine.
func (r *batchRun) each(ctx context.Context, items []int, do func(ctx context.Context, i int) error, between func()) error {
	for len(items) > 0 {
		round := items[:min(len(items), batchAtOnce)]
		errs := together(len(round), func(k int) error { return do(ctx, round[k]) })
		var failed []int
		var last error
		for k, err := range errs {
			if err != nil {
				failed, last = append(failed, round[k]), err
			}
		}
		items = append(failed, items[len(round):]...)
		between()
		if last != nil && !waitUntil(ctx.Done(), time.Now().Add(batchesPause)) {
			return errors.Join(context.Cause(ctx), last)
		}
	}
	return nil
}

// together makes n calls at once and returns what came of each.
func together(n int, do func(k int) error) []error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for k := range n {
		all.Go(func() { errs[k] = do(k) })
	}
	all.Wait()
	return errs
}

// callback stores the batch's callback where its submitter has not: it died behind the batch's own append. Every attempt
// asks, before it submits anything.
func (r *batchRun) callback(ctx context.Context, generation int, principal string) error {
	if r.spec.Then == nil {
		return nil
	}
	return r.each(ctx, []int{0}, func(ctx context.Context, _ int) error {
		_, err := r.b.l.SubmitThen(ctx, r.org, r.id, generation, r.spec.Then, principal, r.meta())
		if err != nil && !later(ledger.AsError(err)) {
			r.b.log.Warn("the callback of a batch is refused: nothing will run when it has ended", zap.String("org", string(r.org)),
				zap.String("job", string(r.id)), zap.Error(err))
			return nil
		}
		return err
	}, func() {})
}

// recover learns from the ledger what earlier attempts have submitted, beyond what the checkpoint says is settled.
func (r *batchRun) recover(ctx context.Context) error {
	if err := r.each(ctx, []int{0}, func(ctx context.Context, _ int) error {
		now, err := r.b.l.StreamTime(ctx)
		r.ahead = time.Until(now)
		return err
	}, func() {}); err != nil {
		return err
	}
	if err := r.lookAtOrg(ctx); err != nil {
		return err
	}
	if r.fresh {
		r.s.known(r.generation)
		return nil
	}
	var unsettled []int
	for i := range r.s.Next {
		if !r.s.Settled.has(i) {
			unsettled = append(unsettled, i)
		}
	}
	if err := r.find(ctx, unsettled); err != nil {
		return err
	}
	r.s.known(r.generation)
	// Items are submitted in order, but for those that go at once: behind as many that are not there, none is.
	for total := len(r.spec.Items); r.s.Next < total; {
		var round []int
		for i := r.s.Next; i < min(r.s.Next+batchAtOnce, total); i++ {
			round = append(round, i)
		}
		before := r.s.nOpen + r.s.total()
		waited := len(r.s.pending)
		if err := r.find(ctx, round); err != nil {
			return err
		}
		if r.s.nOpen+r.s.total() == before {
			r.s.pending = r.s.pending[:waited]
			break
		}
		r.s.Next += len(round)
	}
	return r.seed(ctx)
}

// find reads items from the ledger: those that have ended are settled, others are open, and those that are not there
// are to be submitted, unless they were: their history is removed then, and they must not run again.
func (r *batchRun) find(ctx context.Context, items []int) error {
	var mu sync.Mutex
	return r.each(ctx, items, func(ctx context.Context, i int) error {
		j, err := r.b.l.Fold(ctx, r.org, ledger.BatchItemID(r.items, i))
		mu.Lock()
		defer mu.Unlock()
		switch {
		case errors.Is(err, ledger.ErrNotFound):
			if r.s.lose(i, errors.Is(err, ledger.ErrRemoved)) {
				return nil
			}
			if r.s.open.has(i) {
				r.s.open.put(i, false)
				r.s.nOpen--
			}
			if !r.s.Settled.has(i) {
				r.s.pending = append(r.s.pending, i)
			}
			return nil
		case err != nil:
			return err
		}
		r.s.setOpen(i)
		if j.State.Finished() {
			r.s.settle(i, j.State)
		}
		return nil
	}, func() { slices.Sort(r.s.pending) })
}

// seed tells the pace which items have been let out lately.
func (r *batchRun) seed(ctx context.Context) error {
	if r.spec.Pace == nil {
		return nil
	}
	var out []time.Time
	for end, over := r.s.Next, false; end > 0 && !over; end = max(0, end-batchAtOnce) {
		begin := max(0, end-batchAtOnce)
		at, err := r.submitted(ctx, begin, end)
		if err != nil {
			return err
		}
		for _, t := range slices.Backward(at) {
			if t.IsZero() { // it was refused, or is to be submitted
				continue
			}
			t = t.Add(-r.ahead)
			if over = over || len(out) == r.spec.Pace.Count || time.Since(t) >= r.pace.window; !over {
				out = append(out, t)
			}
		}
	}
	slices.SortFunc(out, time.Time.Compare)
	r.pace.out = out
	return nil
}

// submitted reads when items were submitted, some at once; zero for those that were not.
func (r *batchRun) submitted(ctx context.Context, begin, end int) ([]time.Time, error) {
	at, items := make([]time.Time, end-begin), make([]int, end-begin)
	for k := range items {
		items[k] = begin + k
	}
	return at, r.each(ctx, items, func(ctx context.Context, i int) error {
		j, err := r.b.l.Fold(ctx, r.org, ledger.BatchItemID(r.items, i))
		switch {
		case err == nil:
			at[i-begin] = j.SubmittedAt
		case errors.Is(err, ledger.ErrNotFound):
			err = nil
		}
		return err
	}, func() {})
}

// submit submits items at once. A batch whose org was deleted rejects none of them: it stops, and is dead-lettered itself
// . If this process dies within, each is stored or not, and the next attempt finds out.
func (r *batchRun) submit(ctx context.Context, items []int) {
	receipts := make([]ledger.Receipt, len(items))
	meta := r.meta()
	ctx, settled := lasting(ctx, batchSubmitRest)
	defer settled()
	errs := together(len(items), func(k int) (err error) {
		item := r.spec.Item(items[k])
		item.Principal = cmp.Or(item.Principal, r.a.SubmittedBy)
		receipts[k], err = r.b.l.SubmitItem(ctx, r.org, r.id, r.items, items[k], item, meta)
		return err
	})
	var back []int
	out := 0
	r.unsure = slices.DeleteFunc(r.unsure, func(i int) bool { return slices.Contains(items, i) })
	for k, i := range items {
		e := ledger.AsError(errs[k])
		switch {
		case errs[k] == nil:
			out++
			r.s.setOpen(i)
			if receipts[k].State.Finished() { // an earlier attempt's
				r.s.settle(i, receipts[k].State)
			}
		case later(e), e.Code == ledger.CodeOrgNotFound:
			if errors.Is(errs[k], ledger.ErrUnknown) {
				out++
				r.unsure = append(r.unsure, i)
			}
			back = append(back, i)
		default:
			r.s.reject(i, e)
		}
	}
	r.pace.took(out, time.Now())
	if len(back) > 0 {
		r.s.giveBack(back)
		r.after = time.Now().Add(batchRefusedWait)
	}
}

// batchSubmitRest is how long submits that are under way may go on when the batch is canceled or its server stops: one that
// was cut off may be stored all the same, and nobody would cancel it. It is shorter than the time in which a cut-off
// worker must have let go.
const batchSubmitRest = 2 * time.Second

// lasting is a context that ends some time after ctx does. Call end when it is of use no more.
func lasting(ctx context.Context, rest time.Duration) (longer context.Context, end func()) {
	longer, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		late := time.NewTimer(rest)
		defer late.Stop()
		select {
		case <-late.C:
			cancel(context.Cause(ctx))
		case <-longer.Done():
		}
	})
	return longer, func() { stop(); cancel(nil) }
}

// later reports a refusal that says nothing about what was submitted: it is tried again.
func later(e *ledger.Error) bool {
	switch e.Code {
	case ledger.CodeQueueFull, ledger.CodeRateLimited, ledger.CodeUnavailable, ledger.CodeInternal,
		ledger.CodeOrgSuspended:
		return true
	}
	return false
}
