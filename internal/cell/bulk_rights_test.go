package cell_test

import (
	"testing"
	"time"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// Who has no answer asks again by the same filter and id, and hears of the bulk that he began, whatever matches by now; the id of
// a bulk that does something else is refused.
func TestBulkAskedAgain(t *testing.T) {
	t.Parallel()
	env, _ := ledgertest.Cell(t)
	s := newSystem(t, env)
	ctx, c := t.Context(), env.Client(acme)
	const n = 3
	unserved(t, env, n)
	ask := gateway.BulkRequest{Action: gateway.ActionCancel, Q: "type:lonely", Reason: "called off", Detach: true, BulkID: "mine"}
	for _, when := range []string{"first", "after its end", "when others match"} {
		ask.MinSeq = s.tail()
		reply, err := c.Bulk(ctx, ask)
		if err != nil || !reply.Detached || reply.BulkID != "mine" || reply.Matched != n || reply.Eligible != n || reply.Left != 0 {
			t.Fatalf("%s: %+v, %v", when, reply, err)
		}
		if got := s.bulkEnd(c, "mine", schemas.StateCompleted); got.Done != n {
			t.Errorf("%s: %+v", when, got)
		}
		if when == "after its end" {
			unserved(t, env, 1)
		}
	}
	ask.Q = "type:lonely state:submitted"
	if _, err := c.Bulk(ctx, ask); ledger.AsError(err) == nil || ledger.AsError(err).Code != ledger.CodeIDConflict {
		t.Errorf("another filter under its id: %v", err)
	}
}

// A bulk ends within seconds once who asked for it may ask for none any more, also where he may submit still.
func TestBulkOfWhoLostTheRight(t *testing.T) {
	t.Parallel()
	env, _ := ledgertest.Cell(t)
	s := newSystem(t, env)
	ctx, c := t.Context(), env.Client(acme)
	ids := unserved(t, env, 2*gateway.BulkChunk)
	token := func(role schemas.Role) string {
		t.Helper()
		made, err := c.AddToken(ctx, acme, gateway.AddTokenRequest{Title: "test", Role: role, Actor: "user:ada", Reason: "test"})
		if err != nil {
			t.Fatal(err)
		}
		return made.ID
	}
	operator := token(schemas.RoleOperator)
	token(schemas.RoleMember)
	spec := ledger.BulkSpec{Action: gateway.ActionCancel, IDs: ids, Reason: "called off", Rate: 1, Matched: len(ids), Eligible: len(ids)}
	if _, err := env.Ledger.SubmitBulk(ctx, acme, "hers", &spec, ledger.Meta{Actor: schemas.Actor{Type: "user", ID: "ada"}}); err != nil {
		t.Fatal(err)
	}
	s.await("a part of the jobs", func() bool { return len(s.causedBy("hers")) > 0 })
	if _, err := c.RevokeToken(ctx, operator, "test"); err != nil {
		t.Fatal(err)
	}
	got := s.bulkEnd(c, "hers", schemas.StateDeadLettered)
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs["hers"]; j.Error.Code != string(ledger.CodePermissionDenied) || got.Done != len(s.causedBy("hers")) || got.Left != len(ids)-got.Done || got.Left == 0 {
		t.Errorf("it ended with %+v as %+v, and did %d", j.Error, got, len(s.causedBy("hers")))
	}
}

// Slow bulks of one org take all slots of the servers, and give them back soon: another org's does not wait for their ends.
func TestBulksTakeTurns(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t, ledgertest.WithoutProvision())
	env.RunServer(func(c *cell.Config) {
		c.Bulks = func(b *handlers.BulksConfig) { b.CrowdedMax = time.Second }
	})
	s := newSystem(t, env)
	ctx, noisy, calm := t.Context(), env.Client(acme), env.Client("calm")
	running := func() (n int) {
		for _, j := range s.jobs {
			if j.State == schemas.StateRunning {
				n++
			}
		}
		return n
	}
	ids := make([]schemas.JobID, 1000)
	for i := range ids {
		ids[i] = schemas.NewJobID()
	}
	for range handlers.BulkSlots + 8 {
		if _, err := noisy.Bulk(ctx, gateway.BulkRequest{Action: gateway.ActionRetry, IDs: ids, Reason: "r", Rate: 1}); err != nil {
			t.Fatal(err)
		}
	}
	s.await("all slots taken", func() bool { return running() == handlers.BulkSlots })
	reply, err := calm.Bulk(ctx, gateway.BulkRequest{Action: gateway.ActionRetry, IDs: ids[:1], Reason: "r", Detach: true})
	if err != nil {
		t.Fatal(err)
	}
	s.bulkEnd(calm, schemas.JobID(reply.BulkID), schemas.StateCompleted)
}
