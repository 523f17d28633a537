package cell_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// hotCell has events leave after a second.
func hotCell(c *cell.Config) {
	c.Archive = func(a *ledger.ArchiverConfig) {
		a.Window, a.Every, a.Settle, a.Durable = time.Second, 100*time.Millisecond, time.Millisecond, -1
	}
}

// until polls the ledger.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(time.Minute); time.Now().Before(limit); <-tick.C {
		if ok() {
			return
		}
	}
	t.Fatalf("waited for %s", what)
}

// archivedPast waits until what is stored now has left LEDGER.
func archivedPast(t *testing.T, l *ledger.Ledger) {
	t.Helper()
	end, err := l.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	until(t, fmt.Sprintf("the archive to reach %d", end.Seq), func() bool {
		state, err := l.Archived(t.Context())
		return err == nil && state.Through.Seq >= end.Seq
	})
}

// Servers come and go while every event leaves LEDGER after a second: each starts from what is left there, jobs that
// wait for a time, a parent or a worker run once, and no tick is fired twice or lost (DESIGN D6, D13, R-12, R-230).
func TestCellLivesOnWhatIsHot(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	l := env.NewLedger()
	server := env.RunServer(hotCell)
	work(t, env)
	c := env.Client(acme)
	if _, err := c.AddSchedule(t.Context(), gateway.AddSchedule{Schedule: gateway.Schedule{Name: "tick", Type: "echo", Cron: "* * * * * *", Missed: "all", Overlap: "allow"}}); err != nil {
		t.Fatal(err)
	}
	var ids []schemas.JobID
	add := func(r ledger.SubmitRequest) schemas.JobID {
		t.Helper()
		r.Args = fmt.Appendf(nil, `{"n":%d}`, len(ids))
		got, err := c.Submit(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, got.ID)
		return got.ID
	}
	for range 3 {
		add(ledger.SubmitRequest{Type: "echo"})
		late := add(ledger.SubmitRequest{Type: "echo", Delay: 9 * time.Second})
		add(ledger.SubmitRequest{Type: "echo", Parents: []schemas.ParentRef{{ID: late}}})
		add(ledger.SubmitRequest{Type: "later"})
	}
	for range 2 {
		archivedPast(t, l)
		server.Stop()
		server = env.RunServer(hotCell)
	}
	archivedPast(t, l) // what a server carried is carried by the next one
	echo := handlers.HandlerFunc(func(_ context.Context, a *handlers.Attempt) (json.RawMessage, error) { return a.Args, nil })
	w, err := handlers.New(handlers.Config{Ledger: env.NewLedger(), Slots: 2, Logger: zap.NewNop(), Serves: []handlers.Registration{{Type: "later", Handler: echo}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	defer func() { cancel(); <-done }()
	for _, id := range ids {
		finish(t, c, id, time.Minute)
	}
	if _, err := c.PauseSchedule(t.Context(), "tick", "enough"); err != nil {
		t.Fatal(err)
	}
	made, attempts, first, last := map[time.Time]int{}, map[string]int{}, time.Time{}, time.Time{}
	if err := l.Replay(t.Context(), ledger.ReplayQuery{}, func(e *ledger.Entry) error {
		switch d := e.Data.(type) {
		case *schemas.Submitted:
			if d.Tick != nil {
				if made[*d.Tick]++; first.IsZero() {
					first = *d.Tick
				}
				last = *d.Tick
			}
		case *schemas.Running:
			attempts[string(e.Job)]++
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for at := first; !at.After(last); at = at.Add(time.Second) {
		if made[at] != 1 {
			t.Errorf("the tick at %s made %d jobs", at, made[at])
		}
	}
	for id, n := range attempts {
		if n != 1 {
			t.Errorf("%s ran %d times", id, n)
		}
	}
	if len(made) < 3 {
		t.Errorf("%d ticks", len(made))
	}
}
