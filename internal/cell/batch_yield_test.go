package cell_test

import (
	"testing"
	"time"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// A batch that gives its slot back again and again goes on each time from where it stands: every item is submitted once,
// no more are unfinished at once and none comes sooner than it may, and no attempt is consumed.
func TestBatchYields(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t, ledgertest.WithoutProvision())
	env.RunServer(func(c *cell.Config) {
		c.Batches = func(b *handlers.BatchesConfig) { b.RunMax = 400 * time.Millisecond }
	})
	s := newSystem(t, env)
	s.worker("w", "fax", 8, lasting(0))
	const items, count, parallel = 30, 10, 5
	spec := batchSpec("fax", items, parallel)
	spec.Pace = &schemas.Rate{Count: count, PerMS: schemas.MillisOf(time.Second)}
	giveBatch(t, env.Client(acme), "faxes", spec)
	if got := s.batchEnd("faxes", schemas.StateCompleted); got.Completed != items {
		t.Errorf("the batch: %+v", got)
	}
	f := s.facts("faxes")
	if len(f.submitted) != items || f.most > parallel {
		t.Errorf("%d items were submitted, %d at once", len(f.submitted), f.most)
	}
	for i := count; i < len(f.submitted); i++ {
		if took := f.submitted[i].Time.Sub(f.submitted[i-count].Time); took < time.Second {
			t.Errorf("items %d to %d came within %s", i-count, i, took)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs["faxes"]; j.Used != 0 || j.Attempt < 2 {
		t.Errorf("it took %d attempts of its budget and %d in all", j.Used, j.Attempt)
	}
}

// A batch of a suspended org gives its slot back, and goes on when the org is resumed.
func TestBatchOfASuspendedOrgYields(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t, ledgertest.WithoutProvision())
	env.RunServer(func(c *cell.Config) {
		c.Batches = func(b *handlers.BatchesConfig) { b.PausedMax = 100 * time.Millisecond }
	})
	s := newSystem(t, env)
	free := make(chan struct{})
	s.worker("w", "fax", 4, holding(free))
	const items = 20
	giveBatch(t, env.Client(acme), "faxes", batchSpec("fax", items, 4))
	s.awaitStarts(4)
	org := func(state schemas.OrgState) {
		t.Helper()
		set := &schemas.OrgSet{Settings: schemas.OrgSettings{Name: acme, State: state}}
		if _, err := env.Ledger.Put(t.Context(), ledger.Meta{}, set.Place(), func(schemas.Setting) (schemas.Setting, error) { return set, nil }); err != nil {
			t.Fatal(err)
		}
	}
	org(schemas.OrgSuspended)
	s.await("the batch to give its slot back", func() bool { return s.jobs["faxes"].State == schemas.StateQueued })
	close(free) // what runs ends meanwhile
	org("")
	if got := s.batchEnd("faxes", schemas.StateCompleted); got.Completed != items {
		t.Errorf("the batch: %+v", got)
	}
	if f := s.facts("faxes"); len(f.submitted) != items || f.most > 4 {
		t.Errorf("%d items were submitted, %d at once", len(f.submitted), f.most)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs["faxes"]; j.Used != 0 || j.Attempt < 2 {
		t.Errorf("it took %d attempts of its budget and %d in all", j.Used, j.Attempt)
	}
}
