//go:build unix

package ledger_test

import (
	"fmt"
	"sync"
	"testing"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// BenchmarkArchivingBacklog is BenchmarkArchivingCPU for jobs that waited so long that their submits stand in other
// segments than what came of them.
func BenchmarkArchivingBacklog(b *testing.B) {
	const jobs, hands = 8000, 16
	env := ledgertest.Start(b)
	all := func(do func(id schemas.JobID)) {
		var wg sync.WaitGroup
		for hand := range hands {
			wg.Go(func() {
				for i := range jobs / hands {
					do(schemas.JobID(fmt.Sprintf("j%d-%d", hand, i)))
				}
			})
		}
		wg.Wait()
	}
	var mu sync.Mutex
	waiting := make(map[schemas.JobID]*ledger.Job, jobs)
	all(func(id schemas.JobID) {
		j := beginQuickly(b, env.Ledger, id)
		mu.Lock()
		defer mu.Unlock()
		waiting[id] = j
	})
	all(func(id schemas.JobID) {
		mu.Lock()
		j := waiting[id]
		mu.Unlock()
		runQuickly(b, env.Ledger, j)
	})
	end, err := env.Ledger.End(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	e, err := env.Ledger.EventAt(b.Context(), end.Seq)
	if err != nil {
		b.Fatal(err)
	}
	a, err := ledger.NewArchiver(ledger.ArchiverConfig{Ledger: env.NewLedger(), Logger: zap.NewNop(), SegmentEvents: jobs, Durable: -1})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		before := cpuTime()
		moved, err := a.LookBefore(b.Context(), e.Time)
		if err != nil {
			b.Fatal(err)
		}
		if moved.Events > 0 {
			b.ReportMetric(float64((cpuTime()-before).Microseconds())/float64(moved.Events), "cpu-us/event")
		}
	}
}
