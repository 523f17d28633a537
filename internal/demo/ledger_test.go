package demo_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/internal/demo"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

const (
	epoch    = schemas.Seq(1)  // of the stand-in leader
	patience = 4 * time.Minute // for both runs, with -race on a busy machine; they take seconds
)

var demoActor = schemas.Actor{Type: "user", ID: "demo"}

// leader is the least that a worker needs of one: it answers beats, and walks each job from its submit to its end.
type leader struct {
	t     *testing.T
	env   *ledgertest.Env
	types map[schemas.TypeName]schemas.TypeSettings

	mu      sync.Mutex
	settled map[schemas.JobID]chan handlers.Report // of the jobs that are under way
}

func newLeader(t *testing.T, env *ledgertest.Env) *leader {
	t.Helper()
	ld := &leader{t: t, env: env, types: map[schemas.TypeName]schemas.TypeSettings{}, settled: map[schemas.JobID]chan handlers.Report{}}
	for _, s := range demo.Types() {
		ld.types[s.Name] = s
		if _, err := env.Ledger.PutType(env.Context(), s, ledger.Meta{Actor: demoActor}, "demo"); err != nil {
			t.Fatal(err)
		}
	}
	answer, err := json.Marshal(&ledger.BeatAnswer{Cell: env.Cell.ID, Epoch: epoch, Position: 1 << 40})
	if err != nil {
		t.Fatal(err)
	}
	nc := env.Connect()
	if _, err = nc.Subscribe(ledger.SubjectBeat, func(m *nats.Msg) { _ = m.Respond(answer) }); err != nil { // an answer lost is asked for again
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return ld
}

// report is the worker's: it tells the job's walk that an attempt has ended.
func (ld *leader) report(r handlers.Report) {
	ld.mu.Lock()
	ch := ld.settled[r.ID]
	ld.mu.Unlock()
	if ch != nil {
		ch <- r
	}
}

// walk submits an item and sees it to its end: queue, offer, wait for the attempt, wait for the retry.
func (ld *leader) walk(ctx context.Context, i demo.Item) (*ledger.Job, error) {
	receipt, err := ld.env.Ledger.Submit(ctx, i.Request(demoActor))
	if err != nil {
		return nil, err
	}
	if receipt.Duplicate {
		ld.t.Errorf("%s, %q is taken for a duplicate of %s", i.Org, i.Title, receipt.ID)
	}
	settled := make(chan handlers.Report, schemas.AttemptsMax)
	ld.mu.Lock()
	ld.settled[receipt.ID] = settled
	ld.mu.Unlock()
	if i.Cancel == demo.CancelWaiting {
		j, _, err := ld.env.Ledger.Do(ctx, i.Org, receipt.ID, &ledger.Cancel{Reason: demo.CancelReason}, ledger.Meta{Actor: demoActor})
		return j, err
	}
	for {
		j, err := ld.env.Ledger.Fold(ctx, i.Org, receipt.ID)
		if err != nil || j.State.Finished() {
			return j, err
		}
		due := time.NewTimer(time.Until(j.RetryAt.Add(time.Millisecond)))
		select {
		case <-due.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		settings := ld.types[i.Type]
		j, _, err = ld.env.Ledger.DoFrom(ctx, j, &ledger.Queue{Policy: settings.Effective(j.Spec.Override), Epoch: epoch, Now: time.Now()}, ledger.Meta{})
		if err != nil {
			return nil, err
		}
		offer, err := (&ledger.Offer{Epoch: epoch, Cell: ld.env.Cell.ID, Job: j}).Encode()
		if err != nil {
			return nil, err
		}
		if _, err := ld.env.Ledger.JetStream().Publish(ctx, ledger.OfferSubject(j.Spec.Queue, j.Spec.Type, j.Org, j.ID), offer); err != nil {
			return nil, err
		}
		if i.Cancel == demo.CancelRunning {
			if err := ld.cancelRunning(ctx, i.Org, receipt.ID); err != nil {
				return nil, err
			}
		}
		select {
		case <-settled:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// cancelRunning waits until a job runs, and calls it off.
func (ld *leader) cancelRunning(ctx context.Context, org schemas.OrgID, id schemas.JobID) error {
	for ctx.Err() == nil {
		j, err := ld.env.Ledger.Fold(ctx, org, id)
		if err != nil {
			return err
		}
		if j.State != schemas.StateRunning {
			continue
		}
		if j, _, err = ld.env.Ledger.Do(ctx, org, id, &ledger.Cancel{Reason: demo.CancelReason}, ledger.Meta{Actor: demoActor}); err != nil {
			return err
		}
		signal, err := json.Marshal(ledger.CancelSignal{Org: org, Job: id, Fence: j.Fence})
		if err != nil {
			return err
		}
		return ld.env.Ledger.Conn().Publish(ledger.SubjectCancel(j.Session), signal)
	}
	return ctx.Err()
}

// The whole demo on a real ledger with a real worker, twice in a row: every job ends as its item expects, with the
// same result in both runs. The ledger is checked when the test ends.
func TestBatchOnLedgerTwice(t *testing.T) {
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	local, err := demo.Open(filepath.Join(t.TempDir(), "output"))
	if err != nil {
		t.Fatal(err)
	}
	w, err := handlers.New(handlers.Config{Ledger: env.Ledger, Work: env.Connect(), Serves: local.Tasks.Serves(), Report: ld.report, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var parts sync.WaitGroup
	parts.Go(func() {
		if err := w.Run(ctx); err != nil {
			t.Errorf("worker: %v", err)
		}
	})
	stopped := make(chan error, 1)
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	go func() { stopped <- local.Run(serving) }()

	results := [2][]string{make([]string, len(demo.Batch())), make([]string, len(demo.Batch()))}
	for run := range results {
		start := time.Now()
		var jobs sync.WaitGroup
		for n, i := range demo.Batch() {
			jobs.Go(func() {
				j, err := ld.walk(ctx, i)
				if err != nil {
					t.Errorf("run %d, %s, %q: %v", run, i.Org, i.Title, err)
					return
				}
				results[run][n] = string(j.Result)
				if !i.Expect.Met(j.State, j.DeadReason) {
					t.Errorf("run %d, %s, %q: %s %s, want %s: %+v", run, i.Org, i.Title, j.State, j.DeadReason, i.Expect, j.Error)
				}
			})
		}
		jobs.Wait()
		t.Logf("run %d: %d jobs in %v", run, len(demo.Batch()), time.Since(start).Round(time.Millisecond))
	}
	for n, i := range demo.Batch() {
		if a, b := results[0][n], results[1][n]; a != b {
			t.Errorf("%s, %q: the first run gives %s, the second %s", i.Org, i.Title, a, b)
		}
	}
	cancel()
	parts.Wait()
	stop()
	if err := <-stopped; err != nil {
		t.Errorf("local side: %v", err)
	}
	if got := len(local.Receiver.Deliveries()); got != 12 {
		t.Errorf("%d webhooks were taken in two runs, want 12", got)
	}
}
