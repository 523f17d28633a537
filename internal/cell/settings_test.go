package cell_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// what an operator sets acts within a second, explain names each hold with its author, and what was
// held starts again when it is lifted.
func TestSettingsActAndExplain(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	env.RunServer(func(c *cell.Config) { c.Actor = schemas.Actor{Type: "user", ID: "ada"} })
	s := newSystem(t, env)
	s.worker("w-1", "mail", 4, lasting(time.Millisecond))
	c := env.Client(acme)
	for _, step := range []struct {
		name     string
		lay      func() error
		lift     func() error
		hold     ledger.BlockerKind
		reason   string
		resource string
	}{
		{name: "a paused type", hold: ledger.BlockHold, reason: "paused",
			lay:  func() error { return holdType(t, c, true) },
			lift: func() error { return holdType(t, c, false) }},
		{name: "a suspended org", hold: ledger.BlockSuspended, reason: "paused",
			lay:  func() error { return setOrg(t, c, `{"state":"suspended"}`) },
			lift: func() error { return setOrg(t, c, `{"state":"active"}`) }},
		{name: "a start rate", hold: ledger.BlockRate, reason: "limited",
			lay:  func() error { return setOrg(t, c, `{"start_rate":{"count":1,"per_ms":3600000}}`) },
			lift: func() error { return setOrg(t, c, `{"start_rate":null}`) }},
	} {
		if err := step.lay(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if step.hold == ledger.BlockRate { // the one start of the hour
			s.mailed(s.mail("first-" + schemas.JobID(step.hold)))
		}
		id := s.mail("held-" + schemas.JobID(step.hold))
		x := awaitHold(t, c, id, step.hold)
		i := slices.IndexFunc(x.Holds, func(h gateway.ExplainHold) bool { return h.Hold == string(step.hold) })
		if h := x.Holds[i]; h.Actor == nil || h.Reason == nil || *h.Reason != "a test" || h.Fix == nil || x.Reason == nil || *x.Reason != step.reason {
			t.Errorf("%s: reason %v, hold %+v", step.name, x.Reason, h)
		}
		if x.State != schemas.StateSubmitted {
			t.Errorf("%s: the job is %s", step.name, x.State)
		}
		if err := step.lift(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		s.mailed(id)
	}
}

// mail submits a job under an id.
func (s *system) mail(id schemas.JobID) schemas.JobID {
	s.t.Helper()
	s.submitOne(ledger.SubmitRequest{Org: acme, Type: "mail", ID: id, RegisterUnknown: true})
	return id
}

func holdType(t *testing.T, c *gateway.Client, on bool) error {
	_, err := c.SetHold(t.Context(), gateway.HoldRequest{Scope: schemas.HoldScope{Type: "mail"}, On: on, Reason: "a test"})
	return err
}

func setOrg(t *testing.T, c *gateway.Client, set string) error {
	_, err := c.SetOrg(t.Context(), acme, gateway.SetRequest{Set: json.RawMessage(set), Reason: "a test"})
	return err
}

// awaitHold asks until the leader names the hold: it has folded the job then.
func awaitHold(t *testing.T, c *gateway.Client, id schemas.JobID, hold ledger.BlockerKind) *gateway.Explanation {
	t.Helper()
	for limit := time.Now().Add(patience); ; {
		x, err := c.Explain(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(x.Holds, func(h gateway.ExplainHold) bool { return h.Hold == string(hold) }) {
			return x
		}
		if time.Now().After(limit) {
			t.Fatalf("explain does not name %s: %+v", hold, x)
		}
		_ = rest(t.Context(), 20*time.Millisecond)
	}
}

// mailed waits until a job has completed.
func (s *system) mailed(id schemas.JobID) {
	s.t.Helper()
	s.awaitFinished([]schemas.JobID{id})
	s.mu.Lock()
	defer s.mu.Unlock()
	if state := s.state(id); state != schemas.StateCompleted {
		s.t.Errorf("job %s is %s", id, state)
	}
}
