package handlers_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// R-20 at the claim: a job whose principal lost the right is dead-lettered in place of being started, whatever happens to
// the append; one whose right is not known is neither started nor ended, and asked about again when its offer comes again.
func TestRightAtTheClaim(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	var started, unknown atomic.Int64
	unknown.Store(1)
	cfg := serves("guarded", handlers.HandlerFunc(func(context.Context, *handlers.Attempt) (json.RawMessage, error) {
		started.Add(1)
		return nil, nil
	}))
	cfg.Right = func(_ context.Context, j *ledger.Job) (bool, error) {
		if j.Principal() != "user:ada" {
			t.Errorf("asked about %s", j.Principal())
		}
		if string(j.Spec.Args) == `"unknown"` && unknown.Add(-1) >= 0 {
			return true, errors.New("the directory is away")
		}
		return string(j.Spec.Args) != `"denied"`, nil
	}
	_, reports, _ := ld.worker(cfg)
	dead := func(id schemas.JobID) func(*ledger.Job) bool {
		return func(j *ledger.Job) bool { return j.ID == id && j.State == schemas.StateDeadLettered }
	}
	for name, kind := range map[schemas.JobID]ledgertest.Kind{"refused": ledgertest.Refuse, "request-lost": ledgertest.LoseRequest, "reply-lost": ledgertest.LoseReply} {
		env.Faults.Inject(ledgertest.Fault{Event: schemas.EventDeadLettered, Kind: kind, Times: 2})
		ld.give(spec{id: name, typ: "guarded", args: `"denied"`})
		j := ld.until(name, dead(name))
		if j.DeadReason != schemas.DeadPermanentError || j.Error == nil || j.Error.Code != string(ledger.CodePermissionDenied) || j.Error.Message != "Permission denied" {
			t.Errorf("%s: %s %+v", name, j.DeadReason, j.Error)
		}
		if got := names(t, env, name); !slices.Equal(got, []schemas.EventName{schemas.EventSubmitted, schemas.EventQueued, schemas.EventDeadLettered}) {
			t.Errorf("%s: its events are %v", name, got)
		}
	}
	if started.Load() != 0 {
		t.Errorf("%d handlers were started without the right", started.Load())
	}
	ld.give(spec{id: "unknown", typ: "guarded", args: `"unknown"`})
	if r := next(t, reports); r.ID != "unknown" || r.Outcome != schemas.EventCompleted || unknown.Load() >= 0 {
		t.Errorf("%+v after it was not known", r)
	}
}

// until polls a job until it is as wanted.
func (ld *leader) until(id schemas.JobID, is func(*ledger.Job) bool) *ledger.Job {
	ld.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		if j := ld.fold(id); is(j) {
			return j
		}
		if ctx.Err() != nil {
			ld.t.Fatalf("job %s is not as it should be", id)
		}
	}
}

// R-20 at the claim: a worker asks nobody but the ledger's own credentials whether a job's principal may run it still. One who
// was revoked starts nothing more, though the job is queued and offered.
func TestRevokedTokenAtTheClaim(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	ld.give(spec{id: "revoked", typ: "guarded"})
	set := &schemas.TokenSet{Reason: "test", Settings: schemas.TokenSettings{ID: "t", Org: org, Title: "test", Role: schemas.RoleMember, Actor: schemas.Actor{Type: "user", ID: "ada"},
		Hash: strings.Repeat("ab", schemas.TokenHashBytes), Revoked: true}}
	if _, err := env.Ledger.Put(t.Context(), ledger.Meta{}, set.Place(), func(schemas.Setting) (schemas.Setting, error) { return set, nil }); err != nil {
		t.Fatal(err)
	}
	var started atomic.Int64
	_, _, _ = ld.worker(serves("guarded", handlers.HandlerFunc(func(context.Context, *handlers.Attempt) (json.RawMessage, error) {
		started.Add(1)
		return nil, nil
	})))
	j := ld.until("revoked", func(j *ledger.Job) bool { return j.State.Finished() })
	if j.State != schemas.StateDeadLettered || j.DeadReason != schemas.DeadPermanentError || j.Error.Code != string(ledger.CodePermissionDenied) || started.Load() != 0 {
		t.Errorf("%s %s %+v, %d starts", j.State, j.DeadReason, j.Error, started.Load())
	}
}
