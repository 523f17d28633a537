package handlers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// large is JSON over both inline limits.
func large(seed string) string {
	return `{"seed":"` + seed + `","fill":"` + strings.Repeat("x", schemas.ArgsMax) + `"}`
}

// give queues and offers a job of the args that its submit stored.
func (ld *leader) submit(typ schemas.TypeName, args string) *ledger.Job {
	ld.t.Helper()
	ctx := context.Background()
	r, err := ld.l.Submit(ctx, ledger.SubmitRequest{Org: org, Type: typ, Args: json.RawMessage(args), RegisterUnknown: true, NoDedup: true})
	if err != nil {
		ld.t.Fatalf("submit: %v", err)
	}
	return ld.queueAndOffer(r.ID)
}

func (ld *leader) queueAndOffer(id schemas.JobID) *ledger.Job {
	ld.t.Helper()
	j, _, err := ld.l.Do(context.Background(), org, id, &ledger.Queue{Policy: schemas.DefaultPolicy(), Epoch: 10, Now: time.Now().Add(time.Hour)}, ledger.Meta{})
	if err != nil {
		ld.t.Fatalf("queue: %v", err)
	}
	ld.offer(j, 10)
	return j
}

// result reads a job's result, wherever it is kept.
func (ld *leader) result(id schemas.JobID) string {
	ld.t.Helper()
	got, err := ld.l.Result(context.Background(), ld.fold(id))
	if err != nil {
		ld.t.Fatalf("result: %v", err)
	}
	return string(got)
}

// collected removes what no event names and says how many objects were there, and how many went.
func collected(t *testing.T, env *ledgertest.Env) ledger.Collected {
	t.Helper()
	c, err := ledger.NewCollector(ledger.CollectorConfig{Ledger: env.NewLedger(), Logger: zap.NewNop(), Grace: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.Look(env.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestWorkerPayloads shows R-315 at the worker: args over the inline limit come from their object before the
// handler starts, results over theirs go into one, byte for byte, for every kind of handler. The object bears the
// id of the event that names it.
func TestWorkerPayloads(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	t.Cleanup(service.Close)
	kinds := map[schemas.TypeName]handlers.Handler{"go": echo, "exec": &handlers.Exec{Command: "cat"},
		"http": &handlers.HTTP{URL: service.URL, AllowPrivate: true}}
	var cfg handlers.Config
	for typ, h := range kinds {
		cfg.Serves = append(cfg.Serves, handlers.Registration{Type: typ, Handler: h})
	}
	_, reports, _ := ld.worker(cfg)
	for typ := range kinds {
		want := large(string(typ))
		j := ld.submit(typ, want)
		if j.Spec.ArgsRef == nil {
			t.Fatal("the args are not kept by reference")
		}
		if r := next(t, reports); r.Outcome != schemas.EventCompleted {
			t.Fatalf("%s: report %+v", typ, r)
		}
		if ld.result(j.ID) != want {
			t.Errorf("%s: the result is not what was submitted", typ)
		}
		all := history(t, env, j.ID)
		last := all[len(all)-1]
		ref := last.Data.(*schemas.Completed).ResultRef
		if ref == nil || ref.Name != fmt.Sprintf("%s/%s/%s", org, j.ID, last.ID) || ref.Bucket != ledger.StoreResults {
			t.Errorf("%s: event %s refers to %+v", typ, last.ID, ref)
		}
	}
	if got := collected(t, env); got.Judged != 6 || got.Removed != 0 {
		t.Errorf("collected %+v, want six objects that stay", got)
	}
}

// TestWorkerDamagedArgs shows that args which are gone or not what was submitted end the job at once, with a code
// that says so; the handler is not started.
func TestWorkerDamagedArgs(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	var st starts
	_, reports, _ := ld.worker(serves("damaged", handlers.HandlerFunc(func(_ context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		st.add(a)
		return nil, nil
	})))
	store, err := env.Ledger.JetStream().ObjectStore(t.Context(), ledger.StoreArgs)
	if err != nil {
		t.Fatal(err)
	}
	for code, damage := range map[string]func(name string) error{
		handlers.CodeArgsMissing: func(name string) error { return store.Delete(t.Context(), name) },
		handlers.CodeArgsCorrupt: func(name string) error { _, err := store.PutString(t.Context(), name, "{}"); return err },
	} {
		r, err := ld.l.Submit(t.Context(), ledger.SubmitRequest{Org: org, Type: "damaged", Args: json.RawMessage(large(code)), RegisterUnknown: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := damage(ld.fold(r.ID).Spec.ArgsRef.Name); err != nil {
			t.Fatal(err)
		}
		ld.queueAndOffer(r.ID)
		if rep := next(t, reports); rep.Outcome != schemas.EventDeadLettered || rep.Error.Class != schemas.ClassPermanent || rep.Error.Code != code {
			t.Errorf("%s: report %+v, %+v", code, rep, rep.Error)
		}
	}
	if len(st.n) != 0 {
		t.Errorf("handlers were started: %v", st.n)
	}
	env.SkipVerify()
}

// TestWorkerPayloadFaults is the fault table of a result by reference (STYLE 21): each write of its object and its
// event refused, lost, or stored with its reply lost: the work is done once and one result is kept.
func TestWorkerPayloadFaults(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	var st starts
	_, reports, _ := ld.worker(serves("fault", handlers.HandlerFunc(func(_ context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		st.add(a)
		return json.RawMessage(large(string(a.ID))), nil
	})))
	jobs := 0
	for name, f := range map[string]ledgertest.Fault{"first record": {Upload: true}, "chunk": {Upload: true, Skip: 1},
		"last record": {Upload: true, Skip: 4}, "event": {Event: schemas.EventCompleted}} {
		for kind := ledgertest.Refuse; kind <= ledgertest.LoseReply; kind++ {
			f.Kind = kind
			hits := env.Faults.Hits()
			env.Faults.Inject(f)
			j := ld.submit("fault", `{}`)
			jobs++
			if r := next(t, reports); r.Outcome != schemas.EventCompleted || env.Faults.Hits() != hits+1 {
				t.Errorf("%s, fault %d: report %+v, %d faults met", name, kind, r, env.Faults.Hits()-hits)
			}
			if ld.result(j.ID) != large(string(j.ID)) {
				t.Errorf("%s, fault %d: the result is not the handler's", name, kind)
			}
		}
	}
	st.check(t, events(t, env, "jobs.>"))
	if got := collected(t, env); got.Judged != jobs || got.Removed != 0 {
		t.Errorf("collected %+v, want %d objects that stay", got, jobs)
	}
}

// TestWorkerLatePayload shows the fence: the result of an attempt that was lost meanwhile is kept as
// a late_result under a name of its own; that of the attempt which holds the job stands.
func TestWorkerLatePayload(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	var calls atomic.Int32
	began, goOn := make(chan struct{}), make(chan struct{})
	_, reports, _ := ld.worker(serves("late", handlers.HandlerFunc(func(_ context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		if calls.Add(1) == 1 {
			close(began)
			<-goOn // deaf to its context, as a zombie is
			return json.RawMessage(large("zombie")), nil
		}
		return json.RawMessage(large("current")), nil
	})))
	j := ld.submit("late", `{}`)
	wait(t, "the first attempt", began)
	awaitEmptyWork(t, env)
	lost, _, err := ld.l.Do(t.Context(), org, j.ID, &ledger.Lose{Fence: ld.fold(j.ID).Fence, Cause: schemas.LossWorkerGone}, ledger.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	ld.offer(lost, 10)
	if r := next(t, reports); r.Outcome != schemas.EventCompleted || r.Attempt != 2 {
		t.Fatalf("report %+v", r)
	}
	close(goOn)
	if r := next(t, reports); r.Outcome != schemas.EventLateResult {
		t.Errorf("report of the zombie %+v", r)
	}
	if ld.result(j.ID) != large("current") {
		t.Error("the zombie's result took the place of the current one")
	}
	all := history(t, env, j.ID)
	late := all[len(all)-1].Data.(*schemas.LateResult)
	zombie := *ld.fold(j.ID)
	zombie.ResultRef = late.ResultRef
	if got, err := ld.l.Result(t.Context(), &zombie); err != nil || string(got) != large("zombie") {
		t.Errorf("the late result is %d bytes, %v", len(got), err)
	}
	if got := collected(t, env); got.Judged != 2 || got.Removed != 0 {
		t.Errorf("collected %+v, want two objects that stay", got)
	}
}

// TestWorkerResultStoreFull shows that a store which goes on refusing a result fails the attempt, so that its slot
// is free and the job is tried again; nothing of the refused result is left.
func TestWorkerResultStoreFull(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	cfg := serves("full", handlers.HandlerFunc(func(context.Context, *handlers.Attempt) (json.RawMessage, error) {
		return json.RawMessage(large("full")), nil
	}))
	reports := make(chan handlers.Report, 10)
	cfg.Ledger, cfg.Logger, cfg.Report = env.Ledger, zap.NewNop(), func(r handlers.Report) { reports <- r }
	w, err := handlers.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.Hasten(50*time.Millisecond, 0, 0)
	w.RefuseResultsFor(time.Millisecond)
	ld.start(w)
	limit := func(bytes int64) {
		s, err := env.Ledger.JetStream().Stream(t.Context(), "OBJ_"+ledger.StoreResults)
		if err != nil {
			t.Fatal(err)
		}
		c := s.CachedInfo().Config
		c.MaxBytes = bytes
		if _, err := env.Ledger.JetStream().UpdateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	limit(700 << 10)
	j := ld.submit("full", `{}`)
	r := next(t, reports)
	if r.Outcome != schemas.EventFailed || r.Error.Class != schemas.ClassTransient || r.Error.Code != handlers.CodeResultNotStored {
		t.Fatalf("report %+v, %+v", r, r.Error)
	}
	if got := collected(t, env); got.Judged != 0 {
		t.Errorf("%d objects were left", got.Judged)
	}
	limit(-1)
	ld.queueAndOffer(j.ID)
	if r := next(t, reports); r.Outcome != schemas.EventCompleted || ld.result(j.ID) != large("full") {
		t.Errorf("report %+v", r)
	}
}

// TestWorkerDiesBeforeOutcome shows what a worker leaves that is killed between upload and append: an orphan.
func TestWorkerDiesBeforeOutcome(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	nc := env.Connect()
	dead := make(chan struct{})
	var once sync.Once
	l, err := ledger.New(ledger.Config{Conn: nc, Logger: zap.NewNop(), Intercept: func(next ledger.PublishFunc) ledger.PublishFunc {
		return func(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
			if strings.HasSuffix(m.Header.Get(schemas.HeaderType), string(schemas.EventCompleted)) {
				nc.Close() // what a kill does: nothing more is sent
				once.Do(func() { close(dead) })
				return nil, nats.ErrConnectionClosed
			}
			return next(ctx, m)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	cfg := serves("dies", handlers.HandlerFunc(func(context.Context, *handlers.Attempt) (json.RawMessage, error) {
		return json.RawMessage(large("dies")), nil
	}))
	cfg.Ledger, cfg.Logger = l, zap.NewNop()
	w, err := handlers.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.Hasten(50*time.Millisecond, 0, 0)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(context.Background()) }()
	j := ld.submit("dies", `{}`)
	wait(t, "the worker's death", dead)
	if err := <-ended; !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("Run: %v", err)
	}
	if got := collected(t, env); got.Judged != 1 || got.Removed != 1 {
		t.Errorf("collected %+v, want the orphan", got)
	}
	if s := ld.fold(j.ID).State; s != schemas.StateRunning {
		t.Errorf("the job is %s; its lease ends it", s)
	}
}
