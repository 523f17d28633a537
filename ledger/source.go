package ledger

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/internal/packs"
	"github.com/dartwing/jobledger/schemas"
)

// source is one push consumer and what it has delivered. The consumer keeps nothing on disk and is dropped
// by the server when nobody listens to it.
type source struct {
	name     string
	cfg      jetstream.ConsumerConfig
	inbox    string
	sub      *nats.Subscription
	wake     chan struct{} // capacity 1: something was added to the queue
	verified bool          // the position's event has come and is the right one
	last     uint64        // consumer sequence of the last message, to see a gap
	passed   schemas.Seq   // the server has gone through the stream up to here, and all it found was taken

	taken []*nats.Msg // of queue; those before at are handed out
	at    int
	pack  []byte // what is left of the pack that was taken last

	mu    sync.Mutex
	queue []*nats.Msg
}

// openSource creates a consumer that starts at from (1 for 0). exists reports whether there is any message
// from there on. The server sends bits a second at most; 0: as much as it can.
func (l *Ledger) openSource(ctx context.Context, from schemas.Seq, filter string, heartbeat time.Duration, bits uint64) (src *source, exists bool, err error) {
	s := &source{name: packs.Consumer + uuid.NewString(), inbox: l.nc.NewInbox(), wake: make(chan struct{}, 1)}
	if s.sub, err = l.nc.Subscribe(s.inbox, s.add); err != nil {
		return nil, false, err
	}
	// The server's flow control bounds what can be pending.
	if err = s.sub.SetPendingLimits(-1, -1); err != nil {
		return nil, false, err
	}
	cfg := jetstream.ConsumerConfig{
		Name: s.name, Description: "jobledger: reads the ledger in order",
		DeliverSubject: s.inbox, DeliverPolicy: jetstream.DeliverAllPolicy, AckPolicy: jetstream.AckNonePolicy,
		FilterSubject: filter, FlowControl: true, IdleHeartbeat: heartbeat, InactiveThreshold: tailInactive,
		MemoryStorage: true, Replicas: 1, RateLimit: bits,
	}
	if from > 0 {
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, uint64(from)
	}
	c, err := l.js.CreatePushConsumer(ctx, StreamLedger, cfg)
	if err != nil {
		_ = s.sub.Unsubscribe() // fails only when the connection is closed, which ends it too
		return nil, false, fmt.Errorf("consumer on stream %s: %w", StreamLedger, err)
	}
	s.cfg = cfg
	info := c.CachedInfo()
	return s, info.NumPending > 0 || info.Delivered.Consumer > 0, nil
}

// close ends the subscription. The consumer is deleted without waiting; the server does it otherwise.
func (s *source) close(js jetstream.JetStream) {
	_ = s.sub.Unsubscribe()
	_ = js.Conn().Publish("$JS.API.CONSUMER.DELETE."+StreamLedger+"."+s.name, nil)
}

// add is called by the connection for each message.
func (s *source) add(m *nats.Msg) {
	s.mu.Lock()
	s.queue = append(s.queue, m)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// swap takes the queue and leaves free in its place.
func (s *source) swap(free []*nats.Msg) []*nats.Msg {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.queue
	s.queue = free
	return q
}

// control answers flow control, in order, so that what waits here is bounded. It reports false if the
// server has sent messages that did not arrive.
func (s *source) control(nc *nats.Conn, m *nats.Msg) bool {
	if m.Header.Get("Status") != statusControl {
		return false // the consumer has ended
	}
	reply := m.Reply
	if reply == "" {
		reply = m.Header.Get("Nats-Consumer-Stalled")
	}
	if reply != "" {
		_ = nc.Publish(reply, nil) // lost only with the connection, which opens a new consumer
	}
	if v := m.Header.Get("Nats-Last-Consumer"); v != "" {
		last, err := schemas.ParseSeq(v)
		if err != nil || uint64(last) > s.last {
			return false
		}
		if seq, err := schemas.ParseSeq(m.Header.Get("Nats-Last-Stream")); err == nil {
			s.passed = max(s.passed, seq)
		}
	}
	return true
}

// statusControl is the status of heartbeats and flow control requests.
const statusControl = "100"

// stored is a message with its place in the stream: one that came by itself, or in a pack.
type stored struct {
	msg   *nats.Msg   // nil for one of a pack
	frame packs.Frame // cut from its pack
	seq   schemas.Seq
	at    time.Time
}

func (s *stored) decode() *Entry {
	if s.msg == nil {
		return newBlockEntry(s.frame.Subject, s.frame.Header, s.frame.Data, s.seq, s.at)
	}
	return newEntry(s.msg.Subject, s.msg.Header, s.msg.Data, s.seq, s.at)
}

// next returns the next message that has come, without its place; false if there is none.
func (s *source) next() (stored, bool) {
	for {
		if f, rest, ok := packs.Next(s.pack); ok {
			s.pack = rest
			return stored{frame: f}, true
		}
		s.pack = nil
		if s.at == len(s.taken) {
			s.taken, s.at = s.swap(s.taken[:0]), 0
		}
		if len(s.taken) == 0 {
			return stored{}, false
		}
		m := s.taken[s.at]
		s.taken[s.at] = nil
		s.at++
		if m.Subject != packs.Subject {
			return stored{msg: m}, true
		}
		s.pack = m.Data
	}
}

// accept says where the next message stands; false if one before it did not arrive.
func (s *source) accept(m *stored) bool {
	number, ok := m.place()
	if !ok || number != s.last+1 {
		return false
	}
	s.last++
	s.passed = m.seq
	return true
}

// place reads the place of a message from its reply subject, and returns its number among the consumer's.
func (s *stored) place() (number uint64, ok bool) {
	if s.msg == nil {
		if p, ok := packs.PlaceOf(s.frame.Reply); ok {
			s.seq, s.at = schemas.Seq(p.Seq), time.Unix(0, p.Time)
			return p.Number, true
		}
		return 0, false
	}
	meta, err := s.msg.Metadata()
	if err != nil {
		return 0, false
	}
	s.seq, s.at = schemas.Seq(meta.Sequence.Stream), meta.Timestamp
	return meta.Sequence.Consumer, true
}
