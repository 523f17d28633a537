package ledger_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// archiveJobs is how many jobs of four events the archive's benchmarks have.
const archiveJobs = 40_000

// BenchmarkArchive writes an archive of 800,000 events, reads it, and looks for jobs in it. What it prints is what
// docs/ARCHIVE.md tells.
func BenchmarkArchive(b *testing.B) {
	env := ledgertest.Start(b)
	env.SkipVerify()
	for i := range 20 {
		fill(b, env, schemas.OrgID(fmt.Sprintf("org-%d", i%4)), archiveJobs/20)
	}
	events := float64(end(b, env.Ledger))
	b.Run("write", func(b *testing.B) {
		for range b.N {
			if err := env.Ledger.ArchiveThrough(b.Context(), 0, 0); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/events, "us/event")
	})
	state, err := env.Ledger.Archived(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("%+v", state)
	size := func(stream string) float64 {
		s, err := env.Ledger.JetStream().Stream(b.Context(), stream)
		if err != nil {
			b.Fatal(err)
		}
		return float64(s.CachedInfo().State.Bytes)
	}
	b.Logf("bytes an event: LEDGER %.0f, ARCHIVE %.0f before compression, CATALOG %.1f", size("LEDGER")/events, size("ARCHIVE")/events, size("CATALOG")/events)
	for _, org := range []schemas.OrgID{"", "org-1"} {
		b.Run("read-"+string(org), func(b *testing.B) {
			n := 0
			for b.Loop() {
				if err := env.Ledger.ArchivedRange(b.Context(), 0, 1<<63, org, func(e []*ledger.Entry) error { n += len(e); return nil }); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
		})
	}
	for _, cold := range []bool{true, false} {
		b.Run(fmt.Sprintf("find-cold=%t", cold), func(b *testing.B) { benchFind(b, env, cold) })
	}
	var before, after runtime.MemStats
	l := env.NewLedger()
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range 200 {
		if _, err := l.ArchivedSubject(b.Context(), "org-1", "nobody"); err != nil {
			b.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.Logf("memory of a catalogue with filters: %.2f bytes a job", float64(after.HeapAlloc-before.HeapAlloc)/archiveJobs)
	runtime.KeepAlive(l)
}

// benchFind looks for jobs at random: each time as a new process does, or as one does that goes on.
func benchFind(b *testing.B, env *ledgertest.Env, cold bool) {
	var all []*ledger.Entry
	err := env.Ledger.ArchivedRange(b.Context(), 0, 200_000, "", func(e []*ledger.Entry) error { all = append(all, e[len(e)/2]); return nil })
	if err != nil {
		b.Fatal(err)
	}
	l := env.NewLedger()
	var took []time.Duration
	for b.Loop() {
		e := all[rand.IntN(len(all))]
		if e.Job == "" {
			continue
		}
		if cold {
			b.StopTimer()
			l = env.NewLedger()
			b.StartTimer()
		}
		start := time.Now()
		got, err := l.ArchivedSubject(b.Context(), e.Org, e.Job)
		if err != nil || len(got) != 4 {
			b.Fatal(len(got), err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "us-p50")
	b.ReportMetric(float64(took[len(took)*95/100].Microseconds()), "us-p95")
}
