package handlers_test

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// held is a handler that runs until the test lets it return.
type held struct {
	begun  chan *handlers.Attempt
	ctx    chan error    // why each context ended, when heeds
	free   chan struct{} // closed, or sent to, to let one return
	heeds  bool          // returns when its context ends
	now    atomic.Int32  // running now
	most   atomic.Int32
	result json.RawMessage
}

func newHeld() *held {
	return &held{begun: make(chan *handlers.Attempt, 100), ctx: make(chan error, 100), free: make(chan struct{}), result: json.RawMessage(`"done"`)}
}

func (h *held) Run(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
	n := h.now.Add(1)
	defer h.now.Add(-1)
	for m := h.most.Load(); n > m && !h.most.CompareAndSwap(m, n); m = h.most.Load() {
	}
	h.begun <- a
	if h.heeds {
		select {
		case <-ctx.Done():
			h.ctx <- context.Cause(ctx)
			return nil, ctx.Err()
		case <-h.free:
		}
		return h.result, nil
	}
	<-h.free
	return h.result, nil
}

func (h *held) await(t *testing.T) *handlers.Attempt {
	t.Helper()
	select {
	case a := <-h.begun:
		return a
	case <-time.After(patience):
		t.Fatal("no handler began")
	}
	panic("unreachable")
}

func shortTimeout(p *schemas.Policy) { p.TimeoutMS = 1000 }

// TestWorkerTimeout shows: the outcome of a hung handler is stored at its deadline
// without waiting for it, the handler keeps its slot and is seen to, and what it returns later is kept as a
// late result that changes nothing.
func TestWorkerTimeout(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	h := newHeld()
	cfg := serves("hang", h)
	cfg.Slots = 2
	_, reports, _ := ld.worker(cfg)
	hung := ld.give(spec{typ: "hang", args: `{}`, policy: shortTimeout})
	h.await(t)
	if r := next(t, reports); r.Outcome != schemas.EventTimedOut || r.Duration < time.Second || r.Error.Class != schemas.ClassTimeout {
		t.Errorf("report %+v", r)
	}
	j := ld.fold(hung.ID)
	if j.State != schemas.StateRetrying || j.Error.Class != schemas.ClassTimeout || j.Error.Code != handlers.CodeDeadline {
		t.Errorf("job is %s, error %+v", j.State, j.Error)
	}
	ld.await("a hung attempt is named", func(b *ledger.Beat) bool {
		return len(b.Attempts) == 1 && b.Attempts[0].Hung && b.Attempts[0].Fence == j.LastFence && b.Busy == 1
	})
	// Only the other slot is left.
	for range 3 {
		ld.give(spec{typ: "hang", args: `{}`})
	}
	h.await(t)
	h.free <- struct{}{}
	h.free <- struct{}{}
	for range 2 {
		h.await(t)
		h.free <- struct{}{}
	}
	outcomes := make(map[schemas.EventName]int)
	for range 4 {
		outcomes[next(t, reports).Outcome]++
	}
	if want := map[schemas.EventName]int{schemas.EventLateResult: 1, schemas.EventCompleted: 3}; !reflect.DeepEqual(outcomes, want) {
		t.Errorf("outcomes %v, want %v", outcomes, want)
	}
	if n := h.most.Load(); n > 2 {
		t.Errorf("%d handlers ran at once on 2 slots", n)
	}
	after := ld.fold(hung.ID)
	if after.State != schemas.StateRetrying || after.Used != 1 || after.Result != nil {
		t.Errorf("after the late result the job is %s, used %d, result %s", after.State, after.Used, after.Result)
	}
	all := history(t, env, hung.ID)
	if d, ok := all[len(all)-1].Data.(*schemas.LateResult); !ok || string(d.Result) != `"done"` {
		t.Errorf("last event %+v", all[len(all)-1].Data)
	}
}

// TestWorkerTimeoutHeeded shows that a handler which heeds its context leaves one event, not two.
func TestWorkerTimeoutHeeded(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	h := newHeld()
	h.heeds = true
	_, reports, stop := ld.worker(serves("heed", h))
	j := ld.give(spec{typ: "heed", args: `{}`, policy: shortTimeout})
	if r := next(t, reports); r.Outcome != schemas.EventTimedOut {
		t.Errorf("report %+v", r)
	}
	if err := <-h.ctx; !errors.Is(err, handlers.ErrTimedOut) {
		t.Errorf("context ended by %v", err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	want := []schemas.EventName{schemas.EventSubmitted, schemas.EventQueued, schemas.EventRunning, schemas.EventTimedOut}
	if got := names(t, env, j.ID); !reflect.DeepEqual(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
}

// requestCancel stores cancel_requested; how says by which way the worker learns of it.
func (ld *leader) requestCancel(j *ledger.Job, bySignal bool) *ledger.Job {
	ld.t.Helper()
	after, _, err := ld.l.Do(context.Background(), org, j.ID, &ledger.Cancel{Reason: "by the test"}, ledger.Meta{})
	if err != nil {
		ld.t.Fatal(err)
	}
	if !bySignal {
		ld.set(func(ld *leader) { ld.answer.Canceled = append(ld.answer.Canceled, after.Fence.Seq) })
		return after
	}
	body, err := json.Marshal(&ledger.CancelSignal{Org: org, Job: j.ID, Fence: after.Fence})
	if err == nil {
		err = ld.nc.Publish(ledger.SubjectCancel(after.Session), body)
	}
	if err != nil {
		ld.t.Fatal(err)
	}
	return after
}

// TestWorkerCancel shows: cancel wakes the handler, by signal or by beat; it ends as
// canceled with one event, or as completed where the work was done first.
func TestWorkerCancel(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	for _, c := range []struct {
		name             string
		signal, finishes bool
		want             schemas.EventName
	}{{"by signal", true, false, schemas.EventCanceled}, {"by beat", false, false, schemas.EventCanceled}, {"done first", true, true, schemas.EventCompleted}} {
		t.Run(c.name, func(t *testing.T) {
			h := newHeld()
			h.heeds = !c.finishes
			_, reports, _ := ld.worker(serves(typeOf(c.name), h))
			j := ld.give(spec{typ: typeOf(c.name), args: `{}`})
			a := h.await(t)
			ld.requestCancel(j, c.signal)
			if c.finishes {
				h.free <- struct{}{}
			} else if err := <-h.ctx; !errors.Is(err, handlers.ErrCancelRequested) || !a.CancelRequested() {
				t.Errorf("context ended by %v, cancel requested %t", err, a.CancelRequested())
			}
			if r := next(t, reports); r.Outcome != c.want || r.Error != nil {
				t.Errorf("report %+v", r)
			}
			want := []schemas.EventName{schemas.EventSubmitted, schemas.EventQueued, schemas.EventRunning, schemas.EventCancelRequested, c.want}
			if got := names(t, env, j.ID); !reflect.DeepEqual(got, want) {
				t.Errorf("events %v, want %v", got, want)
			}
			if after := ld.fold(j.ID); after.State == schemas.StateCanceled && (after.CancelForced || after.CancelReason != "by the test" || after.Error != nil) {
				t.Errorf("canceled job %+v", after)
			}
		})
	}
}

// TestWorkerCancelOvertakesTheClaim shows R-36: a cancel's signal that comes before the reply to the claim is not
// lost, which would cost until the next beat.
func TestWorkerCancelOvertakesTheClaim(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	h := newHeld()
	h.heeds = true
	_, reports, _ := ld.worker(serves("overtaken", h))
	env.Faults.Inject(ledgertest.Fault{Event: schemas.EventRunning, After: func(m *nats.Msg) {
		at, err := schemas.ParseSubject(m.Subject)
		if err != nil {
			t.Error(err)
			return
		}
		ld.requestCancel(&ledger.Job{ID: at.Job}, true)
		// Once both connections have been heard by the server, the signal is at the worker's; a few more round
		// trips give it the time to take it.
		for range 50 {
			if err := errors.Join(ld.nc.Flush(), env.Ledger.Conn().Flush()); err != nil {
				t.Error(err)
			}
		}
	}})
	j := ld.give(spec{typ: "overtaken", args: `{}`})
	if r := next(t, reports); r.Outcome != schemas.EventCanceled {
		t.Errorf("report %+v", r)
	}
	if after := ld.fold(j.ID); after.State != schemas.StateCanceled || after.CancelForced {
		t.Errorf("the job is %s, forced %t", after.State, after.CancelForced)
	}
}

// TestWorkerCancelIgnored shows R-36 and STYLE 7 (asynq): a handler that ignores cancel is closed as forced when
// the grace ends, and keeps its slot until it returns.
func TestWorkerCancelIgnored(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	h := newHeld()
	cfg := serves("deaf", h)
	cfg.Slots = 1
	_, reports, _ := ld.worker(cfg)
	j := ld.give(spec{typ: "deaf", args: `{}`, policy: func(p *schemas.Policy) { p.GraceMS = 100 }})
	h.await(t)
	ld.give(spec{typ: "deaf", args: `{}`})
	ld.requestCancel(j, true)
	if r := next(t, reports); r.Outcome != schemas.EventCanceled || r.ID != j.ID {
		t.Errorf("report %+v", r)
	}
	if after := ld.fold(j.ID); after.State != schemas.StateCanceled || !after.CancelForced {
		t.Errorf("job is %s, forced %t", after.State, after.CancelForced)
	}
	ld.await("the deaf attempt is named", func(b *ledger.Beat) bool { return len(b.Attempts) == 1 && b.Attempts[0].Hung })
	h.free <- struct{}{}
	if r := next(t, reports); r.Outcome != schemas.EventLateResult {
		t.Errorf("report %+v", r)
	}
	h.await(t)
	h.free <- struct{}{}
	if r := next(t, reports); r.Outcome != schemas.EventCompleted || h.most.Load() != 1 {
		t.Errorf("report %+v, %d at once", r, h.most.Load())
	}
}

// TestWorkerInvalid shows: an attempt that the leader calls invalid is told to stop; its outcome
// is a late result and the newer attempt is untouched (STYLE 7, stale workers). A fence above the leader's position is left alone.
func TestWorkerInvalid(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	h := newHeld()
	_, reports, _ := ld.worker(serves("zombie", h))
	j := ld.give(spec{typ: "zombie", args: `{}`})
	a := h.await(t)
	ld.set(func(ld *leader) { ld.answer.Invalid, ld.answer.Position = []schemas.Seq{a.Fence.Seq}, a.Fence.Seq-1 })
	beats := 0
	ld.await("beats with an attempt that is left alone", func(b *ledger.Beat) bool {
		if len(b.Attempts) == 1 {
			beats++
		}
		return beats > 2
	})
	if a.CancelRequested() || h.now.Load() != 1 {
		t.Error("the attempt was stopped")
	}
	ctx := context.Background()
	lost, _, err := ld.l.Do(ctx, org, j.ID, &ledger.Lose{Fence: a.Fence, Cause: schemas.LossWorkerGone}, ledger.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := ld.l.DoFrom(ctx, lost, &ledger.Claim{Generation: 1, Submitted: j.SubmittedSeq, Session: "newer", Worker: "newer"}, ledger.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	ld.set(func(ld *leader) { ld.answer.Position = lost.LastSeq })
	ld.await("the zombie is named as hung", func(b *ledger.Beat) bool { return len(b.Attempts) == 1 && b.Attempts[0].Hung })
	h.free <- struct{}{}
	if r := next(t, reports); r.Outcome != schemas.EventLateResult {
		t.Errorf("report %+v", r)
	}
	if after := ld.fold(j.ID); after.State != schemas.StateRunning || after.Fence != again.Fence || after.Attempt != 2 {
		t.Errorf("job is %s in attempt %d", after.State, after.Attempt)
	}
}

// TestWorkerDrain shows: a drain claims nothing, lets handlers finish within the grace, and hands
// back the others, with no attempt consumed (C41).
func TestWorkerDrain(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		grace   time.Duration
		heeds   bool
		finish  bool
		want    schemas.State
		outcome schemas.EventName
	}{
		{"finishes within the grace", time.Minute, false, true, schemas.StateCompleted, schemas.EventCompleted},
		{"heeds the stop", -1, true, false, schemas.StateQueued, schemas.EventReleased},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			env := ledgertest.Start(t)
			ld := newLeader(t, env)
			h := newHeld()
			h.heeds = c.heeds
			cfg := serves("drain", h)
			cfg.Grace = c.grace
			_, reports, stop := ld.worker(cfg)
			j := ld.give(spec{typ: "drain", args: `{}`})
			h.await(t)
			stopped := make(chan error)
			go func() { stopped <- stop() }()
			ld.await("draining", func(b *ledger.Beat) bool { return b.Draining && (c.heeds || len(b.Attempts) == 1) })
			waiting := ld.give(spec{typ: "drain", args: `{}`})
			if c.finish {
				h.free <- struct{}{}
			}
			if err := <-stopped; err != nil {
				t.Errorf("Run: %v", err)
			}
			if r := next(t, reports); r.Outcome != c.outcome {
				t.Errorf("report %+v", r)
			}
			if after := ld.fold(j.ID); after.State != c.want || after.Used != 0 {
				t.Errorf("job is %s, used %d", after.State, after.Used)
			}
			if after := ld.fold(waiting.ID); after.State != schemas.StateQueued {
				t.Errorf("the job offered during the drain is %s", after.State)
			}
			ld.await("last beat", func(b *ledger.Beat) bool { return b.Leaving && len(b.Attempts) == 0 })
		})
	}
}

// TestWorkerAbort shows that a second stop ends the drain at once, and that Run says which handlers did not
// return; their jobs are handed back all the same.
func TestWorkerAbort(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	h := newHeld()
	cfg := serves("abort", h)
	cfg.Grace = time.Hour
	w, reports, stop := ld.worker(cfg)
	j := ld.give(spec{typ: "abort", args: `{}`})
	h.await(t)
	stopped := make(chan error)
	go func() { stopped <- stop() }()
	ld.await("draining", func(b *ledger.Beat) bool { return b.Draining })
	w.Abort()
	w.Abort()
	if err := <-stopped; err == nil || !strings.Contains(err.Error(), "1 handlers did not return") {
		t.Errorf("Run: %v", err)
	}
	if r := next(t, reports); r.Outcome != schemas.EventReleased {
		t.Errorf("report %+v", r)
	}
	if after := ld.fold(j.ID); after.State != schemas.StateQueued || after.Used != 0 {
		t.Errorf("job is %s, used %d", after.State, after.Used)
	}
	close(h.free)
	w.Abort() // between runs: nothing
}

// TestWorkerStartStop starts, stops, stops twice, stops while starting and starts again.
func TestWorkerStartStop(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	w, err := handlers.New(handlers.Config{Ledger: env.Ledger, Logger: zap.NewNop(), Serves: serves("s", echo).Serves})
	if err != nil {
		t.Fatal(err)
	}
	w.Hasten(20*time.Millisecond, 0, 0)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := w.Run(ended); err != nil {
		t.Errorf("stopped before it started: %v", err)
	}
	for range 5 {
		sessions := 0
		ld.set(func(ld *leader) { sessions = len(ld.beats) })
		var once sync.WaitGroup
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		once.Go(func() {
			if err := w.Run(ctx); err != nil {
				t.Errorf("Run: %v", err)
			}
		})
		ld.await("a new session", func(*ledger.Beat) bool { return len(ld.beats) > sessions })
		if err := w.Run(ctx); err == nil || !strings.Contains(err.Error(), "while it goes on") {
			t.Errorf("second Run: %v", err)
		}
		for range 3 {
			once.Go(cancel)
		}
		once.Wait()
	}
}

// TestWorkerLeavesNothing shows STYLE 18 and STYLE 7 (asyncjobs:processor.go:156): when Run has returned, no
// goroutine of the worker's is left.
func TestWorkerLeavesNothing(t *testing.T) {
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	const n = 50
	reports := make(chan handlers.Report, n)
	cfg := serves("leak", echo)
	cfg.Ledger, cfg.Logger, cfg.Report = env.Ledger, zap.NewNop(), func(r handlers.Report) { reports <- r }
	w, err := handlers.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.Hasten(20*time.Millisecond, 0, 0)
	ld.give(spec{typ: "leak", args: `{}`}) // each connection's first request starts a goroutine that stays with it
	// So is the consumer the server's, whose goroutines are in this process.
	if _, err := env.Ledger.EnsureConsumer(env.Context(), queue, "leak"); err != nil {
		t.Fatal(err)
	}
	before := goleak.IgnoreCurrent()
	stop := ld.start(w)
	for range n - 1 {
		ld.give(spec{typ: "leak", args: `{}`})
	}
	for range n {
		next(t, reports)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	goleak.VerifyNone(t, before)
}
