// Package replies makes requests on one connection, many at a time, for less than the client's own requests cost: those
// make a context, a timer, two channels and a random inbox each, which is a fifth of what an append costs in all.
//
// A Mux has one subscription for the answers to all its requests; each has a number of its own, which is never given out
// again, so that an answer which comes twice, or behind its time, is nobody's.
package replies

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Mux makes requests on a connection. It is safe for concurrent use. What it holds ends with the connection.
type Mux struct {
	nc *nats.Conn

	mu      sync.Mutex
	prefix  string // of the reply subjects; empty before the first request
	last    uint64 // number of the latest request
	waiting map[uint64]*Pending
}

// New returns a mux on nc. It subscribes when the first request is made.
func New(nc *nats.Conn) *Mux { return &Mux{nc: nc, waiting: make(map[uint64]*Pending)} }

// Pending is a request under way. Whoever started it waits for it once.
type Pending struct {
	mux    *Mux
	number uint64
	came   chan answer // capacity 1
	timer  *time.Timer
}

type answer struct {
	msg *nats.Msg
	err error
}

// free are Pendings whose answer was taken: nothing can come for them any more.
var free = sync.Pool{New: func() any {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &Pending{came: make(chan answer, 1), timer: t}
}}

// Request sends m and returns the answer. The error is that of ctx, context.DeadlineExceeded after wait, or a
// connection's: nats.ErrNoResponders says that nobody received m, nats.ErrConnectionClosed that no answer can come any
// more. It sets m.Reply.
func (x *Mux) Request(ctx context.Context, m *nats.Msg, wait time.Duration) (*nats.Msg, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	p, err := x.Start(m)
	if err != nil {
		return nil, err
	}
	return p.Wait(ctx, wait)
}

// Start sends m, as Request does, without waiting for the answer. It sets m.Reply.
func (x *Mux) Start(m *nats.Msg) (*Pending, error) {
	p := free.Get().(*Pending)
	x.mu.Lock()
	if x.prefix == "" {
		if err := x.subscribe(); err != nil {
			x.mu.Unlock()
			return nil, err
		}
	}
	x.last++
	p.mux, p.number = x, x.last
	x.waiting[p.number] = p
	m.Reply = x.prefix + strconv.FormatUint(p.number, 36)
	x.mu.Unlock()
	err := x.nc.PublishMsg(m)
	if err == nil && x.nc.IsClosed() {
		err = nats.ErrConnectionClosed // the end of the subscription may have come before this request
	}
	if err != nil {
		p.forget()
		return nil, err
	}
	return p, nil
}

// Wait returns the answer, or an error as Request's.
func (p *Pending) Wait(ctx context.Context, wait time.Duration) (*nats.Msg, error) {
	p.timer.Reset(wait)
	select {
	case a := <-p.came:
		p.timer.Stop()
		free.Put(p)
		if a.err == nil && len(a.msg.Data) == 0 && a.msg.Header.Get("Status") == "503" {
			return nil, nats.ErrNoResponders
		}
		return a.msg, a.err
	case <-p.timer.C:
		p.forget()
		return nil, context.DeadlineExceeded
	case <-ctx.Done():
		p.timer.Stop()
		p.forget()
		return nil, ctx.Err()
	}
}

// forget gives the request up. An answer may be on its way to it at this moment, so that it is not used again.
func (p *Pending) forget() {
	p.mux.mu.Lock()
	delete(p.mux.waiting, p.number)
	p.mux.mu.Unlock()
}

// subscribe listens for answers, and for the end of the connection that they would come over. x.mu is held.
func (x *Mux) subscribe() error {
	prefix := x.nc.NewInbox() + "."
	sub, err := x.nc.Subscribe(prefix+"*", func(m *nats.Msg) { x.take(m, len(prefix)) })
	if err != nil {
		return err
	}
	sub.SetClosedHandler(func(string) { x.fail(nats.ErrConnectionClosed) })
	x.prefix = prefix
	return nil
}

// fail ends what waits: no answer can come any more. What is sent later fails by itself.
func (x *Mux) fail(err error) {
	x.mu.Lock()
	lost := x.waiting
	x.waiting = make(map[uint64]*Pending)
	x.mu.Unlock()
	for _, p := range lost {
		p.came <- answer{err: err}
	}
}

// take hands an answer to who waits for it.
func (x *Mux) take(m *nats.Msg, prefix int) {
	if len(m.Subject) <= prefix {
		return
	}
	number, err := strconv.ParseUint(m.Subject[prefix:], 36, 64)
	if err != nil {
		return
	}
	x.mu.Lock()
	p := x.waiting[number]
	delete(x.waiting, number)
	x.mu.Unlock()
	if p != nil {
		p.came <- answer{msg: m} // there is room: nobody else finds p
	}
}
