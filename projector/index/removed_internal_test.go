package index

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// a job of which a part was removed becomes what is left of it: an earlier life of its id that is kept for longer, or what its
// carried says; and nothing where nothing is left, or only what has no beginning. A later life is left alone.
func TestWhatIsLeftOfAJob(t *testing.T) {
	at := schemas.JobSubject("a", "j")
	event := func(seq schemas.Seq, data schemas.Data) *ledger.Entry {
		e := schemas.NewEvent(at, data)
		e.Seq, e.Time = seq, time.Unix(int64(seq), 0).UTC()
		return &ledger.Entry{Event: e}
	}
	head := func(from schemas.State, submitted schemas.Seq) schemas.Head {
		return schemas.Head{Generation: 1, From: from, Type: "mail", Queue: "default", Priority: schemas.PriorityNormal, Submitted: submitted}
	}
	submit := func(seq schemas.Seq) *ledger.Entry {
		data := &schemas.Submitted{Type: "mail", Queue: "default", Priority: schemas.PriorityNormal, Generation: 1}
		e := event(seq, data)
		e.First = true // it found its subject empty
		return e
	}
	cancel := func(seq, submitted schemas.Seq) *ledger.Entry {
		return event(seq, &schemas.Canceled{Head: head(schemas.StateSubmitted, submitted)})
	}
	first, second := []*ledger.Entry{submit(1), cancel(2, 1)}, []*ledger.Entry{submit(10), cancel(11, 10)}
	both := slices.Concat(first, second)
	for name, c := range map[string]struct {
		stored, left []*ledger.Entry
		from, to     schemas.Seq // of the removed segment
		reads        int
		row          schemas.Seq // what stands there then; 0: nothing
	}{
		"the later of two lives was removed":               {stored: both, left: first, from: 10, to: 11, reads: 1, row: 1},
		"the earlier of two lives was removed":             {stored: both, from: 1, to: 2, row: 10},
		"both were removed":                                {stored: both, from: 1, to: 11, reads: 1},
		"all of it was removed":                            {stored: first, from: 1, to: 9},
		"its beginning was removed":                        {stored: first, left: first[1:], from: 1, to: 1, reads: 1},
		"its end was removed, and what stays is not shown": {stored: first, from: 2, to: 2, reads: 1},
	} {
		t.Run(name, func(t *testing.T) {
			x, err := Build(t.Context(), t.TempDir(), slices.Values([][]*ledger.Entry{c.stored}))
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := x.Close(); err != nil {
					t.Error(err)
				}
			}()
			reads := 0
			g := &ledger.RemovedSegment{Number: 7, First: c.from, Last: c.to}
			err = x.s.fold.leave(t.Context(), g, []schemas.Subject{at, at}, func(context.Context, *entry) ([]*ledger.Entry, error) {
				reads++
				return c.left, nil
			})
			if err == nil {
				x.s.fold.followed(g)
				err = x.write(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			var rows []schemas.Seq
			if err := x.Rows(t.Context(), func(j *ledger.Job, _, _ []byte) { rows = append(rows, j.SubmittedSeq) }); err != nil {
				t.Fatal(err)
			}
			var want []schemas.Seq
			if c.row > 0 {
				want = append(want, c.row)
			}
			counts, _, err := x.Counts(t.Context(), "a")
			if err != nil {
				t.Fatal(err)
			}
			n := counts[ledger.CountKey{Org: "a", Queue: "default", Type: "mail"}]
			if !slices.Equal(rows, want) || n.Canceled != int64(len(want)) || reads < c.reads || c.reads == 0 && reads > 0 {
				t.Errorf("rows %v, counted %+v, read %d times; want rows %v, read %d times", rows, n, reads, want, c.reads)
			}
			if done, err := x.Followed(t.Context()); err != nil || done != 7 {
				t.Errorf("%d removals are followed, %v", done, err)
			}
		})
	}
}

// jobs leave though the memory that some of them stand in is given up in the midst of it.
func TestJobsLeaveWhileMemoryTurns(t *testing.T) {
	var jobs []schemas.Subject
	x, err := Build(t.Context(), t.TempDir(), jobsOf(submits(10), &jobs))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	}()
	f := x.s.fold
	f.turn()
	f.room = 5
	if err := f.leave(t.Context(), &ledger.RemovedSegment{Number: 1, First: 1, Last: 10}, jobs, nil); err != nil {
		t.Fatal(err)
	}
	if err := x.write(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := x.Len(t.Context(), "jobs"); err != nil || n != 0 {
		t.Errorf("%d rows stay, %v", n, err)
	}
}

// a job whose rest cannot be read stays as it is.
func TestJobStaysWhoseRestIsDamaged(t *testing.T) {
	var jobs []schemas.Subject
	x, err := Build(t.Context(), t.TempDir(), jobsOf(submits(2), &jobs))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	}()
	x.history.remaining = func(context.Context, schemas.OrgID, schemas.JobID, schemas.Seq, schemas.Seq) ([]*ledger.Entry, error) {
		return nil, fmt.Errorf("read: %w", ledger.ErrArchiveDamaged)
	}
	g := &ledger.RemovedSegment{Number: 1, First: 2, Last: 2} // the first one began before it
	jobs[0], jobs[1] = jobs[1], jobs[0]
	x.s.fold.old, x.s.fold.young[jobKey{jobs[1].Org, jobs[1].Job}].job.LastSeq = nil, 2
	if err := x.s.fold.leave(t.Context(), g, jobs, x.s.leftOf); err != nil {
		t.Fatal(err)
	}
	if err := x.write(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := x.Len(t.Context(), "jobs"); err != nil || n != 1 {
		t.Errorf("%d rows are there, %v; want the one whose rest cannot be read", n, err)
	}
}
