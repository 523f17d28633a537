package handlers_test

import (
	"bytes"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// deaf makes connections to the embedded server on which acks get lost: they are sent to a subject nobody hears.
type deaf struct {
	env  *ledgertest.Env
	lose atomic.Int64 // acks yet to be lost
	lost atomic.Int64
	gone chan struct{} // closed when all are lost
}

// InProcessConn implements what nats.InProcessServer asks for.
func (d *deaf) InProcessConn() (net.Conn, error) {
	c, err := d.env.NATS.InProcessConn()
	return &deafConn{Conn: c, d: d}, err
}

type deafConn struct {
	net.Conn
	d *deaf
}

// Write sends b, with the acks that are to be lost going astray.
func (c *deafConn) Write(b []byte) (int, error) {
	const ack, astray = "PUB $JS.ACK.", "PUB $JX.ACK."
	for bytes.Contains(b, []byte(ack)) && c.d.lose.Add(-1) >= 0 {
		b = bytes.Replace(b, []byte(ack), []byte(astray), 1)
		c.d.lost.Add(1)
		if c.d.lose.Load() == 0 {
			close(c.d.gone)
		}
	}
	return c.Conn.Write(b)
}

// TestWorkerFailedAck: an offer whose ack gets lost comes again, finds the job claimed, or ended, and is acked then:
// nothing starts twice, and no offer stays behind (STYLE 7, R-22).
func TestWorkerFailedAck(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	d := &deaf{env: env, gone: make(chan struct{})}
	const jobs = 8
	d.lose.Store(jobs)
	reports := make(chan handlers.Report, 100)
	cfg := serves("unacked", echo)
	cfg.Ledger, cfg.Work, cfg.Live, cfg.Logger = env.Ledger, env.Connect(nats.InProcessServer(d)), env.Connect(), zap.NewNop()
	cfg.Report = func(r handlers.Report) { reports <- r }
	w, err := handlers.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.Hasten(50*time.Millisecond, 0, 0)
	stop := ld.start(w)
	for range jobs {
		ld.give(spec{typ: "unacked", args: `{}`})
	}
	for range jobs {
		if r := next(t, reports); r.Outcome != schemas.EventCompleted || r.Attempt != 1 {
			t.Errorf("report %+v", r)
		}
	}
	wait(t, "all acks to be lost", d.gone) // the connection writes them when it comes to it, perhaps behind the report
	if n := d.lost.Load(); n != jobs {
		t.Fatalf("%d acks were lost, want %d: the test shows nothing", n, jobs)
	}
	awaitEmptyWork(t, env) // offers that were not acked do not stay
	if err := stop(); err != nil {
		t.Errorf("the worker ended with %v", err)
	}
	select {
	case r := <-reports:
		t.Errorf("one more attempt: %+v", r)
	default:
	}
	for id, all := range events(t, env, schemas.JobSubject(org, "*").String()) {
		if len(all) != 4 {
			t.Errorf("job %s has %d events, want submitted, queued, running and completed", id, len(all))
		}
	}
}
