package projector_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/projector"
)

// BenchmarkRebuild folds jobs of four events from zero into empty buckets. cpu-us/job is the whole process:
// the server that reads and stores, the feed's tail, and the projector.
func BenchmarkRebuild(b *testing.B) {
	env := ledgertest.Start(b)
	env.SkipVerify()
	const jobs = 20_000
	fill(b, env, "bench", jobs)
	project(b, env, feed(b, env))
	caughtUp(b, env)
	began, used := time.Now(), cpu(b)
	for b.Loop() {
		if _, err := projector.Rebuild(b.Context(), env.NewLedger(), projector.ViewAll); err != nil {
			b.Fatal(err)
		}
	}
	n := float64(b.N) * jobs
	b.ReportMetric(float64((cpu(b)-used).Microseconds())/n, "cpu-us/job")
	b.ReportMetric(n/time.Since(began).Seconds(), "jobs/s")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkLive writes jobs and projects them at the same time: cpu-us/job holds the writing too.
func BenchmarkLive(b *testing.B) {
	env := ledgertest.Start(b)
	env.SkipVerify()
	project(b, env, feed(b, env))
	caughtUp(b, env)
	const jobs = 5_000
	began, used := time.Now(), cpu(b)
	for i := 0; b.Loop(); i++ {
		fill(b, env, fmt.Sprintf("live%d", i), jobs)
		caughtUp(b, env)
	}
	n := float64(b.N) * jobs
	b.ReportMetric(float64((cpu(b)-used).Microseconds())/n, "cpu-us/job")
	b.ReportMetric(n/time.Since(began).Seconds(), "jobs/s")
	b.ReportMetric(0, "ns/op")
}

func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkBacklog submits many jobs before the first moves: what waits must cost no read when it does.
func BenchmarkBacklog(b *testing.B) {
	env := ledgertest.Start(b)
	env.SkipVerify()
	project(b, env, feed(b, env))
	const jobs = 60_000
	began, used := time.Now(), cpu(b)
	for i := 0; b.Loop(); i++ {
		fillBehind(b, env, fmt.Sprintf("backlog%d", i), jobs, jobs)
		caughtUp(b, env)
	}
	n := float64(b.N) * jobs
	b.ReportMetric(float64((cpu(b)-used).Microseconds())/n, "cpu-us/job")
	b.ReportMetric(n/time.Since(began).Seconds(), "jobs/s")
	b.ReportMetric(0, "ns/op")
}
