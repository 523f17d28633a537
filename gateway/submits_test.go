package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

func (s *site) submits(secret, items string, headers ...string) (reply gateway.SubmitsReply) {
	s.t.Helper()
	a := s.call(secret, "POST", "/v1/orgs/acme/submits", `{"items":[`+items+`]}`, headers...)
	if err := json.Unmarshal(a.body, &reply); err != nil || a.status != http.StatusOK {
		s.t.Fatalf("%v: %.500s", err, a)
	}
	return reply
}

// outcomes tells each answer in a word.
func outcomes(r gateway.SubmitsReply) string {
	var out []string
	for _, a := range r.Items {
		switch {
		case a.Error != nil && a.Submit != nil:
			out = append(out, "both")
		case a.Error != nil:
			out = append(out, string(a.Error.Code))
		case a.Submit.Duplicate:
			out = append(out, "again")
		default:
			out = append(out, "new")
		}
	}
	return strings.Join(out, " ")
}

// TestSubmits: many submits in one request are judged, stored and answered each for itself, in order; repeated, the request finds
// its jobs.
func TestSubmits(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	op := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleOperator}).Secret
	items := `{"type":"echo","args":{"n":9007199254740993}},{"typ":"echo"},{"type":"echo","args":{"n":9007199254740993}},{"type":"a.b"},7,{"type":"echo","key":"k","priority":"high"}`
	got := s.submits(op, items)
	if o := outcomes(got); o != "new invalid_argument again invalid_argument invalid_argument new" || got.Created != 2 || got.Duplicate != 1 || got.Refused != 3 {
		t.Fatalf("%s %+v", o, got)
	}
	if got.Items[0].Submit.ID != got.Items[2].Submit.ID || got.Items[0].Submit.Seq >= got.Items[5].Submit.Seq {
		t.Errorf("%+v", got)
	}
	if job := s.call(op, "GET", "/v1/orgs/acme/jobs/"+string(got.Items[0].Submit.ID), ""); !strings.Contains(string(job.body), `{"n":9007199254740993}`) {
		t.Errorf("args came back changed: %s", job)
	}
	id, twice := uuid.NewString(), `{"type":"echo","dedup":"off"},{"type":"echo","dedup":"off"}`
	first, again := s.submits(op, twice, "X-Request-Id", id), s.submits(op, twice, "X-Request-Id", id)
	if outcomes(first) != "new new" || first.Items[0].Submit.ID == first.Items[1].Submit.ID ||
		first.Items[0].Submit.ID != again.Items[0].Submit.ID || first.Items[1].Submit.ID != again.Items[1].Submit.ID {
		t.Errorf("a request made again: %+v, then %+v", first, again)
	}
	for _, bad := range []string{`{"items":[]}`, `{}`, `{"items":[` + strings.Repeat(`{"type":"echo"},`, ledger.SubmitManyMax) + `{}]}`} {
		if a := s.call(op, "POST", "/v1/orgs/acme/submits", bad); a.code() != ledger.CodeInvalidArgument {
			t.Errorf("%.40s: %.200s", bad, a)
		}
	}
	if a := s.call(op, "POST", "/v1/orgs/acme/submits", `{"items":[{"type":"echo"}]}`, "Idempotency-Key", "x"); a.code() != ledger.CodeInvalidArgument {
		t.Errorf("one key for many: %s", a)
	}
	shop := s.token("acme", gateway.AddTokenRequest{Role: schemas.RolePublisher, Actor: "service_account:shop"}).Secret
	if got := outcomes(s.submits(shop, `{"type":"echo","dedup":"off"},{"type":"echo","dedup":"off","principal":"user:ada"}`)); got != "invalid_argument new" {
		t.Errorf("a publisher: %s", got)
	}
}

// TestSubmitsOfMember: each item is a call, and a member submits in its own name alone.
func TestSubmitsOfMember(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	ada := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleMember, Actor: "user:ada"}).Secret
	if got := outcomes(s.submits(ada, `{"type":"echo"},{"type":"echo","principal":"user:bob"},{"type":"echo","parents":["none"]}`)); got != "new permission_denied not_found" {
		t.Errorf("%s", got)
	}
	var items []string
	for i := range 150 {
		items = append(items, fmt.Sprintf(`{"type":"echo","args":%d}`, i))
	}
	got := s.submits(ada, strings.Join(items, ","))
	if got.Created < 97 || got.Created > 110 || got.Refused != 150-got.Created || got.Items[149].Error.Code != ledger.CodeRateLimited {
		t.Errorf("150 of a member at once: %d stored, %d refused", got.Created, got.Refused)
	}
}
