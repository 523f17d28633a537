package gateway_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// An org whose places are taken waits, what waits of it is bounded, and who is refused hears that nothing was done and when to come
// again; another org does not notice, over NATS and HTTP.
func TestFloodOfOneOrg(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	w, calm := s.world, s.token("calm", gateway.AddTokenRequest{Role: schemas.RoleOperator}).Secret
	noisy := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleOperator}).Secret
	free := w.g.Occupy("acme")
	replies := make(chan *nats.Msg, gateway.CallerWaits+1)
	inbox := w.client.Conn.NewInbox()
	if _, err := w.client.Conn.ChanSubscribe(inbox, replies); err != nil {
		t.Fatal(err)
	}
	for range gateway.CallerWaits + 1 {
		if err := w.client.Conn.PublishRequest("jobledger.acme.get.none", inbox, nil); err != nil {
			t.Fatal(err)
		}
	}
	next := func() (code ledger.Code, details map[string]any) {
		t.Helper()
		select {
		case m := <-replies:
			var e struct {
				Error struct {
					Code    ledger.Code
					Details map[string]any
				}
			}
			if err := json.Unmarshal(m.Data, &e); err != nil {
				t.Fatal(err)
			}
			return e.Error.Code, e.Error.Details
		case <-time.After(time.Minute):
			t.Fatal("no answer")
			return "", nil
		}
	}
	if code, details := next(); code != ledger.CodeRateLimited || details["retry_after_s"] != 1.0 {
		t.Errorf("the one too many was answered %s %v", code, details)
	}
	other := &gateway.Client{Conn: w.Connect(), Org: "calm", Timeout: time.Minute}
	made, err := other.Submit(t.Context(), ledger.SubmitRequest{Type: "echo", Delay: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.call(calm, "GET", "/v1/orgs/calm/jobs/"+string(made.ID), ""); got.status != http.StatusOK {
		t.Error(got)
	}
	// Who has no right in an org does not wait in its line, and his own is not the longer for it.
	if got := s.call(calm, "GET", "/v1/orgs/acme/jobs/none", ""); got.code() != ledger.CodeNotFound {
		t.Error(got)
	}
	// Another caller of the org is refused only once the org has its share of waiting ones.
	answered := make(chan *answer, 1)
	go func() { answered <- s.call(noisy, "GET", "/v1/orgs/acme/jobs/none", "") }()
	free()
	for range gateway.CallerWaits {
		if code, _ := next(); code != ledger.CodeNotFound {
			t.Fatalf("what waited was answered %s", code)
		}
	}
	if got := <-answered; got.code() != ledger.CodeNotFound {
		t.Error(got)
	}
}
