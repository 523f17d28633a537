package projector_test

import (
	"context"
	"log"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/projector"
)

// Views can be thrown away at any moment; the leader folds them again.
func ExampleRebuild() {
	var l *ledger.Ledger // of a connection in the ledger's own account
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if seq, err := projector.Rebuild(ctx, l, projector.ViewAll); err != nil {
		log.Fatalf("not yet folded up to %s: %v", seq, err)
	}
}
