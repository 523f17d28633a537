package cell_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// family is a system whose jobs wait for each other.
type family struct {
	*system
	c    *gateway.Client
	gate chan struct{} // parents of the type "gated" end once it is closed
	told []*handlers.Attempt
}

// newFamily runs workers of three types: "parent" ends as its args say, "gated" too, but not before the gate is
// opened, and "child" returns what its parents returned.
func newFamily(t *testing.T) *family {
	env, _ := ledgertest.Cell(t)
	f := &family{system: newSystem(t, env), c: env.Client(acme), gate: make(chan struct{})}
	end := func(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		switch string(a.Args) {
		case `"die"`:
			return nil, handlers.Permanent(errors.New("broken"))
		case `"cancel"`:
			return nil, handlers.Canceled("no longer needed")
		case `"mended"`:
			if a.Number == 1 {
				return nil, handlers.Permanent(errors.New("broken"))
			}
		case `"retry"`:
			if a.Number == 1 {
				return nil, handlers.Transient(errors.New("once"))
			}
		}
		return fmt.Appendf(nil, `{"by":%q}`, a.ID), ctx.Err()
	}
	f.worker("parents", "parent", 8, end)
	f.worker("gated", "gated", 64, func(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		select {
		case <-f.gate:
			return end(ctx, a)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	})
	f.worker("children", "child", 8, func(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		f.mu.Lock()
		f.told = append(f.told, a)
		f.mu.Unlock()
		results := make(map[schemas.JobID]json.RawMessage)
		for _, p := range a.Parents {
			r, err := a.ParentResult(ctx, p.ID)
			if err != nil {
				return nil, err
			}
			results[p.ID] = r
		}
		return json.Marshal(results)
	})
	return f
}

func (f *family) ask(typ schemas.TypeName, id schemas.JobID, args string, parents ...schemas.ParentRef) {
	f.t.Helper()
	f.submitOne(ledger.SubmitRequest{Org: acme, Type: typ, ID: id, Args: json.RawMessage(args), Parents: parents, RegisterUnknown: true,
		Override: &schemas.Override{Backoff: &schemas.Backoff{ListMS: []schemas.Millis{1000}}}})
}

func after(ids ...schemas.JobID) (refs []schemas.ParentRef) {
	for _, id := range ids {
		refs = append(refs, schemas.ParentRef{ID: id})
	}
	return refs
}

// each way in which a parent can end, with each policy of the edge, whether it ends before its child is
// submitted or behind it. A parent in backoff changes nothing. No child is left waiting.
func TestParents(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	policies := []string{schemas.ParentFail, schemas.ParentCancel, schemas.ParentRun}
	ways := []string{"complete", "retry", "die", "cancel", "canceled"} // the last: by a person
	var ids []schemas.JobID
	children := func(order, way string) {
		for _, policy := range policies {
			id := schemas.JobID(fmt.Sprintf("%s-%s-%s", order, way, policy))
			f.ask("child", id, "{}", schemas.ParentRef{ID: schemas.JobID(order + "-" + way), OnFailure: policy})
			ids = append(ids, id)
		}
	}
	cancel := func(id schemas.JobID) {
		if _, err := f.c.Cancel(t.Context(), id, "wrong customer"); err != nil {
			t.Error(err)
		}
	}
	for _, way := range ways {
		parent := schemas.JobID("after-" + way)
		f.ask("gated", parent, fmt.Sprintf("%q", way))
		ids = append(ids, parent)
		children("after", way)
		f.ask("parent", schemas.JobID("before-"+way), fmt.Sprintf("%q", way))
		ids = append(ids, schemas.JobID("before-"+way))
	}
	cancel("after-canceled") // running, or about to
	f.awaitFinished([]schemas.JobID{"before-complete", "before-retry", "before-die", "before-cancel", "before-canceled"})
	for _, way := range ways {
		children("before", way)
	}
	close(f.gate)
	f.awaitFinished(ids)
	f.check(ids)
	for _, order := range []string{"after", "before"} {
		for _, way := range ways {
			for i, policy := range policies {
				id := schemas.JobID(fmt.Sprintf("%s-%s-%s", order, way, policy))
				want := []schemas.State{schemas.StateDeadLettered, schemas.StateCanceled, schemas.StateCompleted}[i]
				parent := f.jobs[schemas.JobID(order+"-"+way)]
				if parent.State == schemas.StateCompleted {
					want = schemas.StateCompleted
				}
				j := f.jobs[id]
				if j.State != want || want == schemas.StateDeadLettered && j.DeadReason != schemas.DeadDependencyFailed {
					t.Errorf("%s is %s (%s), want %s", id, j.State, j.DeadReason, want)
				}
				if want == schemas.StateDeadLettered && !strings.Contains(j.Error.Message, string(parent.ID)) {
					t.Errorf("%s does not name its parent: %+v", id, j.Error)
				}
				if j.State == schemas.StateCanceled && !strings.Contains(j.CancelReason, string(parent.ID)) {
					t.Errorf("%s does not name its parent: %q", id, j.CancelReason)
				}
				if j.State == schemas.StateCompleted && parent.State == schemas.StateCompleted && string(j.Result) != fmt.Sprintf(`{%q:{"by":%q}}`, parent.ID, parent.ID) {
					t.Errorf("%s was told %s", id, j.Result)
				}
			}
		}
	}
}

// a hundred jobs wait for one, and one for the hundred: it starts last, and has all their results.
func TestFanOutFanIn(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	f.ask("gated", "first", `"complete"`)
	var middle []schemas.JobID
	for i := range schemas.ParentsMax {
		id := schemas.JobID(fmt.Sprintf("m%02d", i))
		f.ask("parent", id, `"complete"`, after("first")...)
		middle = append(middle, id)
	}
	f.ask("child", "last", "{}", after(middle...)...)
	close(f.gate)
	ids := append([]schemas.JobID{"first", "last"}, middle...)
	f.awaitFinished(ids)
	f.allCompleted(ids)
	var results map[schemas.JobID]struct{ By schemas.JobID }
	if err := json.Unmarshal(f.jobs["last"].Result, &results); err != nil || len(results) != len(middle) {
		t.Fatalf("the last one has %d results: %v", len(results), err)
	}
	for id, r := range results {
		if r.By != id {
			t.Errorf("of %s it was told the result of %s", id, r.By)
		}
	}
	for _, id := range middle {
		if f.jobs["last"].StartedAt.Before(f.jobs[id].FinishedAt) {
			t.Errorf("the last one started before %s had ended", id)
		}
	}
}

// A chain of a thousand jobs, each waiting for the one before, runs in order; another one, whose first fails, ends.
func TestChains(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	const length = 1000
	var ids []schemas.JobID
	for i := range length {
		id := schemas.JobID(fmt.Sprintf("c%04d", i))
		var parents []schemas.ParentRef
		if i > 0 {
			parents = after(ids[i-1])
		}
		f.ask("gated", id, `"complete"`, parents...)
		ids = append(ids, id)
	}
	began := time.Now()
	close(f.gate)
	f.awaitFinished(ids)
	t.Logf("%d jobs one after the other took %s", length, time.Since(began).Round(time.Millisecond))
	f.allCompleted(ids)
	for i := 1; i < length; i++ {
		if f.jobs[ids[i]].StartedAt.Before(f.jobs[ids[i-1]].FinishedAt) {
			t.Fatalf("%s started before %s had ended", ids[i], ids[i-1])
		}
	}
	const short = 100
	var dead []schemas.JobID
	for i := range short {
		id := schemas.JobID(fmt.Sprintf("d%04d", i))
		var parents []schemas.ParentRef
		if i > 0 {
			parents = after(dead[i-1])
		}
		f.submitOne(ledger.SubmitRequest{Org: acme, Type: "parent", ID: id, Args: json.RawMessage(`"die"`), Parents: parents, Delay: 2 * time.Second, RegisterUnknown: true})
		dead = append(dead, id)
	}
	f.awaitFinished(dead)
	for i, id := range dead {
		want := schemas.DeadDependencyFailed
		if i == 0 {
			want = schemas.DeadPermanentError
		}
		if j := f.jobs[id]; j.DeadReason != want {
			t.Errorf("%s is %s: %s", id, j.State, j.DeadReason)
		}
	}
	f.check(slices.Concat(ids, dead))
}

// a job that ended with its parent is retried when the parent was, or without it; a parent that has failed
// still is named.
func TestRetryBelowParent(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	close(f.gate)
	f.ask("parent", "p", `"die"`)
	f.ask("child", "waits", "{}", after("p")...)
	f.ask("child", "waived", "{}", after("p")...)
	f.awaitFinished([]schemas.JobID{"p", "waits", "waived"})
	retry := func(id schemas.JobID, waive bool) error {
		_, err := f.c.Retry(t.Context(), id, gateway.RetryRequest{Reason: "again", WaiveParents: waive})
		return err
	}
	err := retry("waits", false)
	if e := ledger.AsError(err); e == nil || e.Code != ledger.CodeInvalidState || e.Details["parent"] != "p" {
		t.Errorf("retry below a parent that has failed: %v", err)
	}
	if err := retry("waived", true); err != nil {
		t.Error(err)
	}
	f.await("waived", func() bool { return f.state("waived") == schemas.StateCompleted })
	f.mu.Lock()
	seen := f.told[len(f.told)-1].Parents
	f.mu.Unlock()
	if len(seen) != 1 || seen[0].State != schemas.StateDeadLettered || seen[0].Result != nil {
		t.Errorf("the waived job was told of %+v", seen)
	}
	if err := retry("p", false); err != nil {
		t.Error(err)
	}
	f.await("p again", func() bool { return f.jobs["p"].Attempt == 2 && f.state("p") == schemas.StateDeadLettered })
	f.check([]schemas.JobID{"p", "waits", "waived"})
}

// a cancel with cascade reaches all that wait for the job, whatever their edges say, in the name of who
// asked; a retry with cascade gives those another chance that ended with it, parents first, and leaves alone what ended
// for a reason of its own.
func TestCascade(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	f.ask("gated", "top", `"complete"`)
	f.ask("child", "runs", "{}", schemas.ParentRef{ID: "top", OnFailure: schemas.ParentRun})
	f.ask("child", "below", "{}", after("runs", "top")...)
	f.await("top runs", func() bool { return f.state("top") == schemas.StateRunning })
	ada := schemas.Actor{Type: "user", ID: "ada"}
	if _, _, err := f.env.Ledger.Do(t.Context(), acme, "top", &ledger.Cancel{Reason: "called off", Cascade: true}, ledger.Meta{Actor: ada}); err != nil {
		t.Error(err)
	}
	canceled := []schemas.JobID{"top", "runs", "below"}
	f.awaitFinished(canceled)
	for _, id := range canceled {
		if j := f.jobs[id]; j.State != schemas.StateCanceled || j.CancelBy != ada {
			t.Errorf("%s is %s by %s", id, j.State, j.CancelBy)
		}
	}

	close(f.gate)
	f.ask("parent", "root", `"mended"`)
	var ids []schemas.JobID
	for i := range 150 { // more than one request takes
		id := schemas.JobID(fmt.Sprintf("leaf%03d", i))
		parents := after("root")
		if i%3 > 0 {
			parents = after(ids[i-1])
		}
		f.ask("child", id, "{}", parents...)
		ids = append(ids, id)
	}
	f.ask("parent", "other", `"die"`)
	f.ask("child", "others", "{}", after("other")...)
	f.ask("child", "both", "{}", after("root", "other")...)
	all := append([]schemas.JobID{"root", "other", "others", "both"}, ids...)
	f.awaitFinished(all)
	r := gateway.BulkRequest{Action: gateway.ActionRetry, IDs: []schemas.JobID{"root"}, Cascade: true, DryRun: true, Reason: "mended"}
	chosen, err := f.c.Bulk(t.Context(), r)
	if err != nil || len(chosen.IDs) != len(ids)+2 || chosen.IDs[0] != "root" || chosen.Matched != len(chosen.IDs) {
		t.Fatalf("a retry of root reaches %+v: %v", chosen, err)
	}
	r.DryRun = false
	failed := 0
	for chunk := range slices.Chunk(chosen.IDs, gateway.BulkChunk) {
		r.IDs = chunk
		reply, err := f.c.Bulk(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		failed += reply.Failed
	}
	if failed != 1 {
		t.Errorf("%d were refused: both has another parent that has failed still, and nothing else does", failed)
	}
	f.await("all but two completed", func() bool {
		return !slices.ContainsFunc(append(ids, "root"), func(id schemas.JobID) bool { return f.jobs[id].State != schemas.StateCompleted })
	})
	f.check(append(all, canceled...))
	for _, id := range []schemas.JobID{"others", "both"} {
		if j := f.jobs[id]; j.DeadReason != schemas.DeadDependencyFailed || j.Attempt != 0 {
			t.Errorf("%s is %s after %d attempts: %s", id, j.State, j.Attempt, j.DeadReason)
		}
	}
}

// parents end while their children are being submitted, so that some end between the check of the child's
// parents and the append of its submitted: every child moves.
func TestParentEndsDuringSubmit(t *testing.T) {
	t.Parallel()
	f := newFamily(t)
	const families = 200
	ids := make([]schemas.JobID, 0, 2*families)
	for i := range families {
		ids = append(ids, schemas.JobID(fmt.Sprintf("p%03d", i)), schemas.JobID(fmt.Sprintf("k%03d", i)))
	}
	var all sync.WaitGroup
	for first := range submitters {
		all.Go(func() {
			for i := first; i < families; i += submitters {
				args := []string{`"complete"`, `"die"`}[i%2]
				f.ask("parent", ids[2*i], args)
				f.ask("child", ids[2*i+1], "{}", after(ids[2*i])...)
			}
		})
	}
	all.Wait()
	f.awaitFinished(ids)
	f.check(ids)
	between := 0
	for i := range families {
		parent, child := f.jobs[ids[2*i]], f.jobs[ids[2*i+1]]
		want := []schemas.State{schemas.StateCompleted, schemas.StateDeadLettered}[i%2]
		if child.State != want {
			t.Errorf("%s is %s, its parent %s", child.ID, child.State, parent.State)
		}
		if parent.FinishedAt.Before(child.SubmittedAt) {
			between++
		}
	}
	t.Logf("%d of %d parents had ended when their child was stored", between, families)
}
