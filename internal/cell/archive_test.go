package cell_test

import (
	"encoding/json"
	"testing"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/projector"
	"github.com/dartwing/jobledger/schemas"
)

// archive moves everything that may leave LEDGER.
func (s *system) archive() {
	s.t.Helper()
	a, err := ledger.NewArchiver(ledger.ArchiverConfig{Ledger: s.env.NewLedger(), Logger: zap.NewNop(), Window: 1, Durable: -1})
	if err != nil {
		s.t.Fatal(err)
	}
	if moved, err := a.Look(s.env.Context()); err != nil || moved.Events == 0 {
		s.t.Fatalf("moved %+v: %v", moved, err)
	}
}

// What is in ARCHIVE is there for everybody who asks: an id that is used up does not run again though its subject is
// empty, who waits for it gets the result that it had, a child runs on it, a dead letter is retried, and views that are
// thrown away come back as they were (R-07, R-14, R-34, R-40, R-42, DESIGN D13).
func TestArchivedJobs(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	ctx := f.env.Context()
	if _, err := f.env.Ledger.PutType(ctx, schemas.TypeSettings{Name: "parent", Reuse: schemas.ReuseNever, WindowMS: new(schemas.Millis)}, ledger.Meta{}, "a test"); err != nil {
		t.Fatal(err)
	}
	f.ask("parent", "p", `1`)
	f.ask("parent", "dead", `"die"`)
	f.ask("parent", "mend", `"mended"`)
	f.awaitFinished([]schemas.JobID{"p", "dead", "mend"})
	if _, err := f.c.Resolve(ctx, "dead", gateway.ResolveRequest{Note: "never mind"}); err != nil {
		t.Fatal(err)
	}
	before, err := f.c.Wait(ctx, "p")
	if err != nil {
		t.Fatal(err)
	}
	f.archive()
	p, err := f.env.Ledger.Fold(ctx, acme, "p")
	if err != nil || !p.Emptied {
		t.Fatalf("%+v: %v", p, err)
	}
	// By one who does not look, such as a publisher that is cut off from the archive.
	data, err := ledger.Decide(&ledger.Job{Org: acme, ID: "p"}, &ledger.Begin{Spec: p.Spec})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.env.Ledger.Append(ctx, schemas.NewEvent(schemas.JobSubject(acme, "p"), data), 0); err != nil {
		t.Fatal(err)
	}
	again, err := f.c.Wait(ctx, "p")
	if err != nil || again.State != schemas.StateCompleted || again.SubmittedSeq != before.SubmittedSeq || string(again.Result) != string(before.Result) {
		t.Fatalf("the job that stands for it is %+v: %v", again, err)
	}
	f.ask("child", "c", `{}`, schemas.ParentRef{ID: "p"})
	if _, err := f.c.Retry(ctx, "mend", gateway.RetryRequest{Reason: "mended"}); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[schemas.JobID]string{"c": `{"p":{"by":"p"}}`, "mend": `{"by":"mend"}`} {
		r, err := f.c.Wait(ctx, id)
		if err != nil || r.State != schemas.StateCompleted || !sameValue(r.Result, want) {
			t.Fatalf("%s: %+v, %v", id, r, err)
		}
	}
	h, err := f.env.Ledger.History(ctx, acme, "p")
	if err != nil || len(h.Attempts) != 1 || h.Job.State != schemas.StateCanceled {
		t.Fatalf("%s with %d attempts: %v", h.Job.State, len(h.Attempts), err)
	}
	f.archive()
	if _, err := projector.Rebuild(ctx, f.env.Ledger, projector.ViewAll); err != nil { // the checker compares them
		t.Fatal(err)
	}
}

func sameValue(a json.RawMessage, b string) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal([]byte(b), &y) != nil {
		return false
	}
	p, errP := json.Marshal(x)
	q, errQ := json.Marshal(y)
	return errP == nil && errQ == nil && string(p) == string(q)
}
