package ledger_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// leftOften has two jobs leave some times, which waited for all that time: one under a caller's own id, and a singleton.
func leftOften(t *testing.T, times int) (c *crowd, own, single schemas.JobID) {
	t.Helper()
	c = &crowd{Env: ledgertest.Start(t), t: t}
	for _, s := range []schemas.TypeSettings{{Name: "echo"}, {Name: "single", Dedup: schemas.DedupSingleton}} {
		if _, err := c.Ledger.PutType(t.Context(), s, ledger.Meta{}, "for the test"); err != nil {
			t.Fatal(err)
		}
	}
	own = submit(t, c.Ledger, ledger.SubmitRequest{Org: "acme", Type: "echo", ID: "mine", Delay: time.Hour}).ID
	single = submit(t, c.Ledger, ledger.SubmitRequest{Org: "acme", Type: "single"}).ID
	for range times {
		if moved := c.leave(c.archiver()); moved.Carried != 2 {
			t.Fatalf("moved %+v, want 2 carried", moved)
		}
	}
	return c, own, single
}

// Work submitted again whose job waited while it left time after time is found by what LEDGER holds of it: no page of what left
// is read, and the one index that says that it is there is read once (R-07, DESIGN D13).
func TestSubmitAgainOfWhatLeftOften(t *testing.T) {
	t.Parallel()
	c, own, single := leftOften(t, 6)
	for id, r := range map[schemas.JobID]ledger.SubmitRequest{
		own:    {Org: "acme", Type: "echo", ID: own, Delay: time.Hour},
		single: {Org: "acme", Type: "single"},
	} {
		l := c.NewLedger()
		pages := spy(t, l, ledger.StreamArchive)
		for range 5 {
			if again := submit(t, l, r); !again.Duplicate || again.ID != id {
				t.Errorf("submitted again: %+v, want a duplicate of %s", again, id)
			}
		}
		if n := pages.asked(); n > 1 {
			t.Errorf("%s: %d reads of ARCHIVE", id, n)
		}
	}
}

// Before a job is queued that waited while it left time after time, the leader looks for an earlier life of its id where one can
// stand: in what left no later than its own beginning (R-07, DESIGN D13).
func TestEarlierOfWhatLeftOften(t *testing.T) {
	t.Parallel()
	c, own, single := leftOften(t, 6)
	for _, id := range []schemas.JobID{own, single} {
		l := c.NewLedger()
		j, err := l.Fold(t.Context(), "acme", id)
		if err != nil {
			t.Fatal(err)
		}
		pages := spy(t, l, ledger.StreamArchive)
		for range 5 {
			if earlier, err := l.Earlier(t.Context(), j); earlier != nil || err != nil {
				t.Errorf("%s: %+v, %v", id, earlier, err)
			}
		}
		if n := pages.asked(); n > 1+5 { // an index, and the page that holds its beginning
			t.Errorf("%s: %d reads of ARCHIVE", id, n)
		}
	}
}

// An id whose job is in ARCHIVE alone, and cannot be read there, is taken as a new one: the leader judges it once it can
// be read (R-02, DESIGN D13).
func TestSubmitDoesNotStopAtADamagedArchive(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	env.SkipVerify() // pages are deleted
	l, ctx := env.Ledger, t.Context()
	completeOne(t, l, "acme", "mine")
	if err := ledger.MoveToArchive(ctx, l, end(t, l), true); err != nil {
		t.Fatal(err)
	}
	if _, err := l.PutType(ctx, schemas.TypeSettings{Name: "echo", Reuse: schemas.ReuseNever}, ledger.Meta{}, "a test"); err != nil {
		t.Fatal(err)
	}
	segments, err := l.ArchiveSegments(ctx)
	if err != nil {
		t.Fatal(err)
	}
	cold, err := l.JetStream().Stream(ctx, ledger.StreamArchive)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range segments {
		at, err := l.PageSeqs(ctx, s.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, seq := range at {
			if err := cold.DeleteMsg(ctx, uint64(seq)); err != nil {
				t.Fatal(err)
			}
		}
	}
	r, err := env.NewLedger().Submit(ctx, ledger.SubmitRequest{Org: "acme", Type: "echo", ID: "mine", Args: json.RawMessage(`{"other":1}`)})
	if err != nil || r.Duplicate || r.Generation != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}
