package ledger_test

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
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

// On three replicas history leaves, and goes at the end of its retention, while the servers that lead CATALOG and ARCHIVE are
// stopped: one in the middle of the commit, one of the record of the removal, one while what was removed is deleted. Nothing
// goes before its time or twice, what stays is what it was, and in the end nothing is left over (R-40, DESIGN D3, D13).
func TestRemovalReplicated(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a cluster takes seconds to elect its leaders")
	}
	env := ledgertest.StartCluster(t)
	r := retainedOn(t, env, 20)
	r.setOrg("b", 30)
	for i := range 12 {
		r.make([]schemas.OrgID{"a", "b"}[i%2], "t", []string{"done", "canceled", "dead"}[i%3])
	}
	start := func() {}
	stop := func(stream string) { start = env.StopMember(env.Leader(stream)) }
	inRecord := ledgertest.Fault{Archive: "catalog.record", Kind: ledgertest.LoseReply, After: func(*nats.Msg) { stop(ledger.StreamCatalog) }}

	env.Faults.Inject(inRecord)
	r.leave()
	start()
	r.check()

	r.ahead = 40 * day // b's time is over
	env.Faults.Inject(inRecord)
	if plan := r.look(); plan.Segments == 0 {
		t.Errorf("removed %+v", plan)
	}
	start()

	r.ahead += day + time.Hour
	deletes := 0
	r.rem.At(func(step string) error {
		if deletes++; step == "delete" && deletes == 1 {
			stop(ledger.StreamArchive)
		}
		return nil
	})
	r.look()
	if start(); deletes == 0 || env.Faults.Hits() != 2 {
		t.Errorf("%d deletions, %d faults: the test shows nothing", deletes, env.Faults.Hits())
	}
	r.rem.At(nil)
	r.look() // whatever was broken off
	whole(t, env, archived(t, env.NewLedger(), 0, 1<<63, ""))
	gone := 0
	for _, j := range r.jobs {
		if _, err := env.Ledger.Fold(t.Context(), j.org, j.id); errors.Is(err, ledger.ErrNotFound) {
			gone++
		}
	}
	if gone != 4 { // of b's six two are open dead letters
		t.Errorf("%d jobs are gone, want those of b that are over", gone)
	}
}
