package handlers_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// BenchmarkWorker drains b.N no-op jobs with 64 slots; the jobs are queued and offered before the clock starts.
func BenchmarkWorker(b *testing.B) {
	env := ledgertest.Start(b)
	env.SkipVerify()
	nc := env.Connect()
	if _, err := nc.Subscribe(ledger.SubjectBeat, func(m *nats.Msg) {
		body, err := json.Marshal(&ledger.BeatAnswer{Cell: env.Cell.ID, Epoch: 10})
		if err == nil {
			err = m.Respond(body)
		}
		if err != nil {
			b.Logf("beat: %v", err)
		}
	}); err != nil {
		b.Fatal(err)
	}
	prepareN(b, env, b.N)
	var done sync.WaitGroup
	done.Add(b.N)
	w, err := handlers.New(handlers.Config{Ledger: env.Ledger, Work: env.Connect(), Slots: 64, Logger: zap.NewNop(),
		Serves: []handlers.Registration{{Type: "noop", Handler: handlers.HandlerFunc(func(context.Context, *handlers.Attempt) (json.RawMessage, error) { return nil, nil })}},
		Report: func(handlers.Report) { done.Done() }})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	b.ReportAllocs()
	b.ResetTimer()
	go func() { ended <- w.Run(ctx) }()
	done.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "jobs/s")
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}

// prepareN queues and offers jobs.
func prepareN(b *testing.B, env *ledgertest.Env, jobs int) {
	const writers = 32
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			ctx := context.Background()
			for n := i; n < jobs; n += writers {
				id := schemas.NewJobID()
				begin := &ledger.Begin{Spec: schemas.Submitted{Type: "noop", Queue: queue, Priority: schemas.PriorityNormal,
					Args: json.RawMessage(`{"payload":"` + pad + `"}`)}}
				j, _, err := env.Ledger.DoFrom(ctx, &ledger.Job{Org: org, ID: id}, begin, ledger.Meta{})
				if err == nil {
					j, _, err = env.Ledger.DoFrom(ctx, j, &ledger.Queue{Policy: schemas.DefaultPolicy(), Epoch: 10, Now: time.Now()}, ledger.Meta{})
				}
				if err != nil {
					b.Errorf("prepare: %v", err)
					return
				}
				body, err := (&ledger.Offer{Epoch: 10, Cell: env.Cell.ID, Job: j}).Encode()
				if err == nil {
					err = env.Ledger.Conn().Publish(ledger.OfferSubject(queue, "noop", org, id), body)
				}
				if err != nil {
					b.Errorf("prepare: %v", err)
				}
			}
		})
	}
	all.Wait()
	if err := env.Ledger.Conn().Flush(); err != nil {
		b.Fatal(err)
	}
}

var pad = strings.Repeat("x", 240)

// BenchmarkProgress is one report with a checklist of ten steps, of which nearly all are merged.
func BenchmarkProgress(b *testing.B) {
	env := ledgertest.Start(b)
	env.SkipVerify()
	attempts := make(chan *handlers.Attempt)
	free := make(chan struct{})
	nc := env.Connect()
	answer, err := json.Marshal(&ledger.BeatAnswer{Cell: env.Cell.ID, Epoch: 10})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := nc.Subscribe(ledger.SubjectBeat, func(m *nats.Msg) { _ = m.Respond(answer) }); err != nil {
		b.Fatal(err)
	}
	w, err := handlers.New(handlers.Config{Ledger: env.Ledger, Work: env.Connect(), Live: env.Connect(), Logger: zap.NewNop(),
		Serves: []handlers.Registration{{Type: "noop", Handler: handlers.HandlerFunc(func(_ context.Context, a *handlers.Attempt) (json.RawMessage, error) {
			attempts <- a
			<-free
			return nil, nil
		})}}})
	if err != nil {
		b.Fatal(err)
	}
	prepareN(b, env, 1)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- w.Run(ctx) }()
	a := <-attempts
	steps := make([]schemas.Step, 10)
	for i := range steps {
		steps[i] = schemas.Step{Name: "a step of some length", State: "pending"}
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		a.Progress(schemas.Progress{Percent: i % 100, Message: "page 7 of 18", Steps: steps})
	}
	b.StopTimer()
	close(free)
	cancel()
	if err := <-ended; err != nil {
		b.Fatal(err)
	}
}
