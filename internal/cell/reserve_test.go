package cell_test

import (
	"context"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// At the reserve a tick that would replace the job of the one before it is refused, and cancels nothing: what runs goes on
// and completes. No decision waits for the tick, as it would if the ledger were away.
func TestTickAtTheReserveCancelsNothing(t *testing.T) {
	t.Parallel()
	var free atomic.Int64
	free.Store(math.MaxInt32)
	core, logs := observer.New(zapcore.DebugLevel)
	env := ledgertest.Start(t)
	env.RunServer(func(c *cell.Config) {
		c.Logger = zap.New(core)
		c.Reserve = func(int64) int64 { return 1 << 20 }
		c.Room = func(context.Context) (ledger.Room, error) {
			return ledger.Room{Free: free.Load(), Total: math.MaxInt32}, nil
		}
	})
	s := newSystem(t, env)
	s.worker("w", "slow", 4, lasting(time.Hour))
	_, err := env.Client(acme).AddSchedule(t.Context(), gateway.AddSchedule{Schedule: gateway.Schedule{Name: "tick", Type: "slow", Cron: "* * * * * *",
		Overlap: "replace"}})
	if err != nil {
		t.Fatal(err)
	}
	s.awaitTicks("tick", 1)
	free.Store(0)
	refused := func() bool {
		for _, e := range logs.All() {
			switch e.Message {
			case "the job of a tick finds no space; it is tried again":
				return true
			case "tick not carried out":
				t.Fatalf("all decisions wait for a tick that is refused: %v", e.ContextMap())
			}
		}
		return false
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(time.Minute); !refused(); <-tick.C {
		if time.Now().After(limit) {
			t.Fatal("no tick is refused")
		}
	}
	end, err := env.Ledger.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.await("all that was stored until then", func() bool { return len(s.entries) > 0 && s.entries[len(s.entries)-1].Seq >= end.Seq })
	s.mu.Lock()
	defer s.mu.Unlock()
	var last *ledger.Job
	for _, j := range s.jobs {
		if j.Spec.Schedule == "tick" && (last == nil || j.SubmittedSeq > last.SubmittedSeq) {
			last = j
		}
	}
	if last.CancelRequested || last.State.Finished() && last.State != schemas.StateCompleted {
		t.Errorf("the job of the last tick is %s, canceled %t, for one that was refused", last.State, last.CancelRequested)
	}
}
