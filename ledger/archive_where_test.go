package ledger_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// A look whose filters are not in memory asks where the job stands, and reads no filter of a segment that cannot hold it; where nobody
// can tell it reads them all (R-07, R-40, DESIGN D13).
func TestLookBeyondMemoryAsksWhere(t *testing.T) {
	t.Parallel()
	for name, telling := range map[string]bool{"ids tell their time": true, "ids tell nothing": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env, ids := segmented(t, 60, telling)
			at := make(map[schemas.JobID]ledger.Whereabouts)
			through := end(t, env.Ledger)
			for _, id := range ids {
				es, err := env.Ledger.ArchivedSubject(t.Context(), "acme", id)
				if err != nil || len(es) != 4 {
					t.Fatalf("%s: %d events, %v", id, len(es), err)
				}
				at[id] = ledger.Whereabouts{Through: through, From: es[0].Seq, To: es[3].Seq}
			}
			var silent atomic.Bool
			var asked atomic.Int64
			cache := ledger.NewArchiveCache()
			cache.Bound(0, 0)
			l, err := ledger.New(ledger.Config{Conn: env.Connect(), Logger: zap.NewNop(), ArchiveCache: cache})
			if err != nil {
				t.Fatal(err)
			}
			l.AskWhere(func(_ context.Context, org schemas.OrgID, id schemas.JobID) (ledger.Whereabouts, bool) {
				asked.Add(1)
				w, there := at[id]
				if !there {
					w = ledger.Whereabouts{Through: through, None: true}
				}
				return w, org == "acme" && !silent.Load()
			})
			state, err := l.Archived(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			filters := spy(t, l, ledger.StreamCatalog)
			reads := func(look func()) int {
				before := filters.asked()
				look()
				return filters.asked() - before
			}
			absent := func() {
				if earlier, err := l.Earlier(t.Context(), begun(schemas.JobID(uuid.NewString()))); earlier != nil || err != nil {
					t.Errorf("%+v, %v", earlier, err)
				}
			}
			if n := reads(absent); n > 0 {
				t.Errorf("%d filters are read for an id that was never used", n)
			}
			for _, id := range ids {
				n := reads(func() {
					again := begun(id)
					again.SubmittedAt = again.SubmittedAt.Add(time.Hour)
					if j, err := l.Earlier(t.Context(), again); err != nil || j == nil || j.State != schemas.StateCompleted {
						t.Errorf("%s: its earlier life is %+v, %v", id, j, err)
					}
				})
				if n > 2 { // a job may stand in two segments
					t.Errorf("%d filters are read to find %s", n, id)
				}
			}
			if es, err := l.ArchivedSubject(t.Context(), "acme", ids[0]); err != nil || len(es) != 4 || asked.Load() != int64(len(ids)+1) {
				t.Errorf("%d events, %v; %d asked where, want %d: who reads history goes by the archive", len(es), err, asked.Load(), len(ids)+1)
			}
			silent.Store(true)
			if n := reads(absent); n < state.Segments/2 {
				t.Errorf("%d filters are read of %d segments, though nobody tells where the job stands", n, state.Segments)
			}
		})
	}
}
