package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// TestHostileFeeds: of what happens in umbrella, a feed of acme's tells nothing, whatever it asks for.
func TestHostileFeeds(t *testing.T) {
	w := startHostile(t)
	begin := w.end()
	victim := w.Client("umbrella")
	for range 20 {
		if _, err := victim.Submit(t.Context(), ledger.SubmitRequest{Type: "echo", Args: []byte(`{"x":"` + marker + `"}`), NoDedup: true, Delay: time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	mine := &gateway.Client{Conn: w.attacker, Org: "acme", Timeout: time.Minute}
	own, err := mine.Submit(t.Context(), ledger.SubmitRequest{Type: "echo", Args: []byte(`{"mine":1}`), Delay: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	for _, filter := range []string{``, `,"where":"org:umbrella"`, `,"jobs":["` + w.job + `"]`, `,"owner":["user:` + `umbrella-` + `only"]`, `,"org":"umbrella"`} {
		body := `{"after":` + begin.String() + `,"progress":true,"timeout_ms":1` + filter + `}`
		if _, reply := ask(t, w.attacker, "jobledger.acme.events", body); bytes.Contains(reply, []byte(`"umbrella"`)) || bytes.Contains(reply, []byte(marker)) {
			t.Errorf("a feed with %s tells %s", body, reply)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	at, err := w.Ledger.EventAt(ctx, begin)
	if err != nil {
		t.Fatal(err)
	}
	err = mine.Watch(ctx, gateway.WatchRequest{After: at.Position()}, func(e *gateway.LiveEvent) error {
		if e.Org == nil || *e.Org != "acme" {
			t.Errorf("acme's feed tells of %v", e.Org)
		}
		if e.ID != nil && *e.ID == own.ID {
			return errHeard
		}
		return nil
	})
	if err != errHeard {
		t.Errorf("acme's feed ended with %v", err)
	}
}

// errHeard ends a watch.
var errHeard = ledger.Errorf(ledger.CodeInternal, "heard")

// TestHostileWaits: a wait and a feed that were begun with a token which is then revoked are answered with
// nothing.
func TestHostileWaits(t *testing.T) {
	w := start(t)
	made, err := w.client.Submit(t.Context(), ledger.SubmitRequest{Type: "echo", Delay: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	account, err := w.client.AddToken(t.Context(), "acme", gateway.AddTokenRequest{Title: "x", Role: schemas.RoleOperator, NATSAccount: "ACME", Reason: "test"})
	if err != nil {
		t.Fatal(err)
	}
	nc := w.Connect() // as an outside NATS, which goes on with its connections
	answers := make(chan *nats.Msg, 2)
	inbox := nc.NewInbox()
	if _, err := nc.ChanSubscribe(inbox, answers); err != nil {
		t.Fatal(err)
	}
	for subject, body := range map[string]string{"wait." + string(made.ID): "", "events": `{"after":` + w.end().String() + `,"timeout_ms":30000,"type":["echo"]}`} {
		if err := nc.PublishRequest("jobledger-as.ACME.acme."+subject, inbox, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	for w.g.Waiting() < 2 {
		if code, body := ask(t, nc, "jobledger-as.ACME.acme.list", ""); code != "" || t.Context().Err() != nil {
			t.Fatalf("%s", body)
		}
	}
	if _, err := w.client.RevokeToken(t.Context(), account.ID, "test"); err != nil {
		t.Fatal(err)
	}
	for code := ""; code != "unauthenticated"; { // what is known of a token may be a second old
		code, _ = ask(t, nc, "jobledger-as.ACME.acme.list", "")
	}
	if w.g.Waiting() < 2 {
		t.Error("a wait ended before anything happened")
	}
	if _, err := w.client.Cancel(t.Context(), made.ID, "test"); err != nil { // wakes both
		t.Fatal(err)
	}
	for range 2 {
		select {
		case m := <-answers:
			if m.Header.Get("Nats-Service-Error-Code") != "401" {
				t.Errorf("a wait that outlived its token was answered: %s", m.Data)
			}
		case <-time.After(time.Minute):
			t.Fatal("no answer")
		}
	}
}

// TestHostileBodies: a body that is too deep, too large or no JSON is refused, by every verb, and the server goes on.
func TestHostileBodies(t *testing.T) {
	w := startTenants(t)
	nc := w.login(w.token("acme", schemas.RoleOperator, "user:eve"))
	bodies := map[string]string{"deep": strings.Repeat("[", 200_000), "deep objects": strings.Repeat(`{"a":`, 100_000), "no json": "\x00\xff", "a number": "1e999999",
		"surrogates": `"\ud800"`, "twice": `{"reason":"x"}{"reason":"y"}`, "large": `{"reason":"` + strings.Repeat("x", 2<<20) + `"}`}
	for _, verb := range gateway.Verbs() {
		for what, body := range bodies {
			if verb == "wait.*" || verb == "events" || what == "large" && verb != "submit.*" && verb != "list" {
				continue
			}
			subject := "jobledger.acme." + strings.Replace(verb, "*", "x", 1)
			m, err := nc.Request(subject, []byte(body), time.Minute)
			if err != nil {
				t.Fatalf("%s with %s: %v", subject, what, err)
			}
			var e struct{ Error struct{ Code ledger.Code } }
			if json.Unmarshal(m.Data, &e) == nil && e.Error.Code == ledger.CodeInternal {
				t.Errorf("%s with %s: %.200s", subject, what, m.Data)
			}
		}
	}
	deep := `{"a":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`
	if _, body := ask(t, nc, "jobledger.acme.submit.echo", deep); bytes.Contains(body, []byte("internal")) {
		t.Errorf("args of 5000 levels: %.200s", body)
	}
	if code, body := ask(t, nc, "jobledger.acme.list", ""); code != "" {
		t.Errorf("afterwards: %s", body)
	}
}

// TestHostileRaw: a submit that waits for no answer is judged like any other: what its sender may not do
// leaves nothing behind.
func TestHostileRaw(t *testing.T) {
	w := startTenants(t)
	member := w.as("acme", schemas.RoleMember, "user:ada")
	auditor := w.as("acme", schemas.RoleAuditor, "user:olaf")
	if _, err := member.Submit(t.Context(), ledger.SubmitRequest{Type: "echo"}); err != nil {
		t.Fatal(err)
	}
	before, err := w.Ledger.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	forged := &nats.Msg{Subject: "jobledger.acme.submit.echo", Header: nats.Header{gateway.HeaderPrincipal: {"user:root"}}, Data: []byte(`{"forged":1}`)}
	broken := &nats.Msg{Subject: "jobledger.acme.submit.echo", Header: nats.Header{gateway.HeaderPrincipal: {"user:root"}, gateway.HeaderPriority: {"none"}}, Data: []byte(`{"forged":2}`)}
	for _, m := range []*nats.Msg{forged, broken} {
		if err := member.Conn.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := auditor.Conn.Publish("jobledger.acme.submit.echo", []byte(`{"forged":3}`)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*gateway.Client{member, auditor} { // of one connection requests are taken in order
		if err := c.Conn.Flush(); err != nil {
			t.Fatal(err)
		}
		if code, body := ask(t, c.Conn, "jobledger.acme.list", ""); code != "" {
			t.Fatalf("%s", body)
		}
	}
	last, err := member.Submit(t.Context(), ledger.SubmitRequest{Type: "echo", Args: []byte(`{"last":1}`)})
	if err != nil {
		t.Fatal(err)
	}
	for seq := before.Seq + 1; seq <= last.Seq; seq++ {
		e, err := w.Ledger.EventAt(t.Context(), seq)
		if err != nil || bytes.Contains(e.Body, []byte("forged")) {
			t.Errorf("event %d: %s, %v", seq, e.Body, err)
		}
	}
}

// TestHostilePaths: over HTTP neither a path, a query nor a header leads to another org.
func TestHostilePaths(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	victim := &gateway.Client{Conn: s.Connect(), Org: "umbrella", Timeout: time.Minute}
	made, err := victim.Submit(t.Context(), ledger.SubmitRequest{Type: "echo", Args: []byte(`{"x":"` + marker + `"}`)})
	if err != nil {
		t.Fatal(err)
	}
	eve := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleOperator, Actor: "user:eve"}).Secret
	id := string(made.ID)
	for _, path := range []string{"/v1/orgs/umbrella/jobs", "/v1/orgs/umbrella/jobs/" + id, "/v1/orgs/acme/jobs/" + id, "/v1/orgs/acme/../umbrella/jobs/" + id, "/v1/orgs/acme/jobs/..%2f..%2fumbrella%2fjobs%2f" + id,
		"/v1/orgs/acme%2f..%2fumbrella/jobs/" + id, "/v1/orgs/acme/jobs/%2e%2e/%2e%2e/umbrella/jobs/" + id, "/v1/orgs/acme//umbrella/jobs/" + id, "/v1/orgs/acme/jobs/umbrella." + id, "/v1/orgs/acme/jobs?org=umbrella",
		"/v1/orgs/acme/jobs?q=org:umbrella", "/v1/orgs/acme/jobs?owner=*", "/v1/orgs/acme.umbrella/jobs", "/v1/orgs/*/jobs", "/v1/orgs/%3E/jobs", "/v1/orgs/acme%00umbrella/jobs", "/v1/types?org=umbrella", "/v1/holds?org=umbrella",
		"/v1/events", "/v1/orgs/umbrella/events", "/v1/orgs/umbrella/jobs/" + id + "/events", "/v1/orgs/umbrella/jobs/" + id + "/result", "/v1/orgs/acme/jobs/" + id + "/result"} {
		for _, headers := range [][]string{nil, {"X-Original-URL", "/v1/orgs/umbrella/jobs"}, {"X-Forwarded-User", "root"}, {"X-HTTP-Method-Override", "GET"}, {"Jobledger-Org", "umbrella"}, {"X-Forwarded-For", "127.0.0.1"}} {
			got := s.call(eve, http.MethodGet, path, "", headers...)
			if bytes.Contains(got.body, []byte(marker)) || got.status == http.StatusOK && bytes.Contains(got.body, []byte(id)) {
				t.Errorf("%s %v: %s", path, headers, got)
			}
		}
	}
	for _, body := range []string{`{"type":"echo","org":"umbrella"}`, `{"type":"../echo"}`, `{"type":"echo","id":"../x"}`, `{"type":"echo","args_ref":{"name":"umbrella/x"}}`, `{"type":"echo","ref":"umbrella"}`,
		`{"type":"echo","parents":["` + id + `"]}`, `{"type":"echo","queue":"a.b"}`, `{"type":"echo","tags":{"a\r\nb":"c"}}`, `{"type":"echo","key":"a\r\nNats-Rollup: all"}`} {
		if got := s.call(eve, http.MethodPost, "/v1/orgs/acme/jobs", body); got.status < 400 && !strings.Contains(body, "key") {
			t.Errorf("%s: %s", body, got)
		}
	}
	for _, rt := range gateway.Routes() {
		method, path, _ := strings.Cut(rt.Pattern, " ")
		for _, org := range []string{"acme", "umbrella"} {
			for _, query := range []string{"", "?org=umbrella&reason=x", "?org=acme&q=org:umbrella"} {
				at := strings.NewReplacer("{org}", org, "{name}", id).Replace(path) + query
				for _, body := range []string{`{}`, `{"reason":"x","note":"x"}`} {
					if got := s.call(eve, method, at, body); bytes.Contains(got.body, []byte(marker)) || org == "umbrella" && strings.Contains(path, "{org}") && got.status < 400 {
						t.Errorf("%s %s %s: %s", method, at, body, got)
					}
				}
			}
		}
	}
	if h, err := s.Ledger.History(t.Context(), "umbrella", made.ID); err != nil || h.Job.State != schemas.StateSubmitted {
		t.Errorf("umbrella's job was changed: %+v, %v", h.Job, err)
	}
}
