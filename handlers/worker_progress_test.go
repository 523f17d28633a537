package handlers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// listen hears the progress of all jobs of the org.
func listen(t testing.TB, env *ledgertest.Env) <-chan *ledger.LiveProgress {
	t.Helper()
	heard := make(chan *ledger.LiveProgress, 100_000)
	nc := env.Connect()
	_, err := nc.Subscribe(ledger.ProgressSubject(org, "*"), func(m *nats.Msg) {
		p, err := ledger.DecodeProgress(m.Subject, m.Data)
		if err != nil {
			t.Errorf("%s: %v", m.Subject, err)
			return
		}
		heard <- p
	})
	if err == nil {
		err = nc.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return heard
}

func nextProgress(t testing.TB, heard <-chan *ledger.LiveProgress) *ledger.LiveProgress {
	t.Helper()
	select {
	case p := <-heard:
		return p
	case <-time.After(patience):
		t.Fatal("no progress was heard")
	}
	panic("unreachable")
}

// requeue queues a job that waits for its retry, or a slot, and offers it.
func (ld *leader) requeue(j *ledger.Job) {
	ld.t.Helper()
	if j.State == schemas.StateRetrying {
		var err error
		if j, _, err = ld.l.DoFrom(context.Background(), j, &ledger.Queue{Policy: j.Policy, Epoch: 10, Now: time.Now(), RunNow: true}, ledger.Meta{}); err != nil {
			ld.t.Fatal(err)
		}
	}
	ld.offer(j, 10)
}

// TestWorkerProgress shows through one job: the first report is heard at once and readable in
// LIVE, the last is kept in the outcome, a checkpoint reaches the next attempt, and the outcome of an attempt
// that saved one is not held up by it. A value of an attempt that is over is told from the current one's.
func TestWorkerProgress(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	heard := listen(t, env)
	type told struct {
		number     int
		checkpoint string
	}
	attempts := make(chan told, 10)
	saved := make(chan time.Time, 10)
	firstHeard := make(chan struct{}) // what an attempt reports as it ends need not be told: its outcome keeps it
	_, reports, _ := ld.worker(serves("sync", handlers.HandlerFunc(func(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		attempts <- told{a.Number, string(a.Checkpoint)}
		if a.Number == 2 {
			return nil, nil
		}
		saved <- time.Now()
		a.Progress(schemas.Progress{Percent: 40, Message: "page 7", Steps: []schemas.Step{{Name: "fetch", State: "done"}, {Name: "store", State: "in_progress"}}})
		if err := a.SaveCheckpoint(ctx, json.RawMessage(`{ "page": 7, "big": 9007199254740993 }`)); err != nil {
			return nil, err
		}
		select {
		case <-firstHeard:
		case <-ctx.Done():
		}
		return nil, handlers.Transient(errors.New("connection reset"))
	})))
	j := ld.give(spec{typ: "sync", args: `{}`})
	p := nextProgress(t, heard)
	close(firstHeard)
	t.Logf("from the call to the subscriber: %s", time.Since(<-saved))
	if p.Job != j.ID || p.Org != org || p.Type != "sync" || p.Attempt != 1 || p.N != 1 || p.Percent != 40 || len(p.Steps) != 2 {
		t.Errorf("heard %+v", p)
	}
	next(t, reports)
	j = ld.fold(j.ID)
	if j.Progress == nil || j.Progress.Percent != 40 || j.Progress.Message != "page 7" || len(j.Progress.Steps) != 2 {
		t.Errorf("failed keeps progress %+v", j.Progress)
	}
	if read, err := env.Ledger.Progress(t.Context(), org, j.ID); err != nil || read.Fence != p.Fence || read.Of(j) {
		t.Errorf("LIVE holds %+v, %v", read, err)
	}
	ld.requeue(j)
	if r := next(t, reports); r.Outcome != schemas.EventCompleted {
		t.Errorf("report %+v", r)
	}
	if first, second := <-attempts, <-attempts; first.checkpoint != "" || second != (told{2, `{ "page": 7, "big": 9007199254740993 }`}) {
		t.Errorf("attempts were told %+v and %+v", first, second)
	}
	want := []schemas.EventName{"submitted", "queued", "running", "checkpointed", "failed", "queued", "running", "completed"}
	if got := names(t, env, j.ID); !slices.Equal(got, want) {
		t.Errorf("events %v", got)
	}
	if _, err := env.Ledger.Progress(t.Context(), org, "no-such-job"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("progress of no job: %v", err)
	}
}

// TestWorkerProgressCoalesced shows R-29 and D2: of a flood the latest is heard, at most so often; the latest is
// written in the end; it goes on when LIVE is deleted; nothing of it is in the ledger.
func TestWorkerProgressCoalesced(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	heard := listen(t, env)
	const updates = 2_000
	h := newHeld()
	_, reports, _ := ld.worker(serves("flood", h))
	j := ld.give(spec{typ: "flood", args: `{}`})
	a := h.await(t)
	begun := time.Now()
	tick := time.NewTicker(500 * time.Microsecond)
	defer tick.Stop()
	for i := 1; i <= updates; i++ {
		a.Progress(schemas.Progress{Percent: 50, Message: fmt.Sprint(i)})
		<-tick.C
	}
	took := time.Since(begun)
	var last *ledger.LiveProgress
	n := 0
	for last == nil || last.Message != fmt.Sprint(updates) {
		p := nextProgress(t, heard)
		if n++; last != nil && p.N <= last.N {
			t.Errorf("number %d after %d", p.N, last.N)
		}
		last = p
	}
	if most := int(took/(250*time.Millisecond)) + 2; n > most {
		t.Errorf("%d values in %s, at most %d are allowed", n, took, most)
	}
	t.Logf("%d reports in %s: %d values", updates, took.Round(time.Millisecond), n)
	if err := env.Ledger.JetStream().DeleteStream(t.Context(), ledger.StreamLive); err != nil {
		t.Fatal(err)
	}
	a.Progress(schemas.Progress{Percent: 60, Message: "without LIVE"})
	if p := nextProgress(t, heard); p.Message != "without LIVE" {
		t.Errorf("heard %+v", p)
	}
	if err := env.Ledger.EnsureBucket(t.Context(), ledger.BucketLive); err != nil {
		t.Fatal(err)
	}
	a.Progress(schemas.Progress{Percent: 70, Steps: []schemas.Step{{Name: "a", State: "in_progress"}, {Name: "b", State: "pending"}}})
	nextProgress(t, heard)
	awaitProgress(t, env, j.ID, 70)
	close(h.free)
	next(t, reports)
	if got := len(names(t, env, j.ID)); got != 4 {
		t.Errorf("%d events", got)
	}
	want := &schemas.Progress{Percent: 100, Steps: []schemas.Step{{Name: "a", State: "done"}, {Name: "b", State: "pending"}}}
	if j := ld.fold(j.ID); !reflect.DeepEqual(j.Progress, want) {
		t.Errorf("completed with progress %+v", j.Progress)
	}
}

// awaitProgress waits until LIVE holds a percentage: the server tells those who listen before it stores.
func awaitProgress(t *testing.T, env *ledgertest.Env, id schemas.JobID, percent int) {
	t.Helper()
	look := time.NewTicker(time.Millisecond)
	defer look.Stop()
	for ctx := env.Context(); ; <-look.C {
		p, err := env.Ledger.Progress(ctx, org, id)
		if err == nil && p.Percent == percent {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("LIVE made again holds %+v, %v; want %v", p, err, percent)
		}
	}
}

// TestCheckpointFenced shows R-22 for checkpoints: one of an attempt that was given up is refused, and its
// handler is told why; one that stands already is not written again.
func TestCheckpointFenced(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	h := newHeld()
	_, reports, _ := ld.worker(serves("slow", h))
	j := ld.give(spec{typ: "slow", args: `{}`})
	a := h.await(t)
	for range 2 {
		if err := a.SaveCheckpoint(t.Context(), json.RawMessage(`1`)); err != nil {
			t.Fatal(err)
		}
	}
	j = ld.fold(j.ID)
	if _, _, err := ld.l.DoFrom(t.Context(), j, &ledger.Lose{Fence: j.Fence, Cause: schemas.LossWorkerGone}, ledger.Meta{}); err != nil {
		t.Fatal(err)
	}
	if err := a.SaveCheckpoint(t.Context(), json.RawMessage(`2`)); !errors.Is(err, handlers.ErrLeaseLost) || !errors.Is(err, ledger.ErrStaleAttempt) {
		t.Errorf("saved for a lost attempt: %v", err)
	}
	want := []schemas.EventName{"submitted", "queued", "running", "checkpointed", "lost"}
	if got := names(t, env, j.ID); !slices.Equal(got, want) {
		t.Errorf("events %v", got)
	}
	if got := ld.fold(j.ID); string(got.Checkpoint) != "1" {
		t.Errorf("checkpoint %s", got.Checkpoint)
	}
	close(h.free)
	next(t, reports)
}

// TestCheckpointOnTheWayOut shows that a process which is told to stop can still save where it is: its job is
// handed back with that.
func TestCheckpointOnTheWayOut(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	heard := listen(t, env)
	cfg := handlers.Config{Grace: -1, Serves: []handlers.Registration{{Type: "sync", Handler: &handlers.Exec{
		Command: `trap 'echo "{\"checkpoint\":{\"page\":8}}" >&3; exit 0' TERM; echo '{"percent":30,"step":"page 8"}' >&3; while :; do sleep 0.1; done`}}}}
	_, reports, stop := ld.worker(cfg)
	j := ld.give(spec{typ: "sync", args: `{}`})
	if p := nextProgress(t, heard); p.Percent != 30 || len(p.Steps) != 1 {
		t.Errorf("heard %+v", p)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if r := next(t, reports); r.Outcome != schemas.EventReleased {
		t.Errorf("report %+v", r)
	}
	if j := ld.fold(j.ID); string(j.Checkpoint) != `{"page":8}` || j.State != schemas.StateQueued || j.Progress == nil || j.Progress.Percent != 30 {
		t.Errorf("%s with checkpoint %s and progress %+v", j.State, j.Checkpoint, j.Progress)
	}
}

// TestCheckpointFaults crosses the append of a checkpoint with the ways a write fails: it is stored once, and
// the outcome behind it too.
func TestCheckpointFaults(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	_, reports, _ := ld.worker(serves("sync", handlers.HandlerFunc(func(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		return nil, a.SaveCheckpoint(ctx, json.RawMessage(`{"page":1}`))
	})))
	for _, kind := range []ledgertest.Kind{ledgertest.Refuse, ledgertest.LoseRequest, ledgertest.LoseReply} {
		env.Faults.Inject(ledgertest.Fault{Event: schemas.EventCheckpointed, Kind: kind})
		j := ld.give(spec{typ: "sync", args: `{}`})
		if r := next(t, reports); r.Outcome != schemas.EventCompleted {
			t.Errorf("report %+v", r)
		}
		want := []schemas.EventName{"submitted", "queued", "running", "checkpointed", "completed"}
		if got := names(t, env, j.ID); !slices.Equal(got, want) {
			t.Errorf("events %v", got)
		}
	}
}

// TestProgressFloodDelaysNoControl shows: while every handler reports 500 times a second, with
// a long checklist, beats are answered, cancels reach handlers, and claims and outcomes are stored, as fast as
// without. The bound is R-106's, which holds on any machine; the figures are printed.
func TestProgressFloodDelaysNoControl(t *testing.T) {
	for _, flood := range []bool{false, true} {
		t.Run(fmt.Sprintf("flood %t", flood), func(t *testing.T) { measureControl(t, flood) })
	}
}

func measureControl(t *testing.T, flood bool) {
	const handlersAtOnce, canceled, quick = 32, 16, 60
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	var reported atomic.Int64
	steps := make([]schemas.Step, 20)
	for i := range steps {
		steps[i] = schemas.Step{Name: strings.Repeat("step ", 10), State: "pending"}
	}
	begun := make(chan struct{}, handlersAtOnce)
	var mu sync.Mutex
	stopped := make(map[schemas.JobID]time.Time)
	flooding := handlers.HandlerFunc(func(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		begun <- struct{}{}
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				mu.Lock()
				stopped[a.ID] = time.Now()
				mu.Unlock()
				return nil, ctx.Err()
			case <-tick.C:
				if flood {
					reported.Add(1)
					a.Progress(schemas.Progress{Percent: i % 100, Message: fmt.Sprint(i), Steps: steps})
				}
			}
		}
	})
	cfg := handlers.Config{Slots: handlersAtOnce + 8, Serves: []handlers.Registration{
		{Type: "flood", Handler: flooding}, {Type: "quick", Handler: echo}}}
	_, reports, _ := ld.worker(cfg)
	var ids []schemas.JobID
	for range handlersAtOnce {
		ids = append(ids, ld.give(spec{typ: "flood", args: `{}`}).ID)
	}
	for range handlersAtOnce {
		wait(t, "handlers begin", begun)
	}
	start := time.Now()
	var claims []time.Duration
	for range quick { // offer to outcome
		at := time.Now()
		ld.give(spec{typ: "quick", args: `{}`})
		next(t, reports)
		claims = append(claims, time.Since(at))
	}
	took := time.Since(start)
	var cancels []time.Duration
	for _, id := range ids[:canceled] { // cancel_requested stored to canceled settled
		at := time.Now()
		j, _, err := ld.l.Do(t.Context(), org, id, &ledger.Cancel{Reason: "not needed"}, ledger.Meta{})
		if err != nil {
			t.Fatal(err)
		}
		signal, _ := json.Marshal(ledger.CancelSignal{Org: j.Org, Job: j.ID, Fence: j.Fence})
		if err := ld.nc.Publish(ledger.SubjectCancel(j.Session), signal); err != nil {
			t.Fatal(err)
		}
		if r := next(t, reports); r.Outcome != schemas.EventCanceled {
			t.Errorf("report %+v", r)
		}
		cancels = append(cancels, time.Since(at))
	}
	slices.Sort(claims)
	slices.Sort(cancels)
	t.Logf("%d handlers, %.0f reports/s: submit to outcome p50 %s p99 %s; cancel to canceled p50 %s max %s", handlersAtOnce,
		float64(reported.Load())/took.Seconds(), claims[quick/2], claims[quick*99/100], cancels[canceled/2], cancels[canceled-1])
	for _, id := range ids[canceled:] {
		if _, _, err := ld.l.Do(t.Context(), org, id, &ledger.Cancel{}, ledger.Meta{}); err != nil {
			t.Fatal(err)
		}
	}
	ld.set(func(ld *leader) { // the answer to the next beat names them: the signal was lost
		for _, id := range ids[canceled:] {
			ld.answer.Canceled = append(ld.answer.Canceled, ld.fold(id).Fence.Seq)
		}
	})
	for range handlersAtOnce - canceled {
		next(t, reports)
	}
}
