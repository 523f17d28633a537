package ledger_test

import (
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
)

// On three replicas a step survives the loss of the server that leads the catalogue in the middle of its commit, and is
// there once (DESIGN D3, D13).
func replicatedArchive(t *testing.T, env *ledgertest.Env) {
	start := func() {}
	env.Faults.Inject(ledgertest.Fault{Archive: "catalog.record", Kind: ledgertest.LoseReply, After: func(*nats.Msg) {
		start = env.StopMember(env.Leader(ledger.StreamCatalog))
	}})
	all := everything(t, env.Ledger)
	if err := env.Ledger.ArchiveThrough(t.Context(), 0, len(all)/2); err != nil {
		t.Fatal(err)
	}
	whole(t, env, all)
	start()
}
