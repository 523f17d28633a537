package index

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// submits are the events of n jobs of 100 orgs, each with an owner.
func submits(n int) iter.Seq[[]*ledger.Entry] {
	return func(yield func([]*ledger.Entry) bool) {
		for i := 0; i < n; i += 1000 {
			var es []*ledger.Entry
			for k := range min(1000, n-i) {
				seq := i + k + 1
				org, id := schemas.OrgID(fmt.Sprint("org-", seq%100)), schemas.NewJobID()
				data := &schemas.Submitted{Queue: "mail", Type: "mail", Priority: schemas.PriorityNormal, Generation: 1, Principal: fmt.Sprint("user:", seq%50)}
				es = append(es, &ledger.Entry{Event: &schemas.Event{Subject: schemas.JobSubject(org, id), ID: schemas.NewEventID(), Seq: schemas.Seq(seq), Time: time.Unix(int64(seq), 0).UTC(), Data: data}})
			}
			if !yield(es) {
				return
			}
		}
	}
}

// What it costs a server to tell `log verify` its rows.
func BenchmarkTellRows(b *testing.B) {
	for _, full := range []bool{false, true} {
		b.Run(fmt.Sprint("full=", full), func(b *testing.B) {
			x, err := Build(b.Context(), b.TempDir(), submits(b.N))
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = x.Close() }()
			b.ResetTimer()
			rows := 0
			if err := x.eachPart(b.Context(), &ledger.IndexRows{Full: full}, func(p *ledger.IndexPart) {
				for _, s := range p.Sums {
					rows += s.Rows
				}
			}); err != nil || rows != b.N {
				b.Fatalf("%d rows, %v; want %d", rows, err, b.N)
			}
		})
	}
}

// jobsOf are the subjects of submits.
func jobsOf(in iter.Seq[[]*ledger.Entry], to *[]schemas.Subject) iter.Seq[[]*ledger.Entry] {
	return func(yield func([]*ledger.Entry) bool) {
		for es := range in {
			for _, e := range es {
				*to = append(*to, e.Subject)
			}
			if !yield(es) {
				return
			}
		}
	}
}

// What it costs to say where a job stands that is there, or that none is, among so many.
func BenchmarkWhere(b *testing.B) {
	var jobs []schemas.Subject
	x, err := Build(b.Context(), b.TempDir(), jobsOf(submits(500_000), &jobs))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = x.Close() }()
	for i, there := range []bool{true, false} {
		b.Run(fmt.Sprint("there=", there), func(b *testing.B) {
			n := i
			for b.Loop() {
				at := jobs[n*7919%len(jobs)]
				if !there {
					at.Job = schemas.JobID(uuid.NewString())
				}
				n++
				if w, ok := x.Where(b.Context(), at.Org, at.Job); !ok || w.None == there {
					b.Fatalf("%v stands at %+v, %t", at, w, ok)
				}
			}
		})
	}
}

// What it costs that a job leaves which was removed from the archive, with its row, among others that stay.
func BenchmarkLeave(b *testing.B) {
	var jobs []schemas.Subject
	x, err := Build(b.Context(), b.TempDir(), jobsOf(submits(b.N+100_000), &jobs))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = x.Close() }()
	g := &ledger.RemovedSegment{Number: 1, First: 1, Last: schemas.Seq(b.N)}
	b.ResetTimer()
	for some := range slices.Chunk(jobs[:b.N], lookAtOnce) {
		err := x.s.fold.leave(b.Context(), g, some, func(context.Context, *entry) ([]*ledger.Entry, error) {
			b.Fatal("a job is read that was removed as a whole")
			return nil, nil
		})
		if err == nil && x.s.fold.messages >= batchMessages {
			err = x.write(b.Context())
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := x.write(b.Context()); err != nil {
		b.Fatal(err)
	}
}

// write writes a batch.
func (b *Built) write(ctx context.Context) error {
	c, err := b.s.fold.take()
	if err != nil {
		return err
	}
	return b.s.write(ctx, c)
}
