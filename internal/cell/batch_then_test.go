package cell_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// called are the callbacks that ran, by their args: what each was told of its batch.
type called struct {
	mu   sync.Mutex
	by   map[string]handlers.Parent
	most int // runs of one
	runs map[string]int
}

func (c *called) Run(_ context.Context, a *handlers.Attempt) (json.RawMessage, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := string(a.Args)
	c.runs[key]++
	c.most = max(c.most, c.runs[key])
	if len(a.Parents) != 1 {
		return nil, handlers.Permanent(fmt.Errorf("%d parents", len(a.Parents)))
	}
	c.by[key] = a.Parents[0]
	return nil, nil
}

// The callback of a batch runs once when the batch has ended, whichever way, and is given its counts: of one that
// completed with dead letters, of one that was canceled while it ran, and of one that was canceled before it began
// . A retry of the batch does not call it again. One that could not run is refused with the batch.
func TestBatchThen(t *testing.T) {
	t.Parallel()
	env, _ := ledgertest.Cell(t)
	s := newSystem(t, env)
	c := env.Client(acme)
	one := 1
	if _, err := c.TypeAdd(t.Context(), gateway.Type{Name: "fax", MaxAttempts: &one}); err != nil {
		t.Fatal(err)
	}
	free := make(chan struct{})
	s.worker("w", "fax", 4, func(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		if _, err := holding(free)(ctx, a); err != nil {
			return nil, err
		}
		var args struct{ N int }
		if err := json.Unmarshal(a.Args, &args); err != nil || args.N == 3 {
			return nil, handlers.Permanent(errors.New("busy"))
		}
		return a.Args, nil
	})
	calls := &called{by: make(map[string]handlers.Parent), runs: make(map[string]int)}
	s.worker("c", "told", 2, calls.Run)
	give := func(id schemas.JobID, r ledger.SubmitRequest) {
		t.Helper()
		spec := batchSpec("fax", 20, 5)
		spec.Then = &ledger.BatchItem{Type: "told", Args: fmt.Appendf(nil, "%q", id)}
		r.ID = id
		if _, err := c.SubmitBatch(t.Context(), r, spec); err != nil {
			t.Fatal(err)
		}
	}
	give("canceled", ledger.SubmitRequest{})
	s.awaitStarts(4)
	give("never", ledger.SubmitRequest{Delay: patience})
	for _, id := range []schemas.JobID{"canceled", "never"} {
		if _, err := c.Cancel(t.Context(), id, "wrong list"); err != nil {
			t.Fatal(err)
		}
	}
	s.awaitFinished([]schemas.JobID{ledger.BatchThenID(acme, "canceled", 1), ledger.BatchThenID(acme, "never", 1)})
	give("completed", ledger.SubmitRequest{})
	close(free)
	s.awaitFinished([]schemas.JobID{ledger.BatchThenID(acme, "completed", 1)})
	if _, err := c.Retry(t.Context(), "canceled", gateway.RetryRequest{Reason: "the list was right"}); err != nil {
		t.Fatal(err)
	}
	s.await("the batch's second end", func() bool { return s.state("canceled") == schemas.StateCompleted })

	calls.mu.Lock()
	defer calls.mu.Unlock()
	for id, want := range map[string]struct {
		state schemas.State
		ends  string
	}{
		"completed": {schemas.StateCompleted, "20 items: 19 completed, 0 canceled, 1 failed"},
		"canceled":  {schemas.StateCanceled, "20 items: 0 completed, 5 canceled, 0 failed"},
		"never":     {schemas.StateCanceled, "nothing"},
	} {
		p, ok := calls.by[fmt.Sprintf("%q", id)]
		ends := "nothing"
		var r handlers.BatchResult
		if len(p.Result) > 0 {
			if err := json.Unmarshal(p.Result, &r); err != nil {
				t.Error(err)
			}
			ends = fmt.Sprintf("%d items: %d completed, %d canceled, %d failed", r.Items, r.Completed, r.Canceled, r.DeadLettered)
		}
		if !ok || p.State != want.state || ends != want.ends {
			t.Errorf("the callback of %s was told %s, %s; called: %t", id, p.State, ends, ok)
		}
	}
	if calls.most != 1 || len(calls.runs) != 3 {
		t.Errorf("callbacks ran %v times", calls.runs)
	}
	spec := batchSpec("fax", 1, 1)
	spec.Then = &ledger.BatchItem{Type: ledger.BatchType}
	_, err := c.SubmitBatch(t.Context(), ledger.SubmitRequest{ID: "refused"}, spec)
	if e := ledger.AsError(err); e == nil || e.Code != ledger.CodeInvalidArgument || e.Details[ledger.DetailField] != "then.type" {
		t.Errorf("a callback of a reserved type: %v", err)
	}
	if _, err := c.Get(t.Context(), "refused"); ledger.AsError(err).Code != ledger.CodeNotFound {
		t.Errorf("its batch: %v", err)
	}
}

// A publisher that dies between a batch and its callback was told nothing; the batch is there, and its handler stores the
// callback, which runs once: whether the callback's submit never arrived, or was stored and nobody heard. Told to
// submit again, the publisher finds both.
func TestBatchThenWhenPublisherDies(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	types := []schemas.TypeName{"fax", "told"}
	for _, name := range types {
		if _, err := env.Ledger.PutType(t.Context(), schemas.TypeSettings{Name: name}, ledger.Meta{}, ""); err != nil {
			t.Fatal(err)
		}
	}
	submit := func(ctx context.Context, id schemas.JobID) error {
		spec := batchSpec("fax", 3, 3)
		spec.Then = &ledger.BatchItem{Type: "told", Args: fmt.Appendf(nil, "%q", id)}
		args, err := spec.Encode()
		if err != nil {
			return err
		}
		_, err = env.Ledger.SubmitBatch(ctx, ledger.SubmitRequest{Org: acme, ID: id, Args: args})
		return err
	}
	dies := map[schemas.JobID]ledgertest.Kind{"unsent": ledgertest.LoseRequest, "unheard": ledgertest.LoseReply}
	var thens []schemas.JobID
	for id, kind := range dies {
		ctx, die := context.WithCancel(t.Context())
		env.Faults.Inject(ledgertest.Fault{Event: schemas.EventSubmitted, Skip: 1, Kind: kind, After: func(*nats.Msg) { die() }})
		if err := submit(ctx, id); err == nil {
			t.Errorf("%s: the publisher was told that all is stored", id)
		}
		thens = append(thens, ledger.BatchThenID(acme, id, 1))
		_, err := env.Ledger.Fold(t.Context(), acme, ledger.BatchThenID(acme, id, 1))
		if stored := err == nil; stored != (kind == ledgertest.LoseReply) {
			t.Fatalf("%s: the callback is stored: %t, %v", id, stored, err)
		}
	}
	if hits := env.Faults.Hits(); hits != len(dies) {
		t.Fatalf("%d of %d publishers died", hits, len(dies))
	}
	env.RunServer()
	s := newSystem(t, env)
	s.worker("w", "fax", 4, func(context.Context, *handlers.Attempt) (json.RawMessage, error) { return nil, nil })
	calls := &called{by: make(map[string]handlers.Parent), runs: make(map[string]int)}
	s.worker("c", "told", 2, calls.Run)
	s.awaitFinished(thens)
	for id := range dies {
		if err := submit(t.Context(), id); err != nil {
			t.Errorf("%s submitted again: %v", id, err)
		}
	}
	calls.mu.Lock()
	defer calls.mu.Unlock()
	if calls.most != 1 || len(calls.runs) != len(dies) {
		t.Errorf("callbacks ran %v times", calls.runs)
	}
}

// Of a batch that is paused nothing starts that it has submitted and that does not run: the items keep their places, and
// those of another batch start beside them. It is told why, and by which command that ends.
func TestBatchItemsPause(t *testing.T) {
	t.Parallel()
	env, _ := ledgertest.Cell(t)
	s := newSystem(t, env)
	c := env.Client(acme)
	free := make(chan struct{})
	s.worker("w", "fax", 4, holding(free))
	giveBatch(t, c, "faxes", batchSpec("fax", 10, 10))
	s.awaitStarts(4)
	s.await("ten items", func() bool { return s.submittedOf("faxes") == 10 })
	hold := func(on bool) {
		t.Helper()
		if _, err := c.SetHold(t.Context(), gateway.HoldRequest{Scope: schemas.HoldScope{Batch: "faxes"}, On: on, Reason: "the line is down"}); err != nil {
			t.Fatal(err)
		}
	}
	hold(true)
	s.awaitOffers(0) // from here it is in force
	close(free)
	s.await("the ends of those that ran", func() bool { return s.finished == 4 })
	giveBatch(t, c, "others", batchSpec("fax", 5, 5))
	s.batchEnd("others", schemas.StateCompleted)
	if f := s.facts("faxes"); f.open != 6 || s.startsBegun() != 4+5 {
		t.Errorf("%d items are open, %d jobs have started", f.open, s.startsBegun())
	}
	waits := s.facts("faxes").submitted[9].Job
	if x, err := c.Explain(t.Context(), waits); err != nil || len(x.Holds) != 1 || x.Holds[0].Fix == nil || *x.Holds[0].Fix != "jobledger queue resume --org acme --batch faxes --reason TEXT" {
		t.Errorf("why %s waits: %+v, %v", waits, x, err)
	}
	hold(false)
	if got := s.batchEnd("faxes", schemas.StateCompleted); got.Completed != 10 {
		t.Errorf("the batch: %+v", got)
	}
}
