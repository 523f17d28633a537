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
	prepare(b, env)
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

// prepare queues and offers b.N jobs.
func prepare(b *testing.B, env *ledgertest.Env) {
	const writers = 32
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			ctx := context.Background()
			for n := i; n < b.N; n += writers {
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
