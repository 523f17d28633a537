package index_test

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/projector/index"
	"github.com/dartwing/jobledger/schemas"
)

// DESIGN D13: who finds earlier lives by what the index tells finds what everybody finds, also of ids that were used
// again and of jobs of which a part was removed; histories do not depend on it; of an id that nobody used the index knows that.
func TestWhereabouts(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	walk := ledgertest.NewWalk(env, t, rand.Uint64())
	x, _ := start(t, env, feed(t, env), t.TempDir(), func(x *index.Index) { x.Removals(removalsEvery, nil) })
	cache := ledger.NewArchiveCache()
	cache.Bound(0, 0)
	narrow, err := ledger.New(ledger.Config{Conn: env.Connect(), Logger: zap.NewNop(), ArchiveCache: cache})
	if err != nil {
		t.Fatal(err)
	}
	narrow.AskWhere(x.Where)
	ids := map[schemas.OrgID]map[schemas.JobID]bool{}
	for round := range 6 {
		for range 60 {
			walk.Step()
		}
		walk.Rest()
		archive(t, env, 5+walk.Rand.IntN(20))
		if err := env.Ledger.Replay(t.Context(), ledger.ReplayQuery{}, func(e *ledger.Entry) error {
			if e.Job != "" {
				if ids[e.Org] == nil {
					ids[e.Org] = map[schemas.JobID]bool{}
				}
				ids[e.Org][e.Job] = true
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if round%3 == 2 {
			follows(t, x, remove(t, env, 3*365*24*time.Hour))
		}
		caughtUp(t, env, x)
		told := 0
		for org, of := range ids {
			for id := range of {
				again := &ledger.Job{Org: org, ID: id, Generation: 1, SubmittedSeq: 1 << 40, SubmittedAt: time.Now().Add(time.Hour)}
				want, wantErr := env.Ledger.Earlier(t.Context(), again)
				have, err := narrow.Earlier(t.Context(), again)
				if err != nil || wantErr != nil || (have == nil) != (want == nil) || have != nil && document(t, have) != document(t, want) {
					t.Errorf("the earlier life of %s is %+v, %v; want %+v, %v", id, have, err, want, wantErr)
				}
				if h, err := env.Ledger.History(t.Context(), org, id); err == nil {
					own, err := narrow.History(t.Context(), org, id)
					if err != nil || len(own.Entries) != len(h.Entries) {
						t.Errorf("%s has another history, %v", id, err)
					}
				} else if _, own := narrow.History(t.Context(), org, id); errors.Is(own, ledger.ErrRemoved) != errors.Is(err, ledger.ErrRemoved) {
					t.Errorf("%s: %v; want %v", id, own, err)
				}
				if _, ok := x.Where(t.Context(), org, id); ok {
					told++
				}
			}
		}
		if told == 0 {
			t.Error("the index tells of no job where it stands")
		}
	}
	if w, ok := x.Where(t.Context(), "org0", schemas.JobID(uuid.NewString())); !ok || !w.None {
		t.Errorf("an id that nobody used stands at %+v, %t", w, ok)
	}
}
