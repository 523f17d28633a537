package cell_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// awaitWorker asks until a worker of this name looks as it should: presence is written with its beats.
func awaitWorker(t *testing.T, c *gateway.Client, name, what string, is func(*gateway.Worker) bool) *gateway.Worker {
	t.Helper()
	limit := time.Now().Add(patience)
	for {
		all, err := c.Workers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var found *gateway.Worker
		for i := range all.Items {
			if all.Items[i].Name == name {
				found = &all.Items[i]
			}
		}
		if is(found) {
			return found
		}
		if time.Now().After(limit) {
			t.Fatalf("waited in vain for %s: %+v", what, found)
		}
		_ = rest(t.Context(), 50*time.Millisecond)
	}
}

// what a worker runs is shown, and a handler that is deaf to its timeout keeps its slot and shows
// as hung. Another org sees that slots are taken, not by what.
func TestWorkersAreShown(t *testing.T) {
	t.Parallel()
	env, _ := ledgertest.Cell(t)
	s := newSystem(t, env)
	forever := make(chan struct{})
	s.worker("w-1", "deaf", 4, func(context.Context, *handlers.Attempt) (json.RawMessage, error) { <-forever; return nil, nil })
	t.Cleanup(func() { close(forever) }) // before the worker ends
	second, once := schemas.MillisOf(time.Second), 1
	s.submitOne(ledger.SubmitRequest{Org: acme, Type: "deaf", ID: "hung", Override: &schemas.Override{TimeoutMS: &second, MaxAttempts: &once}, RegisterUnknown: true})
	s.submitOne(ledger.SubmitRequest{Org: acme, Type: "deaf", ID: "runs", RegisterUnknown: true})
	s.awaitStarts(2)
	c := env.Client(acme)
	w := awaitWorker(t, c, "w-1", "one that runs and one that hangs", func(w *gateway.Worker) bool { return w != nil && w.Hung == 1 && len(w.Running) == 2 })
	if w.Busy != 2 || w.Slots != 4 || w.State != gateway.WorkerBusy || len(w.Types) != 1 || w.Types[0] != "deaf" || w.Queues[0] != schemas.QueueDefault ||
		w.Host == "" || w.SeenAt.Before(w.StartedAt) {
		t.Errorf("the worker: %+v", w)
	}
	for i, want := range []struct {
		id   schemas.JobID
		hung bool
	}{{"hung", true}, {"runs", false}} {
		a := w.Running[i]
		if a.ID != want.id || a.Hung != want.hung || a.Org != acme || a.Attempt != 1 || a.Type == nil || *a.Type != "deaf" || a.Since == nil || a.Since.IsZero() {
			t.Errorf("attempt %d: %+v, want %+v", i, a, want)
		}
	}
	other, err := env.Client("globex").Worker(t.Context(), w.ID)
	if err != nil || other.Busy != 2 || other.Others != 2 || len(other.Running) != 0 {
		t.Errorf("for another org: %+v, %v", other, err)
	}
	if _, err := c.Worker(t.Context(), "nobody"); err == nil || ledger.AsError(err).Code != ledger.CodeNotFound {
		t.Errorf("a worker that is not there: %v", err)
	}
}

// a drained worker claims nothing more, lets what ends within its grace end, hands back the rest
// without consuming the attempt, and ends without error; another worker goes on.
func TestWorkerDrain(t *testing.T) {
	t.Parallel()
	env, _ := ledgertest.Cell(t)
	s := newSystem(t, env)
	soon := make(chan struct{})
	w, err := handlers.New(handlers.Config{Ledger: env.NewLedger(), Slots: 2, Name: "w-1", Grace: time.Second, Logger: zap.NewNop(),
		Serves: []handlers.Registration{{Type: "work", Handler: s.witness("w-1", func(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
			if a.ID == "soon" {
				<-soon
				return a.Args, nil
			}
			<-ctx.Done() // longer than any grace
			return nil, ctx.Err()
		})}}})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- w.Run(context.Background()) }()
	for _, id := range []schemas.JobID{"soon", "long"} {
		s.submitOne(ledger.SubmitRequest{Org: acme, Type: "work", ID: id, RegisterUnknown: true})
	}
	s.awaitStarts(2)
	c := env.Client(acme)
	shown := awaitWorker(t, c, "w-1", "the worker", func(w *gateway.Worker) bool { return w != nil })
	if _, err := c.DrainWorker(t.Context(), shown.ID, ""); err == nil || ledger.AsError(err).Code != ledger.CodeInvalidArgument {
		t.Errorf("a drain without reason: %v", err)
	}
	for range 2 { // again is no error
		reply, err := c.DrainWorker(t.Context(), shown.ID, "new kernel")
		if err != nil || reply.Busy != 2 || reply.GraceS != 1 {
			t.Fatalf("drain: %+v, %v", reply, err)
		}
	}
	close(soon)
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the worker ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the worker does not end")
	}
	awaitWorker(t, c, "w-1", "its departure", func(w *gateway.Worker) bool { return w == nil })
	s.worker("w-2", "work", 2, func(_ context.Context, a *handlers.Attempt) (json.RawMessage, error) { return a.Args, nil })
	ids := []schemas.JobID{"soon", "long"}
	s.awaitFinished(ids)
	s.check(ids)
	if j := s.jobs["soon"]; j.State != schemas.StateCompleted || j.Attempt != 1 {
		t.Errorf("the job that ended within the grace is %s after %d attempts", j.State, j.Attempt)
	}
	if j := s.jobs["long"]; j.State != schemas.StateCompleted || j.Attempt != 2 || j.Used != 0 || j.Worker != "w-2" {
		t.Errorf("the job that was handed back is %s after %d attempts, %d used, by %s", j.State, j.Attempt, j.Used, j.Worker)
	}
	if _, err := c.DrainWorker(t.Context(), shown.ID, "again"); err == nil || ledger.AsError(err).Code != ledger.CodeNotFound {
		t.Errorf("drain of a worker that is gone: %v", err)
	}
}
