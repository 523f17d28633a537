package ledger_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// spied counts what a ledger asks of a stream.
type spied struct {
	t   *testing.T
	l   *ledger.Ledger
	sub *nats.Subscription
}

func spy(t *testing.T, l *ledger.Ledger, stream string) *spied {
	t.Helper()
	sub, err := l.Conn().SubscribeSync("$JS.API.DIRECT.GET." + stream)
	if err != nil {
		t.Fatal(err)
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		t.Fatal(err)
	}
	return &spied{t: t, l: l, sub: sub}
}

// asked is how many requests there were.
func (s *spied) asked() int {
	s.t.Helper()
	if err := s.l.Conn().Flush(); err != nil { // what was asked on this connection before has come back by then
		s.t.Fatal(err)
	}
	n, _, err := s.sub.Pending()
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// segmented is an archive of some jobs of an org, two in a segment, whose ids tell their time or do not; what left stays in LEDGER too.
func segmented(t *testing.T, jobs int, telling bool) (*ledgertest.Env, []schemas.JobID) {
	t.Helper()
	env := ledgertest.Start(t)
	env.SkipVerify() // what is in ARCHIVE still stands in LEDGER
	var ids []schemas.JobID
	if telling {
		for range jobs {
			ids = append(ids, schemas.NewJobID())
			completeOne(t, env.Ledger, "acme", ids[len(ids)-1])
		}
	} else {
		before := end(t, env.Ledger)
		fill(t, env, "acme", jobs)
		for i := range jobs {
			ids = append(ids, schemas.JobID(fmt.Sprintf("job-%d-%06d", before+schemas.Seq(4*i), i)))
		}
	}
	if err := env.Ledger.ArchiveThrough(t.Context(), 0, 8); err != nil {
		t.Fatal(err)
	}
	if s, err := env.Ledger.Archived(t.Context()); err != nil || s.Segments < jobs/2 {
		t.Fatalf("%+v, %v", s, err)
	}
	return env, ids
}

// begun is a job that was submitted now under an id.
func begun(id schemas.JobID) *ledger.Job {
	return &ledger.Job{Org: "acme", ID: id, Generation: 1, SubmittedAt: time.Now(), SubmittedSeq: 1 << 40}
}

// Many jobs under ids that callers drew at random cost a leader that has just begun one read of each segment's filter, however
// many are looked for at once, and none where no id in the archive is like them; no page or index is read in vain (R-07, DESIGN D13).
func TestIDsAreNotThereOfManySegments(t *testing.T) {
	t.Parallel()
	for name, telling := range map[string]bool{"archived ids tell their time": true, "archived ids tell nothing": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env, _ := segmented(t, 200, telling)
			l := env.NewLedger()
			filters, pages := spy(t, l, ledger.StreamCatalog), spy(t, l, ledger.StreamArchive)
			before := filters.asked()
			var wg sync.WaitGroup
			for range 64 {
				wg.Go(func() {
					for range 25 {
						if earlier, err := l.Earlier(t.Context(), begun(schemas.JobID(uuid.NewString()))); earlier != nil || err != nil {
							t.Errorf("%+v, %v", earlier, err)
						}
					}
				})
			}
			wg.Wait()
			s, err := l.Archived(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if n := filters.asked() - before; n > s.Segments+20 { // the records are read too, many at a time
				t.Errorf("%d reads of CATALOG for %d segments", n, s.Segments)
			}
			if n := pages.asked(); n > 0 {
				t.Errorf("%d reads of ARCHIVE for ids that it does not hold", n)
			}
		})
	}
}

// Where memory holds a part of the filters only, every job is found all the same, by several readers that share them, and the
// bound holds (R-07, R-40, DESIGN D13).
func TestFiltersBeyondMemory(t *testing.T) {
	t.Parallel()
	for name, telling := range map[string]bool{"ids tell their time": true, "ids tell nothing": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env, ids := segmented(t, 60, telling)
			const room = 1000
			cache := ledger.NarrowArchiveCache(room)
			var wg sync.WaitGroup
			for i := range 2 {
				l, err := ledger.New(ledger.Config{Conn: env.Connect(), Logger: zap.NewNop(), ArchiveCache: cache})
				if err != nil {
					t.Fatal(err)
				}
				wg.Go(func() {
					for at := i; at < len(ids); at += 7 {
						got, err := l.ArchivedSubject(t.Context(), "acme", ids[at])
						if err != nil || len(got) != 4 {
							t.Errorf("%s: %d events, %v", ids[at], len(got), err)
						}
					}
				})
			}
			wg.Wait()
			if n := cache.FilterBytes(); n > 2*room || n < room/2 {
				t.Errorf("%d bytes of filters in memory, of %d", n, room)
			}
		})
	}
}

// A submitter in a process of its own reads no more than a little of a large archive before it submits: the leader judges. A part of a
// server reads on, and knows (R-07, DESIGN D13).
func TestSubmitterOfALargeArchive(t *testing.T) {
	t.Parallel()
	env, ids := segmented(t, 60, false)
	if _, err := env.Ledger.PutType(t.Context(), schemas.TypeSettings{Name: "echo", Reuse: schemas.ReuseNever}, ledger.Meta{}, "a test"); err != nil {
		t.Fatal(err)
	}
	for name, cache := range map[string]*ledger.ArchiveCache{"a process of its own": nil, "a server's": ledger.NewArchiveCache()} {
		l, err := ledger.New(ledger.Config{Conn: env.Connect(), Logger: zap.NewNop(), ArchiveCache: cache})
		if err != nil {
			t.Fatal(err)
		}
		l.ReadAtMost(100)
		if got, want := l.MayBeArchived(t.Context(), "acme", ids[7]), cache != nil; got != want {
			t.Errorf("%s: may be archived %t, want %t", name, got, want)
		}
	}
}

// Of an archive that is not there any more, as when older data was put back, nothing stays in memory: its filters would keep out those
// of what is there now (DESIGN D2, D13).
func TestFiltersOfWhatIsVoid(t *testing.T) {
	t.Parallel()
	env, _ := segmented(t, 20, false)
	cache := ledger.NewArchiveCache()
	l, err := ledger.New(ledger.Config{Conn: env.Connect(), Logger: zap.NewNop(), ArchiveCache: cache})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Earlier(t.Context(), begun(schemas.JobID(uuid.NewString()))); err != nil || cache.FilterBytes() == 0 {
		t.Fatalf("%v; %d bytes of filters are in memory", err, cache.FilterBytes())
	}
	if err := env.Ledger.JetStream().DeleteStream(t.Context(), ledger.StreamCatalog); err != nil {
		t.Fatal(err)
	}
	if s, err := l.Archived(t.Context()); err != nil || s.Segments > 0 || cache.FilterBytes() > 0 {
		t.Errorf("%+v, %v; %d bytes of filters are in memory", s, err, cache.FilterBytes())
	}
}
