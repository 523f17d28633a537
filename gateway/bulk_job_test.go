package gateway_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// A detached bulk is answered with 202 before anything is done, told of under its id, and stopped there; where nothing is to be
// done none is begun, and a slip in what it is asked for chooses no job.
func TestHTTPBulk(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	op := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleOperator, Actor: "user:op"}).Secret
	id := s.submit(ledger.SubmitRequest{Type: "mail"})
	const bulk = "/v1/orgs/acme/bulk"
	asked := `{"action":"cancel","q":"type:mail","reason":"called off","detach":true,"bulk_id":"b-1","min_seq":` + s.end().String() + `}`
	made := s.call(op, "POST", bulk, asked)
	var reply gateway.BulkReply
	if err := json.Unmarshal(made.body, &reply); err != nil || made.status != http.StatusAccepted || !reply.Detached || reply.BulkID != "b-1" || reply.Eligible != 1 {
		t.Fatalf("%s, %v", made, err)
	}
	status := func(method, path string) (b gateway.BulkStatus) {
		t.Helper()
		got := s.call(op, method, path, "")
		if err := json.Unmarshal(got.body, &b); err != nil || got.status != http.StatusOK {
			t.Fatalf("%s %s: %s, %v", method, path, got, err)
		}
		return b
	}
	if b := status("GET", bulk+"/b-1"); b.State != schemas.StateSubmitted || b.Jobs != 1 || b.Left != 1 || b.Action != "cancel" || *b.Actor != "user:op" || *b.Reason != "called off" {
		t.Errorf("at the beginning: %+v", b)
	}
	if b := status("DELETE", bulk+"/b-1?reason=wrong"); b.State != schemas.StateCanceled || b.Done != 0 || b.Left != 1 {
		t.Errorf("stopped: %+v", b)
	}
	if j, err := s.Ledger.Fold(t.Context(), "acme", id); err != nil || j.State != schemas.StateSubmitted {
		t.Errorf("the job is %s, %v", j.State, err)
	}
	if got := s.call(op, "POST", bulk, `{"action":"cancel","q":"type:nothing","reason":"r","detach":true}`); got.status != http.StatusOK {
		t.Errorf("nothing to do: %s", got)
	}
	for _, body := range []string{`{"action":"cancel","q":"type:mail","filter":{"where":"type:fax"},"reason":"r"}`, `{"action":"cancel","q":"typ:mail","reason":"r"}`,
		`{"action":"cancel","q":"type:mail","reason":"r","rate":-1}`, `{"action":"cancel","q":"type:mail","detach":true}`} {
		if got := s.call(op, "POST", bulk, body); got.code() != ledger.CodeInvalidArgument {
			t.Errorf("%s: %s", body, got)
		}
	}
}
