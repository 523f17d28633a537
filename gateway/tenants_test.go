package gateway_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// tenants is a cell on a server that takes logins.
type tenants struct {
	*ledgertest.Env
	t     testing.TB
	admin *gateway.Client // in the ledger's own account
}

func startTenants(t testing.TB) *tenants {
	t.Helper()
	env, _ := ledgertest.Cell(t, ledgertest.WithLogins(), ledgertest.WithPort())
	return &tenants{Env: env, t: t, admin: env.Client("acme")}
}

// token makes a token for somebody in an org; of every org for an admin.
func (w *tenants) token(org schemas.OrgID, role schemas.Role, who string) *gateway.NewToken {
	w.t.Helper()
	made, err := w.admin.AddToken(w.t.Context(), org, gateway.AddTokenRequest{Title: "test", Role: role, Actor: who, Reason: "test"})
	if err != nil {
		w.t.Fatal(err)
	}
	return made
}

// login connects with a token.
func (w *tenants) login(token *gateway.NewToken, opts ...nats.Option) *nats.Conn {
	w.t.Helper()
	return w.Connect(append([]nats.Option{nats.Token(token.Secret)}, opts...)...)
}

// as is a client that logs in as somebody in an org.
func (w *tenants) as(org schemas.OrgID, role schemas.Role, who string) *gateway.Client {
	w.t.Helper()
	return &gateway.Client{Conn: w.login(w.token(org, role, who)), Org: org, Timeout: time.Minute}
}

// answer is the code of a reply, empty for none; noResponders where nobody was asked.
const noResponders = "no responders"

func ask(t testing.TB, nc *nats.Conn, subject, body string) (code string, data []byte) {
	t.Helper()
	m, err := nc.Request(subject, []byte(body), time.Minute)
	if errors.Is(err, nats.ErrNoResponders) {
		return noResponders, nil
	}
	if err != nil {
		t.Fatalf("%s: %v", subject, err)
	}
	var e struct{ Error struct{ Code string } }
	if m.Header.Get("Nats-Service-Error") != "" && json.Unmarshal(m.Data, &e) != nil {
		t.Fatalf("%s answered %s", subject, m.Data)
	}
	return e.Error.Code, m.Data
}

// TestTenantAccount: a token opens the NATS server as it opens HTTP, in an account whose one import leads to
// the service of its org, in its role and under its name; another org has no responder.
func TestTenantAccount(t *testing.T) {
	w := startTenants(t)
	operator := w.as("acme", schemas.RoleOperator, "user:olga")
	made, err := operator.Submit(t.Context(), ledger.SubmitRequest{Type: "echo", Args: []byte(`{"n":1}`)})
	if err != nil || made.Org != "acme" {
		t.Fatalf("a submit as acme's operator: %+v, %v", made, err)
	}
	h, err := w.Ledger.History(t.Context(), "acme", made.ID)
	if err != nil || h.Job.SubmittedBy.String() != "user:olga" {
		t.Errorf("the job was submitted by %v, %v", h.Job.SubmittedBy, err)
	}
	if code, _ := ask(t, operator.Conn, "jobledger.acme.org.ls", ""); code != string(ledger.CodePermissionDenied) {
		t.Errorf("an operator lists all orgs: %q", code)
	}
	if code, _ := ask(t, operator.Conn, "jobledger.acme.no.such.verb", ""); code != string(ledger.CodeNotFound) {
		t.Errorf("an unknown verb: %q", code)
	}
	for _, subject := range []string{"jobledger.umbrella.list", "jobledger.umbrella.get." + string(made.ID), "jobledger-as.x.acme.list", "jl.beat", "$JS.API.INFO", "$SRV.PING"} {
		if code, body := ask(t, operator.Conn, subject, ""); code != noResponders {
			t.Errorf("%s leads somewhere: %q %s", subject, code, body)
		}
	}
	member := w.as("acme", schemas.RoleMember, "user:ada")
	if _, err := member.Get(t.Context(), made.ID); code(err) != ledger.CodeNotFound {
		t.Errorf("a member sees another's job: %v", err)
	}
	root := w.login(w.token("_", schemas.RoleAdmin, "user:root"))
	if code, body := ask(t, root, "jobledger.acme.get."+string(made.ID), ""); code != "" {
		t.Errorf("an admin does not see acme's job: %s", body)
	}
	if code, body := ask(t, root, "jobledger.umbrella.org.ls", ""); code != "" {
		t.Errorf("an admin may not list orgs: %s", body)
	}
	if _, err := w.tryLogin("jl_0000000000000000_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"); !errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("an unknown token: %v", err)
	}
}

func (w *tenants) tryLogin(secret string) (*nats.Conn, error) {
	nc, err := nats.Connect(w.URL(), nats.Token(secret))
	if err == nil {
		w.t.Cleanup(nc.Close)
	}
	return nc, err
}

// TestTenantRevoked: a token that is revoked ends its connections, and opens nothing any more.
func TestTenantRevoked(t *testing.T) {
	w := startTenants(t)
	token := w.token("acme", schemas.RoleOperator, "user:olga")
	closed := make(chan struct{})
	nc := w.login(token, nats.NoReconnect(), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if code, body := ask(t, nc, "jobledger.acme.list", ""); code != "" {
		t.Fatalf("before: %s", body)
	}
	if _, err := w.admin.RevokeToken(t.Context(), token.ID, "it leaked"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-closed:
	case <-time.After(time.Minute):
		t.Fatal("the connection lives on")
	}
	for { // what is known of a token may be a second old
		again, err := w.tryLogin(token.Secret)
		if errors.Is(err, nats.ErrAuthorization) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		again.Close()
	}
}

// TestNATSAccount: an account of an outside NATS has the role that it was given, from its name alone, until it is
// taken away; in another org than its own it has none, wherever its import leads.
func TestNATSAccount(t *testing.T) {
	w := startTenants(t)
	made, err := w.admin.AddToken(t.Context(), "acme", gateway.AddTokenRequest{Title: "shop", Role: schemas.RoleAuditor, NATSAccount: "ACME", Reason: "test"})
	if err != nil || made.Secret != "" || made.Import().To != "jobledger-as.ACME.acme.>" {
		t.Fatalf("%+v, %v", made, err)
	}
	ledgers := w.Connect() // as the import of an outside NATS would publish
	for subject, want := range map[string]string{"ACME.acme.list": "", "ACME.acme.submit.echo": "permission_denied", "ACME.umbrella.list": "permission_denied",
		"ACME.umbrella.get.x": "not_found", "EVE.acme.list": "unauthenticated", "ACME.acme.nothing": "not_found"} {
		if code, body := ask(t, ledgers, gateway.NameAs+"."+subject, ""); code != want {
			t.Errorf("%s answers %q, want %q: %s", subject, code, want, body)
		}
	}
	if _, err := w.admin.RevokeToken(t.Context(), "ACME", "test"); err != nil {
		t.Fatal(err)
	}
	for code := ""; code != "unauthenticated"; { // what is known of a token may be a second old
		code, _ = ask(t, ledgers, "jobledger-as.ACME.acme.list", "")
	}
	if _, err := w.admin.AddToken(t.Context(), "acme", gateway.AddTokenRequest{Title: "x", Role: schemas.RoleOperator, NATSAccount: "ACME", Reason: "test"}); code(err) != ledger.CodeInUse {
		t.Errorf("a revoked account came back: %v", err)
	}
}
