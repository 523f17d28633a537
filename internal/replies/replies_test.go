package replies_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/internal/natsd"
	"github.com/dartwing/jobledger/internal/replies"
)

// long is a wait that no test comes to the end of.
const long = time.Hour

func start(t *testing.T) *natsd.Server {
	t.Helper()
	s, err := natsd.Start(natsd.Config{StoreDir: t.TempDir(), DontListen: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	return s
}

func connectTo(t *testing.T, s *natsd.Server) *nats.Conn {
	t.Helper()
	nc, err := s.ConnectInProcess()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

func connect(t *testing.T) *nats.Conn {
	t.Helper()
	return connectTo(t, start(t))
}

func serve(t *testing.T, nc *nats.Conn, subject string, serve nats.MsgHandler) {
	t.Helper()
	if _, err := nc.Subscribe(subject, serve); err != nil {
		t.Fatal(err)
	}
}

// Each of many requests at a time gets its own answer, also where the server answers twice.
func TestAnswers(t *testing.T) {
	t.Parallel()
	nc := connect(t)
	serve(t, nc, "echo", func(m *nats.Msg) {
		_ = m.Respond(m.Data)
		_ = m.Respond([]byte("once more"))
	})
	x := replies.New(nc)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for n := range 200 {
				body := fmt.Sprintf("%d %d", i, n)
				m, err := x.Request(t.Context(), &nats.Msg{Subject: "echo", Data: []byte(body)}, long)
				if err != nil || string(m.Data) != body {
					t.Errorf("%s: %v, %v", body, m, err)
					return
				}
			}
		})
	}
	wg.Wait()
	if n := replies.Waiting(x); n != 0 {
		t.Errorf("%d requests still wait", n)
	}
}

// A request that nobody receives, one without an answer in time, one that is given up and one on a connection that is
// closed end with errors of their own; an answer behind its time is nobody's.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	nc := connect(t)
	late := make(chan *nats.Msg, 1)
	serve(t, nc, "deaf", func(m *nats.Msg) { late <- m })
	serve(t, nc, "echo", func(m *nats.Msg) { _ = m.Respond(m.Data) })
	x := replies.New(nc)
	request := func(ctx context.Context, subject string, wait time.Duration) error {
		_, err := x.Request(ctx, &nats.Msg{Subject: subject, Data: []byte("x")}, wait)
		return err
	}
	if err := request(t.Context(), "nobody", long); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("nobody there: %v", err)
	}
	if err := request(t.Context(), "deaf", time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no answer: %v", err)
	}
	if err := (<-late).Respond([]byte("late")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-late; cancel() }()
	if err := request(ctx, "deaf", long); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	for range 10 {
		if m, err := x.Request(t.Context(), &nats.Msg{Subject: "echo", Data: []byte("mine")}, long); err != nil || string(m.Data) != "mine" {
			t.Errorf("behind a late answer: %v, %v", m, err)
		}
	}
	go func() { <-late; nc.Close() }()
	if err := request(t.Context(), "deaf", long); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("closed while waiting: %v", err)
	}
	if err := request(t.Context(), "echo", long); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("closed before: %v", err)
	}
	if n := replies.Waiting(x); n != 0 {
		t.Errorf("%d requests still wait", n)
	}
}

// An answer that has come before its time was over is not thrown away, however late it is looked at, and whether or not
// whoever made the request has given up meanwhile.
func TestAnswerIsThere(t *testing.T) {
	t.Parallel()
	nc := connect(t)
	serve(t, nc, "echo", func(m *nats.Msg) { _ = m.Respond(m.Data) })
	x := replies.New(nc)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	const n = 100
	var all [n]*replies.Pending
	for i := range all {
		p, err := x.Start(&nats.Msg{Subject: "echo", Data: []byte{byte(i)}})
		if err != nil {
			t.Fatal(err)
		}
		all[i] = p
	}
	if _, err := x.Request(t.Context(), &nats.Msg{Subject: "echo", Data: []byte("last")}, long); err != nil { // they come in order
		t.Fatal(err)
	}
	for i, p := range all {
		ctx := t.Context()
		if i%2 == 0 {
			ctx = over
		}
		if m, err := p.Wait(ctx, 0); err != nil || m.Data[0] != byte(i) {
			t.Errorf("request %d: %v, %v", i, m, err)
		}
	}
}

// While the program that a connection belongs to drains it, a request under way is told that its answer is not heard, and
// requests go on being answered until the connection takes none any more; nothing waits in vain.
func TestDrain(t *testing.T) {
	t.Parallel()
	s := start(t)
	nc, service := connectTo(t, s), connectTo(t, s)
	held, busy, gate := make(chan *nats.Msg, 1), make(chan struct{}, 2), make(chan struct{})
	serve(t, service, "held", func(m *nats.Msg) { held <- m })
	serve(t, service, "echo", func(m *nats.Msg) { _ = m.Respond(m.Data) })
	serve(t, nc, "busy", func(*nats.Msg) { busy <- struct{}{}; <-gate }) // keeps the connection draining
	if err := errors.Join(service.Flush(), nc.Flush()); err != nil {
		t.Fatal(err)
	}
	x := replies.New(nc)
	p, err := x.Start(&nats.Msg{Subject: "held"})
	if err != nil {
		t.Fatal(err)
	}
	<-held
	for range 2 {
		if err := nc.Publish("busy", nil); err != nil {
			t.Fatal(err)
		}
	}
	<-busy
	if _, err := nc.Request("echo", []byte("the client has a subscription for its own requests"), long); err != nil {
		t.Fatal(err)
	}
	closed := nc.StatusChanged(nats.CLOSED)
	if err := nc.Drain(); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Wait(t.Context(), long); !errors.Is(err, replies.ErrDrained) {
		t.Errorf("under way: %v", err)
	}
	m, err := x.Request(t.Context(), &nats.Msg{Subject: "echo", Data: []byte("mine")}, long)
	if err != nil || string(m.Data) != "mine" {
		t.Errorf("while it is drained: %v, %v", m, err)
	}
	_, err = replies.New(nc).Request(t.Context(), &nats.Msg{Subject: "echo", Data: []byte("mine")}, long)
	if err != nil {
		t.Errorf("the first request, while it is drained: %v", err)
	}
	close(gate)
	<-closed
	if _, err := x.Request(t.Context(), &nats.Msg{Subject: "echo"}, long); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("behind it: %v", err)
	}
	if n := replies.Waiting(x); n != 0 {
		t.Errorf("%d requests still wait", n)
	}
}
