//go:build otel

package tracing

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Tracer implements ledger.SubmitTracer and handlers.Tracer.
type Tracer struct {
	spans trace.Tracer
	w3c   propagation.TraceContext
}

// New returns a Tracer whose spans are p's.
func New(p trace.TracerProvider) *Tracer {
	return &Tracer{spans: p.Tracer("github.com/dartwing/jobledger")}
}

// BeginSubmit implements ledger.SubmitTracer.
func (t *Tracer) BeginSubmit(ctx context.Context, s ledger.SubmitSpan) (ledger.Trace, func(ledger.Receipt, error)) {
	if s.Trace.Parent != "" {
		ctx = t.remote(ctx, s.Trace)
	}
	ctx, span := t.spans.Start(ctx, "submit "+string(s.Type), trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithAttributes(about(s.Org, s.Type, s.Queue)...))
	return t.own(ctx), func(r ledger.Receipt, err error) {
		if r.ID != "" {
			span.SetAttributes(attribute.String("messaging.message.id", string(r.ID)), attribute.Bool("jobledger.duplicate", r.Duplicate))
		}
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
			if e := ledger.AsError(err); e != nil {
				span.SetAttributes(attribute.String("error.type", string(e.Code)))
			}
		}
		span.End()
	}
}

// BeginAttempt implements handlers.Tracer.
func (t *Tracer) BeginAttempt(base context.Context, s handlers.AttemptSpan) (context.Context, ledger.Trace, func(handlers.Report)) {
	options := []trace.SpanStartOption{trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(about(s.Org, s.Type, s.Queue)...),
		trace.WithAttributes(attribute.String("messaging.message.id", string(s.ID)))}
	if of := trace.SpanContextFromContext(t.remote(context.Background(), s.Submitted)); of.IsValid() {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: of}))
	}
	ctx, span := t.spans.Start(base, "process "+string(s.Type), options...)
	return ctx, t.own(ctx), func(r handlers.Report) {
		span.SetAttributes(attribute.Int("jobledger.attempt", r.Attempt), attribute.String("jobledger.outcome", string(r.Outcome)))
		if r.Error != nil {
			span.SetStatus(codes.Error, r.Error.Message)
			span.SetAttributes(attribute.String("error.type", string(r.Error.Class)))
		}
		span.End()
	}
}

func about(org schemas.OrgID, typ schemas.TypeName, queue schemas.QueueName) []attribute.KeyValue {
	return []attribute.KeyValue{attribute.String("messaging.system", "nats"), attribute.String("messaging.destination.name", string(queue)),
		attribute.String("jobledger.job.type", string(typ)), attribute.String("jobledger.org", string(org))}
}

// Names of the headers, exactly as events spell them: the SDK's carrier for HTTP would capitalize them.
const (
	parent = schemas.HeaderTraceparent
	state  = schemas.HeaderTracestate
)

// remote is ctx under a span of elsewhere.
func (t *Tracer) remote(ctx context.Context, of ledger.Trace) context.Context {
	return t.w3c.Extract(ctx, propagation.MapCarrier{parent: of.Parent, state: of.State})
}

// own is the context of the span that ctx carries.
func (t *Tracer) own(ctx context.Context) ledger.Trace {
	c := propagation.MapCarrier{}
	t.w3c.Inject(ctx, c)
	return ledger.Trace{Parent: c[parent], State: c[state]}
}
