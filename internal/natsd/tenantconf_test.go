package natsd_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/internal/natsd"
)

// outside is a NATS server by a configuration file, with the ledger's account and those of tenants.
func outside(t *testing.T, tenants string) *server.Server {
	t.Helper()
	file := filepath.Join(t.TempDir(), "nats.conf")
	text := "port: -1\naccounts: {\n  JOBLEDGER: { users: [ { user: ledger, password: secret } ], " + natsd.LedgerConf + " }\n" + tenants + "}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	opts.NoSigs, opts.NoLog = true, true
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the server is not ready")
	}
	return s
}

// TestTenantConf: the account of an outside NATS that the command prints reaches its own org under its own name, and
// nothing else; one that imports another's subjects is refused by the server.
func TestTenantConf(t *testing.T) {
	acme := natsd.TenantConf("JOBLEDGER", natsd.Tenant{Account: "ACME", From: "jobledger.acme.>", To: "jobledger-as.ACME.acme.>"})
	s := outside(t, acme)
	own, err := nats.Connect(s.ClientURL(), nats.UserInfo("ledger", "secret"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(own.Close)
	if _, err := own.Subscribe("jobledger-as.>", func(m *nats.Msg) { _ = m.Respond([]byte(m.Subject)) }); err != nil {
		t.Fatal(err)
	}
	if err := own.Flush(); err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(s.ClientURL(), nats.UserInfo("ACME", "CHOOSE-ONE"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	if m, err := nc.Request("jobledger.acme.get.7", nil, time.Minute); err != nil || string(m.Data) != "jobledger-as.ACME.acme.get.7" {
		t.Errorf("the import answers %v, %v", m, err)
	}
	for _, subject := range []string{"jobledger.umbrella.get.7", "jobledger-as.ACME.acme.get.7", "jobledger-as.OTHER.acme.get.7"} {
		if m, err := nc.Request(subject, nil, time.Minute); !errors.Is(err, nats.ErrNoResponders) {
			t.Errorf("%s answers %v, %v", subject, m, err)
		}
	}

	// Another account that says it were ACME.
	forged := natsd.TenantConf("JOBLEDGER", natsd.Tenant{Account: "EVE", From: "jobledger.acme.>", To: "jobledger-as.ACME.acme.>"})
	file := filepath.Join(t.TempDir(), "nats.conf")
	text := "accounts: {\n  JOBLEDGER: { " + natsd.LedgerConf + " }\n" + acme + forged + "}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := server.ProcessConfigFile(file); err == nil {
		t.Error("an account may import the requests of another one")
	}
}
