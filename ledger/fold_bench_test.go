package ledger_test

import (
	"fmt"
	"testing"

	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// BenchmarkFoldFar folds jobs of four events: near each other, as when a job runs at once, and spread, as when ten
// thousand jobs wait between any two of their steps.
func BenchmarkFoldFar(b *testing.B) {
	const jobs = 10_000
	for _, spread := range []bool{false, true} {
		b.Run(fmt.Sprintf("spread=%t", spread), func(b *testing.B) {
			env := ledgertest.Start(b)
			env.SkipVerify()
			var seqs [jobs]schemas.Seq
			step := func(i int, data schemas.Data) {
				e := schemas.NewEvent(schemas.JobSubject("acme", schemas.JobID(fmt.Sprint("j", i))), data)
				if err := env.Ledger.Append(b.Context(), e, seqs[i]); err != nil {
					b.Fatal(err)
				}
				seqs[i] = e.Seq
			}
			steps := []func(i int) schemas.Data{
				func(int) schemas.Data {
					return &schemas.Submitted{Type: "echo", Queue: "default", Priority: schemas.PriorityNormal, Generation: 1}
				},
				func(i int) schemas.Data { return &schemas.Canceled{Head: head(i, schemas.StateSubmitted)} },
				func(i int) schemas.Data { return &schemas.Retried{Head: head(i, schemas.StateCanceled)} },
				func(i int) schemas.Data { return &schemas.Canceled{Head: head(i, schemas.StateSubmitted)} },
			}
			if spread {
				for _, s := range steps {
					for i := range jobs {
						step(i, s(i))
					}
				}
			} else {
				for i := range jobs {
					for _, s := range steps {
						step(i, s(i))
					}
				}
			}
			n := 0
			for b.Loop() {
				n = (n + 7919) % jobs
				if _, err := env.Ledger.Fold(b.Context(), "acme", schemas.JobID(fmt.Sprint("j", n))); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func head(_ int, from schemas.State) schemas.Head {
	return schemas.Head{From: from, Type: "echo", Queue: "default", Priority: schemas.PriorityNormal, Generation: 1, Submitted: 1}
}
