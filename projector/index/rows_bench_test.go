package index

import (
	"fmt"
	"iter"
	"testing"
	"time"

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
