//go:build unix

package ledger_test

import (
	"flag"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// BenchmarkArchiving moves finished jobs of four events each to the archive, with a submitter beside it: CPU time an
// event of everything (server, archiver), events a second, and what submits take beside it and without it.
func BenchmarkArchiving(b *testing.B) {
	env := ledgertest.Start(b)
	if _, err := env.Ledger.PutType(b.Context(), schemas.TypeSettings{Name: "t"}, ledger.Meta{}, ""); err != nil {
		b.Fatal(err)
	}
	cut := finishMany(b, env.Ledger)
	submitter := env.NewLedger()
	submits := func(until func() bool) time.Duration {
		var took []time.Duration
		for i := 0; len(took) < 300 || !until(); i++ {
			began := time.Now()
			if _, err := submitter.Submit(b.Context(), ledger.SubmitRequest{Org: "acme", Type: "t", Args: fmt.Appendf(nil, `{"n":%d,"at":%d}`, i, began.UnixNano())}); err != nil {
				b.Fatal(err)
			}
			took = append(took, time.Since(began))
		}
		slices.Sort(took)
		return took[len(took)*99/100]
	}
	alone := submits(func() bool { return true })
	a, err := ledger.NewArchiver(ledger.ArchiverConfig{Ledger: env.NewReader(), Logger: zap.NewNop()})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		done := make(chan time.Duration, 1)
		var moved ledger.Moved
		go func() {
			began := time.Now()
			var err error
			if moved, err = a.LookPaced(b.Context(), cut); err != nil {
				b.Error(err)
			}
			done <- time.Since(began)
		}()
		var took time.Duration
		beside := submits(func() bool {
			select {
			case took = <-done:
				return true
			default:
				return false
			}
		})
		b.ReportMetric(float64(moved.Events)/took.Seconds(), "events/s")
		b.ReportMetric(alone.Seconds()*1e3, "alone-p99-ms")
		b.ReportMetric(beside.Seconds()*1e3, "beside-p99-ms")
	}
}

// BenchmarkArchivingCPU is the CPU time of moving alone, unpaced.
func BenchmarkArchivingCPU(b *testing.B) {
	env := ledgertest.Start(b, ledgertest.WithPort())
	cut := finishMany(b, env.Ledger)
	a, err := ledger.NewArchiver(ledger.ArchiverConfig{Ledger: env.NewReader(), Logger: zap.NewNop()})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		before := cpuTime()
		moved, err := a.LookBefore(b.Context(), cut)
		if err != nil {
			b.Fatal(err)
		}
		if moved.Events > 0 {
			b.ReportMetric(float64((cpuTime()-before).Microseconds())/float64(moved.Events), "cpu-us/event")
		}
	}
}

var largeJobs = flag.Int("archiving.jobs", 40_000, "jobs of BenchmarkArchivingLarge; 400000 take some minutes")

// BenchmarkArchivingLarge moves a third of a LEDGER of many jobs, of which 4,800 are unfinished at any time: what a job costs
// that goes on behind the stretch, and what a purge costs beside many subjects.
func BenchmarkArchivingLarge(b *testing.B) {
	env := ledgertest.Start(b, ledgertest.WithPort())
	finishWaves(b, env.Ledger, *largeJobs/3)
	cut := endTime(b, env.Ledger)
	finishWaves(b, env.Ledger, *largeJobs-*largeJobs/3)
	a, err := ledger.NewArchiver(ledger.ArchiverConfig{Ledger: env.NewReader(), Logger: zap.NewNop(), Durable: -1})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		before, began := cpuTime(), time.Now()
		moved, err := a.LookBefore(b.Context(), cut)
		if err != nil {
			b.Fatal(err)
		}
		if moved.Events > 0 {
			b.ReportMetric(float64((cpuTime()-before).Microseconds())/float64(moved.Events), "cpu-us/event")
			b.ReportMetric(float64(moved.Events)/time.Since(began).Seconds(), "events/s")
		}
	}
}

// finishWaves makes finished jobs, of which many are unfinished at a time.
func finishWaves(b *testing.B, l *ledger.Ledger, jobs int) {
	const hands, wave = 16, 300
	var wg sync.WaitGroup
	for range hands {
		wg.Go(func() {
			for left := jobs / hands; left > 0; left -= wave {
				begun := make([]*ledger.Job, min(wave, left))
				for i := range begun {
					begun[i] = beginQuickly(b, l, schemas.NewJobID())
				}
				for _, j := range begun {
					runQuickly(b, l, j)
				}
			}
		})
	}
	wg.Wait()
}

// finishMany makes finished jobs, and returns the stream time of the last event.
func finishMany(b *testing.B, l *ledger.Ledger) time.Time {
	const jobs, hands = 16_000, 16
	var wg sync.WaitGroup
	for hand := range hands {
		wg.Go(func() {
			for i := range jobs / hands {
				runQuickly(b, l, beginQuickly(b, l, schemas.JobID(fmt.Sprintf("j%d-%d", hand, i))))
			}
		})
	}
	wg.Wait()
	return endTime(b, l)
}

// endTime is when the last event was stored.
func endTime(b *testing.B, l *ledger.Ledger) time.Time {
	end, err := l.End(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	e, err := l.EventAt(b.Context(), end.Seq)
	if err != nil {
		b.Fatal(err)
	}
	return e.Time
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
