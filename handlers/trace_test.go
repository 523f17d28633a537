package handlers_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// tracer hands out trace contexts and remembers what it was told.
type tracer struct {
	mu        sync.Mutex
	submits   []ledger.SubmitSpan
	receipts  []ledger.Receipt
	failures  []error
	attempts  []handlers.AttemptSpan
	reports   []handlers.Report
	submitted ledger.Trace
}

type spanKey struct{}

const (
	traceOfRequest = "00-11111111111111111111111111111111-1111111111111111-01"
	traceOfSubmit  = "00-11111111111111111111111111111111-2222222222222222-01"
	traceOfAttempt = "00-33333333333333333333333333333333-3333333333333333-01"
)

// BeginSubmit implements ledger.SubmitTracer.
func (r *tracer) BeginSubmit(_ context.Context, s ledger.SubmitSpan) (ledger.Trace, func(ledger.Receipt, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.submits = append(r.submits, s)
	return r.submitted, func(got ledger.Receipt, err error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.receipts, r.failures = append(r.receipts, got), append(r.failures, err)
	}
}

// BeginAttempt implements handlers.Tracer.
func (r *tracer) BeginAttempt(base context.Context, s handlers.AttemptSpan) (context.Context, ledger.Trace, func(handlers.Report)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attempts = append(r.attempts, s)
	return context.WithValue(base, spanKey{}, "span"), ledger.Trace{Parent: traceOfAttempt}, func(rep handlers.Report) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.reports = append(r.reports, rep)
	}
}

// The trace context of a submit, or of the span that a tracer makes of it, is stored with the job; an attempt's span is
// linked to it, its own context is stored with running and given to the handler, and ends with the outcome.
func TestWorkerTraces(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	spans := &tracer{submitted: ledger.Trace{Parent: traceOfSubmit, State: "k=v"}}
	traced, err := ledger.New(ledger.Config{Conn: env.Connect(), Logger: zap.NewNop(), Tracer: spans})
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan ledger.Trace, 10)
	cfg := serves("echo", handlers.HandlerFunc(func(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		if ctx.Value(spanKey{}) != "span" {
			t.Error("the handler's context does not carry the span")
		}
		seen <- ledger.Trace{Parent: a.Traceparent, State: a.Tracestate}
		return nil, handlers.Permanent(errors.New("no luck"))
	}))
	cfg.Tracer = spans
	_, reports, stop := ld.worker(cfg)
	request := ledger.SubmitRequest{Org: org, Type: "echo", Queue: queue, NoDedup: true, RegisterUnknown: true, Meta: ledger.Meta{Traceparent: traceOfRequest}}
	receipt, err := traced.Submit(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	many, err := traced.SubmitMany(t.Context(), []ledger.SubmitRequest{request, request})
	if err != nil || many[0].Err != nil || many[1].Err != nil {
		t.Fatal(err, many)
	}
	ld.queueAndOffer(receipt.ID)
	if r := next(t, reports); r.Outcome != schemas.EventDeadLettered {
		t.Errorf("%+v", r)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	for _, e := range history(t, env, receipt.ID) {
		want := ledger.Trace{}
		switch e.Name() {
		case schemas.EventSubmitted:
			want = spans.submitted
		case schemas.EventRunning:
			want.Parent = traceOfAttempt
		}
		if got := (ledger.Trace{Parent: e.Traceparent, State: e.Tracestate}); got != want {
			t.Errorf("%s holds %+v, want %+v", e.Name(), got, want)
		}
	}
	if a := <-seen; a != (ledger.Trace{Parent: traceOfAttempt}) {
		t.Errorf("the handler got %+v", a)
	}
	spans.mu.Lock()
	defer spans.mu.Unlock()
	if len(spans.submits) != 3 || len(spans.receipts) != 3 || spans.receipts[0].ID != receipt.ID || spans.failures[0] != nil {
		t.Errorf("submits: %+v, %+v", spans.submits, spans.receipts)
	}
	for _, s := range spans.submits {
		if s.Org != org || s.Type != "echo" || s.Queue != queue || s.Trace.Parent != traceOfRequest {
			t.Errorf("span of a submit: %+v", s)
		}
	}
	if len(spans.attempts) != 1 || spans.attempts[0].ID != receipt.ID || spans.attempts[0].Submitted != spans.submitted ||
		len(spans.reports) != 1 || spans.reports[0].Outcome != schemas.EventDeadLettered || spans.reports[0].Error == nil {
		t.Errorf("attempts: %+v, %+v", spans.attempts, spans.reports)
	}
}
