package ledger

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/internal/groups"
	"github.com/dartwing/jobledger/schemas"
)

// Bounds of SubmitMany.
const (
	// SubmitManyMax is how many requests one call takes.
	SubmitManyMax = 1000
	// manyBytesMax is how many bytes of events are under way at once: the server drops what it has no room to queue.
	manyBytesMax = 8 << 20
	// manyApart is how many requests are served at once of those that go on one by one.
	manyApart = 16
)

// Submission is what became of one request of many.
type Submission struct {
	Receipt Receipt
	Err     error // as Submit returns it
}

// SubmitMany submits up to SubmitManyMax jobs at once. Each request has an outcome of its own, in the order of the
// requests, exactly as Submit would have given it: one that is refused touches no other, and jobs are stored in the
// order of their requests unless one has to be sent again. The error is of the call as a whole; nothing is stored then.
//
// New work is sent without waiting for the answers to what was sent before, over the same connection, each event with
// its own expectation: so the server takes a batch in about the time of one round trip, and a crash in here leaves some
// of the jobs stored, others not, and none half. It is no transaction. (Only where the server syncs each write are they sent as
// one atomic batch, and again each by itself if that is refused: elsewhere it costs more for each message.) A request that needs more than one append, that
// brings its own id, that is large or whose answer does not come goes on as a Submit of its own.
//
// A ctx without deadline is bounded as for Submit, by all bytes together.
func (l *Ledger) SubmitMany(ctx context.Context, requests []SubmitRequest) ([]Submission, error) {
	if len(requests) > SubmitManyMax {
		return nil, Errorf(CodeInvalidArgument, "%d requests at once: at most %d are allowed", len(requests), SubmitManyMax)
	}
	size := 0
	for i := range requests {
		size += requests[i].size()
	}
	ctx, cancel := withPayloadTimeout(ctx, size)
	defer cancel()
	m := &many{l: l, requests: requests, outcomes: make([]Submission, len(requests)), sent: make([]onTheWay, len(requests))}
	if l.cfg.Intercept == nil && len(requests) > 1 {
		if err := m.pipeline(ctx); err != nil {
			return nil, coded(err)
		}
	}
	m.rest(ctx)
	return m.outcomes, nil
}

// many is one SubmitMany.
type many struct {
	l        *Ledger
	requests []SubmitRequest
	outcomes []Submission
	sent     []onTheWay

	mu        sync.Mutex
	answers   int           // that have come
	published int           // that an answer is expected for; the sender's alone
	underWay  int           // bytes of events that no answer has come for
	want      func() bool   // what is waited for; nil: nothing, or it has come
	come      chan struct{} // holds one when it has
}

// onTheWay is a request that was sent, or why it was not.
type onTheWay struct {
	s       *submission
	e       *schemas.Event
	a       *appending
	size    int
	done    bool   // its outcome is known
	failure error  // of the publish
	answer  []byte // nil: none has come
	nobody  bool   // the answer is that no server takes events
	seq     schemas.Seq
}

// pipeline sends what one append can store, and waits for the answers.
func (m *many) pipeline(ctx context.Context) error {
	m.come = make(chan struct{}, 1)
	prefix := m.l.nc.NewInbox() + "."
	answers, err := m.l.nc.Subscribe(prefix+"*", func(answer *nats.Msg) { m.hear(answer, len(prefix)) })
	if err != nil {
		return err
	}
	defer func() { _ = answers.Unsubscribe() }() // fails only with the connection
	grouped := m.l.Groups(ctx)
	var group []int
	for i := range m.requests {
		if ctx.Err() != nil {
			break // the others are refused, unsent
		}
		if !m.prepare(ctx, i) {
			continue
		}
		if grouped {
			group = append(group, i)
			continue
		}
		if !m.publish(ctx, prefix, i) {
			break // the others go by themselves, as far as there is time
		}
	}
	m.together(ctx, prefix, group)
	m.await(ctx, func() bool { return m.answers >= m.published })
	return nil
}

// publish sends a request that is prepared; false: there is no room or no time for more.
func (m *many) publish(ctx context.Context, prefix string, i int) bool {
	o := &m.sent[i]
	o.a.m.Reply = prefix + strconv.Itoa(i)
	if ctx.Err() != nil || !m.room(ctx, o.size) {
		o.failure = errUnsent
		return false
	}
	if o.failure = m.l.nc.PublishMsg(o.a.m); o.failure == nil {
		m.published++
	} else {
		m.leave(o.size)
	}
	return true
}

// together stores the requests as batches, each under one sync. Those of a batch that is refused are sent each by itself:
// one of them is the reason.
func (m *many) together(ctx context.Context, prefix string, all []int) {
	for len(all) > 0 {
		var batch []*nats.Msg
		for size := 0; len(batch) < min(len(all), groups.Max); {
			o := &m.sent[all[len(batch)]]
			if size += o.size; len(batch) > 0 && size > groups.MaxBytes {
				break
			}
			batch = append(batch, o.a.m)
		}
		now := all[:len(batch)]
		all = all[len(batch):]
		var refused *groups.RefusedError
		if err := m.commit(ctx, now, batch); errors.As(err, &refused) {
			for k, i := range now {
				if m.sent[i].failure = nil; !m.publish(ctx, prefix, i) {
					m.leaveUnsent(now[k:])
					break
				}
			}
		} else if err != nil {
			m.leaveUnsent(all)
			return
		}
	}
}

// commit stores a batch of requests. One of few is refused here.
func (m *many) commit(ctx context.Context, requests []int, batch []*nats.Msg) error {
	if len(batch) < groups.Worth {
		return &groups.RefusedError{Text: "it is not worth its while"}
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := m.l.gather.watch(cancel)
	first, err := m.l.gather.commit(ctx, batch, groupWait)
	stop()
	for k, i := range requests {
		if m.sent[i].failure = err; err == nil {
			m.sent[i].seq = schemas.Seq(first) + schemas.Seq(k)
		}
	}
	return err
}

// leaveUnsent marks requests that are prepared and go on by themselves.
func (m *many) leaveUnsent(requests []int) {
	for _, i := range requests {
		m.sent[i].failure = errUnsent
	}
}

// errUnsent: the server answers too slowly, or not at all, for more to be sent.
var errUnsent = errors.New("not sent yet")

// prepare makes the event of a request that one append can store. false: it has its outcome, or goes its own way.
func (m *many) prepare(ctx context.Context, i int) bool {
	r, o := &m.requests[i], &m.sent[i]
	if r.once || r.ID != "" || r.before != nil || r.ArgsRef != nil || len(r.Args) > m.l.inlineArgs() || len(r.Parents) > 0 {
		return false
	}
	own := *r // prepare resolves in place
	s, err := m.l.prepare(ctx, &own)
	if err != nil {
		o.done, m.outcomes[i].Err = true, coded(err)
		return false
	}
	o.s = s
	if s.shut != nil || s.large != nil || s.spec.Dedup.Exact() {
		return false
	}
	s.trace(ctx)
	if o.e, err = s.beginFresh(s.freshID()); err == nil {
		o.a, err = m.l.appendingOf(o.e, expectation{})
	}
	if err != nil {
		m.end(ctx, i, Receipt{}, err)
		return false
	}
	o.size = o.a.m.Size()
	return true
}

// hear takes an answer. It runs on the subscription's own goroutine.
func (m *many) hear(answer *nats.Msg, prefix int) {
	i, err := strconv.Atoi(answer.Subject[prefix:])
	if err != nil || i < 0 || i >= len(m.sent) {
		return
	}
	body := answer.Data
	if m.l.heard != nil {
		if body = m.l.heard(i, body); body == nil {
			return
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	o := &m.sent[i]
	if o.answer != nil || o.seq != 0 || o.nobody {
		return
	}
	m.answers++
	m.underWay -= o.size
	if seq, ok := PlainAck(StreamLedger, body); ok {
		o.seq = schemas.Seq(seq)
	} else if o.nobody = len(body) == 0; !o.nobody {
		o.answer = body
	}
	if m.want != nil && m.want() {
		m.want = nil
		m.come <- struct{}{} // of one that waits, so there is room
	}
}

// room waits until so many bytes may be under way, and takes them.
func (m *many) room(ctx context.Context, size int) bool {
	return m.await(ctx, func() bool {
		if m.underWay > 0 && m.underWay+size > manyBytesMax {
			return false
		}
		m.underWay += size
		return true
	})
}

// leave gives back the room of an event that is not under way after all.
func (m *many) leave(size int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.underWay -= size
}

// await waits until a condition holds, which is asked under the lock, until it does. false: no answer has come for as
// long as a first try waits for its own, or ctx has ended.
func (m *many) await(ctx context.Context, holds func() bool) bool {
	m.mu.Lock()
	if holds() {
		m.mu.Unlock()
		return true
	}
	m.want = holds
	heard := m.answers
	m.mu.Unlock()
	silence := time.NewTicker(replyTimeout(0))
	defer silence.Stop()
	for {
		select {
		case <-m.come:
			return true
		case <-silence.C:
			m.mu.Lock()
			quiet := m.answers == heard
			heard = m.answers
			m.mu.Unlock()
			if !quiet {
				continue
			}
		case <-ctx.Done():
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.want == nil { // it came in this moment
			<-m.come
			return true
		}
		m.want = nil
		return false
	}
}

// rest settles everything that was not stored at the first try.
func (m *many) rest(ctx context.Context) {
	var group sync.WaitGroup
	slots := make(chan struct{}, manyApart)
	for i := range m.sent {
		if m.sent[i].done || m.stored(ctx, i) {
			continue
		}
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			m.apart(ctx, i)
		})
	}
	group.Wait()
}

// stored is the outcome of a request that was stored at once.
func (m *many) stored(ctx context.Context, i int) bool {
	o := &m.sent[i]
	m.mu.Lock() // late answers may still be heard
	seq := o.seq
	m.mu.Unlock()
	if seq == 0 {
		return false
	}
	_ = o.a.stored(seq, time.Now())
	m.end(ctx, i, o.s.accepted(o.e), nil)
	return true
}

// apart lets one request go on by itself.
func (m *many) apart(ctx context.Context, i int) {
	o := &m.sent[i]
	switch {
	case o.s == nil:
		m.outcomes[i].Receipt, m.outcomes[i].Err = m.l.Submit(ctx, m.requests[i])
	case o.a == nil && o.s.spec.Dedup.Exact():
		receipt, err := o.s.under(ctx, derivedID(&o.s.spec), o.s.judgeInFlight)
		m.end(ctx, i, receipt, err)
	case o.a == nil:
		receipt, err := o.s.fresh(ctx)
		m.end(ctx, i, receipt, err)
	default:
		receipt, err := o.s.settleFresh(ctx, o.e, m.goOn(ctx, o))
		m.end(ctx, i, receipt, err)
	}
}

// goOn is the outcome of an append whose first try was sent, or could not be. The same event is sent again.
func (m *many) goOn(ctx context.Context, o *onTheWay) error {
	m.mu.Lock()
	answer, nobody := o.answer, o.nobody
	m.mu.Unlock()
	o.a.m.Reply = "" // each later try has an inbox of its own
	var v verdict
	var err error
	switch {
	case answer != nil:
		v, err = o.a.answered(ctx, answer)
	case nobody:
		v, err = o.a.failed(nats.ErrNoResponders, false)
	case errors.Is(o.failure, errUnsent):
		v, err = again, o.failure
	case o.failure != nil:
		v, err = o.a.failed(o.failure, m.l.nc.IsClosed())
	default:
		v, err = o.a.failed(nats.ErrTimeout, false)
	}
	if v == settled {
		return err
	}
	return o.a.settle(ctx, v, err)
}

// end is the outcome of a request.
func (m *many) end(ctx context.Context, i int, receipt Receipt, err error) {
	o := &m.sent[i]
	receipt, err = o.s.told(ctx, &m.requests[i], receipt, err)
	o.done, m.outcomes[i] = true, Submission{receipt, err}
}
