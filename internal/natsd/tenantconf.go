package natsd

import "fmt"

// LedgerConf is what the ledger's account of an outside NATS exports, once: to each account the requests that carry its name,
// which the server sees to.
const LedgerConf = `exports: [ { service: "jobledger-as.*.>", account_token_position: 2 } ]`

// TenantConf is the block of a tenant's account for the configuration of an outside NATS. ledger is the name of the ledger's
// account there.
func TenantConf(ledger string, t Tenant) string {
	return fmt.Sprintf(`  %s: {
    # Whoever is let in here asks in the role of this account.
    users: [ { user: %[1]s, password: "CHOOSE-ONE" } ]
    imports: [ { service: { account: %s, subject: "%s" }, to: "%s" } ]
  }
`, t.Account, ledger, t.To, t.From)
}
