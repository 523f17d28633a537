// Package replies makes requests on one connection, many at a time, for less than the client's own requests cost: those
// make a context, a timer, two channels and a random inbox each, which is a fifth of what an append costs in all.
//
// A Mux has one subscription for the answers to all its requests; each has a number of its own, which is never given out
// again, so that an answer which comes twice, or behind its time, is nobody's.
package replies

import (
	"context"
	"errors"
	"maps"
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
	deaf    bool   // the subscription has ended
	waiting map[uint64]*Pending
}

// ErrDrained: the connection is being drained (nats.Conn.Drain), and the request's answer may have come to nobody. The same
// request, made again, is answered as long as the connection takes requests.
var ErrDrained = errors.New("the connection is being drained: the answer was not heard")

// drainedWait is how long a request is waited for that was made while its connection is being drained.
const drainedWait = 10 * time.Second

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
// more, ErrDrained that this one cannot. An answer that is there is returned whatever the time. It sets m.Reply.
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
	if x.prefix == "" && !x.deaf {
		switch err := x.subscribe(); {
		case errors.Is(err, nats.ErrConnectionDraining):
			x.deaf = true
		case err != nil:
			x.mu.Unlock()
			return nil, err
		}
	}
	deaf := x.deaf
	x.last++
	p.mux, p.number = x, x.last
	x.waiting[p.number] = p
	var room [64]byte // the text is made once, not of two others
	m.Reply = string(strconv.AppendUint(append(room[:0], x.prefix...), p.number, 36))
	x.mu.Unlock()
	if deaf && !x.nc.IsClosed() {
		go x.apart(p.number, &nats.Msg{Subject: m.Subject, Header: maps.Clone(m.Header), Data: m.Data})
		return p, nil
	}
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

// apart makes a request as the client does: while a connection is drained, its own subscription is the last to end.
func (x *Mux) apart(number uint64, m *nats.Msg) {
	reply, err := x.nc.RequestMsg(m, drainedWait)
	x.answer(number, answer{msg: reply, err: err})
}

// Wait returns the answer, or an error as Request's.
func (p *Pending) Wait(ctx context.Context, wait time.Duration) (*nats.Msg, error) {
	select {
	case a := <-p.came:
		return p.end(a)
	default:
	}
	p.timer.Reset(wait)
	var err error
	select {
	case a := <-p.came:
		p.timer.Stop()
		return p.end(a)
	case <-p.timer.C:
		err = context.DeadlineExceeded
	case <-ctx.Done():
		p.timer.Stop()
		err = ctx.Err()
	}
	if !p.forget() { // it comes in this moment
		return p.end(<-p.came)
	}
	return nil, err
}

// end takes the answer. Nothing can come for p any more.
func (p *Pending) end(a answer) (*nats.Msg, error) {
	free.Put(p)
	if a.err == nil && len(a.msg.Data) == 0 && a.msg.Header.Get("Status") == "503" {
		return nil, nats.ErrNoResponders
	}
	return a.msg, a.err
}

// forget gives the request up; false: its answer was taken for it before.
func (p *Pending) forget() bool {
	p.mux.mu.Lock()
	defer p.mux.mu.Unlock()
	waits := p.mux.waiting[p.number] == p
	delete(p.mux.waiting, p.number)
	return waits
}

// subscribe listens for answers, and for the end of the subscription that they come over. x.mu is held.
func (x *Mux) subscribe() error {
	prefix := x.nc.NewInbox() + "."
	sub, err := x.nc.Subscribe(prefix+"*", func(m *nats.Msg) { x.take(m, len(prefix)) })
	if err != nil {
		return err
	}
	sub.SetClosedHandler(func(string) { x.end() })
	x.prefix = prefix
	return nil
}

// end ends what waits: the subscription has ended, so that no answer can come any more. What is sent later on a connection
// that is closed fails by itself.
func (x *Mux) end() {
	err := nats.ErrConnectionClosed
	if !x.nc.IsClosed() {
		err = ErrDrained
	}
	x.mu.Lock()
	lost := x.waiting
	x.waiting, x.deaf = make(map[uint64]*Pending), true
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
	if number, err := strconv.ParseUint(m.Subject[prefix:], 36, 64); err == nil {
		x.answer(number, answer{msg: m})
	}
}

// answer ends a request, unless it has ended.
func (x *Mux) answer(number uint64, a answer) {
	x.mu.Lock()
	p := x.waiting[number]
	delete(x.waiting, number)
	x.mu.Unlock()
	if p != nil {
		p.came <- a // there is room: nobody else finds p
	}
}
