package cell_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// A job of ten pages runs through a worker that dies, a deleted LIVE and a restart of the server's parts: each
// attempt goes on from the last checkpoint, a client sees its progress, and no page that was kept is done again
// (R-26, R-29, R-102, DESIGN D2).
func TestSystemResume(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	quick := func(c *cell.Config) { c.Times.Core.Lease = ledger.BeatEvery + 2*time.Second }
	server := env.RunServer(quick)
	const pages = 10
	done := make(chan string, 100) // "attempt/page" of each page, in order
	goOn := make(chan struct{})    // lets a page be done
	pageByPage := handlers.HandlerFunc(func(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		page := 0
		if a.Checkpoint != nil {
			if err := json.Unmarshal(a.Checkpoint, &page); err != nil {
				return nil, handlers.Permanent(err)
			}
		}
		for ; page < pages; page++ {
			select {
			case <-goOn:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			done <- fmt.Sprintf("%d/%d", a.Number, page)
			a.Progress(schemas.Progress{Percent: 100 * (page + 1) / pages, Message: fmt.Sprint("page ", page)})
			if err := a.SaveCheckpoint(ctx, fmt.Append(nil, page+1)); err != nil {
				return nil, err
			}
		}
		return fmt.Append(nil, page), nil
	})
	type seen struct {
		attempt, percent int
		at               time.Time
	}
	progress := make(chan seen, 1000)
	client := env.Client(acme)
	watching, stopWatch := context.WithCancel(t.Context())
	watched, began := make(chan error, 1), make(chan struct{})
	go func() {
		watched <- client.Watch(watching, gateway.WatchRequest{Began: func(schemas.Position) error { close(began); return nil }}, func(ev *gateway.LiveEvent) error {
			if ev.Progress != nil {
				progress <- seen{*ev.Attempt, ev.Progress.Percent, time.Now()}
			}
			return nil
		})
	}()
	<-began
	id, err := client.Submit(t.Context(), ledger.SubmitRequest{Type: "sync", Args: json.RawMessage(`{}`)})
	if err != nil {
		t.Fatal(err)
	}
	page := func(want string, percent int) {
		t.Helper()
		goOn <- struct{}{}
		if got := <-done; got != want {
			t.Fatalf("page %s was done, want %s", got, want)
		}
		at := time.Now()
		for {
			select {
			case p := <-progress:
				if p.percent == percent {
					t.Logf("page %s: seen by a client after %s", want, p.at.Sub(at).Round(time.Millisecond))
					return
				}
			case <-time.After(patience):
				t.Fatalf("%d %% was never seen", percent)
			}
		}
	}
	kept := func(n int) { // the handler's save is behind its report
		t.Helper()
		for limit := time.Now().Add(patience); ; {
			j, err := env.Ledger.Fold(t.Context(), acme, id.ID)
			if err == nil && string(j.Checkpoint) == fmt.Sprint(n) {
				return
			}
			if time.Now().After(limit) {
				t.Fatalf("checkpoint %s, want %d: %v", j.Checkpoint, n, err)
			}
		}
	}
	// A worker that dies: its connections break, and nobody hears of it again.
	first := newLines(env)
	dying := resuming(t, first, pageByPage)
	page("1/0", 10)
	page("1/1", 20)
	kept(2)
	first.cut()
	if err := <-dying; !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("the worker ended with %v", err)
	}
	second := newLines(env)
	ended := resuming(t, second, pageByPage)
	page("2/2", 30)
	if err := env.Ledger.JetStream().DeleteStream(t.Context(), ledger.StreamLive); err != nil {
		t.Fatal(err)
	}
	page("2/3", 40)
	server.Stop()
	env.RunServer(quick)
	page("2/4", 50)
	for limit := time.Now().Add(patience); ; { // LIVE is made again by the leader, and written again
		r, err := client.Get(t.Context(), id.ID)
		if err == nil && r.Progress != nil && r.Progress.Percent == 50 && *r.CheckpointBytes == 1 {
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("the record shows %+v, %v", r, err)
		}
	}
	for n := 5; n < pages-1; n++ {
		page(fmt.Sprintf("2/%d", n), 10*(n+1))
	}
	goOn <- struct{}{} // what is said of the last page, completed overtakes
	r, err := client.Wait(t.Context(), id.ID)
	if err != nil || r.State != schemas.StateCompleted || string(r.Result) != "10" || r.Progress.Percent != 100 || *r.CheckpointBytes != 0 {
		t.Errorf("the record at the end is %+v, %v", r, err)
	}
	stopWatch()
	if err := <-watched; !errors.Is(err, context.Canceled) {
		t.Errorf("the watch ended with %v", err)
	}
	second.cut()
	<-ended
}

// resuming runs a worker on connections that can be cut, and tells how it ended.
func resuming(t *testing.T, l *lines, h handlers.Handler) <-chan error {
	t.Helper()
	var conns [3]*nats.Conn
	for i := range conns {
		nc, err := l.connect("worker")
		if err != nil {
			t.Fatal(err)
		}
		conns[i] = nc
	}
	own, err := ledger.New(ledger.Config{Conn: conns[0], Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	w, err := handlers.New(handlers.Config{Ledger: own, Work: conns[1], Live: conns[2], Grace: -1, Logger: zap.NewNop(),
		Serves: []handlers.Registration{{Type: "sync", Handler: h}}})
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- w.Run(context.Background()) }()
	return ended
}
