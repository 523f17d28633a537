package index_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dartwing/jobledger/internal/where"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/projector/index"
	"github.com/dartwing/jobledger/schemas"
)

// build folds events into an index of its own.
func build(t testing.TB, events ...*schemas.Event) *index.Index {
	t.Helper()
	var entries []*ledger.Entry
	for _, e := range events {
		entries = append(entries, &ledger.Entry{Event: e})
	}
	x, err := index.Build(t.Context(), t.TempDir(), slices.Values([][]*ledger.Entry{entries}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	})
	return x.Index
}

// R-316, DESIGN D13: a job whose earlier history is removed, so that its first event is a carried, is counted and found as
// any other, and counted once when it goes on.
func TestJobThatBeginsWithCarried(t *testing.T) {
	at := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	job := schemas.Job{Org: "a", ID: "j", Generation: 1, State: schemas.StateDeadLettered, DeadReason: schemas.DeadPermanentError,
		Resolution: schemas.ResolutionOpen, SubmittedSeq: 3, SubmittedAt: at, FinishedAt: at.Add(time.Second),
		Spec: schemas.Submitted{Type: "mail", Queue: "default", Priority: schemas.PriorityNormal}}
	event := func(seq schemas.Seq, data schemas.Data) *schemas.Event {
		e := schemas.NewEvent(schemas.JobSubject(job.Org, job.ID), data)
		e.Seq, e.Time = seq, at.Add(time.Hour)
		return e
	}
	head := schemas.Head{Generation: 1, From: schemas.StateDeadLettered}
	carried, resolved := event(10, &schemas.Carried{Head: head, Job: job}), event(11, &schemas.Resolved{Head: head, Note: "seen"})
	for n, open := range []int64{1, 0} {
		x := build(t, []*schemas.Event{carried, resolved}[:n+1]...)
		counts, _, err := x.Counts(t.Context(), "a")
		want := ledger.Count{DeadLettered: 1, DeadLettersOpen: open}
		if k := (ledger.CountKey{Org: "a", Queue: "default", Type: "mail"}); err != nil || counts[k] != want {
			t.Errorf("counted %+v, %v; want %+v", counts[k], err, want)
		}
		for _, text := range []string{"state:dead_lettered", "type:mail", "queue:default", fmt.Sprintf("resolution:%s", []string{"open", "resolved"}[n])} {
			w, err := where.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			if have := pages(t, x, "a", &w, 9, time.Now()); !slices.Equal(have, []schemas.JobID{"j"}) {
				t.Errorf("%s: found %v", text, have)
			}
		}
	}
}
