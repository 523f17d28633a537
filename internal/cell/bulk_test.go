package cell_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// unserved submits n jobs that nobody works for.
func unserved(t *testing.T, env *ledgertest.Env, n int) []schemas.JobID {
	t.Helper()
	requests := make([]ledger.SubmitRequest, n)
	for i := range requests {
		requests[i] = ledger.SubmitRequest{Org: acme, Type: "lonely", Args: fmt.Appendf(nil, "%d", i), NoDedup: true, RegisterUnknown: true}
	}
	ids := make([]schemas.JobID, 0, n)
	for len(requests) > 0 {
		part := requests[:min(len(requests), ledger.SubmitManyMax)]
		requests = requests[len(part):]
		done, err := env.Ledger.SubmitMany(t.Context(), part)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range done {
			if d.Err != nil {
				t.Fatal(d.Err)
			}
			ids = append(ids, d.Receipt.ID)
		}
	}
	return ids
}

// tail is where the ledger ends.
func (s *system) tail() schemas.Seq {
	s.t.Helper()
	at, err := s.env.Ledger.End(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return at.Seq
}

// causedBy counts, by job, the events that a bulk has caused so far. s.mu is held.
func (s *system) causedBy(bulk schemas.JobID) map[schemas.JobID]int {
	out := make(map[schemas.JobID]int)
	for _, e := range s.entries {
		if e.Err == nil && e.CausationID == string(bulk) {
			out[e.Job]++
		}
	}
	return out
}

// bulkEnd waits until a bulk has ended and returns how.
func (s *system) bulkEnd(c *gateway.Client, id schemas.JobID, want schemas.State) *gateway.BulkStatus {
	s.t.Helper()
	s.awaitFinished([]schemas.JobID{id})
	status, err := c.BulkInfo(s.t.Context(), id)
	if err != nil || status.State != want {
		s.t.Fatalf("bulk %s: %+v, %v", id, status, err)
	}
	return status
}

// A bulk goes on where it was when the server that runs it is killed: nobody asks again, each job is acted upon once, and
// counted once. Events name who asked, and why, and the bulk.
func TestBulkOutlivesItsServer(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	s := newSystem(t, env)
	crash := s.crashable("first")
	const n = 200
	ids := unserved(t, env, n)
	c := env.Client(acme)
	reply, err := c.Bulk(t.Context(), gateway.BulkRequest{Action: gateway.ActionCancel, Q: "type:lonely", Reason: "called off", Rate: 20, MinSeq: s.tail()})
	if err != nil || !reply.Detached || reply.Eligible != n || len(reply.IDs) != 0 {
		t.Fatalf("the bulk: %+v, %v", reply, err)
	}
	bulk := schemas.JobID(reply.BulkID)
	s.await("a part of the jobs", func() bool { return len(s.causedBy(bulk)) >= n/20 })
	crash()
	s.crashable("second")
	got := s.bulkEnd(c, bulk, schemas.StateCompleted)
	if got.Jobs != n || got.Done != n || got.Failed != 0 || got.Skipped != 0 || got.Left != 0 || got.Action != gateway.ActionCancel || *got.Reason != "called off" {
		t.Errorf("it ended as %+v", got)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	caused := s.causedBy(bulk)
	for _, id := range ids {
		j := s.jobs[id]
		if j.State != schemas.StateCanceled || j.CancelReason != "called off" || caused[id] != 1 {
			t.Fatalf("job %s is %s, because of %q, by %d events of the bulk", id, j.State, j.CancelReason, caused[id])
		}
	}
	if j := s.jobs[bulk]; j.Attempt < 2 || j.Spec.ArgsRef != nil {
		t.Errorf("the bulk took %d attempts", j.Attempt)
	}
}

// What a killed handler did behind its last checkpoint is not done a second time, however the jobs stand by now: one that was
// retried and has died again stays as it is.
func TestBulkDoesNothingTwice(t *testing.T) {
	t.Parallel()
	env, _ := ledgertest.Cell(t)
	s := newSystem(t, env)
	ctx := t.Context()
	c := env.Client(acme)
	ids := unserved(t, env, 3)
	kill := func(id schemas.JobID) {
		t.Helper()
		if _, _, err := env.Ledger.Do(ctx, acme, id, &ledger.DeadLetter{Reason: schemas.DeadExpired}, ledger.Meta{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range ids {
		kill(id)
	}
	// The first attempt is played here: it retried the first job, and died.
	bulk := schemas.JobID("again")
	spec := ledger.BulkSpec{Action: gateway.ActionRetry, IDs: ids, Reason: "mended", Matched: 3, Eligible: 3}
	retried := func(id schemas.JobID) {
		t.Helper()
		if _, _, err := env.Ledger.Do(ctx, acme, id, &ledger.Retry{Reason: "mended", Now: time.Now()}, ledger.Meta{CausationID: string(bulk)}); err != nil {
			t.Fatal(err)
		}
	}
	retried(ids[0])
	kill(ids[0])
	hold := func(on bool) {
		t.Helper()
		set := &schemas.HoldSet{Settings: schemas.HoldSettings{Scope: schemas.HoldScope{Queue: ledger.SystemQueue}, On: on}, Reason: "a test"}
		if _, err := env.Ledger.Put(ctx, ledger.Meta{}, set.Place(), func(schemas.Setting) (schemas.Setting, error) { return set, nil }); err != nil {
			t.Fatal(err)
		}
	}
	hold(true)
	if _, err := env.Ledger.SubmitBulk(ctx, acme, bulk, &spec, ledger.Meta{Actor: schemas.Actor{Type: "user", ID: "ada"}}); err != nil {
		t.Fatal(err)
	}
	do := func(cmd ledger.Command) *ledger.Job {
		t.Helper()
		j, _, err := env.Ledger.Do(ctx, acme, bulk, cmd, ledger.Meta{})
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	j := do(&ledger.Queue{Policy: schemas.DefaultPolicy(), Epoch: 1, Now: time.Now()})
	j = do(&ledger.Claim{Generation: 1, Submitted: j.SubmittedSeq, Session: schemas.NewSessionID()})
	do(&ledger.Outcome{Fence: j.Fence, Generation: 1, Attempt: 1, Kind: schemas.EventReleased, Reason: schemas.ReleaseDrain})
	hold(false)
	got := s.bulkEnd(c, bulk, schemas.StateCompleted)
	if got.Done != 3 || got.Failed != 0 {
		t.Errorf("it ended as %+v", got)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.jobs[ids[0]].State != schemas.StateDeadLettered {
		t.Errorf("the job that it had retried before is %s", s.jobs[ids[0]].State)
	}
	for _, id := range ids[1:] {
		if j := s.jobs[id]; j.State == schemas.StateDeadLettered || s.causedBy(bulk)[id] != 1 {
			t.Errorf("job %s is %s", id, j.State)
		}
	}
	for _, e := range s.entries {
		if e.Job == ids[1] && e.CausationID == string(bulk) && e.Actor.String() != "user:ada" {
			t.Errorf("the retry is by %s", e.Actor)
		}
	}
}

// A bulk that is stopped ends between two jobs and keeps what it came to; retried, it does the rest. Single errors stop
// nothing, what no longer matches is left alone, and the set is that of the start.
func TestBulkIsStopped(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t, ledgertest.WithoutProvision())
	permits := make(chan struct{})
	env.RunServer(func(c *cell.Config) {
		c.Bulks = func(b *handlers.BulksConfig) {
			act := b.Act
			b.Act = func(ctx context.Context, o *handlers.BulkOrder) ([]handlers.BulkOutcome, error) {
				select {
				case <-permits:
					return act(ctx, o)
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			}
		}
	})
	s := newSystem(t, env)
	ctx := t.Context()
	c := env.Client(acme)
	const n, gone = 120, 5
	ids := unserved(t, env, n)
	reply, err := c.Bulk(ctx, gateway.BulkRequest{Action: gateway.ActionCancel, Filter: &gateway.Filter{Type: []schemas.TypeName{"lonely"}, State: []schemas.State{schemas.StateSubmitted}},
		Reason: "called off", Detach: true, BulkID: "stopped", MinSeq: s.tail()})
	if err != nil || reply.BulkID != "stopped" || reply.Eligible != n {
		t.Fatalf("the bulk: %+v, %v", reply, err)
	}
	for _, id := range ids[n-gone:] { // by the time it comes to them
		if _, err := c.Cancel(ctx, id, "by hand"); err != nil {
			t.Fatal(err)
		}
	}
	late := unserved(t, env, 1)[0]
	permits <- struct{}{}
	s.await("a part of the jobs", func() bool { return len(s.causedBy("stopped")) > 0 })
	if _, err := c.StopBulk(ctx, "stopped", "wrong filter"); err != nil {
		t.Fatal(err)
	}
	got := s.bulkEnd(c, "stopped", schemas.StateCanceled)
	s.mu.Lock()
	caused := len(s.causedBy("stopped"))
	s.mu.Unlock()
	if got.Done != caused || got.Left != n-got.Done || got.Done >= n-gone || got.Progress == nil || got.Progress.Message == nil {
		t.Errorf("stopped it says %+v, %d events", got, caused)
	}
	if _, err := c.StopBulk(ctx, "stopped", "again"); err != nil {
		t.Errorf("stopped twice: %v", err)
	}
	close(permits)
	if _, err := c.Retry(ctx, "stopped", gateway.RetryRequest{Reason: "the filter was right"}); err != nil {
		t.Fatal(err)
	}
	s.await("the bulk's second end", func() bool { return s.state("stopped") == schemas.StateCompleted })
	got = s.bulkEnd(c, "stopped", schemas.StateCompleted)
	if got.Done != n-gone || got.Skipped != gone || got.Why[gateway.SkippedChanged] != gone || len(got.Errors) != gone || !slices.Contains(ids[n-gone:], got.Errors[0].ID) {
		t.Errorf("it ended as %+v", got)
	}
	j, err := c.Get(ctx, late)
	if err != nil || j.State != schemas.StateSubmitted {
		t.Errorf("a job that came later: %+v, %v", j, err)
	}
	var result ledger.BulkCounts
	job, err := c.Get(ctx, "stopped")
	if err != nil || json.Unmarshal(job.Result, &result) != nil || result.Done != got.Done || job.Tags[ledger.TagBulkAction] != gateway.ActionCancel {
		t.Errorf("its job: %+v, %v", job, err)
	}
	if _, err := c.Resubmit(ctx, "stopped", gateway.ResubmitRequest{Reason: "once more"}); ledger.AsError(err) == nil || ledger.AsError(err).Code != ledger.CodeInvalidArgument {
		t.Errorf("resubmitted: %v", err)
	}
}

// Two bulks on the same jobs: each job is acted upon by one of them. A job that cannot be is refused with its reason, one that
// is not there too; a set of ids has no job twice, and bulks choose no bulks.
func TestBulksOnTheSameJobs(t *testing.T) {
	t.Parallel()
	env, _ := ledgertest.Cell(t)
	s := newSystem(t, env)
	ctx := t.Context()
	c := env.Client(acme)
	const n = 200
	ids := unserved(t, env, n)
	if _, err := c.Cancel(ctx, ids[0], "by hand"); err != nil {
		t.Fatal(err)
	}
	set := append([]schemas.JobID{"missing", ids[1]}, ids...)
	for _, bulk := range []string{"one", "two"} {
		reply, err := c.Bulk(ctx, gateway.BulkRequest{Action: gateway.ActionRetry, IDs: set, Reason: "r", BulkID: bulk})
		if err != nil || !reply.Detached || reply.Matched != n+1 {
			t.Fatalf("%+v, %v", reply, err)
		}
		again, err := c.Bulk(ctx, gateway.BulkRequest{Action: gateway.ActionRetry, IDs: set, Reason: "r", BulkID: bulk}) // no answer came
		if err != nil || !again.Detached {
			t.Fatalf("asked again: %+v, %v", again, err)
		}
	}
	done := 0
	for _, bulk := range []schemas.JobID{"one", "two"} {
		got := s.bulkEnd(c, bulk, schemas.StateCompleted)
		done += got.Done
		if got.Done+got.Failed != n+1 || got.Why["not_found"] != 1 || got.Why["invalid_state"] < n-1 || len(got.Errors) != ledger.BulkErrorsMax ||
			got.Errors[0].ID != "missing" {
			t.Errorf("bulk %s: %+v", bulk, got)
		}
	}
	if done != 1 {
		t.Errorf("the canceled job was retried %d times", done)
	}
	look, err := c.Bulk(ctx, gateway.BulkRequest{Action: gateway.ActionRetry, Q: "type:_bulk", DryRun: true, MinSeq: s.tail()})
	if err != nil || look.Matched != 2 || look.Eligible != 0 {
		t.Errorf("a bulk of bulks: %+v, %v", look, err)
	}
	if _, err := c.BulkInfo(ctx, ids[0]); ledger.AsError(err) == nil || ledger.AsError(err).Code != ledger.CodeNotFound {
		t.Errorf("a job that is no bulk: %v", err)
	}
}

// A bulk of many gives its slot back again and again, at no cost of an attempt, and keeps its ids by reference; more than it
// reaches are refused.
func TestBulkYields(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t, ledgertest.WithoutProvision())
	env.RunServer(func(c *cell.Config) {
		c.Bulks = func(b *handlers.BulksConfig) { b.RunMax = 300 * time.Millisecond }
	})
	s := newSystem(t, env)
	c := env.Client(acme)
	const n, real = 1000, 40
	ids := unserved(t, env, real)
	for i := len(ids); i < n; i++ { // each costs a look
		ids = append(ids, schemas.JobID(fmt.Sprintf("0193f0c2-0000-7000-8000-%012d", i)))
	}
	slices.Reverse(ids)
	tooMany := gateway.BulkRequest{Action: gateway.ActionCancel, IDs: make([]schemas.JobID, gateway.BulkMax+1), Reason: "all"}
	if _, err := c.Bulk(t.Context(), tooMany); ledger.AsError(err) == nil || ledger.AsError(err).Code != ledger.CodeInvalidArgument {
		t.Errorf("too many: %v", err)
	}
	reply, err := c.Bulk(t.Context(), gateway.BulkRequest{Action: gateway.ActionCancel, IDs: ids, Reason: "all"})
	if err != nil || !reply.Detached || reply.Matched != n {
		t.Fatalf("the bulk: %+v, %v", reply, err)
	}
	got := s.bulkEnd(c, schemas.JobID(reply.BulkID), schemas.StateCompleted)
	if got.Done != real || got.Failed != n-real || got.Why["not_found"] != n-real {
		t.Errorf("it ended as %+v", got)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[schemas.JobID(reply.BulkID)]; j.Used != 0 || j.Attempt < 2 || j.Spec.ArgsRef == nil {
		t.Errorf("it took %d attempts of its budget and %d in all; its args are by reference: %v", j.Used, j.Attempt, j.Spec.ArgsRef != nil)
	}
	for id, n := range s.causedBy(schemas.JobID(reply.BulkID)) {
		if n != 1 {
			t.Errorf("job %s has %d events of the bulk", id, n)
		}
	}
}
