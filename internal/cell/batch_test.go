package cell_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// batchSpec is a batch of n items of a type, with their numbers as args.
func batchSpec(typ schemas.TypeName, n, parallel int) *ledger.BatchSpec {
	spec := &ledger.BatchSpec{Each: ledger.BatchItem{Type: typ}, Parallel: parallel}
	for i := range n {
		spec.Items = append(spec.Items, ledger.BatchItem{Args: fmt.Appendf(nil, `{"n":%d}`, i)})
	}
	return spec
}

func giveBatch(t *testing.T, c *gateway.Client, id schemas.JobID, spec *ledger.BatchSpec) schemas.JobID {
	t.Helper()
	r, err := c.SubmitBatch(t.Context(), ledger.SubmitRequest{ID: id}, spec)
	if err != nil {
		t.Fatal(err)
	}
	return r.ID
}

// batchFacts are what the ledger alone says of a batch.
type batchFacts struct {
	submitted []*schemas.Event // of items, in ledger order
	most      int              // items that were unfinished at once
	open      int
	ends      map[schemas.State]int // first ends
}

// facts reads the ledger as far as it is known. An item that was submitted twice is an error.
func (s *system) facts(batch schemas.JobID) batchFacts {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	f := batchFacts{ends: make(map[schemas.State]int)}
	is, ended := make(map[schemas.JobID]bool), make(map[schemas.JobID]bool)
	for _, e := range s.entries {
		if d, ok := e.Data.(*schemas.Submitted); ok && d.Batch == string(batch) {
			if is[e.Job] {
				s.t.Errorf("item %s was submitted twice", e.Job)
			}
			is[e.Job] = true
			f.submitted = append(f.submitted, e.Event)
			f.open++
			f.most = max(f.most, f.open)
		}
		to := map[schemas.EventName]schemas.State{schemas.EventCompleted: schemas.StateCompleted,
			schemas.EventCanceled: schemas.StateCanceled, schemas.EventDeadLettered: schemas.StateDeadLettered}[e.Name()]
		if is[e.Job] && to != "" && !ended[e.Job] {
			ended[e.Job] = true
			f.open--
			f.ends[to]++
		}
	}
	return f
}

// submittedOf counts a batch's items; for conditions of await.
func (s *system) submittedOf(batch string) (n int) {
	for _, j := range s.jobs {
		if j.Spec.Batch == batch {
			n++
		}
	}
	return n
}

func (s *system) batchEnd(id schemas.JobID, want schemas.State) handlers.BatchResult {
	s.t.Helper()
	s.awaitFinished([]schemas.JobID{id})
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[id]
	if j.State != want {
		s.t.Fatalf("batch %s is %s: %+v", id, j.State, j.Error)
	}
	var r handlers.BatchResult
	if want == schemas.StateCompleted {
		if err := json.Unmarshal(j.Result, &r); err != nil {
			s.t.Fatal(err)
		}
	}
	return r
}

// Two batches at once: each submits every item once, never has more unfinished than it may, counts how they ended,
// and ends with one event. Items that fail or are refused are counted, named, and end nothing else.
func TestBatches(t *testing.T) {
	t.Parallel()
	env, _ := ledgertest.Cell(t)
	s := newSystem(t, env)
	c := env.Client(acme)
	one := 1
	schema := json.RawMessage(`{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}`)
	if _, err := c.TypeAdd(t.Context(), gateway.Type{Name: "fax", MaxAttempts: &one, Schema: schema}); err != nil {
		t.Fatal(err)
	}
	s.worker("w", "fax", 16, func(_ context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		var args struct{ N int }
		if err := json.Unmarshal(a.Args, &args); err != nil || args.N%100 == 13 {
			return nil, handlers.Permanent(fmt.Errorf("number %d is not in service", args.N))
		}
		return a.Args, nil
	})
	const n, parallel = 1000, 50
	big := batchSpec("fax", n, parallel)
	big.Items[500].Args = json.RawMessage(`{"n":"five hundred"}`)
	giveBatch(t, c, "big", big)
	giveBatch(t, c, "small", batchSpec("fax", 40, 7))

	got := s.batchEnd("big", schemas.StateCompleted)
	if got.Items != n || got.Completed != n-11 || got.DeadLettered != 10 || got.Rejected != 1 || got.Canceled != 0 ||
		len(got.FailedIDs) != 10 || len(got.Errors) != 1 || got.Errors[0].Item != 501 || got.Errors[0].Code != ledger.CodeInvalidArgument {
		t.Errorf("the big batch: %+v", got)
	}
	small := s.batchEnd("small", schemas.StateCompleted)
	if small.Completed != 39 || small.DeadLettered != 1 {
		t.Errorf("the small batch: %+v", small)
	}
	for id, limit := range map[schemas.JobID]int{"big": parallel, "small": 7} {
		f := s.facts(id)
		if f.open != 0 || f.most > limit || len(f.submitted) != map[schemas.JobID]int{"big": n - 1, "small": 40}[id] {
			t.Errorf("batch %s: %d items, %d at once, %d left open", id, len(f.submitted), f.most, f.open)
		}
		e := f.submitted[0]
		if e.CorrelationID != string(id) || e.CausationID == "" || e.Actor.String() != "system:batch" {
			t.Errorf("an item of %s comes from %s, %s, by %s", id, e.CorrelationID, e.CausationID, e.Actor)
		}
	}
	r, err := c.Get(t.Context(), "big")
	if err != nil || r.Progress == nil || r.Progress.Percent != 100 || *r.Progress.Message != "1,000 of 1,000 done, 10 failed, 1 rejected" || len(r.Attempts) != 1 {
		t.Errorf("the record says %+v, %v", r.Progress, err)
	}
	list, err := c.List(t.Context(), gateway.ListRequest{Filter: gateway.Filter{Batch: []string{"big"}, State: []schemas.State{schemas.StateDeadLettered}}, MinSeq: r.Seq})
	if err != nil || len(list.Items) != 10 {
		t.Errorf("%d dead letters are listed by batch, %v", len(list.Items), err)
	}
}

// A batch keeps its pace by the ledger's own clock: never more in a window than the rate allows, however fast its items
// are done. It takes no place among its org's running jobs: that of the only one is its items'.
func TestBatchPace(t *testing.T) {
	t.Parallel()
	env, _ := ledgertest.Cell(t)
	one := 1
	set := &schemas.OrgSet{Settings: schemas.OrgSettings{Name: acme, MaxRunning: &one}}
	if _, err := env.Ledger.Put(t.Context(), ledger.Meta{}, set.Place(), func(schemas.Setting) (schemas.Setting, error) { return set, nil }); err != nil {
		t.Fatal(err)
	}
	s := newSystem(t, env)
	s.worker("w", "fax", 8, lasting(0))
	spec := batchSpec("fax", 50, 50)
	spec.Pace = &schemas.Rate{Count: 20, PerMS: schemas.MillisOf(time.Second)}
	giveBatch(t, env.Client(acme), "paced", spec)
	if got := s.batchEnd("paced", schemas.StateCompleted); got.Completed != 50 {
		t.Errorf("the batch: %+v", got)
	}
	f := s.facts("paced")
	for i := 20; i < len(f.submitted); i++ {
		if took := f.submitted[i].Time.Sub(f.submitted[i-20].Time); took < time.Second {
			t.Errorf("items %d to %d came within %s", i-20, i, took)
		}
	}
}

// A batch submits nothing more while a hold is on it, on its org, or on the queue or type of its items, or while its org
// is suspended, and goes on when that ends; items that run meanwhile end.
func TestBatchPause(t *testing.T) {
	t.Parallel()
	env, _ := ledgertest.Cell(t)
	s := newSystem(t, env)
	c := env.Client(acme)
	permits := make(chan struct{})
	s.worker("w", "fax", 20, func(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		select {
		case <-permits:
			return a.Args, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	})
	put := func(set schemas.Setting) {
		t.Helper()
		if _, err := env.Ledger.Put(t.Context(), ledger.Meta{}, set.Place(), func(schemas.Setting) (schemas.Setting, error) { return set, nil }); err != nil {
			t.Fatal(err)
		}
	}
	says := func(want string) {
		t.Helper()
		for limit := time.Now().Add(patience); ; {
			r, err := c.Get(t.Context(), "faxes")
			if err != nil {
				t.Fatal(err)
			}
			if r.Progress != nil && r.Progress.Message != nil && *r.Progress.Message == want {
				return
			}
			if time.Now().After(limit) {
				t.Fatalf("the batch says %+v, not %q", r.Progress, want)
			}
		}
	}
	hold := func(s schemas.HoldScope) func(on bool) schemas.Setting {
		return func(on bool) schemas.Setting {
			return &schemas.HoldSet{Settings: schemas.HoldSettings{Scope: s, On: on}}
		}
	}
	cases := []struct {
		set func(on bool) schemas.Setting
		why string
	}{
		{hold(schemas.HoldScope{Batch: "faxes"}), "paused"},
		{hold(schemas.HoldScope{Org: acme}), "paused"},
		{hold(schemas.HoldScope{Queue: schemas.QueueDefault}), "paused"},
		{hold(schemas.HoldScope{Org: acme, Type: "fax"}), "paused"},
		{hold(schemas.HoldScope{}), "paused"},
		{func(on bool) schemas.Setting {
			return &schemas.OrgSet{Settings: schemas.OrgSettings{Name: acme, State: map[bool]schemas.OrgState{true: schemas.OrgSuspended}[on]}}
		}, "its org is suspended"},
	}
	const parallel = 4
	total := (len(cases) + 1) * parallel
	giveBatch(t, c, "faxes", batchSpec("fax", total, parallel))
	for i, k := range cases {
		s.awaitStarts((i + 1) * parallel)
		put(k.set(true)) // the batch sees it before it sees an item's end
		for range parallel {
			permits <- struct{}{}
		}
		says(fmt.Sprintf("%d of %d done; %s", (i+1)*parallel, total, k.why))
		if f := s.facts("faxes"); len(f.submitted) != (i+1)*parallel {
			t.Errorf("%d items were submitted under hold %d", len(f.submitted), i)
		}
		put(k.set(false))
	}
	close(permits)
	if got := s.batchEnd("faxes", schemas.StateCompleted); got.Completed != total {
		t.Errorf("the batch: %+v", got)
	}
}

// A batch that is canceled submits nothing more, cancels what it has submitted, and ends as canceled with its counts
// . Retried it goes on with the items that it had not come to.
func TestBatchCancel(t *testing.T) {
	t.Parallel()
	env, _ := ledgertest.Cell(t)
	s := newSystem(t, env)
	c := env.Client(acme)
	free := make(chan struct{})
	s.worker("w", "fax", 4, holding(free))
	giveBatch(t, c, "faxes", batchSpec("fax", 100, 10))
	s.awaitStarts(4)
	s.await("ten items", func() bool { return len(s.jobs) == 11 })
	if _, err := c.Cancel(t.Context(), "faxes", "wrong list"); err != nil {
		t.Fatal(err)
	}
	s.batchEnd("faxes", schemas.StateCanceled)
	s.await("the end of the items", func() bool { return s.finished == 11 })
	f := s.facts("faxes")
	if len(f.submitted) != 10 || f.ends[schemas.StateCanceled] != 10 {
		t.Errorf("%d items were submitted; their ends: %v", len(f.submitted), f.ends)
	}
	r, err := c.Get(t.Context(), "faxes")
	if err != nil || r.Cancel == nil || *r.Cancel.Reason != "wrong list" || r.Progress == nil || r.Progress.Message == nil {
		t.Errorf("the batch: %+v, %v", r, err)
	}
	close(free)
	if _, err := c.Retry(t.Context(), "faxes", gateway.RetryRequest{Reason: "the list was right"}); err != nil {
		t.Fatal(err)
	}
	s.await("the batch's second end", func() bool { return s.state("faxes") == schemas.StateCompleted })
	if got := s.batchEnd("faxes", schemas.StateCompleted); got.Canceled != 10 || got.Completed != 90 {
		t.Errorf("the batch retried: %+v", got)
	}
	if f := s.facts("faxes"); len(f.submitted) != 100 {
		t.Errorf("%d items were submitted", len(f.submitted))
	}
}

// A stopping server hands its batches back, at no cost of an attempt, and another goes on with them; its own worker is
// listed only when asked for, and a cell without batches has none.
func TestBatchHandedOver(t *testing.T) {
	t.Parallel()
	env, first := ledgertest.Cell(t)
	s := newSystem(t, env)
	c := env.Client(acme)
	free := make(chan struct{})
	s.worker("w", "fax", 4, holding(free))
	giveBatch(t, c, "faxes", batchSpec("fax", 60, 10))
	s.awaitStarts(4)
	env.RunServer()
	first.Stop()
	close(free)
	if got := s.batchEnd("faxes", schemas.StateCompleted); got.Completed != 60 {
		t.Errorf("the batch: %+v", got)
	}
	if f := s.facts("faxes"); len(f.submitted) != 60 || f.most > 10 {
		t.Errorf("%d items were submitted, %d at once", len(f.submitted), f.most)
	}
	if j := s.jobs["faxes"]; j.Used != 0 || j.Attempt != 2 {
		t.Errorf("it took %d attempts of its budget and %d in all", j.Used, j.Attempt)
	}
	shown, err := c.Workers(t.Context())
	all, errAll := c.AllWorkers(t.Context(), gateway.WorkersRequest{All: true})
	if err != nil || errAll != nil || len(shown.Items) != 1 || len(all.Items) < 2 {
		t.Errorf("workers: %+v of %+v, %v, %v", shown, all, err, errAll)
	}
}
