package cell_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// R-20 at every queueing: the leader asks for the principal stored at submit, before the first attempt and before each
// retry. Who lost the right is dead-lettered; as long as nobody knows, the job waits, says why, and ends by its deadline
// if it has one.
func TestRightAtQueueing(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	var left, away atomic.Bool
	env.RunServer(func(c *cell.Config) {
		c.Right = func(_ context.Context, j *ledger.Job) (bool, error) {
			switch j.Principal() {
			case "user:mallory":
				return false, nil
			case "user:leaves":
				return !left.Load(), nil
			}
			if away.Load() {
				return true, errors.New("the directory is away")
			}
			return true, nil
		}
	})
	s := newSystem(t, env)
	if _, err := env.Ledger.PutType(t.Context(), schemas.TypeSettings{Name: "mail", Backoff: schemas.Backoff{BaseMS: 1000, Factor: 1}}, ledger.Meta{}, ""); err != nil {
		t.Fatal(err)
	}
	c := env.Client(acme)
	s.worker("w", "mail", 4, func(_ context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		if a.SubmittedBy == "user:leaves" {
			left.Store(true)
			return nil, handlers.Transient(errors.New("not yet"))
		}
		return nil, nil
	})
	give := func(id schemas.JobID, principal string, deadline time.Duration) {
		s.submitOne(ledger.SubmitRequest{Org: acme, Type: "mail", ID: id, Principal: principal, DeadlineIn: deadline, RegisterUnknown: true})
	}
	give("never", "user:mallory", 0)
	give("once", "user:leaves", 0)
	s.awaitFinished([]schemas.JobID{"never", "once"})
	away.Store(true)
	give("waits", "user:ada", 0)
	if x := awaitHold(t, c, "waits", ledger.BlockRight); x.Reason == nil || *x.Reason != ledger.ReasonPaused || x.State != schemas.StateSubmitted {
		t.Errorf("why it waits: %+v", x)
	}
	give("expires", "user:ada", time.Second)
	s.awaitFinished([]schemas.JobID{"expires"})
	away.Store(false)
	s.awaitFinished([]schemas.JobID{"waits"})
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, attempts := range map[schemas.JobID]int{"never": 0, "once": 1} {
		j := s.jobs[id]
		if j.State != schemas.StateDeadLettered || j.DeadReason != schemas.DeadPermanentError || j.Error.Code != string(ledger.CodePermissionDenied) || j.Attempt != attempts {
			t.Errorf("%s is %s %s after %d attempts: %+v", id, j.State, j.DeadReason, j.Attempt, j.Error)
		}
	}
	if s.jobs["expires"].DeadReason != schemas.DeadExpired || s.jobs["waits"].State != schemas.StateCompleted {
		t.Errorf("expires: %s, waits: %s", s.jobs["expires"].DeadReason, s.jobs["waits"].State)
	}
}

// nobody has to say who may run what. The job of a principal whose token was revoked is dead-lettered at the next
// queueing, also between two attempts; those of others go on, and those of who was given another token.
func TestRightOfRevokedToken(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	env.RunServer()
	s := newSystem(t, env)
	// The wait is longer than what a leader knows of tokens may be old.
	if _, err := env.Ledger.PutType(t.Context(), schemas.TypeSettings{Name: "mail", Backoff: schemas.Backoff{BaseMS: 3000, Factor: 1}}, ledger.Meta{}, ""); err != nil {
		t.Fatal(err)
	}
	c := env.Client(acme)
	token := func(who string) string {
		made, err := c.AddToken(t.Context(), acme, gateway.AddTokenRequest{Title: "test", Role: schemas.RoleMember, Actor: who, Reason: "test"})
		if err != nil {
			t.Fatal(err)
		}
		return made.ID
	}
	tokens := map[string]string{"user:leaves": token("user:leaves"), "user:renews": token("user:renews")}
	token("user:stays")
	s.worker("w", "mail", 4, func(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		if a.Number > 1 {
			return nil, nil
		}
		if id := tokens[a.SubmittedBy]; id != "" {
			if _, err := c.RevokeToken(ctx, id, "test"); err != nil {
				return nil, err
			}
		}
		return nil, handlers.Transient(errors.New("not yet"))
	})
	token("user:renews")
	var ids []schemas.JobID
	for _, who := range []string{"leaves", "renews", "stays", "unknown"} {
		ids = append(ids, schemas.JobID(who))
		s.submitOne(ledger.SubmitRequest{Org: acme, Type: "mail", ID: schemas.JobID(who), Principal: "user:" + who, RegisterUnknown: true})
	}
	s.awaitFinished(ids)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		j := s.jobs[id]
		if id == "leaves" {
			if j.State != schemas.StateDeadLettered || j.DeadReason != schemas.DeadPermanentError || j.Error.Code != string(ledger.CodePermissionDenied) ||
				j.Error.Message != "Permission denied" || j.Attempt != 1 {
				t.Errorf("%s is %s %s after %d attempts: %+v", id, j.State, j.DeadReason, j.Attempt, j.Error)
			}
		} else if j.State != schemas.StateCompleted || j.Attempt != 2 {
			t.Errorf("%s is %s after %d attempts: %+v", id, j.State, j.Attempt, j.Error)
		}
	}
}
