package handlers

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
)

// Times of pulling.
const (
	pullExpires   = 30 * time.Second        // an open pull is renewed after so long
	pullHeartbeat = time.Second             // sign of life of an open pull
	pullMissed    = 2500 * time.Millisecond // silence after which an open pull is taken as lost
	retryMin      = 50 * time.Millisecond   // first wait after a pull that nobody could take
	retryMax      = 500 * time.Millisecond  // well below the 5 s in which dispatch must resume
)

var (
	ackBody = []byte("+ACK")
	nakBody = []byte("-NAK")
)

// pool shares the slots of a worker among the durable consumers it pulls from (DESIGN D7).
//
// Each consumer has at most one pull request open, so that what is still to come is known exactly:
// messages do not tell which request they answer. A consumer with nothing waiting has a long pull open, for
// one message where types share the slots: such a watch reserves no slot. One with known waiting messages is asked
// for as many as slots are free, without waiting, so that it cannot keep slots from other types. Only a
// watch can thus bring a surplus, at most one message each, which is given back at once.
type pool struct {
	nc    *nats.Conn
	log   *zap.Logger
	take  func(p *puller, m *nats.Msg) // starts an attempt; must not block
	quiet chan struct{}                // capacity 1; filled when the last slot is freed

	mu      sync.Mutex
	slots   int
	busy    int // slots taken, from the arrival of an offer until its handler has returned
	open    bool
	limit   int // attempts that may still be taken; -1: no bound
	pullers []*puller
	turn    int       // rotates, so that no type is always asked first
	idle    time.Time // since when busy is 0
	claims  claims
}

// puller pulls from one durable consumer. Its fields below mu of the pool are guarded by that.
type puller struct {
	reg     *Registration
	subject string // API subject of the next message
	inbox   string // prefix of the reply subjects
	sub     *nats.Subscription

	asked   int       // messages that the open request may still bring; 0: none is open
	request int       // number of the latest request, part of its reply subject
	waiting int       // messages known to wait in the consumer; a hint
	seen    time.Time // when the consumer last gave a sign of life
	wait    time.Duration
	retryAt time.Time // no request before
	missing bool      // the consumer was not there when last asked
}

// pull is a request to be sent once the lock is released.
type pull struct {
	p       *puller
	reply   string
	n       int
	waiting bool // a long pull
}

// body is JetStream's request for the next messages.
func (r *pull) body() []byte {
	if !r.waiting {
		return fmt.Appendf(nil, `{"batch":%d,"no_wait":true}`, r.n)
	}
	return fmt.Appendf(nil, `{"batch":%d,"expires":%d,"idle_heartbeat":%d}`, r.n, pullExpires, pullHeartbeat)
}

func newPool(nc *nats.Conn, log *zap.Logger, slots, limit int, take func(*puller, *nats.Msg)) *pool {
	if limit == 0 {
		limit = -1
	}
	return &pool{nc: nc, log: log, take: take, quiet: make(chan struct{}, 1), slots: slots, limit: limit, idle: time.Now()}
}

// add subscribes for one consumer. Nothing is pulled before setOpen(true).
func (p *pool) add(reg *Registration) error {
	u := &puller{reg: reg, missing: true, inbox: p.nc.NewInbox(),
		subject: "$JS.API.CONSUMER.MSG.NEXT." + ledger.StreamWork + "." + ledger.ConsumerName(reg.Queue, reg.Type)}
	sub, err := p.nc.Subscribe(u.inbox+".*", func(m *nats.Msg) { p.receive(u, m) })
	if err != nil {
		return err
	}
	u.sub = sub
	p.mu.Lock()
	p.pullers = append(p.pullers, u)
	p.mu.Unlock()
	return nil
}

// close ends the pulls. What is on its way still arrives, and is given back.
func (p *pool) close() error {
	p.setOpen(false)
	var errs []error
	for _, u := range p.pullers {
		errs = append(errs, u.sub.Drain())
	}
	return errors.Join(errs...)
}

// setOpen says whether offers may be pulled. A closed pool gives back what still comes.
func (p *pool) setOpen(open bool) {
	p.mu.Lock()
	if open && !p.open {
		p.idle = time.Now()
	}
	p.open = open
	sends := p.plan(time.Now())
	p.mu.Unlock()
	p.send(sends)
}

// receive takes what a pull brings: an offer, or a status of the request.
func (p *pool) receive(u *puller, m *nats.Msg) {
	now := time.Now()
	if m.Reply == "" {
		p.mu.Lock()
		p.status(u, m, now)
		sends := p.plan(now)
		p.mu.Unlock()
		p.send(sends)
		return
	}
	p.mu.Lock()
	u.seen, u.wait, u.missing = now, 0, false
	u.asked = max(u.asked-1, 0)
	u.waiting = pendingOf(m.Reply)
	surplus := !p.open || p.busy >= p.slots || p.limit == 0 || p.claims.full()
	if surplus {
		u.waiting++
	} else {
		p.busy++
		p.claims.out++
		if p.limit > 0 {
			p.limit--
		}
	}
	sends := p.plan(now)
	p.mu.Unlock()
	if surplus {
		p.answer(m, nakBody)
	} else {
		p.take(u, m)
	}
	p.send(sends)
}

// release frees a slot. started tells whether its offer became an attempt, which counts towards the limit.
func (p *pool) release(started bool) {
	now := time.Now()
	p.mu.Lock()
	p.busy--
	if !started && p.limit >= 0 {
		p.limit++
	}
	if p.busy == 0 {
		p.idle = now
		select {
		case p.quiet <- struct{}{}:
		default:
		}
	}
	sends := p.plan(now)
	p.mu.Unlock()
	p.send(sends)
}

// status reads a message without content about the open request. The caller holds mu.
func (p *pool) status(u *puller, m *nats.Msg, now time.Time) {
	u.seen = now
	code := m.Header.Get("Status")
	number, err := strconv.Atoi(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:])
	if code == "100" || err != nil || number != u.request {
		return // a heartbeat, or the end of a request that was given up before
	}
	u.asked = 0
	switch code {
	case "404", "408": // no messages; expired, or others wait for what there is
		u.waiting, u.wait = 0, 0
	case "503", "409": // no consumer there; deleted, moved to another server, or shut down
		u.missing = true
		p.later(u, now)
	default:
		p.log.Warn("pull refused", zap.String("consumer", u.subject), zap.String("status", code), zap.String("description", m.Header.Get("Description")))
		p.later(u, now)
	}
}

// later puts off the next request of u. The caller holds mu.
func (p *pool) later(u *puller, now time.Time) {
	u.wait = min(max(2*u.wait, retryMin), retryMax)
	u.retryAt = now.Add(u.wait)
	time.AfterFunc(u.wait, p.kick)
}

// kick asks for what may be asked for at this moment.
func (p *pool) kick() {
	p.mu.Lock()
	sends := p.plan(time.Now())
	p.mu.Unlock()
	p.send(sends)
}

// reset forgets open requests: those of all pullers after a reconnect, or those from which a sign of life was
// due. A request that lives on all the same can bring a surplus, no more.
func (p *pool) reset(all bool) {
	now := time.Now()
	p.mu.Lock()
	for _, u := range p.pullers {
		if all || u.asked > 0 && now.Sub(u.seen) > pullMissed {
			u.asked, u.retryAt, u.wait, u.missing = 0, time.Time{}, 0, true
		}
	}
	sends := p.plan(now)
	p.mu.Unlock()
	p.send(sends)
}

// absent returns the registrations whose consumers were not there when last asked.
func (p *pool) absent() []*Registration {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []*Registration
	for _, u := range p.pullers {
		if u.missing {
			out = append(out, u.reg)
		}
	}
	return out
}

// present tells that the consumer of reg is there.
func (p *pool) present(reg *Registration) {
	p.mu.Lock()
	for _, u := range p.pullers {
		if u.reg == reg {
			u.missing, u.retryAt, u.wait = false, time.Time{}, 0
		}
	}
	sends := p.plan(time.Now())
	p.mu.Unlock()
	p.send(sends)
}

// plan decides what to ask for, and books it as asked. The caller holds mu, and sends the result without it.
func (p *pool) plan(now time.Time) []pull {
	free := p.slots - p.busy
	if p.limit >= 0 {
		free = min(free, p.limit)
	}
	free = p.claims.room(free, now)
	if !p.open || free <= 0 || !p.nc.IsConnected() {
		return nil // while reconnecting, requests would only heap up in the client's buffer
	}
	alone := len(p.pullers) == 1
	loaded := 0 // pullers that compete for what is free
	for _, u := range p.pullers {
		switch {
		case u.asked > 0 && (u.waiting > 0 || alone):
			free -= u.asked
		case u.waiting > 0:
			loaded++
		}
	}
	var out []pull
	p.turn++
	for i := range p.pullers {
		u := p.pullers[(p.turn+i)%len(p.pullers)]
		if u.asked > 0 || now.Before(u.retryAt) {
			continue
		}
		n, wait := 1, true // a watch
		switch {
		case alone:
			n = free
		case u.waiting > 0:
			n, wait = min(u.waiting, (free+loaded-1)/loaded), false
			loaded--
			free -= n
		}
		if n <= 0 {
			continue
		}
		u.asked, u.seen = n, now
		u.request++
		out = append(out, pull{p: u, reply: u.inbox + "." + strconv.Itoa(u.request), n: n, waiting: wait})
	}
	return out
}

func (p *pool) send(pulls []pull) {
	for _, r := range pulls {
		if err := p.nc.PublishRequest(r.p.subject, r.reply, r.body()); err != nil { // the missing sign of life brings the next try
			p.log.Debug("pull was not sent", zap.String("consumer", r.p.subject), zap.Error(err))
		}
	}
}

// answer acks or naks an offer. If that is lost the offer comes again after ledger.AckWait, and is then
// refused or found to be Queued still.
func (p *pool) answer(m *nats.Msg, body []byte) {
	if err := p.nc.Publish(m.Reply, body); err != nil {
		p.log.Debug("offer was not answered", zap.String("subject", m.Subject), zap.Error(err))
	}
}

// state returns the busy slots, and since when there has been none although offers were pulled.
func (p *pool) state() (busy int, idle time.Time, exhausted bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if idle = p.idle; p.claims.until.After(idle) {
		idle = p.claims.until
	}
	return p.busy, idle, p.limit == 0
}

// pendingOf reads from a message's ack subject how many more wait in its consumer: the ninth token of
// $JS.ACK.<stream>.<consumer>.<delivered>.<seq>.<consumer seq>.<time>.<pending>, or the eleventh where domain
// and account stand behind $JS.ACK. 0 if it cannot be read.
func pendingOf(reply string) int {
	const short, long = 9, 11
	tokens := strings.Count(reply, ".") + 1
	index := short
	if tokens >= long {
		index = long
	}
	for range index - 1 {
		_, rest, ok := strings.Cut(reply, ".")
		if !ok {
			return 0
		}
		reply = rest
	}
	reply, _, _ = strings.Cut(reply, ".")
	n, err := strconv.Atoi(reply)
	if err != nil {
		return 0
	}
	return max(n, 0)
}
