package cell_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// An org is deleted while it has jobs in every state, a batch, a schedule and children, and the leader is killed in the
// middle of it: every unfinished job ends, those that run too, what had ended stays as it is, late answers of
// workers are kept and change nothing, and nothing of the org begins again. Another org goes on.
func TestOrgDeleted(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	s := newSystem(t, env)
	crash := map[string]func(){"one": s.crashable("one"), "two": s.crashable("two")}
	c := env.Client(acme)
	gone := make(chan struct{})
	s.worker("stubborn", "stubborn", 1, func(context.Context, *handlers.Attempt) (json.RawMessage, error) {
		<-gone // it does not listen to its context
		return json.RawMessage(`"too late"`), nil
	})
	s.worker("w", "quick", 2, func(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		switch string(a.Args) {
		case `"fail"`:
			return nil, handlers.Transient(errors.New("not yet")) // the next attempt is a minute away
		case `"die"`:
			return nil, handlers.Permanent(errors.New("broken"))
		}
		return nil, rest(ctx, time.Millisecond)
	})
	give := func(id schemas.JobID, typ schemas.TypeName, args string, change ...func(*ledger.SubmitRequest)) {
		r := ledger.SubmitRequest{Org: acme, Type: typ, ID: id, Args: json.RawMessage(args), RegisterUnknown: true}
		for _, f := range change {
			f(&r)
		}
		s.submitOne(r)
	}
	below := func(policy string) func(*ledger.SubmitRequest) {
		return func(r *ledger.SubmitRequest) {
			r.Parents = []schemas.ParentRef{{ID: "runs", Generation: 1, OnFailure: policy}}
		}
	}
	give("runs", "stubborn", `1`)
	s.await("the running job", func() bool { return s.state("runs") == schemas.StateRunning })
	s.loiter("idle", 1)
	give("queued", "idle", `1`)
	give("scheduled", "quick", `1`, func(r *ledger.SubmitRequest) { r.Delay = 24 * time.Hour })
	give("retries", "quick", `"fail"`)
	give("dead", "quick", `"die"`)
	give("done", "quick", `1`)
	give("child-fail", "quick", `2`, below(""))
	give("child-cancel", "quick", `3`, below(schemas.ParentCancel))
	give("child-run", "quick", `4`, below(schemas.ParentRun))
	giveBatch(t, c, "batch", batchSpec("nobody", 40, 10))
	waiting := s.submit("unserved", 250, func(r *ledger.SubmitRequest) { r.NoLimits = true })
	if _, err := c.AddSchedule(t.Context(), gateway.AddSchedule{Schedule: gateway.Schedule{Name: "each", Type: "quick", Cron: "* * * * * *", TZ: "UTC"}}); err != nil {
		t.Fatal(err)
	}
	s.awaitTicks("each", 1)
	s.await("every state", func() bool {
		return s.state("queued") == schemas.StateQueued && s.state("retries") == schemas.StateRetrying && s.state("dead") == schemas.StateDeadLettered &&
			s.state("done") == schemas.StateCompleted && s.state("batch") == schemas.StateRunning
	})
	found, err := c.RemoveOrg(t.Context(), acme, gateway.RemoveOrgRequest{DryRun: true, MinSeq: s.end()})
	if err != nil || found.State != schemas.OrgActive || found.Unfinished < int64(len(waiting)) || found.Running < 2 || found.Schedules != 1 {
		t.Fatalf("before: %+v %v", found, err)
	}
	removed, err := c.RemoveOrg(t.Context(), acme, gateway.RemoveOrgRequest{Reason: "contract ended"})
	if err != nil || removed.State != schemas.OrgDeleted || *removed.Reason != "contract ended" {
		t.Fatalf("removed: %+v %v", removed, err)
	}
	s.await("the first ends", func() bool { return s.dissolved() > 20 })
	s.mu.Lock()
	leader, _ := s.leader()
	s.mu.Unlock()
	crash[leader]()
	s.await("the end of all", func() bool {
		for _, j := range s.jobs {
			if j.Org == acme && !j.State.Finished() {
				return false
			}
		}
		return true
	})
	s.logEnds(*removed.Seq)
	close(gone)
	s.await("the late result", func() bool { return len(s.jobs["runs"].Late) == 1 })
	s.checkDeleted(*removed.Seq)
	s.refusedOf(c)
	s.submitOne(ledger.SubmitRequest{Org: "globex", Type: "quick", ID: "other", RegisterUnknown: true})
	s.awaitFinished([]schemas.JobID{"other"})
	s.awaitOffers(0)
	after, err := c.RemoveOrg(t.Context(), acme, gateway.RemoveOrgRequest{Reason: "again", MinSeq: s.end()})
	if err != nil || after.Unfinished != 0 || *after.Seq != *removed.Seq || *after.Reason != "contract ended" {
		t.Errorf("deleted again: %+v %v", after, err)
	}
}

// end is the last sequence of the ledger.
func (s *system) end() schemas.Seq {
	s.t.Helper()
	end, err := s.env.Ledger.End(s.env.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	return end.Seq
}

// dissolved counts jobs that were ended because of their org; mu is held.
func (s *system) dissolved() (n int) {
	for _, j := range s.jobs {
		if j.DeadReason == schemas.DeadOrgDeleted {
			n++
		}
	}
	return n
}

// checkDeleted judges how the jobs of the deleted org ended, by the ledger alone. since is the deletion.
func (s *system) checkDeleted(since schemas.Seq) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, want := range map[schemas.JobID]string{
		"runs": "dead_lettered org_deleted", "queued": "dead_lettered org_deleted", "scheduled": "dead_lettered org_deleted",
		"retries": "dead_lettered org_deleted", "batch": "dead_lettered org_deleted", "unserved-00249": "dead_lettered org_deleted",
		"dead": "dead_lettered permanent_error", "done": "completed ", "child-fail": "dead_lettered dependency_failed", "child-cancel": "canceled ",
		"child-run": "dead_lettered org_deleted",
	} {
		j := s.jobs[id]
		if got := fmt.Sprint(j.State, " ", j.DeadReason); got != want {
			s.t.Errorf("%s ended as %s, want %s", id, got, want)
		}
		if j.DeadReason == schemas.DeadOrgDeleted && (j.Error == nil || j.Error.Message != "Organization not found") {
			s.t.Errorf("%s: error %+v", id, j.Error)
		}
	}
	var deletion schemas.EventID
	for _, e := range s.entries {
		d, dead := e.Data.(*schemas.DeadLettered)
		switch {
		case e.Seq == since:
			deletion = e.ID
		case e.Seq < since || e.Org != acme:
		case dead && d.Reason == schemas.DeadOrgDeleted && e.CausationID != string(deletion):
			s.t.Errorf("%s: its end names %s as its cause, want the deletion", e.Job, e.CausationID)
		case e.Name() == schemas.EventSubmitted && e.Time.Sub(s.entries[since-1].Time) > 2*time.Second:
			s.t.Errorf("%s was submitted %s behind the deletion", e.Job, e.Time.Sub(s.entries[since-1].Time))
		}
	}
}

// refusedOf tries what a deleted org may not have.
func (s *system) refusedOf(c *gateway.Client) {
	s.t.Helper()
	ctx := s.env.Context()
	_, submit := c.Submit(ctx, ledger.SubmitRequest{Type: "quick"})
	_, retry := c.Retry(ctx, "runs", gateway.RetryRequest{Reason: "again"})
	_, bulk := c.Bulk(ctx, gateway.BulkRequest{Action: gateway.ActionRetry, IDs: []schemas.JobID{"queued", "dead"}, Reason: "again"})
	_, resubmit := c.Resubmit(ctx, "done", gateway.ResubmitRequest{Reason: "elsewhere"})
	_, add := c.SetOrg(ctx, acme, gateway.SetRequest{New: true, Reason: "new tenant"})
	_, resume := c.SetOrg(ctx, acme, gateway.SetRequest{Set: json.RawMessage(`{"state":"active"}`), Reason: "paid"})
	_, schedule := c.AddSchedule(ctx, gateway.AddSchedule{Schedule: gateway.Schedule{Name: "other", Type: "quick", Cron: "* * * * * *", TZ: "UTC"}})
	_, trigger := c.TriggerSchedule(ctx, "each", "now")
	for what, err := range map[string]error{"submit": submit, "retry": retry, "bulk retry": bulk, "resubmit": resubmit, "org add": add,
		"org resume": resume, "schedule add": schedule, "schedule trigger": trigger} {
		if e := ledger.AsError(err); e == nil || e.Code != ledger.CodeOrgNotFound {
			s.t.Errorf("%s: %v, want org_not_found", what, err)
		}
	}
	if _, err := c.Resolve(ctx, "runs", gateway.ResolveRequest{Note: "closed with its org"}); err != nil {
		s.t.Errorf("its dead letters can be closed: %v", err)
	}
	if x, err := c.Explain(ctx, "queued"); err != nil || x.Next != "nothing: its org was deleted" {
		s.t.Errorf("explain: %+v %v", x, err)
	}
}

// logEnds tells how fast the org was dissolved.
func (s *system) logEnds(since schemas.Seq) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var epoch, last time.Duration
	start := s.entries[since-1].Time
	for _, e := range s.entries[since:] {
		switch d := e.Data.(type) {
		case *schemas.LeaderElected:
			epoch = e.Time.Sub(start)
		case *schemas.DeadLettered:
			if d.Reason == schemas.DeadOrgDeleted {
				last = e.Time.Sub(start)
			}
		}
	}
	s.t.Logf("%d jobs were dead-lettered within %s, another leader began after %s", s.dissolved(), last, epoch)
}
