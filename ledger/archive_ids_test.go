package ledger_test

import (
	"context"
	"encoding/binary"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// madeAt is a job id that a caller drew by a clock that showed at.
func madeAt(t *testing.T, at time.Time) schemas.JobID {
	t.Helper()
	u, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(at.UnixMilli()))
	copy(u[:6], ms[2:])
	return schemas.JobID(u.String())
}

// Whatever the clock of a caller shows who draws ids, a job that left is found in ARCHIVE: its history, and its payloads,
// which nobody may take for orphans (R-40, DESIGN D13).
func TestArchivedUnderAnIDOfAWrongClock(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	l, ctx := env.Ledger, t.Context()
	ids := []schemas.JobID{madeAt(t, time.Now().Add(72*time.Hour)), madeAt(t, time.Now().AddDate(-20, 0, 0)), schemas.NewJobID()}
	for _, id := range ids {
		completeOne(t, l, "acme", id)
	}
	if err := ledger.MoveToArchive(ctx, l, end(t, l), true); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		if h, err := env.NewLedger().History(ctx, "acme", id); err != nil || h.Job.State != schemas.StateCompleted {
			t.Errorf("%s: %v, its events left and are not found", id, err)
		}
	}
}

// A caller who draws its id and submits again under it, after the job left LEDGER as early as it may, meets that job: an
// id counts as new only for a time in which nothing leaves (R-07, DESIGN D13).
func TestDrawnIDSubmittedAgainAfterItLeft(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	l, ctx := env.Ledger, t.Context()
	id := madeAt(t, time.Now().Add(-ledger.HotWindowMin(schemas.DedupWindow)))
	completeOne(t, l, "acme", id)
	if err := ledger.MoveToArchive(ctx, l, end(t, l), true); err != nil {
		t.Fatal(err)
	}
	was, err := l.Fold(ctx, "acme", id)
	if err != nil {
		t.Fatal(err)
	}
	// Its submit was sent again by one who does not know what became of it.
	data, err := ledger.Decide(&ledger.Job{Org: "acme", ID: id}, &ledger.Begin{Spec: was.Spec})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Append(ctx, schemas.NewEvent(schemas.JobSubject("acme", id), data), 0); err != nil {
		t.Fatal(err)
	}
	j, err := l.Fold(ctx, "acme", id)
	if err != nil {
		t.Fatal(err)
	}
	if earlier, err := l.Earlier(ctx, j); err != nil || earlier == nil || earlier.SubmittedSeq != was.SubmittedSeq {
		t.Errorf("the leader finds %+v, %v, and runs it twice", earlier, err)
	}
}

// While CATALOG does not answer, as without a leader, LEDGER takes submits under callers' ids all the same: what they miss
// the leader finds (R-02, DESIGN D13).
func TestSubmitDoesNotWaitForTheArchive(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	l := env.Ledger
	if _, err := l.PutType(t.Context(), schemas.TypeSettings{Name: "echo"}, ledger.Meta{}, "a test"); err != nil {
		t.Fatal(err)
	}
	defer l.ArchiveSilent()()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if r, err := l.Submit(ctx, ledger.SubmitRequest{Org: "acme", Type: "echo", ID: "mine"}); err != nil || r.Duplicate {
		t.Errorf("%+v, %v", r, err)
	}
}

// A reader who knew of a record before the newest, and comes to read it when others have read that, takes nothing back of
// what they know: a look for an id that was used may rely on it (DESIGN D13).
func TestArchiveReaderOvertaken(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	env.SkipVerify() // what is in ARCHIVE still stands in LEDGER
	l, ctx := env.Ledger, t.Context()
	fill(t, env, "acme", 10)
	if err := l.ArchiveThrough(ctx, 20, 20); err != nil {
		t.Fatal(err)
	}
	late, err := l.ArchiveReader(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.ArchiveThrough(ctx, 30, 10); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Archived(ctx); err != nil {
		t.Fatal(err)
	}
	if err := late(); err != nil || l.ArchiveKnown() != 30 {
		t.Errorf("%v, the archive is known through %d, and was known through 30", err, l.ArchiveKnown())
	}
}
