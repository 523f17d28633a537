package ledger_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// What has left for the archive is purged from LEDGER once it is a good part of it, for each purge costs the server as much
// as there are subjects (DESIGN D13). Until then it stands in both, and is told once; when it leaves the archive, it leaves
// LEDGER, too.
func TestPurgeWaitsUntilItIsWorthIt(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	a, err := ledger.NewArchiver(ledger.ArchiverConfig{Ledger: env.NewLedger(), Logger: zap.NewNop(), Durable: -1})
	if err != nil {
		t.Fatal(err)
	}
	const jobs = 60
	ends := make([]schemas.Seq, jobs)
	for i := range ends {
		runQuickly(t, env.Ledger, beginQuickly(t, env.Ledger, schemas.JobID(fmt.Sprintf("j%d", i))))
		end, err := env.Ledger.End(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = end.Seq
	}
	leave := func(n int) {
		t.Helper()
		e, err := env.Ledger.EventAt(t.Context(), ends[n-1])
		if err == nil {
			_, err = a.LookBefore(t.Context(), e.Time)
		}
		if state, stateErr := env.Ledger.Archived(t.Context()); err != nil || stateErr != nil || state.Through.Seq != ends[n-1] {
			t.Fatalf("the archive ends at %+v, want %d: %v, %v", state.Through, ends[n-1], err, stateErr)
		}
	}
	whole := func() {
		t.Helper()
		for i := range jobs {
			h, err := env.NewLedger().History(t.Context(), "acme", schemas.JobID(fmt.Sprintf("j%d", i)))
			if err != nil || len(h.Entries) != 4 {
				t.Fatalf("job %d has a history of %+v, %v; want 4 events", i, h, err)
			}
		}
		if v, err := ledger.Verify(t.Context(), ledger.VerifyConfig{Ledger: env.NewLedger(), Full: true}); err != nil || !v.OK || v.Events != int(v.LastSeq) {
			t.Fatalf("%+v, %v", v, err)
		}
	}
	leave(jobs / 12)
	if first := firstOf(t, env); first != 1 {
		t.Errorf("a twelfth of all was archived, and LEDGER begins at %d: purged for too little", first)
	}
	whole()
	leave(jobs / 3)
	if first := firstOf(t, env); first != ends[jobs/3-1]+1 {
		t.Errorf("a third of all was archived, and LEDGER begins at %d, want %d", first, ends[jobs/3-1]+1)
	}
	whole()
	leave(jobs/3 + 2)
	removeAll(t, env, ends[jobs/3+1])
}

// A job that has left, while LEDGER still holds it, is retried: carried comes before, however young the job is, so that LEDGER
// begins it when the purge comes (R-220, DESIGN D13).
func TestRetriedBeforeThePurge(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, 1)
	end := c.end0()
	for i := range 160 {
		beginQuickly(t, c.Ledger, schemas.JobID(fmt.Sprintf("hot-%d", i)))
	}
	if _, err := c.archiver().LookBefore(t.Context(), c.cutAt(end)); err != nil {
		t.Fatal(err)
	}
	if first := firstOf(t, c.Env); first != 1 {
		t.Fatalf("LEDGER begins at %d: it was purged", first)
	}
	for _, id := range []schemas.JobID{"canceled-0", "resolved-0"} {
		if _, _, err := c.NewLedger().Do(t.Context(), "acme", id, &ledger.Retry{Reason: "again", Now: time.Now()}, ledger.Meta{}); err != nil {
			t.Fatal(err)
		}
		c.remember(id)
	}
	c.check(c.NewLedger())
	if err := c.Ledger.PurgeBelow(t.Context(), end.Seq+1); err != nil {
		t.Fatal(err)
	}
	c.check(c.NewLedger())
	c.hotBegins()
}

// firstOf is where LEDGER begins.
func firstOf(t *testing.T, env *ledgertest.Env) schemas.Seq {
	t.Helper()
	s, err := env.Ledger.JetStream().Stream(t.Context(), ledger.StreamLedger)
	if err != nil {
		t.Fatal(err)
	}
	return schemas.Seq(s.CachedInfo().State.FirstSeq)
}

// removeAll removes what is in the archive, which ends at a sequence, because its time is over.
func removeAll(t *testing.T, env *ledgertest.Env, through schemas.Seq) {
	t.Helper()
	if first := firstOf(t, env); first > through {
		t.Fatalf("LEDGER begins at %d: there is nothing left in both", first)
	}
	r, err := ledger.NewRemover(ledger.RemoverConfig{Ledger: env.NewLedger(), Logger: zap.NewNop(), Wait: -1,
		Now: func() time.Time { return time.Now().Add(100 * schemas.Day) }})
	if err != nil {
		t.Fatal(err)
	}
	if plan, err := r.Look(t.Context()); err != nil || plan.Segments == 0 {
		t.Fatalf("%+v, %v", plan, err)
	}
	if first := firstOf(t, env); first != through+1 {
		t.Errorf("what was removed from the archive still stands in LEDGER, which begins at %d, want %d", first, through+1)
	}
	if _, err := env.NewLedger().History(t.Context(), "acme", "j0"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("a job that was removed: %v", err)
	}
}

// History that is removed beside a check is no damage: what looked wrong is checked anew.
func TestVerifyBesideRemoval(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	a, err := ledger.NewArchiver(ledger.ArchiverConfig{Ledger: env.NewLedger(), Logger: zap.NewNop(), Durable: -1, SegmentEvents: 4})
	if err != nil {
		t.Fatal(err)
	}
	const old, all = 10, 100 // too few to be purged
	var through schemas.Seq
	for i := range all {
		runQuickly(t, env.Ledger, beginQuickly(t, env.Ledger, schemas.JobID(fmt.Sprintf("j%d", i))))
		if end, err := env.Ledger.End(t.Context()); err != nil {
			t.Fatal(err)
		} else if i == old-1 {
			through = end.Seq
		}
	}
	e, err := env.Ledger.EventAt(t.Context(), through)
	if err == nil {
		_, err = a.LookBefore(t.Context(), e.Time)
	}
	if err != nil {
		t.Fatal(err)
	}
	begins := 0
	cfg := ledger.VerifyConfig{Ledger: env.NewLedger()}
	cfg.Begins(func() {
		if begins++; begins == 1 {
			removeAll(t, env, through)
		}
	})
	if v, err := ledger.Verify(t.Context(), cfg); err != nil || !v.OK || begins != 2 {
		t.Errorf("%+v, %v, after %d checks", v, err, begins)
	}
}

// The archiver rests the less, the more segments have come of age: a loaded ledger does not grow beyond its window.
func TestArchiverRestsByNeed(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	const segment = 8 // events, of two jobs
	a, err := ledger.NewArchiver(ledger.ArchiverConfig{Ledger: env.Ledger, Logger: zap.NewNop(), SegmentEvents: segment})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		runQuickly(t, env.Ledger, beginQuickly(t, env.Ledger, schemas.JobID(fmt.Sprintf("j%d", i))))
	}
	for _, c := range []struct{ old, want int }{{0, 0}, {1, 0}, {2, 2}, {3, 2}, {4, 4}, {5, 4}} {
		before := time.Time{} // of the last of the old segments
		if c.old > 0 {
			e, err := env.Ledger.EventAt(t.Context(), schemas.Seq(c.old*segment))
			if err != nil {
				t.Fatal(err)
			}
			before = e.Time
		}
		if got, err := a.OfAge(t.Context(), 1, before); err != nil || got != c.want {
			t.Errorf("of %d segments that are old enough it counts %d, want %d: %v", c.old, got, c.want, err)
		}
	}
	if got, err := a.OfAge(t.Context(), 30, time.Now().Add(time.Hour)); err != nil || got != 0 {
		t.Errorf("at the end of the ledger it counts %d segments, %v", got, err)
	}
}
