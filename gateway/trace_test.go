package gateway_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// one job tells the trace that its submit came with, by which its caller's other spans are found; and where to look at it.
func TestTraceOfAJob(t *testing.T) {
	const link = "https://traces.example.com/{trace_id}"
	s := serveHTTP(t, gateway.HTTPConfig{TraceLink: link})
	op := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleOperator}).Secret
	const id = "4bf92f3577b34da6a3ce929d0e0e4736"
	for given, want := range map[string]string{
		"00-" + id + "-00f067aa0ba902b7-01":        id,
		"cc-" + id + "-00f067aa0ba902b7-01-more":   id, // of a later version
		"00-00000000000000000000000000000000-1-01": "",
		"00-x-y-01": "",
		"":          "",
	} {
		made := s.call(op, "POST", "/v1/orgs/acme/jobs", `{"type":"echo","dedup":"off","not_before":"1h"}`, "traceparent", given)
		if made.status != http.StatusCreated {
			t.Fatal(made)
		}
		var r ledger.Record
		if err := json.Unmarshal(s.call(op, "GET", made.header.Get("Location"), "").body, &r); err != nil {
			t.Fatal(err)
		}
		have := ""
		if r.TraceID != nil {
			have = *r.TraceID
		}
		if have != want {
			t.Errorf("%q: trace_id is %q, want %q", given, have, want)
		}
	}
	var me gateway.Me
	if err := json.Unmarshal(s.call(op, "GET", "/v1/me", "").body, &me); err != nil || me.TraceLink == nil || *me.TraceLink != link {
		t.Errorf("/v1/me: %+v, %v", me, err)
	}
}
