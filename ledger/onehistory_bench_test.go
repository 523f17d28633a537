package ledger_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// BenchmarkReplayArchived reads a ledger that is in ARCHIVE all of it, as BenchmarkReplay reads one that is not, and the
// history of one job there.
func BenchmarkReplayArchived(b *testing.B) {
	env := ledgertest.Start(b)
	fill(b, env, "acme", benchJobs)
	l, last := env.Ledger, end(b, env.Ledger)
	if err := l.ArchiveThrough(b.Context(), last, 0); err != nil {
		b.Fatal(err)
	}
	if err := ledger.MoveToArchive(b.Context(), l, last, true); err != nil {
		b.Fatal(err)
	}
	for name, fn := range map[string]func(e *ledger.Entry) error{
		"read":   func(*ledger.Entry) error { return nil },
		"ndjson": func(e *ledger.Entry) error { line := ledger.LineOf(e); line.Append(nil, true); return nil },
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				n := 0
				err := l.Replay(b.Context(), ledger.ReplayQuery{}, func(e *ledger.Entry) error { n++; return fn(e) })
				if err != nil || n != int(last) {
					b.Fatal(n, err)
				}
			}
			b.ReportMetric(float64(last)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
	// Jobs at random, by a reader that has read nothing before and by one that has: p95 is to be 200 ms at most.
	for name, fresh := range map[string]bool{"history": false, "history/first": true} {
		b.Run(name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				one, err := l.EventAt(b.Context(), 1+schemas.Seq(rand.N(uint64(last))))
				if err != nil {
					b.Fatal(err)
				}
				if one.Job == "" {
					continue
				}
				reader := l
				if fresh {
					reader = env.NewLedger()
				}
				start := time.Now()
				if h, err := reader.History(b.Context(), one.Org, one.Job); err != nil || len(h.Entries) != 4 {
					b.Fatal(h, err)
				}
				took = append(took, time.Since(start))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "ms-p95")
		})
	}
}
