package gateway_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/projector"
	"github.com/dartwing/jobledger/schemas"
)

// world is a ledger with a feed, views and a gateway, and a client of org acme.
type world struct {
	*ledgertest.Env
	t      testing.TB
	client *gateway.Client
	stop   func() // stops the gateway and waits for it
	g      *gateway.Gateway
}

func start(t testing.TB, change ...func(*gateway.Config)) *world {
	t.Helper()
	env := ledgertest.Start(t)
	var checker gateway.ArgsChecker
	l, err := ledger.New(ledger.Config{Conn: env.Connect(), Logger: zap.NewNop(), CheckArgs: checker.Check})
	if err != nil {
		t.Fatal(err)
	}
	f, err := ledger.NewFeed(ledger.FeedConfig{Ledger: env.NewLedger()})
	if err != nil {
		t.Fatal(err)
	}
	p, err := projector.New(projector.Config{Ledger: env.NewLedger(), Feed: f, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	cfg := gateway.Config{Ledger: l, Conn: env.Connect(), Feed: f, Logger: zap.NewNop(), RegisterUnknown: true,
		Actor: schemas.Actor{Type: "user", ID: "ada"}, Ready: func() { close(ready) }}
	for _, c := range change {
		c(&cfg)
	}
	g, err := gateway.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	run(t, func(ctx context.Context) error { _ = f.Run(ctx); return nil })
	run(t, func(ctx context.Context) error { return p.Run(ctx, 1) })
	stop := run(t, g.Run)
	select {
	case <-ready:
	case <-time.After(time.Minute):
		t.Fatal("the gateway is not ready")
	}
	return &world{Env: env, t: t, client: &gateway.Client{Conn: env.Connect(), Org: "acme", Timeout: time.Minute}, stop: stop, g: g}
}

// run calls a component's Run until the function it returns is called, at the latest at the end of the test.
func run(t testing.TB, f func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := f(ctx); err != nil {
			t.Errorf("a component ended with %v", err)
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

// ask is `nats req`: a plain request with headers.
func (w *world) ask(subject, body string, headers ...string) *nats.Msg {
	w.t.Helper()
	m := nats.NewMsg("jobledger." + subject)
	m.Data = []byte(body)
	for i := 0; i < len(headers); i += 2 {
		m.Header.Add(headers[i], headers[i+1])
	}
	reply, err := w.client.Conn.RequestMsg(m, time.Minute)
	if err != nil {
		w.t.Fatalf("%s: %v", subject, err)
	}
	return reply
}

// refused asks and expects an error, in headers and body, with this code; it returns the details.
func (w *world) refused(code ledger.Code, subject, body string, headers ...string) map[string]any {
	w.t.Helper()
	reply := w.ask(subject, body, headers...)
	var env struct {
		Error struct {
			Code      ledger.Code
			Message   string
			Details   map[string]any
			RequestID string `json:"request_id"`
		}
	}
	if err := json.Unmarshal(reply.Data, &env); err != nil {
		w.t.Fatalf("%s: %v: %s", subject, err, reply.Data)
	}
	e := env.Error
	if e.Code != code || e.Message == "" || e.RequestID == "" || reply.Header.Get("Nats-Service-Error") == "" ||
		reply.Header.Get("Nats-Service-Error-Code") == "" {
		w.t.Errorf("%s answered %s with headers %v, want code %s", subject, reply.Data, reply.Header, code)
	}
	return e.Details
}

// start takes a submitted job to running; finish ends it.
func (w *world) start(id schemas.JobID) *ledger.Job {
	w.t.Helper()
	p := schemas.DefaultPolicy()
	j := w.do(id, &ledger.Queue{Policy: p, Now: time.Now().Add(time.Hour)})
	return w.do(id, &ledger.Claim{Generation: j.Generation, Submitted: j.SubmittedSeq, Session: "session", Worker: "w-1"})
}

func (w *world) finish(j *ledger.Job, result string) {
	w.t.Helper()
	w.do(j.ID, &ledger.Outcome{Fence: j.Fence, Generation: j.Generation, Attempt: j.Attempt, Kind: schemas.EventCompleted,
		Result: []byte(result), Now: time.Now()})
}

func (w *world) do(id schemas.JobID, c ledger.Command) *ledger.Job {
	w.t.Helper()
	j, _, err := w.Ledger.Do(w.t.Context(), "acme", id, c, ledger.Meta{})
	if err != nil {
		w.t.Fatal(err)
	}
	return j
}

// end is the ledger's last sequence.
func (w *world) end() schemas.Seq {
	w.t.Helper()
	p, err := w.Ledger.End(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return p.Seq
}

func code(err error) ledger.Code {
	if err == nil {
		return ""
	}
	return ledger.AsError(err).Code
}

// submitDone is the id of a job that has completed, submitDead that of a dead letter.
func (w *world) submitDone() string {
	w.t.Helper()
	made, err := w.client.Submit(w.t.Context(), ledger.SubmitRequest{Type: "echo", NoDedup: true})
	if err != nil {
		w.t.Fatal(err)
	}
	w.finish(w.start(made.ID), `{"n":1}`)
	return string(made.ID)
}

func (w *world) submitDead() string {
	w.t.Helper()
	made, err := w.client.Submit(w.t.Context(), ledger.SubmitRequest{Type: "echo", NoDedup: true})
	if err != nil {
		w.t.Fatal(err)
	}
	j := w.start(made.ID)
	w.do(j.ID, &ledger.Outcome{Fence: j.Fence, Generation: j.Generation, Attempt: j.Attempt, Kind: schemas.EventFailed,
		Error: &schemas.JobError{Class: schemas.ClassPermanent, Message: "broken 17"}, Now: time.Now()})
	return string(made.ID)
}
