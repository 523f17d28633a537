package cell_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// deafTo dials connections that never get a subscription of subjects with this prefix to the server: what is
// published there does not arrive, and nobody is told.
type deafTo string

func (d deafTo) Dial(network, address string) (net.Conn, error) {
	c, err := net.DialTimeout(network, address, patience)
	if err != nil {
		return nil, err
	}
	return &deafConn{c, []byte("SUB " + string(d))}, nil
}

type deafConn struct {
	net.Conn
	drop []byte
}

// Write leaves out the lines that subscribe. The client hands over whole lines.
func (c *deafConn) Write(b []byte) (int, error) {
	rest := b
	for at := bytes.Index(rest, c.drop); at >= 0; at = bytes.Index(rest, c.drop) {
		if _, err := c.Conn.Write(rest[:at]); err != nil {
			return 0, err
		}
		rest = rest[at+bytes.Index(rest[at:], []byte("\r\n"))+2:]
	}
	if _, err := c.Conn.Write(rest); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Somebody on another connection cancels a running job, and the signal to its worker is lost. The wish is
// stored, so the next beat brings it: the handler ends, the job is canceled though it has attempts left, nothing
// counts as a failure and nothing starts it again (R-35, R-904, C17, C18, C19).
func TestCancelWithoutTheSignal(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t, ledgertest.WithPort())
	env.RunServer()
	s := newSystem(t, env)
	dial := func() *nats.Conn {
		nc, err := nats.Connect(env.URL(), nats.SetCustomDialer(deafTo(ledger.SubjectCancel(""))), nats.MaxReconnects(-1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		return nc
	}
	l, err := ledger.New(ledger.Config{Conn: dial(), Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan time.Time, 1)
	w, err := handlers.New(handlers.Config{Ledger: l, Work: dial(), Slots: 1, Name: "deaf", Grace: -1, Logger: zap.NewNop(),
		Serves: []handlers.Registration{{Type: "heed", Handler: s.witness("deaf", func(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
			if a.ID == "other" {
				return a.Args, nil
			}
			<-ctx.Done()
			heard <- time.Now()
			return nil, ctx.Err()
		})}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the worker ended with %v", err)
		}
	})
	s.submitOne(ledger.SubmitRequest{Org: acme, Type: "heed", ID: "unwanted", RegisterUnknown: true})
	s.awaitStarts(1)
	s.await("it running", func() bool { return s.state("unwanted") == schemas.StateRunning })
	c := env.Client(acme)
	began := time.Now()
	if reply, err := c.Cancel(t.Context(), "unwanted", "changed my mind"); err != nil || !reply.Requested {
		t.Fatalf("cancel: %+v, %v", reply, err)
	}
	acked := time.Since(began)
	s.awaitFinished([]schemas.JobID{"unwanted"})
	t.Logf("cancel acknowledged after %s; its signal lost, the handler heard of it after %s; beats come every %s",
		acked.Round(time.Millisecond), (<-heard).Sub(began).Round(time.Millisecond), ledger.BeatEvery)
	s.submitOne(ledger.SubmitRequest{Org: acme, Type: "heed", ID: "other"}) // had the first gone on, it would be in front
	s.awaitFinished([]schemas.JobID{"other"})
	s.check([]schemas.JobID{"unwanted", "other"})
	if j := s.jobs["unwanted"]; j.State != schemas.StateCanceled || j.Attempt != 1 || j.Used != 0 || j.CancelForced || j.Error != nil || j.Policy.MaxAttempts < 2 {
		t.Errorf("the job is %s after %d of %d attempts, %d used, forced %t, error %+v", j.State, j.Attempt, j.Policy.MaxAttempts, j.Used, j.CancelForced, j.Error)
	}
	if n := s.startsBegun(); n != 2 {
		t.Errorf("%d starts, want one of each job", n)
	}
}
