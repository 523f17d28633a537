package handlers

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Attempt is one attempt of one job, as its handler sees it. The fields are facts and must not be
// changed; the methods may be called from any goroutine until the handler returns.
type Attempt struct {
	Org         schemas.OrgID
	ID          schemas.JobID
	Type        schemas.TypeName
	Queue       schemas.QueueName
	Generation  int // life of a re-used job id, from 1
	Number      int // of the attempt, from 1, rising within a generation
	MaxAttempts int // budget, the first run included

	// Timeout is the attempt's limit. Deadline is when it ends by this process's clock; it bears a
	// monotonic reading, so a clock that is set does not move it. Grace is how long after the context's end
	// the handler may still tidy up.
	Timeout  time.Duration
	Deadline time.Time
	Grace    time.Duration

	// Fence is the identity of this attempt: the sequence and event id of its running event. Its sequence
	// rises with every attempt, so a receiver of side effects can refuse an older one.
	Fence schemas.Fence
	// Token is the same for all attempts of a generation: give it to others as their idempotency key.
	Token string

	SubmittedBy   string // principal the attempt runs as
	CorrelationID string
	Traceparent   string // W3C trace context of the attempt's span, else of the submit
	Tracestate    string

	Args       json.RawMessage // as submitted, byte for byte, also where they are kept by reference
	Checkpoint json.RawMessage // last one saved by an earlier attempt, or nil
	Parents    []Parent        // those the job waited for, in the order of its submit

	host     host
	progress atomic.Pointer[schemas.Progress]
	cancel   atomic.Bool
}

// host is what a worker gives its attempts beyond facts. Any of them may be nil.
type host struct {
	// progressed is told that the attempt's progress has changed. It must not block.
	progressed func()
	// save stores a checkpoint durably.
	save func(ctx context.Context, value json.RawMessage) error
	// result reads the result of a parent that is kept by reference.
	result func(ctx context.Context, parent *ledger.Job) (json.RawMessage, error)
}

// CancelRequested reports whether somebody asked to cancel the job while it ran. The context ends then too;
// this tells a cancel from a timeout or a lost lease.
func (a *Attempt) CancelRequested() bool { return a.cancel.Load() }

// args returns the args as one JSON value, null where there are none.
func (a *Attempt) args() json.RawMessage {
	if len(a.Args) == 0 {
		return json.RawMessage("null")
	}
	return a.Args
}

// Handler does the work of one type of job. Run is called once per attempt, from several goroutines at
// once. ctx ends at the deadline, on cancel and when the lease is lost; Run must then return soon, and its
// slot stays taken until it has. The result is one JSON value (nil is null) of at most schemas.PayloadMax
// bytes; over schemas.ResultMax it is kept by reference. An error is judged by Classify: wrap it with Permanent,
// Transient, RetryAfter or Canceled where you know better. A panic is an unclassified error.
type Handler interface {
	Run(ctx context.Context, a *Attempt) (result json.RawMessage, err error)
}

// HandlerFunc is a function as a Handler.
type HandlerFunc func(ctx context.Context, a *Attempt) (json.RawMessage, error)

// Run calls f.
func (f HandlerFunc) Run(ctx context.Context, a *Attempt) (json.RawMessage, error) { return f(ctx, a) }

// Job is an attempt with its args decoded.
type Job[A any] struct {
	*Attempt
	Args A
}

// Typed returns a Handler that decodes the args into an A and encodes the R that f returns. Args that do
// not decode are a permanent error: no retry can mend them.
func Typed[A, R any](f func(ctx context.Context, j *Job[A]) (R, error)) Handler {
	return HandlerFunc(func(ctx context.Context, a *Attempt) (json.RawMessage, error) {
		j := &Job[A]{Attempt: a}
		if err := json.Unmarshal(a.args(), &j.Args); err != nil {
			return nil, &marked{err: fmt.Errorf("args do not decode: %w", err), class: schemas.ClassPermanent, code: CodeInvalidArgs}
		}
		r, err := f(ctx, j)
		if err != nil {
			return nil, err
		}
		if raw, ok := any(r).(json.RawMessage); ok {
			return raw, nil // as it is: the encoder would rewrite it
		}
		out, err := json.Marshal(r)
		if err != nil {
			return nil, Permanent(fmt.Errorf("result does not encode: %w", err))
		}
		return out, nil
	})
}
