package demo

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// The queues of the demo's jobs: what eats processor time stands apart from the rest.
const (
	QueueMedia schemas.QueueName = "media"
	QueueLight                   = schemas.QueueDefault
)

// Waits before a retry are short, so that a demo ends while somebody watches it.
const (
	backoffBase = time.Second
	backoffCap  = 4 * time.Second
)

// Types returns the policy of each type of the batch, in the order to define them. Timeouts, retries and dedup
// windows of sample, echo and long-running are those of R-28.
func Types() []schemas.TypeSettings {
	short := schemas.Backoff{BaseMS: schemas.MillisOf(backoffBase), Factor: schemas.BackoffFactor, CapMS: schemas.MillisOf(backoffCap)}
	return []schemas.TypeSettings{
		{Name: TypeThumbnail, Description: "scales a photograph down", Queue: QueueMedia, TimeoutMS: millis(30 * time.Second), MaxAttempts: 3, Backoff: short},
		{Name: TypeSummarise, Description: "describes the columns of a CSV file", Queue: QueueMedia, TimeoutMS: millis(30 * time.Second), MaxAttempts: 3, Backoff: short},
		{Name: TypeCount, Description: "checksums a text and counts its words", Queue: QueueMedia, TimeoutMS: millis(30 * time.Second), MaxAttempts: 3, Backoff: short},
		{Name: TypeWebhook, Description: "posts a signed event to a receiver", Queue: QueueLight, TimeoutMS: millis(10 * time.Second), MaxAttempts: 5, Backoff: short},
		{Name: TypeSample, Description: "runs 5 s, fails at chosen percents", Queue: QueueLight, TimeoutMS: millis(60 * time.Second), MaxAttempts: 4, Backoff: short,
			Dedup: schemas.DedupStrict, WindowMS: window(300 * time.Second)},
		{Name: TypeEcho, Description: "returns its arguments", Queue: QueueLight, TimeoutMS: millis(30 * time.Second), MaxAttempts: 2, Backoff: short,
			Dedup: schemas.DedupStrict, WindowMS: window(60 * time.Second)},
		{Name: TypeLongRunning, Description: "ticks for 600 s, with progress and checkpoints", Queue: QueueLight, Priority: schemas.PriorityLow,
			TimeoutMS: millis(1800 * time.Second), MaxAttempts: 3, Backoff: short, Dedup: schemas.DedupStrict, WindowMS: window(300 * time.Second)},
	}
}

func millis(d time.Duration) schemas.Millis { return schemas.MillisOf(d) }

func window(d time.Duration) *schemas.Millis {
	ms := schemas.MillisOf(d)
	return &ms
}

// Serves returns the handler of each type in its queue, for a worker's Config.
func (t *Tasks) Serves() []handlers.Registration {
	tasks := map[schemas.TypeName]handlers.Handler{
		TypeThumbnail:   typed(t.Thumbnail),
		TypeSummarise:   typed(t.SummariseCSV),
		TypeCount:       typed(t.CountText),
		TypeWebhook:     typed(t.DeliverWebhook),
		TypeSample:      typed(Sample),
		TypeEcho:        handlers.HandlerFunc(Echo),
		TypeLongRunning: typed(LongRunning),
	}
	var out []handlers.Registration
	for _, s := range Types() {
		out = append(out, handlers.Registration{Queue: s.Queue, Type: s.Name, Handler: tasks[s.Name]})
	}
	return out
}

// typed makes a handler of a task.
func typed[A, R any](task func(context.Context, *handlers.Attempt, A) (R, error)) handlers.Handler {
	return handlers.Typed(func(ctx context.Context, j *handlers.Job[A]) (R, error) { return task(ctx, j.Attempt, j.Args) })
}

// Request asks for the item on behalf of actor. The work is wanted however often it was asked for, so that a second
// run of the batch is no duplicate of the first; the request's id makes a repeated submit of one request find its job.
func (i Item) Request(actor schemas.Actor) ledger.SubmitRequest {
	r := ledger.SubmitRequest{Org: i.Org, Type: i.Type, Args: i.Args, Priority: i.Priority, NoDedup: true,
		Tags: map[string]string{"demo": i.Title}, Meta: ledger.Meta{Actor: actor}, RequestID: uuid.New(), Delay: i.Delay}
	if i.MaxAttempts != 0 || i.RunTimeout != 0 {
		r.Override = &schemas.Override{}
	}
	if i.MaxAttempts != 0 {
		r.Override.MaxAttempts = &i.MaxAttempts
	}
	if i.RunTimeout != 0 {
		timeout := millis(i.RunTimeout)
		r.Override.TimeoutMS = &timeout
	}
	return r
}
