package ledger_test

import (
	"context"
	"testing"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// A segment that is removed is gone as a whole, what is left stays readable, and a second removal finds nothing; if the
// remover dies behind its record the sweep finishes it.
func TestArchiveRemoveSegments(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	env.SkipVerify() // what is removed still stands in LEDGER
	fill(t, env, "acme", 30)
	for _, step := range []struct{ through, events int }{{25, 25}, {0, 24}} { // the cell's start and six jobs, then six jobs each
		if err := env.Ledger.ArchiveThrough(t.Context(), schemas.Seq(step.through), step.events); err != nil {
			t.Fatal(err)
		}
	}
	all := everything(t, env.Ledger)
	segments, err := env.Ledger.ArchiveSegments(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	reader := env.NewLedger()
	sameEntries(t, "before", archived(t, reader, 0, 1<<63, ""), all)
	for range 2 {
		if err := env.Ledger.RemoveSegments(t.Context(), segments[0].ID, segments[2].ID); err != nil {
			t.Fatal(err)
		}
	}
	left := append(append([]*ledger.Entry(nil), all[25:49]...), all[73:]...)
	whole(t, env, left)
	sameEntries(t, "a reader who knew them", archived(t, reader, 0, 1<<63, ""), left)
	if state, err := reader.Archived(t.Context()); err != nil || state.First != 26 || state.Through != all[len(all)-1].Position() {
		t.Errorf("%+v, %v, want it to begin at 26", state, err)
	}
	if got, err := reader.ArchivedSubject(t.Context(), "acme", all[10].Job); err != nil || len(got) != 0 {
		t.Errorf("a removed job: %d messages, %v", len(got), err)
	}

	ctx, die := context.WithCancel(t.Context())
	env.Faults.Inject(ledgertest.Fault{Archive: "catalog.record", Kind: ledgertest.LoseReply, After: dying(die)})
	if err := env.Ledger.RemoveSegments(ctx, segments[1].ID); err == nil {
		t.Error("the remover died and was told that all is well")
	}
	whole(t, env, all[73:])
}

// Who reads while steps are written and segments removed sees each message once, in order, and leaves out none but
// removed ones.
func TestArchiveReadingBesideWriters(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	env.SkipVerify() // what is removed still stands in LEDGER
	fill(t, env, "acme", 100)
	all := everything(t, env.Ledger)
	for _, step := range []struct{ through, events int }{{21, 21}, {201, 20}} { // the cell's start and five jobs, then five jobs each
		if err := env.Ledger.ArchiveThrough(t.Context(), schemas.Seq(step.through), step.events); err != nil {
			t.Fatal(err)
		}
	}
	segments, err := env.Ledger.ArchiveSegments(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	removed := make(map[schemas.Seq]bool) // by first sequence of a segment
	done := make(chan error, 1)
	for i := 0; i < len(segments); i += 2 {
		removed[segments[i].First] = true
	}
	go func() {
		for i := 0; i < len(segments); i += 2 {
			commit, err := env.Ledger.ArchiveStep(t.Context(), 20)
			if err == nil {
				err = commit(t.Context())
			}
			if err == nil {
				err = env.Ledger.RemoveSegments(t.Context(), segments[i].ID)
			}
			if err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	reader := env.NewLedger()
	for running := true; running; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			running = false
		default:
		}
		at := 0
		for _, e := range archived(t, reader, 0, 1<<63, "") {
			for ; at < len(all) && all[at].Seq < e.Seq; at++ {
				first := schemas.Seq(1)
				if seq := all[at].Seq; seq > 21 {
					first = seq - (seq-2)%20
				}
				if !removed[first] {
					t.Fatalf("message %d was left out", all[at].Seq)
				}
			}
			if at == len(all) || all[at].Position() != e.Position() {
				t.Fatalf("message %d came where another was due", e.Seq)
			}
			at++
		}
		id := all[30].Job // events 31 and around stand in the second segment, which stays
		if got, err := reader.ArchivedSubject(t.Context(), "acme", id); err != nil || len(got) != 4 {
			t.Fatalf("%d messages of %s, %v", len(got), id, err)
		}
	}
}
