package ledger

import (
	"context"
	"strings"

	"github.com/dartwing/jobledger/schemas"
)

// Trace is a W3C trace context, the values of the headers traceparent and tracestate; the zero value is none. The ledger
// carries both and reads neither: a program that makes spans says so by a Tracer, and no other needs an SDK.
type Trace struct{ Parent, State string }

// ID is the trace's: 32 hexadecimal digits in small letters; empty where Parent is of no form that has it, or names none.
func (t Trace) ID() string {
	const version, id, rest = 3, 32, 20 // "00-", the id, "-", the span's 16 digits, "-01"; a later version may have more
	p := t.Parent
	if len(p) < version+id+rest || p[2] != '-' || p[version+id] != '-' {
		return ""
	}
	trace := p[version : version+id]
	if strings.Trim(trace, "0123456789abcdef") != "" || strings.Trim(trace, "0") == "" {
		return ""
	}
	return trace
}

// SubmitSpan is what the span of a submission is about.
type SubmitSpan struct {
	Org   schemas.OrgID
	Type  schemas.TypeName
	Queue schemas.QueueName // the one that is in force for the job
	Trace Trace             // that of the request; zero where it brought none
}

// SubmitTracer makes spans of submissions. It is called by several goroutines at once, and must not block.
type SubmitTracer interface {
	// BeginSubmit begins the span "submit <type>", of kind producer, of a submission that was checked and is about to be
	// sent: a child of s.Trace, else of the span in ctx. The context that it returns is stored with the job, to be
	// linked to; a zero one leaves the request's. end is called once with what Submit returns. Where a submission goes
	// another way than it began, which SubmitMany may decide, end is not called, and another span begins.
	BeginSubmit(ctx context.Context, s SubmitSpan) (own Trace, end func(Receipt, error))
}

// trace begins the submission's span, if anybody wants one.
func (s *submission) trace(ctx context.Context) {
	t := s.l.cfg.Tracer
	if t == nil {
		return
	}
	own, end := t.BeginSubmit(ctx, SubmitSpan{Org: s.org, Type: s.spec.Type, Queue: s.spec.Queue,
		Trace: Trace{Parent: s.meta.Traceparent, State: s.meta.Tracestate}})
	if s.traced = end; own.Parent != "" {
		s.meta.Traceparent, s.meta.Tracestate = own.Parent, own.State
	}
}

// endTrace ends it.
func (s *submission) endTrace(receipt Receipt, err error) (Receipt, error) {
	if s.traced != nil {
		s.traced(receipt, err)
	}
	return receipt, err
}
