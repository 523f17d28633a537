package handlers_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// slowStore takes one of a worker's claims and releases after the other, at a pace of its own.
type slowStore struct {
	each time.Duration
	line sync.Mutex
	// released is told each job that was handed back.
	released chan schemas.JobID
}

func (s *slowStore) intercept(next ledger.PublishFunc) ledger.PublishFunc {
	return func(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
		typ := m.Header.Get(schemas.HeaderType)
		released := strings.HasSuffix(typ, "."+string(schemas.EventReleased))
		if !released && !strings.HasSuffix(typ, "."+string(schemas.EventRunning)) {
			return next(ctx, m)
		}
		s.line.Lock()
		reply, err := next(context.WithoutCancel(ctx), m)
		pace := time.NewTimer(s.each)
		<-pace.C
		s.line.Unlock()
		if released && err == nil {
			s.released <- schemas.JobID(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:])
		}
		return reply, err
	}
}

// A ledger that is too slow for as many claims at once as a worker has slots does not keep it from working: each claim
// would be late, released, offered again and late again (DESIGN D7).
func TestWorkerLateClaimsEnd(t *testing.T) {
	t.Parallel()
	const jobs, slots = 64, 64
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	store := &slowStore{each: 20 * time.Millisecond, released: make(chan schemas.JobID, 100_000)}
	slow, err := ledger.New(ledger.Config{Conn: env.Connect(), Logger: zap.NewNop(), Intercept: store.intercept})
	if err != nil {
		t.Fatal(err)
	}
	ctx, end := context.WithCancel(context.Background())
	var offers sync.WaitGroup
	offers.Go(func() {
		for n := 0; ; n++ {
			select {
			case id := <-store.released:
				offers.Go(func() { ld.offer(ld.fold(id), 10) })
			case <-ctx.Done():
				t.Logf("%d claims were late", n)
				return
			}
		}
	})
	reports := make(chan handlers.Report, jobs)
	cfg := handlers.Config{Slots: slots, Ledger: slow, Work: env.Connect(), Live: env.Connect(), Logger: zap.NewNop(),
		Serves: []handlers.Registration{{Queue: queue, Type: "slow", Handler: handlers.HandlerFunc(
			func(context.Context, *handlers.Attempt) (json.RawMessage, error) { return nil, nil })}},
		Report: func(r handlers.Report) { reports <- r }}
	w, err := handlers.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.Hasten(50*time.Millisecond, 0, 250*time.Millisecond) // a twelfth of the slots' claims are in time
	var given []*ledger.Job
	for range jobs {
		given = append(given, ld.queueJob(spec{typ: "slow", args: `{}`}))
	}
	for _, j := range given {
		ld.offer(j, 10)
	}
	stop := ld.start(w)
	for range jobs {
		if r := next(t, reports); r.Outcome != schemas.EventCompleted {
			t.Errorf("report %+v", r)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	end()
	offers.Wait()
}
