package main

import (
	"strings"
	"testing"

	"github.com/dartwing/jobledger/gateway"
)

// a token is made, listed without its secret, and revoked; what makes no sense is refused before anybody is asked.
func TestTokenCommands(t *testing.T) {
	w := startWorld(t)
	made := w.must(exitOK, "org", "token", "add", "acme", "ci", "--role", "member", "--for", "user:ada", "--permission", "fax.send", "--expires", "90d", "--reason", "deploys")
	secret := strings.TrimSpace(made.stdout)
	if !strings.HasPrefix(secret, "jl_") || strings.Contains(secret, "\n") || strings.Contains(made.stderr, secret) {
		t.Errorf("stdout is the secret alone: %+v", made)
	}
	id := secret[3:19]
	says(t, made.stderr, id, "member of acme", "user:ada")
	root := decode[gateway.NewToken](t, w.must(exitOK, "org", "token", "add", "--all-orgs", "root", "--role", "admin", "--reason", "platform", "-j").stdout)
	if root.Org != nil || root.Acts != "api_key:root" || root.Secret == "" {
		t.Errorf("an admin's token: %+v", root)
	}
	list := w.must(exitOK, "org", "token", "ls").stdout
	says(t, list, id, root.ID, "every org", "fax.send", "active")
	if strings.Contains(list, secret[20:]) {
		t.Error("the list shows the secret")
	}
	if own := w.must(exitOK, "org", "token", "ls", "acme").stdout; !strings.Contains(own, id) || strings.Contains(own, root.ID) {
		t.Errorf("tokens of acme: %s", own)
	}
	account := w.must(exitOK, "org", "add", "acme", "--nats-account", "ACME", "--role", "publisher", "--reason", "their cluster")
	says(t, account.stdout, "ACME: {", `account: JOBLEDGER, subject: "jobledger-as.ACME.acme.>"`, `to: "jobledger.acme.>"`)
	says(t, account.stderr, "publisher of acme", `service: "jobledger-as.*.>", account_token_position: 2`)
	if again := w.must(exitError, "org", "token", "add", "umbrella", "x", "--role", "operator", "--nats-account", "ACME", "--reason", "r"); !strings.Contains(again.stderr, "[in_use]") {
		t.Errorf("an account has two roles: %s", again.stderr)
	}
	w.must(exitOK, "org", "token", "rm", id, "--reason", "it leaked")
	w.must(exitOK, "org", "token", "rm", id, "--reason", "twice is once")
	says(t, w.must(exitOK, "org", "token", "ls", "acme").stdout, "revoked")
	for _, wrong := range [][]string{
		{"add", "acme", "x", "--role", "admin", "--reason", "r"}, {"add", "--all-orgs", "x", "--role", "operator", "--reason", "r"},
		{"add", "acme", "--role", "member", "--reason", "r"}, {"add", "acme", "x", "--role", "member", "--expires", "soon", "--reason", "r"}, {"rm", "a.b", "--reason", "r"},
	} {
		w.must(exitUsage, append([]string{"org", "token"}, wrong...)...)
	}
	if no := w.must(exitError, "org", "token", "add", "acme", "x", "--role", "boss", "--reason", "r"); !strings.Contains(no.stderr, `role "boss" is unknown`) {
		t.Errorf("an unknown role: %s", no.stderr)
	}
	w.must(exitError, "org", "token", "rm", "none", "--reason", "r")
}
