//go:build otel

package tracing_test

import (
	"encoding/json"
	"slices"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/internal/tracing"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// A submit is a producer span under its request's, an attempt a consumer span of a trace of its own that is linked to the
// submit; the contexts to be stored are those of the spans (INTERFACE 6, R-47).
func TestSpansAreLinked(t *testing.T) {
	kept := tracetest.NewInMemoryExporter()
	tr := tracing.New(sdk.NewTracerProvider(sdk.WithSyncer(kept)))
	request := ledger.Trace{Parent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", State: "k=v"}
	submitted, end := tr.BeginSubmit(t.Context(), ledger.SubmitSpan{Org: "acme", Type: "echo", Queue: "default", Trace: request})
	end(ledger.Receipt{ID: "one"}, nil)
	ctx, own, ended := tr.BeginAttempt(t.Context(), handlers.AttemptSpan{Org: "acme", ID: "one", Type: "echo", Queue: "default", Submitted: submitted})
	ended(handlers.Report{Attempt: 2, Outcome: schemas.EventFailed, Error: &schemas.JobError{Class: schemas.ClassTransient, Message: "no luck"}})
	_, failed := tr.BeginSubmit(t.Context(), ledger.SubmitSpan{Org: "acme", Type: "echo"})
	failed(ledger.Receipt{}, ledger.Errorf(ledger.CodeQueueFull, "full"))
	_, _, alone := tr.BeginAttempt(t.Context(), handlers.AttemptSpan{Type: "echo", Submitted: ledger.Trace{Parent: "nonsense"}})
	alone(handlers.Report{Outcome: schemas.EventCompleted})
	spans := kept.GetSpans()
	if len(spans) != 4 {
		t.Fatalf("%d spans", len(spans))
	}
	submit, process := spans[0], spans[1]
	if submit.Name != "submit echo" || submit.SpanKind != trace.SpanKindProducer || submit.Parent.SpanID().String() != "00f067aa0ba902b7" ||
		submitted.Parent != "00-4bf92f3577b34da6a3ce929d0e0e4736-"+submit.SpanContext.SpanID().String()+"-01" || submitted.State != "k=v" {
		t.Errorf("%+v, stored %+v", submit, submitted)
	}
	if process.Name != "process echo" || process.SpanKind != trace.SpanKindConsumer || process.Parent.IsValid() || len(process.Links) != 1 ||
		process.Links[0].SpanContext.SpanID() != submit.SpanContext.SpanID() || process.SpanContext.TraceID() == submit.SpanContext.TraceID() {
		t.Errorf("%+v", process)
	}
	if trace.SpanContextFromContext(ctx).SpanID() != process.SpanContext.SpanID() || own.Parent == "" || own == submitted {
		t.Errorf("the handler is given %+v", own)
	}
	for _, want := range []attribute.KeyValue{attribute.String("messaging.message.id", "one"), attribute.Int("jobledger.attempt", 2),
		attribute.String("messaging.destination.name", "default"), attribute.String("messaging.system", "nats"),
		attribute.String("jobledger.org", "acme"), attribute.String("jobledger.job.type", "echo")} {
		if !slices.Contains(process.Attributes, want) {
			text, err := json.Marshal(process.Attributes)
			t.Errorf("%v is not among %s, %v", want, text, err)
		}
	}
	if process.Status.Code != codes.Error || spans[2].Status.Code != codes.Error || submit.Status.Code != codes.Unset {
		t.Error("the status of spans", process.Status, spans[2].Status)
	}
	if len(spans[3].Links) != 0 {
		t.Error("linked to nonsense")
	}
}
