package gateway_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
)

// A stopping gateway answers its waits, ends its requests, and leaves the subject to others; without one
// nobody responds, at once.
func TestStop(t *testing.T) {
	t.Parallel()
	w := start(t)
	if _, err := w.client.Submit(t.Context(), ledger.SubmitRequest{Type: "echo", ID: "open"}); err != nil {
		t.Fatal(err)
	}
	answered := make(chan *nats.Msg, 1)
	inbox := w.client.Conn.NewInbox()
	if _, err := w.client.Conn.Subscribe(inbox, func(m *nats.Msg) { answered <- m }); err != nil {
		t.Fatal(err)
	}
	if err := w.client.Conn.PublishRequest("jobledger.acme.wait.open", inbox, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.Get(t.Context(), "open"); err != nil { // the wait before it has arrived
		t.Fatal(err)
	}
	w.stop()
	select {
	case m := <-answered:
		// One that was not taken yet is told to ask again.
		if data := string(m.Data); !strings.Contains(data, `"state":"submitted"`) && !strings.Contains(data, string(ledger.ReasonNoResponse)) {
			t.Errorf("the wait was answered with %s", m.Data)
		}
	case <-time.After(time.Minute):
		t.Error("the wait was not answered")
	}
	_, err := w.client.Submit(t.Context(), ledger.SubmitRequest{Type: "echo"})
	if e := ledger.AsError(err); e == nil || e.Code != ledger.CodeUnavailable || e.Details["reason"] != ledger.ReasonNoResponse {
		t.Errorf("a submit without a server ended with %v", err)
	}
}

// A submit beside a restart of the server is stored once or refused as not stored, never twice (R-02,
// INTERFACE 2.4); afterwards everything works as before.
func TestServerRestarts(t *testing.T) {
	t.Parallel()
	w := start(t)
	const n = 8
	client := &gateway.Client{Conn: w.client.Conn, Org: "acme", Timeout: 30 * time.Second}
	var wg sync.WaitGroup
	begun := make(chan struct{}, n)
	for range n {
		wg.Go(func() {
			begun <- struct{}{}
			for {
				r, err := client.Submit(t.Context(), ledger.SubmitRequest{Type: "echo", NoDedup: true})
				if e := ledger.AsError(err); e != nil && e.Details[ledger.DetailReason] == ledger.ReasonNoResponse {
					continue // not stored: the caller may ask again
				}
				if err != nil || r.Duplicate {
					t.Errorf("submit beside a restart: %+v, %v", r, err)
				}
				return
			}
		})
	}
	for range n {
		<-begun
	}
	w.Restart()
	wg.Wait()
	client.Timeout = 30 * time.Second
	count, err := client.Count(t.Context(), gateway.CountRequest{MinSeq: w.end()})
	if err != nil || count.Total != n {
		t.Errorf("%d submits are %+v, %v", n, count, err)
	}
}
