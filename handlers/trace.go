package handlers

import (
	"context"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// AttemptSpan is what the span of an attempt is about. The number of the attempt is known once it is claimed.
type AttemptSpan struct {
	Org       schemas.OrgID
	ID        schemas.JobID
	Type      schemas.TypeName
	Queue     schemas.QueueName
	Submitted ledger.Trace // of the submit; zero where it left none
}

// Tracer makes spans of attempts. It is called by several goroutines at once, and must not block.
type Tracer interface {
	// BeginAttempt begins the span "process <type>", of kind consumer, of an attempt that is about to be claimed. It is
	// linked to s.Submitted and not its child: a job may run days later. ctx, which is base with the span, is that of the
	// handler. own is stored with the claim, and given to the handler's process or service; a zero one leaves that of the
	// submit. end is called once with how the attempt ended, and not at all where the claim came to nothing, or
	// where this process never learns what became of it.
	BeginAttempt(base context.Context, s AttemptSpan) (ctx context.Context, own ledger.Trace, end func(Report))
}

// claimTrace is the span of a claim, or what stands for it where nobody makes any.
type claimTrace struct {
	ctx context.Context // carries the span from the claim to the handler, and no deadline
	own ledger.Trace
	end func(Report)
}

func (w *Worker) trace(job *ledger.Job) claimTrace {
	submitted := ledger.Trace{Parent: job.Traceparent, State: job.Tracestate}
	t := claimTrace{ctx: context.Background(), own: submitted, end: func(Report) {}}
	if w.cfg.Tracer == nil {
		return t
	}
	var own ledger.Trace
	t.ctx, own, t.end = w.cfg.Tracer.BeginAttempt(t.ctx, AttemptSpan{Org: job.Org, ID: job.ID, Type: job.Spec.Type, Queue: job.Spec.Queue, Submitted: submitted})
	if own.Parent != "" {
		t.own = own
	}
	return t
}
