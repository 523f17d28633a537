package ledger_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// archiveJobs is how many jobs of four events the archive's benchmarks have.
const archiveJobs = 200_000

// fillOrgs stores the jobs of four orgs and returns how many messages LEDGER has then.
func fillOrgs(b *testing.B, env *ledgertest.Env) float64 {
	env.SkipVerify() // half a minute of the checker is not what is measured
	for i := range 20 {
		fill(b, env, schemas.OrgID(fmt.Sprintf("org-%d", i%4)), archiveJobs/20)
	}
	return float64(end(b, env.Ledger))
}

// processor is the time that this process, its server included, has used of its processors.
func processor(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// spent logs what f took for each of n events.
func spent(b *testing.B, what string, n float64, f func()) {
	start, cpu := time.Now(), processor(b)
	f()
	took, used := time.Since(start), processor(b)-cpu
	b.Logf("%s: %.2f us an event, %.0f events/s, %.2f us of processor an event", what, float64(took.Nanoseconds())/n/1e3,
		n/took.Seconds(), float64(used.Nanoseconds())/n/1e3)
}

// storedBytes is what a stream holds, before compression.
func storedBytes(b *testing.B, env *ledgertest.Env, stream string) float64 {
	s, err := env.Ledger.JetStream().Stream(b.Context(), stream)
	if err != nil {
		b.Fatal(err)
	}
	return float64(s.CachedInfo().State.Bytes)
}

// BenchmarkArchive writes an archive of 800,000 events, reads it, and looks for jobs in it: what it logs stands in
// docs/ARCHIVE.md.
func BenchmarkArchive(b *testing.B) {
	env := ledgertest.Start(b)
	events := fillOrgs(b, env)
	spent(b, "write", events, func() {
		if err := env.Ledger.ArchiveThrough(b.Context(), 0, 0); err != nil {
			b.Fatal(err)
		}
	})
	b.Logf("bytes an event: LEDGER %.0f, ARCHIVE %.0f before compression, CATALOG, which holds the filters, %.2f", storedBytes(b, env, ledger.StreamLedger)/events,
		storedBytes(b, env, ledger.StreamArchive)/events, storedBytes(b, env, ledger.StreamCatalog)/events)
	for org, n := range map[schemas.OrgID]float64{"": events, "org-1": events / 4} {
		spent(b, "read of org "+string(org), n, func() {
			if err := env.Ledger.ArchivedRange(b.Context(), 0, 1<<63, org, func([]*ledger.Entry) error { return nil }); err != nil {
				b.Fatal(err)
			}
		})
	}
	findJobs(b, env, true)
	findJobs(b, env, false)
}

// findJobs looks for jobs at random: each time as a new process does, or as one does that goes on.
func findJobs(b *testing.B, env *ledgertest.Env, cold bool) {
	var all []*ledger.Entry
	err := env.Ledger.ArchivedRange(b.Context(), 2, 1<<63, "", func(e []*ledger.Entry) error { all = append(all, e[len(e)/2]); return nil })
	if err != nil {
		b.Fatal(err)
	}
	l := env.NewLedger()
	var took []time.Duration
	for range 100 {
		e := all[rand.IntN(len(all))]
		if cold {
			l = env.NewLedger()
		}
		start := time.Now()
		if got, err := l.ArchivedSubject(b.Context(), e.Org, e.Job); err != nil || len(got) != 4 {
			b.Fatal(len(got), err)
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.Logf("find a job, cold=%t: p50 %s, p95 %s", cold, took[50], took[95])
}

// BenchmarkArchiveBySourcing is the other way, which was not taken: a stream that sources LEDGER, all jobs of an org on
// one subject.
func BenchmarkArchiveBySourcing(b *testing.B) {
	env := ledgertest.Start(b)
	events := fillOrgs(b, env)
	js := env.Ledger.JetStream()
	spent(b, "source", events, func() {
		s, err := js.CreateStream(b.Context(), jetstream.StreamConfig{Name: "SOURCED", Storage: jetstream.FileStorage,
			Compression: jetstream.S2Compression, AllowDirect: true, Sources: []*jetstream.StreamSource{{Name: ledger.StreamLedger,
				SubjectTransforms: []jetstream.SubjectTransformConfig{{Source: "jobs.*.*", Destination: "old.{{wildcard(1)}}"}}}}})
		if err != nil {
			b.Fatal(err)
		}
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for range tick.C {
			info, err := s.Info(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			if info.State.Msgs >= 4*archiveJobs {
				return
			}
		}
	})
	b.Logf("bytes an event: LEDGER %.0f, SOURCED %.0f before compression", storedBytes(b, env, ledger.StreamLedger)/events, storedBytes(b, env, "SOURCED")/events)
	n := 0
	spent(b, "read all of one org to find one job", events/4, func() {
		c, err := js.OrderedConsumer(b.Context(), "SOURCED", jetstream.OrderedConsumerConfig{FilterSubjects: []string{"old.org-1"}})
		if err != nil {
			b.Fatal(err)
		}
		m, err := c.Messages()
		if err != nil {
			b.Fatal(err)
		}
		defer m.Stop()
		for ; n < archiveJobs; n++ {
			if msg, err := m.Next(); err != nil {
				b.Fatal(err)
			} else if n == 0 {
				b.Logf("a message: %s %v", msg.Subject(), msg.Headers())
			}
		}
	})
}
