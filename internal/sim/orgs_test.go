package sim_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// deletedSeeds is how many stories are told of an org that is deleted.
const deletedSeeds = 4

// TestOrgDeletedSeeds tells stories in which the org is deleted in the middle of the faults: whoever leads, all its
// jobs end, once each, and nothing is left of them.
func TestOrgDeletedSeeds(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	defer emptyPools()
	dissolved := 0
	for seed := *first; seed < *first+deletedSeeds; seed++ {
		var w *world
		var err error
		t.Run("seed", func(t *testing.T) {
			w, err = simulate(t, seed, traceKept, func(w *world) { w.deletes = true })
		})
		if err != nil {
			t.Fatalf("seed %d: %v\nend of its trace:\n%s", seed, err, w.net.trace.tail(60))
		}
		for _, j := range w.net.hits.folds {
			if j.DeadReason == schemas.DeadOrgDeleted {
				dissolved++
			}
		}
	}
	t.Logf("%d seeds, %d jobs ended because their org was deleted", deletedSeeds, dissolved)
	if dissolved == 0 {
		t.Error("no job was ended because its org was deleted")
	}
}

// deleteOrg has the org deleted once its time has come.
func (w *world) deleteOrg(ctx context.Context, l *ledger.Ledger) {
	if wait(ctx, time.Until(w.deleteFrom)) != nil {
		return
	}
	for {
		once, cancel := context.WithTimeout(ctx, submitTimeout)
		_, err := l.DeleteOrg(once, testOrg, ledger.Meta{}, "the simulation asks")
		cancel()
		if err == nil || wait(ctx, time.Second) != nil {
			return
		}
	}
}

// orgGone reports that a request was refused because the org is deleted, or that a parent is missing whose own submit was.
func (w *world) orgGone(err error) bool {
	return w.deletes && (codeOf(err) == ledger.CodeOrgNotFound || codeOf(err) == ledger.CodeNotFound)
}
