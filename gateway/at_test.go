package gateway_test

import (
	"encoding/json"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// a job is shown as it stood at a sequence or a time, to who may see it.
func TestGetAt(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	ada := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleMember, Actor: "user:ada"}).Secret
	bob := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleMember, Actor: "user:bob"}).Secret
	made := s.call(ada, "POST", "/v1/orgs/acme/jobs", `{"type":"echo","id":"one"}`)
	var receipt gateway.SubmitReply
	if err := json.Unmarshal(made.body, &receipt); err != nil || made.status != 201 {
		t.Fatal(made)
	}
	running := s.start("one")
	s.finish(running, `{"n":1}`)
	state := func(who, at string) string {
		t.Helper()
		got := s.call(who, "GET", "/v1/orgs/acme/jobs/one?at="+url.QueryEscape(at), "")
		if got.status != 200 {
			return string(got.code())
		}
		var r ledger.Record
		if err := json.Unmarshal(got.body, &r); err != nil {
			t.Fatal(got)
		}
		return string(r.State) + " " + strconv.Itoa(len(r.Attempts))
	}
	for at, want := range map[string]string{
		strconv.Itoa(int(receipt.Seq)):                       "submitted 0",
		strconv.Itoa(int(running.LastSeq)):                   "running 1",
		s.end().String():                                     "completed 1",
		time.Now().Add(time.Hour).UTC().Format(time.RFC3339): "completed 1",
		time.Now().Add(-time.Hour).Format(time.RFC3339):      string(ledger.CodeNotFound),
		strconv.Itoa(int(receipt.Seq - 1)):                   string(ledger.CodeNotFound),
		"0":                                                  string(ledger.CodeInvalidArgument), "soon": string(ledger.CodeInvalidArgument), "-1": string(ledger.CodeInvalidArgument),
	} {
		if have := state(ada, at); have != want {
			t.Errorf("at %s it is %q, want %q", at, have, want)
		}
	}
	if have := state(bob, s.end().String()); have != string(ledger.CodeNotFound) {
		t.Errorf("for bob it is %q", have)
	}
	if got := s.call(ada, "GET", "/v1/orgs/acme/jobs/one?at=3&wait=1s", ""); got.code() != ledger.CodeInvalidArgument {
		t.Errorf("at and wait: %s", got)
	}
}
