package handlers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// starts counts handler calls outside the ledger.
type starts struct {
	mu sync.Mutex
	n  map[string]int
}

func (s *starts) add(a *handlers.Attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.n == nil {
		s.n = make(map[string]int)
	}
	s.n[fmt.Sprintf("%s/%d/%d", a.ID, a.Generation, a.Number)]++
}

// check compares the calls with the running events of the ledger (Must hold: starts per attempt).
func (s *starts) check(t *testing.T, all map[schemas.JobID][]*schemas.Event) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	running := 0
	for id, es := range all {
		for _, e := range es {
			if d, ok := e.Data.(*schemas.Running); ok {
				running++
				if n := s.n[fmt.Sprintf("%s/%d/%d", id, d.Generation, d.Attempt)]; n != 1 {
					t.Errorf("job %s attempt %d was started %d times", id, d.Attempt, n)
				}
			}
		}
	}
	if running != len(s.n) {
		t.Errorf("%d running events, %d attempts were started", running, len(s.n))
	}
}

func serves(typ schemas.TypeName, h handlers.Handler) handlers.Config {
	return handlers.Config{Slots: 8, Serves: []handlers.Registration{{Queue: queue, Type: typ, Handler: h}}}
}

// TestWorkerRuns shows: each offered job is started once, given its facts, and ends with the
// handler's result.
func TestWorkerRuns(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	var st starts
	seen := make(chan *handlers.Attempt, 1000)
	_, reports, stop := ld.worker(serves("echo", handlers.HandlerFunc(func(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		st.add(a)
		seen <- a
		if d, ok := ctx.Deadline(); !ok || !d.Equal(a.Deadline) {
			t.Errorf("deadline of the context %v, of the attempt %v", d, a.Deadline)
		}
		a.Progress(schemas.Progress{Percent: 40, Message: "working"})
		return a.Args, nil
	})))
	const n = 200
	jobs := make(map[schemas.JobID]string)
	for i := range n {
		args := fmt.Sprintf(`{"i": %d, "big": 12345678901234567890}`, i)
		jobs[ld.give(spec{typ: "echo", args: args}).ID] = args
	}
	for range n {
		if r := next(t, reports); r.Outcome != schemas.EventCompleted || r.Error != nil || r.Type != "echo" || r.Attempt != 1 {
			t.Errorf("report %+v", r)
		}
	}
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	all := events(t, env, "jobs.>")
	st.check(t, all)
	for id, args := range jobs {
		j := ld.fold(id)
		if j.State != schemas.StateCompleted || string(j.Result) != args || j.Progress == nil || j.Progress.Percent != 100 || j.Progress.Message != "working" {
			t.Errorf("job %s is %s with result %s, progress %+v", id, j.State, j.Result, j.Progress)
		}
		if len(all[id]) != 4 {
			t.Errorf("job %s has %d events", id, len(all[id]))
		}
	}
	a := <-seen
	j := ld.fold(a.ID)
	if a.Org != org || a.Queue != queue || a.Generation != 1 || a.Number != 1 || a.MaxAttempts != schemas.AttemptsDefault ||
		a.Fence != j.LastFence || a.Token != "acme-"+string(a.ID)+"-1" || a.SubmittedBy != "user:ada" || a.Grace != schemas.GraceDefault {
		t.Errorf("attempt %+v, fence %+v", a, j.LastFence)
	}
}

// TestWorkerOutcomes shows what each end of a handler is stored as.
func TestWorkerOutcomes(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	plain := errors.New("no luck")
	cases := map[string]struct {
		run     func() (json.RawMessage, error)
		outcome schemas.EventName
		class   schemas.ErrorClass
		code    string
		check   func(t *testing.T, j *ledger.Job)
	}{
		"completed": {run: func() (json.RawMessage, error) { return json.RawMessage(`{"ok":  1}`), nil }, outcome: schemas.EventCompleted,
			check: func(t *testing.T, j *ledger.Job) {
				if string(j.Result) != `{"ok":  1}` {
					t.Errorf("result %s", j.Result)
				}
			}},
		"plain error": {run: func() (json.RawMessage, error) { return nil, plain }, outcome: schemas.EventFailed, class: schemas.ClassUnclassified},
		"permanent":   {run: func() (json.RawMessage, error) { return nil, handlers.Permanent(plain) }, outcome: schemas.EventDeadLettered, class: schemas.ClassPermanent},
		"mapped":      {run: func() (json.RawMessage, error) { return nil, errMapped }, outcome: schemas.EventDeadLettered, class: schemas.ClassPermanent},
		"own cancel":  {run: func() (json.RawMessage, error) { return nil, handlers.Canceled("number ported") }, outcome: schemas.EventCanceled},
		"bad result":  {run: func() (json.RawMessage, error) { return json.RawMessage(`{"half`), nil }, outcome: schemas.EventDeadLettered, class: schemas.ClassPermanent, code: handlers.CodeInvalidResult},
		"big result": {run: func() (json.RawMessage, error) {
			return json.RawMessage(`"` + strings.Repeat("x", schemas.PayloadMax) + `"`), nil
		}, outcome: schemas.EventDeadLettered, class: schemas.ClassPermanent, code: handlers.CodeInvalidResult},
		"ends its goroutine": {run: func() (json.RawMessage, error) { runtime.Goexit(); return nil, nil }, outcome: schemas.EventFailed, class: schemas.ClassUnclassified},
		"retry after": {run: func() (json.RawMessage, error) { return nil, handlers.RetryAfter(plain, 3*time.Hour) }, outcome: schemas.EventFailed, class: schemas.ClassTransient,
			check: func(t *testing.T, j *ledger.Job) {
				if d := j.RetryAt.Sub(j.LastAt); d != 3*time.Hour {
					t.Errorf("retry in %s", d)
				}
			}},
		"panic": {run: func() (json.RawMessage, error) { panic("deliberate") }, outcome: schemas.EventFailed, class: schemas.ClassUnclassified, code: handlers.CodePanic,
			check: func(t *testing.T, j *ledger.Job) {
				if !strings.Contains(j.Error.Stack, "TestWorkerOutcomes") || j.Error.Message != "panic: deliberate" {
					t.Errorf("error %+v", j.Error)
				}
			}},
	}
	cfg := handlers.Config{Slots: 4}
	for name, c := range cases {
		cfg.Serves = append(cfg.Serves, handlers.Registration{Type: typeOf(name), Classify: mapErrors,
			Handler: handlers.HandlerFunc(func(context.Context, *handlers.Attempt) (json.RawMessage, error) { return c.run() })})
	}
	_, reports, _ := ld.worker(cfg)
	ids := make(map[schemas.TypeName]schemas.JobID)
	for name := range cases {
		ids[typeOf(name)] = ld.give(spec{typ: typeOf(name), args: `{}`}).ID
	}
	got := make(map[schemas.TypeName]handlers.Report)
	for range cases {
		r := next(t, reports)
		got[r.Type] = r
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			r, j := got[typeOf(name)], ld.fold(ids[typeOf(name)])
			if r.Outcome != c.outcome || r.ID != j.ID {
				t.Errorf("report %+v, want %s", r, c.outcome)
			}
			if c.class != "" && (j.Error == nil || j.Error.Class != c.class || j.Error.Code != c.code) {
				t.Errorf("stored error %+v, want %s %q", j.Error, c.class, c.code)
			}
			if c.check != nil {
				c.check(t, j)
			}
		})
	}
}

var errMapped = errors.New("the type knows this one")

func mapErrors(err error) schemas.ErrorClass {
	if errors.Is(err, errMapped) {
		return schemas.ClassPermanent
	}
	return ""
}

func typeOf(name string) schemas.TypeName {
	return schemas.TypeName(strings.ReplaceAll(name, " ", "-"))
}

// TestWorkerClaimRace shows: of all who claim a job one wins, and only the winner starts it.
func TestWorkerClaimRace(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	var st starts
	count := handlers.HandlerFunc(func(_ context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		st.add(a)
		return nil, nil
	})
	_, reports, _ := ld.worker(serves("race", count))
	_, reports2, _ := ld.worker(serves("race", count))
	const n = 100
	rival, rivals := env.NewLedger(), 0
	for i := range n {
		j := ld.queueJob(spec{typ: "race", args: `{}`})
		raced := make(chan error)
		if i%2 == 0 {
			ld.offer(j, 10)
		}
		go func() {
			after, _, err := rival.DoFrom(context.Background(), j, &ledger.Claim{Generation: 1, Submitted: j.SubmittedSeq, Session: "rival", Worker: "rival"}, ledger.Meta{})
			if err == nil {
				st.add(&handlers.Attempt{ID: j.ID, Generation: 1, Number: after.Attempt})
			}
			raced <- err
		}()
		if i%2 == 1 {
			ld.offer(j, 10)
		}
		if err := <-raced; err == nil {
			rivals++
		}
	}
	for range n - rivals {
		var r handlers.Report
		select {
		case r = <-reports:
		case r = <-reports2:
		case <-time.After(patience):
			t.Fatal("no attempt was settled")
		}
		if r.Outcome != schemas.EventCompleted {
			t.Errorf("report %+v", r)
		}
	}
	st.check(t, events(t, env, "jobs.>"))
	t.Logf("the rival won %d of %d", rivals, n)
}

// TestWorkerOldOffers shows DESIGN D1 and D6: offers of an older epoch, of an earlier generation, and of jobs
// that are no longer Queued start nothing, and are taken out of WORK.
func TestWorkerOldOffers(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	var st starts
	ran := make(chan string, 10)
	_, reports, _ := ld.worker(serves("old", handlers.HandlerFunc(func(_ context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		st.add(a)
		ran <- string(a.Args)
		return nil, nil
	})))
	ld.await("first beat", func(*ledger.Beat) bool { return true })

	// An earlier generation's offer is left over while the new generation is Queued: the new args run.
	first := ld.queueJob(spec{id: "reused", typ: "old", args: `"first"`})
	ctx := context.Background()
	if _, _, err := env.Ledger.Do(ctx, org, "reused", &ledger.Cancel{Reason: "again"}, ledger.Meta{}); err != nil {
		t.Fatal(err)
	}
	second := ld.queueJob(spec{id: "reused", typ: "old", args: `"second"`})
	ld.offer(first, 10)
	awaitEmptyWork(t, env)
	ld.offer(second, 10)
	if r := next(t, reports); r.Outcome != schemas.EventCompleted || <-ran != `"second"` {
		t.Errorf("report %+v", r)
	}

	// Offers of a canceled job, and of one that was decided by an older leader.
	canceled := ld.queueJob(spec{typ: "old", args: `"canceled"`})
	if _, _, err := env.Ledger.Do(ctx, org, canceled.ID, &ledger.Cancel{}, ledger.Meta{}); err != nil {
		t.Fatal(err)
	}
	ld.offer(canceled, 10)
	ld.offer(ld.queueJob(spec{typ: "old", args: `"older leader"`}), 9)
	awaitEmptyWork(t, env)

	// A hint that is out of date: the job was released by somebody since, and is Queued again.
	hint := ld.queueJob(spec{typ: "old", args: `"moved on"`})
	moved, _, err := env.Ledger.DoFrom(ctx, hint, &ledger.Claim{Generation: 1, Submitted: hint.SubmittedSeq, Session: "other", Worker: "other"}, ledger.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	st.add(&handlers.Attempt{ID: hint.ID, Generation: 1, Number: 1})
	if _, _, err = env.Ledger.DoFrom(ctx, moved, &ledger.Outcome{Fence: moved.Fence, Generation: 1, Attempt: 1, Kind: schemas.EventReleased, Reason: "drain"}, ledger.Meta{}); err != nil {
		t.Fatal(err)
	}
	ld.offer(hint, 10)
	if r := next(t, reports); r.ID != hint.ID || r.Attempt != 2 || <-ran != `"moved on"` {
		t.Errorf("report %+v", r)
	}
	st.check(t, events(t, env, "jobs.>"))
}

// awaitEmptyWork waits until no offer is left in WORK.
func awaitEmptyWork(t *testing.T, env *ledgertest.Env) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := env.Ledger.JetStream().Stream(ctx, ledger.StreamWork)
		if err != nil {
			t.Fatal(err)
		}
		if s.CachedInfo().State.Msgs == 0 {
			return
		}
		<-tick.C
	}
}

// TestWorkerBigArgs shows that args too large for an offer are read from the ledger.
func TestWorkerBigArgs(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	got := make(chan string, 1)
	_, reports, _ := ld.worker(serves("big", handlers.HandlerFunc(func(_ context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		got <- string(a.Args)
		return nil, nil
	})))
	args := `"` + strings.Repeat("a", 500_000) + `"`
	ld.give(spec{typ: "big", args: args})
	if r := next(t, reports); r.Outcome != schemas.EventCompleted || <-got != args {
		t.Errorf("report %+v", r)
	}
}

// TestWorkerBounds shows Config.MaxJobs and Config.ExitIdle: Run ends by itself.
func TestWorkerBounds(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	run := func(cfg handlers.Config) error {
		cfg.Ledger, cfg.Logger = env.Ledger, zap.NewNop()
		w, err := handlers.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		w.Hasten(50*time.Millisecond, 0, 0)
		return w.Run(env.Context())
	}
	for range 10 {
		ld.give(spec{typ: "bound", args: `{}`})
	}
	cfg := serves("bound", echo)
	cfg.MaxJobs = 3
	if err := run(cfg); err != nil {
		t.Errorf("MaxJobs: %v", err)
	}
	states := make(map[schemas.State]int)
	for id := range events(t, env, "jobs.>") {
		states[ld.fold(id).State]++
	}
	if want := map[schemas.State]int{schemas.StateCompleted: 3, schemas.StateQueued: 7}; !reflect.DeepEqual(states, want) {
		t.Errorf("after MaxJobs: %v, want %v", states, want)
	}
	cfg.MaxJobs, cfg.ExitIdle = 0, 300*time.Millisecond
	if err := run(cfg); err != nil {
		t.Errorf("ExitIdle: %v", err)
	}
	for id := range events(t, env, "jobs.>") {
		if s := ld.fold(id).State; s != schemas.StateCompleted {
			t.Errorf("after ExitIdle %s is %s", id, s)
		}
	}
}
