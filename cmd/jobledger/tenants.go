package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/choria-io/fisk"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/internal/natsd"
	"github.com/dartwing/jobledger/ledger"
)

// secretFile is where a data folder keeps the secret of the ledger's own account: who may read the folder may do everything.
const secretFile = "operator.secret"

// guard says who gets into the embedded server.
func (c *serverConfig) guard() (*natsd.Guard, error) {
	if c.login.Value != "yes" {
		return new(natsd.Guard), nil
	}
	secret, err := operatorSecret(c.store.Value)
	if err != nil {
		return nil, failf(ledger.CodeUnavailable, "nats_login: %w", err)
	}
	return &natsd.Guard{Required: true, Secret: secret}, nil
}

// operatorSecret reads the secret of a data folder, which gets one the first time.
func operatorSecret(store string) (string, error) {
	path := filepath.Join(store, secretFile)
	text, err := os.ReadFile(path)
	if err == nil {
		secret := strings.TrimSpace(string(text))
		if secret == "" {
			return "", fmt.Errorf("%s is empty: remove it, and the next start makes another secret", path)
		}
		return secret, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := os.MkdirAll(store, 0o700); err != nil {
		return "", err
	}
	secret := rand.Text()
	return secret, os.WriteFile(path, []byte(secret+"\n"), 0o600)
}

// natsAccountFlags are those by which an account of an outside NATS gets a role.
func natsAccountFlags(cmd *fisk.CmdClause, account, ledger *string) {
	cmd.Flag("nats-account", "An account of an outside NATS whose connections get the role, instead of a secret: what it has to import is printed").PlaceHolder("ACCOUNT").StringVar(account)
	cmd.Flag("ledger-account", "The ledger's account on that NATS").Default("JOBLEDGER").PlaceHolder("ACCOUNT").StringVar(ledger)
}

// printAccount says what the operator of an outside NATS adds to its configuration.
func (p *program) printAccount(t *gateway.NewToken, ledger string) error {
	p.talkf("account %s: %s of %s, acts as %s. Add it to the accounts of the NATS configuration, choose its users, and reload.", t.ID, t.Role, tokenOrg(&t.Token), t.Acts)
	p.talkf("Account %s exports, once for all tenants: %s", ledger, natsd.LedgerConf)
	p.talkf("With JWTs see docs/SECURITY.md.")
	_, err := fmt.Fprint(p.Stdout, natsd.TenantConf(ledger, t.Import()))
	return err
}
