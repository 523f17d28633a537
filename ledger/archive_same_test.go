package ledger_test

import (
	"strings"
	"testing"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
)

// A cell does not start on a LEDGER that went back to older data than its archive has: readers of the past would find other
// messages under the same sequences (DESIGN D2, D13). Nor does anything leave a LEDGER whose archive was deleted.
func TestArchiveOfAnotherLedger(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	env.SkipVerify() // what it is about is unsound
	l, ctx := env.Ledger, t.Context()
	completeOne(t, l, "acme", "one")
	if err := ledger.MoveToArchive(ctx, l, end(t, l), true); err != nil {
		t.Fatal(err)
	}
	if _, err := ledger.Provision(ctx, env.NewLedger(), ledger.ProvisionConfig{}); err != nil {
		t.Fatalf("a start beside an archive: %v", err)
	}
	js := l.JetStream()
	if err := js.DeleteStream(ctx, ledger.StreamLedger); err != nil {
		t.Fatal(err)
	}
	_, err := ledger.Provision(ctx, env.NewLedger(), ledger.ProvisionConfig{})
	if e := ledger.AsError(err); e == nil || e.Code != ledger.CodeInternal || !strings.Contains(e.Message, "put back an archive of the same time") {
		t.Errorf("a start on a ledger that is older than its archive: %v", err)
	}
}
