package ledger_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// Fold is current after every append, also for a job with more events than one answer holds, and on a
// subject where others have put messages of their own (DESIGN D1).
func TestFoldReadsTheWholeSubject(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	l := env.Ledger
	submitOne(t, l, "acme", "long")
	submitOne(t, l, "acme", "longer") // a neighbour that must not be taken for it
	const attempts = 40               // two events each, and the first two: more than a batch
	for i := range attempts {
		fence := schemas.Fence{}
		if i == 0 {
			fence = runOne(t, l, "acme", "long")
		} else {
			j, err := l.Fold(t.Context(), "acme", "long")
			if err != nil {
				t.Fatal(err)
			}
			e := step(t, l, "acme", "long", &ledger.Claim{Generation: 1, Submitted: j.SubmittedSeq, Session: schemas.NewSessionID(), Worker: "w"})
			fence = schemas.Fence{Seq: e.Seq, ID: e.ID}
		}
		e := endOne(t, l, "acme", "long", fence, ledger.Outcome{Kind: schemas.EventReleased, Reason: schemas.ReleaseDrain})
		j, err := l.Fold(t.Context(), "acme", "long")
		if err != nil || j.LastSeq != e.Seq || j.Attempt != i+1 || j.State != schemas.StateQueued || j.Illegal > 0 {
			t.Fatalf("after attempt %d the job is %+v, %v", i+1, j, err)
		}
	}
	before, err := l.FoldBefore(t.Context(), "acme", "long", 5)
	if err != nil || before.State != schemas.StateQueued || before.Attempt != 0 {
		t.Errorf("before its first attempt the job was %+v, %v", before, err)
	}
	if j, err := l.Fold(t.Context(), "acme", "nobody"); !errors.Is(err, ledger.ErrNotFound) || j == nil || j.LastSeq != 0 {
		t.Errorf("a job that does not exist is %+v, %v", j, err)
	}
}

// A foreign message moves what an append must expect, whatever headers it bears; it may even claim
// another sequence for itself.
func TestFoldForeignMessage(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	l := env.Ledger
	submitted := submitOne(t, l, "acme", "one")
	foreign := publishRaw(t, l, "jobs.acme.one", nats.Header{"Nats-Sequence": {"1"}, "Nats-Subject": {"jobs.acme.two"},
		"Nats-Time-Stamp": {"2020-01-02T03:04:05Z"}, "Nats-Num-Pending": {"7"}, "Nats-Stream": {"OTHER"}, "Status": {"404"}}, "x")
	j, err := l.Fold(t.Context(), "acme", "one")
	if err != nil || j.LastSeq != foreign || j.State != schemas.StateSubmitted || j.Unreadable {
		t.Fatalf("the job is %+v, %v; want submitted, to expect %d", j, err, foreign)
	}
	entries, err := l.EventsAt(t.Context(), []schemas.Seq{foreign, submitted.Seq})
	if err != nil || len(entries) != 2 || entries[0] == nil || entries[0].Seq != foreign ||
		!errors.Is(entries[0].Err, schemas.ErrForeign) || string(entries[0].Body) != "x" || entries[0].Header.Get("Nats-Sequence") != "1" {
		t.Fatalf("read back %+v, %v", entries, err)
	}
	// The job goes on behind it.
	runOne(t, l, "acme", "one")
}

// EventsAt answers in the order asked, nil for what is not there; EventAt says not found (R1).
func TestEventsAt(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	fill(t, env, "acme", 100)
	last := end(t, env.Ledger)
	seqs := []schemas.Seq{0, last + 1}
	for s := last; s > 1; s -= 2 {
		seqs = append(seqs, s)
	}
	entries, err := env.Ledger.EventsAt(t.Context(), seqs)
	if err != nil || len(entries) != len(seqs) {
		t.Fatalf("asked for %d, got %d, %v", len(seqs), len(entries), err)
	}
	for i, e := range entries {
		missing := seqs[i] == 0 || seqs[i] > last
		if missing != (e == nil) || e != nil && (e.Seq != seqs[i] || e.Err != nil) {
			t.Fatalf("at %d came %+v", seqs[i], e)
		}
	}
	for _, s := range seqs[:2] {
		if e, err := env.Ledger.EventAt(t.Context(), s); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("at %d is %+v, %v", s, e, err)
		}
	}
}

// On three replicas a fold is never older than the last append that was acknowledged, whichever replica
// answers, and the feed goes on when a server with the stream stops (R-22, DESIGN D8; issue: R3).
func TestReadReplicated(t *testing.T) {
	if testing.Short() {
		t.Skip("a cluster takes seconds")
	}
	t.Parallel()
	env := ledgertest.StartCluster(t)
	l := env.Ledger
	f := startFeed(t, ledger.FeedConfig{Ledger: env.NewLedger(), Capacity: 16})
	c := f.Subscribe(schemas.Position{})
	defer c.Close()
	var all []*ledger.Entry
	run := func(from, to int) {
		for i := from; i < to; i++ {
			id := schemas.JobID(fmt.Sprint("job", i))
			e := submitOne(t, l, "acme", id)
			if j, err := l.Fold(t.Context(), "acme", id); err != nil || j.LastSeq != e.Seq {
				t.Fatalf("after sequence %d the fold is %+v, %v", e.Seq, j, err)
			}
			fence := runOne(t, l, "acme", id)
			done := endOne(t, l, "acme", id, fence, ledger.Outcome{Kind: schemas.EventCompleted})
			if j, err := l.Fold(t.Context(), "acme", id); err != nil || j.State != schemas.StateCompleted || j.LastSeq != done.Seq {
				t.Fatalf("after completed the fold is %+v, %v", j, err)
			}
		}
		start := time.Now()
		all = append(all, read(t, c, end(t, l))...)
		t.Logf("the feed was %s late: aim 5s", time.Since(start))
	}
	run(0, 20)
	for i := range env.Cluster.Len() {
		env.Cluster.Stop(i)
		run(100*(i+1), 100*(i+1)+10)
		if err := env.Cluster.Restart(i); err != nil {
			t.Fatal(err)
		}
		if err := env.Cluster.Server(i).WaitReady(env.Context()); err != nil {
			t.Fatal(err)
		}
	}
	checkWhole(t, all, 1, end(t, l))
	again := f.Subscribe(schemas.Position{})
	defer again.Close()
	checkWhole(t, read(t, again, end(t, l)), 1, end(t, l))
}

// BenchmarkFold folds a job of four events.
func BenchmarkFold(b *testing.B) {
	env := ledgertest.Start(b)
	fill(b, env, "acme", 2000)
	completeOne(b, env.Ledger, "acme", "one")
	b.ReportAllocs()
	for b.Loop() {
		if j, err := env.Ledger.Fold(b.Context(), "acme", "one"); err != nil || j.State != schemas.StateCompleted {
			b.Fatal(j, err)
		}
	}
}

// BenchmarkEventsAt reads 64 events that lie apart.
func BenchmarkEventsAt(b *testing.B) {
	env := ledgertest.Start(b)
	fill(b, env, "acme", 2000)
	var seqs []schemas.Seq
	for s := schemas.Seq(2); len(seqs) < 64; s += 100 {
		seqs = append(seqs, s)
	}
	for b.Loop() {
		entries, err := env.Ledger.EventsAt(b.Context(), seqs)
		if err != nil || len(entries) != 64 || entries[63] == nil {
			b.Fatal(len(entries), err)
		}
	}
}
