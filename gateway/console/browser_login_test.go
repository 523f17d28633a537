//go:build browser

package console_test

import (
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLogin shows that a server without open doors asks for a token, that changes carry the proof that goes with the cookie,
// and that what a role may not do is not offered (INTERFACE 7, 41 and 42).
func TestLogin(t *testing.T) {
	s := &site{t: t, store: filepath.Join(t.TempDir(), "store"), env: append(os.Environ(), "XDG_CONFIG_HOME="+t.TempDir(), "HOME="+t.TempDir())}
	s.run("server", "run", "--listen", free(t), "--http", free(t), "--trace-link", "https://traces.example.com/{trace_id}")
	t.Cleanup(func() { s.kill() })
	output := func(args ...string) string {
		t.Helper()
		out, err := s.command(args...).Output()
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return strings.TrimSpace(string(out))
	}
	schema := filepath.Join(t.TempDir(), "schema.json")
	if err := os.WriteFile(schema, []byte(`{"type":"object","properties":{"card":{"type":"string","x-redact":true}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	output("type", "add", "later", "--reason", "test", "--schema", schema)
	id := output("job", "submit", "later", `{"card":"4929-1234"}`)
	operator := output("org", "token", "add", "acme", "ops", "--role", "operator", "--reason", "test")
	auditor := output("org", "token", "add", "acme", "books", "--role", "auditor", "--reason", "test")
	b := openTab(t)
	b.expectOffline(true) // the browser calls 401 an error
	b.visit(s.URL + "/o/acme/jobs/" + id)
	b.shows(".login", "Token")
	b.fill("input[name=token]", "nonsense")
	b.click(".login button", "Log in")
	b.shows(".wrong-text", "opens nothing")
	login := func(token string) {
		t.Helper()
		b.fill("input[name=token]", token)
		b.click(".login button", "Log in")
		b.shows(".who", "Log out")
	}
	login(auditor)
	b.shows(".standing", "")
	if text := js[string](b, "document.querySelector('.actions').innerText"); strings.Contains(text, "Cancel") || !strings.Contains(text, "Export") {
		t.Errorf("an auditor is offered %q", text)
	}
	b.shows(".live", "Live")
	b.click(".who button", "Log out")
	b.shows(".login", "Token")
	login(auditor)
	b.shows(".live", "Live") // the same person, in the same tab, follows again
	b.visit(s.URL + "/o/acme/jobs?q=type:later")
	b.shows("td", "later")
	b.dropCookies()
	b.click(".tabs button", "Waiting")
	b.shows(".login", "Token")
	b.fill("input[name=token]", auditor)
	b.click(".login button", "Log in")
	b.until("new URLSearchParams(location.search).get('q')?.startsWith('type:later') === true") // a login that ends leads back to the same filter
	b.click(".who button", "Log out")
	b.shows(".login", "Token")
	b.visit(s.URL + "/o/acme/jobs/" + id)
	login(operator)
	b.shows(".standing", "")
	b.shows(".json .j-redacted", "redacted")
	if text := js[string](b, "document.querySelector('main').innerText"); strings.Contains(text, "Unmask") || strings.Contains(text, "4929") {
		t.Errorf("an operator who may not unmask is shown %q", text)
	}
	b.click(".actions button", "Cancel")
	b.confirm("not any more")
	b.shows(".standing", "canceled")
	b.shows(".events", "not any more")
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	r, err := http.NewRequest("POST", s.URL+"/v1/orgs/acme/jobs", strings.NewReader(`{"type":"later","args":{}}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+operator)
	r.Header.Set("traceparent", "00-"+trace+"-00f067aa0ba902b7-01")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	b.visit(s.URL + "/o/" + strings.TrimPrefix(res.Header.Get("Location"), "/v1/orgs/"))
	b.until("document.querySelector('.facts a[href=\"https://traces.example.com/" + trace + "\"]') !== null")
	if cookie := js[string](b, "document.cookie"); cookie != "" {
		t.Errorf("a script can read %q", cookie)
	}
	if out, err := s.command("log", "verify").CombinedOutput(); err != nil {
		t.Errorf("log verify: %v\n%s", err, out)
	}
}

// free is an address that nobody listens at.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
