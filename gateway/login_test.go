package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/gateway/rights"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// browser is a client that keeps the cookie of its login.
type browser struct {
	*site
	cookie, csrf string
	me           gateway.Me
}

func (s *site) login(secret string) (*browser, *answer) {
	s.t.Helper()
	a := s.call("", "POST", "/v1/login", `{"token":"`+secret+`"}`)
	b := &browser{site: s}
	if a.status != http.StatusOK {
		return b, a
	}
	if err := json.Unmarshal(a.body, &b.me); err != nil || b.me.CSRFToken == nil {
		s.t.Fatalf("login: %v %s", err, a)
	}
	b.csrf = *b.me.CSRFToken
	b.cookie, _, _ = strings.Cut(a.header.Get("Set-Cookie"), ";")
	return b, a
}

func (b *browser) do(method, path, body string, headers ...string) *answer {
	b.t.Helper()
	return b.call("", method, path, body, append([]string{"Cookie", b.cookie}, headers...)...)
}

// TestLogin: a browser that logged in with a token has its rights, cannot be made to change anything by another page, and is out
// within two seconds of the token's end.
func TestLogin(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{Environment: "staging"})
	made := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleOperator, Actor: "user:ada"})
	b, a := s.login(made.Secret)
	set := a.header.Get("Set-Cookie")
	for _, part := range []string{"HttpOnly", "SameSite=Strict", "Path=/", "Max-Age="} {
		if !strings.Contains(set, part) {
			t.Errorf("the cookie %q has no %s", set, part)
		}
	}
	if strings.Contains(set, "Secure") || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("without TLS: %v", a.header)
	}
	tls := s.call("", "POST", "/v1/login", `{"token":"`+made.Secret+`"}`, "X-Forwarded-Proto", "https").header.Get("Set-Cookie")
	if !strings.Contains(tls, "Secure") || !strings.HasPrefix(tls, "__Host-jobledger_login=") || !strings.Contains(tls, "Path=/;") || strings.Contains(tls, "Domain") {
		t.Errorf("with TLS before it: %v", tls)
	}
	if b.me.Principal != "user:ada" || b.me.Role != schemas.RoleOperator || *b.me.Org != "acme" || b.me.Environment != "staging" || b.me.Login != "cookie" ||
		!slices.Contains(b.me.Rights, rights.JobsRetry) || slices.Contains(b.me.Rights, rights.TokensEdit) || b.me.Reach[rights.JobsCancel] != rights.Org {
		t.Errorf("who ada is: %s", a)
	}
	const jobs, job = "/v1/orgs/acme/jobs", `{"type":"echo","dedup":"off"}`
	if got := b.do("GET", jobs, ""); got.status != http.StatusOK {
		t.Errorf("a list: %s", got)
	}
	for _, proof := range []string{"", "x", b.csrf + "x"} {
		if got := b.do("POST", jobs, job, "X-CSRF-Token", proof); got.code() != ledger.CodePermissionDenied || !strings.Contains(string(got.body), "X-CSRF-Token") {
			t.Errorf("with the proof %q: %s", proof, got)
		}
	}
	if got := b.do("POST", jobs, job, "X-CSRF-Token", b.csrf); got.status != http.StatusCreated {
		t.Errorf("with the proof: %s", got)
	}
	if got := b.do("POST", jobs, job, "X-CSRF-Token", b.csrf, "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"); got.code() != ledger.CodePermissionDenied {
		t.Errorf("another site's page: %s", got)
	}
	if got := b.do("DELETE", "/v1/login", ""); got.code() != ledger.CodePermissionDenied {
		t.Errorf("another page logs ada out: %s", got)
	}
	if got := b.do("DELETE", "/v1/login", "", "X-CSRF-Token", b.csrf); got.status != http.StatusNoContent || !strings.Contains(got.header.Get("Set-Cookie"), "Max-Age=0") {
		t.Errorf("logout: %s %v", got, got.header)
	}
	if _, err := s.client.RevokeToken(t.Context(), made.ID, "it leaked"); err != nil {
		t.Fatal(err)
	}
	s.until("the cookie of a revoked token opens nothing", func() bool { return b.do("GET", jobs, "").status == http.StatusUnauthorized })
	if got := b.do("GET", "/v1/me", ""); got.code() != ledger.CodeUnauthenticated {
		t.Errorf("who one was: %s", got)
	}
}

// TestLoginCookies: over TLS only the cookie counts that a browser takes from this host alone, and of two of the name neither does
//
func TestLoginCookies(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	secret := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleOperator, Actor: "user:ada"}).Secret
	eve := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleMember, Actor: "user:eve"}).Secret
	const plain, host = "jobledger_login=", "__Host-jobledger_login="
	for _, try := range []struct {
		name, proto, cookie string
		status              int
	}{
		{"without TLS", "http", plain + secret, http.StatusOK},
		{"with TLS", "https", host + secret, http.StatusOK},
		{"with TLS, beside one that anybody could have set", "https", plain + eve + "; " + host + secret, http.StatusOK},
		{"with TLS, one that anybody could have set", "https", plain + eve, http.StatusUnauthorized},
		{"two", "http", plain + eve + "; " + plain + secret, http.StatusUnauthorized},
		{"two with TLS", "https", host + secret + "; " + host + secret, http.StatusUnauthorized},
	} {
		a := s.call("", "GET", "/v1/me", "", "Cookie", try.cookie, "X-Forwarded-Proto", try.proto)
		if a.status != try.status || a.status == http.StatusOK && !strings.Contains(string(a.body), "user:ada") {
			t.Errorf("%s: %s", try.name, a)
		}
	}
}

// TestLoginGuessedIDs: who tries many ids that no token has is stopped as one who tries one.
func TestLoginGuessedIDs(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	ada := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleMember, Actor: "user:ada"}).Secret
	stopped := false
	for n := range 40 { // fewer than the doorkeeper lets through
		id := fmt.Sprintf("%016x", n)
		_, a := s.login(ada[:len("jl_")] + id + ada[len("jl_")+len(id):])
		stopped = stopped || strings.Contains(string(a.body), "too many logins")
	}
	if !stopped {
		t.Error("forty ids were all looked up")
	}
	if _, a := s.login(ada); a.status != http.StatusOK {
		t.Errorf("ada, beside them: %s", a)
	}
}

// TestLoginGuesses: who guesses is stopped, and does not keep others out.
func TestLoginGuesses(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	ada := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleMember, Actor: "user:ada"})
	bob := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleMember, Actor: "user:bob"})
	wrong := ada.Secret[:len(ada.Secret)-5] + "AAAAA"
	refused := 0
	for range 30 {
		switch _, a := s.login(wrong); a.code() {
		case ledger.CodeUnauthenticated:
		case ledger.CodeRateLimited:
			if refused++; a.header.Get("Retry-After") == "" {
				t.Errorf("%v", a.header)
			}
		default:
			t.Fatal(a)
		}
	}
	if refused == 0 {
		t.Error("thirty guesses at once were all answered")
	}
	if _, a := s.login(bob.Secret); a.status != http.StatusOK {
		t.Errorf("bob, beside them: %s", a)
	}
	for _, body := range []string{"", "{}", `{"token":"x"}`, `{"token":"` + strings.Repeat("x", 10_000) + `"}`, `{"tokn":"x"}`} {
		if a := s.call("", "POST", "/v1/login", body); a.status < 400 || a.header.Get("Set-Cookie") != "" {
			t.Errorf("a login with %.40s: %s", body, a)
		}
	}
}

// TestMe: with a token, and where no login is needed; a cookie of yesterday is as none.
func TestMe(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{Org: "demo", Environment: "dev",
		Anyone: &rights.Principal{Actor: schemas.Actor{Type: "user", ID: "dev"}, Grants: []rights.Grant{{Role: schemas.RoleAdmin}}}})
	bob := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleMember, Actor: "user:bob", Permissions: []string{"fax.send"}}).Secret
	ask := func(secret, path string, headers ...string) (me gateway.Me) {
		t.Helper()
		a := s.call(secret, "GET", path, "", headers...)
		if err := json.Unmarshal(a.body, &me); err != nil || a.status != http.StatusOK {
			t.Fatalf("%v: %s", err, a)
		}
		return me
	}
	if me := ask("", "/v1/me", "Cookie", "jobledger_login=jl_old"); me.Principal != "user:dev" || me.Login != "none" || *me.Org != "demo" || me.CSRFToken != nil ||
		me.Reach[rights.TokensEdit] != rights.All || me.Orgs[0].Org != nil {
		t.Errorf("%+v", me)
	}
	if me := ask(bob, "/v1/me"); me.Login != "token" || *me.Org != "acme" || me.Role != schemas.RoleMember || me.Orgs[0].Permissions[0] != "fax.send" {
		t.Errorf("%+v", me)
	}
	if me := ask(bob, "/v1/me?org=other"); me.Role != "" || len(me.Rights) != 0 {
		t.Errorf("in an org in which he is nobody: %+v", me)
	}
	if got := s.call("", "POST", "/v1/orgs/acme/jobs", `{"type":"echo"}`, "Cookie", "jobledger_login=jl_old"); got.status != http.StatusCreated {
		t.Errorf("a cookie of yesterday: %s", got)
	}
}
