package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/gateway/rights"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// site is a world with the API over HTTP.
type site struct {
	*world
	url string
}

func serveHTTP(t testing.TB, cfg gateway.HTTPConfig) *site {
	t.Helper()
	w := start(t)
	server := httptest.NewServer(w.g.HTTP(cfg))
	t.Cleanup(server.Close)
	return &site{world: w, url: server.URL}
}

// token makes one and returns its secret.
func (s *site) token(org schemas.OrgID, r gateway.AddTokenRequest) *gateway.NewToken {
	s.t.Helper()
	r.Title, r.Reason = string(r.Role), "a test"
	made, err := s.client.AddToken(s.t.Context(), org, r)
	if err != nil {
		s.t.Fatal(err)
	}
	return made
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a *answer) code() ledger.Code {
	var env struct{ Error struct{ Code ledger.Code } }
	_ = json.Unmarshal(a.body, &env)
	return env.Error.Code
}

func (a *answer) String() string { return fmt.Sprintf("%d %s", a.status, a.body) }

// call makes a request; headers are pairs.
func (s *site) call(secret, method, path, body string, headers ...string) *answer {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if secret != "" {
		r.Header.Set("Authorization", "Bearer "+secret)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
			continue
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	reply, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer reply.Body.Close()
	b, err := io.ReadAll(reply.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return &answer{reply.StatusCode, reply.Header, b}
}

// TestHTTPSubmit walks one job through the API: submitted, found again by its key, read, canceled, waited for.
func TestHTTPSubmit(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	op := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleOperator, Actor: "user:ada"}).Secret

	body := `{"type":"echo","args":{"n": 9007199254740993},"tags":{"k":"v"},"priority":"high","not_before":"1h"}`
	first := s.call(op, "POST", "/v1/orgs/acme/jobs", body, "Idempotency-Key", "order-1", "X-Request-Id", "my-request")
	var made gateway.SubmitReply
	if err := json.Unmarshal(first.body, &made); err != nil || first.status != http.StatusCreated || made.Duplicate {
		t.Fatalf("submit: %s", first)
	}
	job := first.header.Get("Location")
	if job != "/v1/orgs/acme/jobs/"+string(made.ID) || first.header.Get("X-Request-Id") != "my-request" {
		t.Errorf("headers %v", first.header)
	}
	if again := s.call(op, "POST", "/v1/orgs/acme/jobs", body, "Idempotency-Key", "order-1"); again.status != http.StatusOK || again.header.Get("Location") != job {
		t.Errorf("the same key again: %s", again)
	}
	got := s.call(op, "GET", job, "")
	var record ledger.Record
	if err := json.Unmarshal(got.body, &record); err != nil || record.State != schemas.StateSubmitted || *record.SubmittedBy != "user:ada" || record.Tags["k"] != "v" {
		t.Errorf("get: %s", got)
	}
	if !strings.Contains(string(got.body), `{"n": 9007199254740993}`) {
		t.Errorf("args came back changed: %s", got)
	}
	if waited := s.call(op, "GET", job+"?wait=20ms", ""); waited.status != http.StatusAccepted {
		t.Errorf("a wait whose time is up: %s", waited)
	}
	if stale := s.call(op, "POST", job+"/cancel", `{"reason":"x"}`, "If-Match", `"1"`); stale.code() != ledger.CodeVersionConflict {
		t.Errorf("a cancel of a job that moved: %s", stale)
	}
	if done := s.call(op, "POST", job+"/cancel", `{"reason":"no longer wanted"}`, "If-Match", fmt.Sprintf("%q", made.Seq.String())); done.status != http.StatusOK {
		t.Errorf("cancel: %s", done)
	}
	if waited := s.call(op, "GET", job+"?wait=30s", ""); waited.status != http.StatusOK || !strings.Contains(string(waited.body), `"canceled"`) {
		t.Errorf("a wait for what has ended: %s", waited)
	}
	if events := s.call(op, "GET", job+"/history", ""); events.status != http.StatusOK || strings.Count(string(events.body), `"actor":"user:ada"`) != 2 {
		t.Errorf("history: %s", events)
	}
	list := s.call(op, "GET", "/v1/orgs/acme/jobs?state=canceled&q=tag.k:v&min_seq="+s.end().String(), "")
	var page gateway.List
	if err := json.Unmarshal(list.body, &page); err != nil || len(page.Items) != 1 || page.Items[0].ID != made.ID {
		t.Errorf("list: %s", list)
	}
	if n := s.call(op, "GET", "/v1/orgs/acme/counts?state=canceled", ""); !strings.Contains(string(n.body), `"total":1`) {
		t.Errorf("counts: %s", n)
	}
}

// TestHTTPMistakes: what is wrong is refused with its code and its field, and nothing is stored.
func TestHTTPMistakes(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	op := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleOperator}).Secret
	before := s.end()
	for _, c := range []struct {
		method, path, body string
		want               ledger.Code
	}{
		{"POST", "/v1/orgs/acme/jobs", `{"type":"echo","arguments":{}}`, ledger.CodeInvalidArgument},
		{"POST", "/v1/orgs/acme/jobs", `{"type":"echo"} {}`, ledger.CodeInvalidArgument},
		{"POST", "/v1/orgs/acme/jobs", `{"args":{}}`, ledger.CodeInvalidArgument},
		{"POST", "/v1/orgs/acme/jobs", `{"type":"a.b"}`, ledger.CodeInvalidArgument},
		{"POST", "/v1/orgs/acme/jobs", `{"type":"echo","args":` + strings.Repeat("[", 20_000) + `}`, ledger.CodeInvalidArgument},
		{"POST", "/v1/orgs/acme/jobs", `{"type":"echo","args":"` + strings.Repeat("x", 3<<20) + `"}`, ledger.CodePayloadTooLarge},
		{"GET", "/v1/orgs/acme/jobs?stat=queued", "", ledger.CodeInvalidArgument},
		{"GET", "/v1/orgs/acme/jobs?state=qeued", "", ledger.CodeInvalidArgument},
		{"GET", "/v1/orgs/acme/jobs?limit=1000", "", ledger.CodeInvalidArgument},
		{"GET", "/v1/orgs/acme/jobs/none", "", ledger.CodeNotFound},
		{"GET", "/v1/orgs/acme/jobs/x?wait=soon", "", ledger.CodeInvalidArgument},
		{"GET", "/v1/orgs/a%2eb/jobs", "", ledger.CodeInvalidArgument},
		{"GET", "/v1/orgs/acme/jobs/%2e%2e%2fx", "", ledger.CodeInvalidArgument},
		{"PUT", "/v1/orgs/acme/jobs", "", ledger.CodeNotFound},
		{"GET", "/v1/nothing", "", ledger.CodeNotFound},
	} {
		got := s.call(op, c.method, c.path, c.body)
		if got.code() != c.want || got.status != c.want.Status() || got.header.Get("X-Request-Id") == "" {
			t.Errorf("%s %s: %.300s, want %s", c.method, c.path, got, c.want)
		}
	}
	if now := s.end(); now != before {
		t.Errorf("the ledger went from %d to %d", before, now)
	}
}

// TestHTTPStrangers: who shows nothing that opens gets in nowhere, and learns nothing.
func TestHTTPStrangers(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	good := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleOperator})
	var short *gateway.NewToken
	for life := time.Second; short == nil; life *= 2 { // it must not be over before it begins
		soon := time.Now().Add(life)
		short, _ = s.client.AddToken(t.Context(), "acme", gateway.AddTokenRequest{Title: "short", Role: schemas.RoleOperator, ExpiresAt: &soon, Reason: "a test"})
	}
	flipped := []byte(good.Secret)
	flipped[len(flipped)-1] ^= 1
	other := good.Secret[:3] + strings.Repeat("0", 16) + good.Secret[19:]
	bodies := map[string]bool{}
	for _, secret := range []string{string(flipped), other, "jl_", "x", good.ID, good.Secret + "x"} {
		got := s.call(secret, "GET", "/v1/orgs/acme/jobs", "", "X-Request-Id", "r")
		if got.status != http.StatusUnauthorized || got.header.Get("WWW-Authenticate") == "" {
			t.Errorf("secret %q: %s", secret, got)
		}
		bodies[string(got.body)] = true
	}
	if len(bodies) != 1 {
		t.Errorf("strangers hear different answers: %v", bodies)
	}
	if got := s.call("", "GET", "/v1/orgs/acme/jobs", ""); got.code() != ledger.CodeUnauthenticated {
		t.Errorf("no token: %s", got)
	}
	s.until("a token that has expired opens nothing", func() bool {
		return s.call(short.Secret, "GET", "/v1/orgs/acme/jobs", "").status == http.StatusUnauthorized
	})
	if got := s.call(good.Secret, "GET", "/v1/orgs/acme/jobs", ""); got.status != http.StatusOK {
		t.Fatalf("a good token: %s", got)
	}
	if _, err := s.client.RevokeToken(t.Context(), good.ID, "it leaked"); err != nil {
		t.Fatal(err)
	}
	revoked := time.Now()
	s.until("a revoked token opens nothing", func() bool {
		return s.call(good.Secret, "GET", "/v1/orgs/acme/jobs", "").status == http.StatusUnauthorized
	})
	t.Logf("a revoked token opened for %s more; 2 s are allowed", time.Since(revoked).Round(time.Millisecond))
}

// until asks until something holds.
func (s *site) until(what string, holds func() bool) {
	s.t.Helper()
	patience := time.Now().Add(time.Minute)
	for !holds() {
		if time.Now().After(patience) {
			s.t.Fatalf("never came true: %s", what)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-s.t.Context().Done():
		}
	}
}

// TestHTTPAnyone: without a token only this machine gets in, by a name of its own, and no page of another site.
func TestHTTPAnyone(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{Anyone: &rights.Principal{Actor: schemas.Actor{Type: "user", ID: "dev"}, Grants: []rights.Grant{{Role: schemas.RoleAdmin}}}})
	if got := s.call("", "POST", "/v1/orgs/acme/jobs", `{"type":"echo"}`); got.status != http.StatusCreated {
		t.Errorf("this machine: %s", got)
	}
	if got := s.call("", "GET", "/v1/orgs/acme/jobs", "", "Host", "rebound.example"); got.code() != ledger.CodeUnauthenticated {
		t.Errorf("a foreign name that leads here: %s", got)
	}
	if got := s.call("", "POST", "/v1/orgs/acme/jobs", `{"type":"echo"}`, "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"); got.code() != ledger.CodePermissionDenied {
		t.Errorf("a page of another site: %s", got)
	}
	if got := s.call("jl_wrong", "GET", "/v1/orgs/acme/jobs", ""); got.code() != ledger.CodeUnauthenticated {
		t.Errorf("a wrong token is not taken for none: %s", got)
	}
}

// TestHTTPStops: a wait ends with the gateway, and from then on no request is taken.
func TestHTTPStops(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	op := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleOperator}).Secret
	made := s.call(op, "POST", "/v1/orgs/acme/jobs", `{"type":"echo","not_before":"1h"}`)
	waited := make(chan *answer, 1)
	go func() { waited <- s.call(op, "GET", made.header.Get("Location")+"?wait=30s", "") }()
	s.until("the wait is held", func() bool { return s.g.Waiting() == 1 })
	s.stop()
	if got := <-waited; got.status != http.StatusAccepted {
		t.Errorf("a wait that the gateway left: %s", got)
	}
	if got := s.call(op, "GET", "/v1/orgs/acme/jobs", ""); got.code() != ledger.CodeUnavailable || got.header.Get("Retry-After") == "" {
		t.Errorf("a request behind the end: %s", got)
	}
}
