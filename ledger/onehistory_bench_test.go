package ledger_test

import (
	"testing"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
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
	one, err := l.EventAt(b.Context(), last/2)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("history", func(b *testing.B) {
		for b.Loop() {
			if _, err := l.History(b.Context(), one.Org, one.Job); err != nil {
				b.Fatal(err)
			}
		}
	})
}
