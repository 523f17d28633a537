package sim_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// consumer is one consumer: with a deliver subject it pushes, otherwise it is pulled from.
type consumer struct {
	name    string
	number  int // of its creation: names are random
	stream  *stream
	cfg     jetstream.ConsumerConfig
	created time.Time
	next    uint64 // stream sequence to look at next
	seq     uint64 // of the latest delivery
	pending map[uint64]*delivery
	again   []uint64 // to be redelivered
	pulls   []*pullRequest
	quiet   time.Time // since when nothing was pushed
	lonely  time.Time // since when nobody listens; zero: somebody does
	newest  []uint64  // DeliverLastPerSubject: what to deliver first
}

// delivery is a message in the hands of a puller.
type delivery struct {
	count uint64
	until time.Time
}

// pullRequest is an open pull.
type pullRequest struct {
	conn      *conn
	reply     string
	left      int
	until     time.Time // zero: it does not wait
	heartbeat time.Duration
}

func (e *engine) consumerAPI(c *conn, cmd *command, what string, f []string) {
	if f[1] == "DURABLE" {
		f = slices.Delete(slices.Clone(f), 1, 2)
	}
	if len(f) < 3 {
		panic("consumer API " + cmd.subject)
	}
	s := e.streams[f[2]]
	if f[1] == "CREATE" && s != nil {
		// What the consumer delivers comes behind its creation, as it mostly does: the client's watch of a bucket
		// holds a lock in between, which a bubble cannot see through.
		name, answer := e.createConsumer(s, cmd.data, append(f, "")[3])
		e.respondIn(c, cmd.reply, classReply, "consumer "+name, what, nil, mustJSON(answer))
		e.deliver(s)
		return
	}
	e.named(c, cmd, what, f[2], func(s *stream) any {
		switch f[1] {
		case "DELETE":
			if _, ok := s.consumers[f[3]]; !ok {
				return apiError(404, codeConsumerMissing, "consumer not found")
			}
			delete(s.consumers, f[3])
			return map[string]any{"success": true}
		case "INFO":
			if k := s.consumers[f[3]]; k != nil {
				return consumerAnswer{Type: "consumer", ConsumerInfo: k.info(e.now())}
			}
			return apiError(404, codeConsumerMissing, "consumer not found")
		}
		panic("consumer API " + cmd.subject)
	})
}

type consumerAnswer struct {
	Type string `json:"type"`
	*jetstream.ConsumerInfo
}

func (e *engine) createConsumer(s *stream, body []byte, name string) (string, any) {
	var r struct {
		Config jetstream.ConsumerConfig `json:"config"`
	}
	if err := json.Unmarshal(body, &r); err != nil {
		panic(fmt.Sprintf("consumer config: %v", err))
	}
	if name == "" {
		name = r.Config.Name
	}
	if k := s.consumers[name]; k != nil {
		k.cfg = r.Config
		return name, consumerAnswer{Type: "consumer", ConsumerInfo: k.info(e.now())}
	}
	k := &consumer{name: name, stream: s, cfg: r.Config, created: e.now(), next: s.first, pending: make(map[uint64]*delivery), quiet: time.Now()}
	switch r.Config.DeliverPolicy {
	case jetstream.DeliverByStartSequencePolicy:
		k.next = r.Config.OptStartSeq
	case jetstream.DeliverNewPolicy:
		k.next = s.last + 1
	case jetstream.DeliverLastPerSubjectPolicy:
		for subject, all := range s.bySubject {
			if k.wants(subject) {
				k.newest = append(k.newest, all[len(all)-1].seq)
			}
		}
		slices.Sort(k.newest)
		k.next = s.last + 1
	}
	e.made++
	k.number = e.made
	s.consumers[name] = k
	if k.cfg.IdleHeartbeat > 0 && k.cfg.DeliverSubject != "" {
		e.beat(k)
	}
	return name, consumerAnswer{Type: "consumer", ConsumerInfo: k.info(e.now())}
}

// wants reports whether the consumer takes a subject.
func (k *consumer) wants(subject string) bool {
	if len(k.cfg.FilterSubjects) > 0 {
		return slices.ContainsFunc(k.cfg.FilterSubjects, func(f string) bool { return matches(f, subject) })
	}
	return k.cfg.FilterSubject == "" || matches(k.cfg.FilterSubject, subject)
}

// waiting counts the messages that the consumer has not delivered yet.
func (k *consumer) waiting() (n int) {
	i, _ := k.stream.find(k.next)
	for _, m := range k.stream.messages[i:] {
		if k.wants(m.subject) {
			n++
		}
	}
	return n + len(k.newest)
}

func (k *consumer) info(now time.Time) *jetstream.ConsumerInfo {
	return &jetstream.ConsumerInfo{Stream: k.stream.cfg.Name, Name: k.name, Created: k.created, Config: k.cfg,
		Delivered: jetstream.SequenceInfo{Consumer: k.seq}, NumAckPending: len(k.pending), NumPending: uint64(k.waiting()), TimeStamp: now}
}

// take returns the next message to deliver, nil if there is none.
func (k *consumer) take() *message {
	for len(k.again) > 0 {
		seq := k.again[0]
		k.again = k.again[1:]
		if m := k.stream.at(seq); m != nil && k.pending[seq] != nil {
			return m
		}
	}
	for len(k.newest) > 0 {
		seq := k.newest[0]
		k.newest = k.newest[1:]
		if m := k.stream.at(seq); m != nil {
			return m
		}
	}
	i, _ := k.stream.find(k.next)
	for _, m := range k.stream.messages[i:] {
		k.next = m.seq + 1
		if k.wants(m.subject) {
			return m
		}
	}
	return nil
}

// deliver gives out what the stream's consumers can.
func (e *engine) deliver(s *stream) {
	var all []*consumer
	for _, k := range s.consumers {
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b *consumer) int { return cmp.Compare(a.number, b.number) })
	for _, k := range all {
		if k.cfg.DeliverSubject != "" {
			e.push(k)
		} else {
			e.serve(k)
		}
	}
}

// push sends a push consumer's messages to whoever listens.
func (e *engine) push(k *consumer) {
	to := e.net.interests(k.cfg.DeliverSubject)
	if len(to) == 0 {
		return
	}
	for m := k.take(); m != nil; m = k.take() {
		k.seq++
		k.quiet = time.Now()
		data := m.data
		if k.cfg.HeadersOnly {
			data = nil
		}
		e.net.reply(to[0], classTail, "consumer "+k.name, e.net.hits.stored(m), m.subject, k.ackSubject(m, 1), m.header, data)
	}
}

func (k *consumer) ackSubject(m *message, count uint64) string {
	return fmt.Sprintf("$JS.ACK.%s.%s.%d.%d.%d.%d.%d", k.stream.cfg.Name, k.name, count, m.seq, k.seq, m.at.UnixNano(), k.waiting())
}

// beat sends a push consumer's sign of life, and drops one that nobody has listened to for long.
func (e *engine) beat(k *consumer) {
	starts := e.starts
	e.net.after(k.cfg.IdleHeartbeat, func() {
		if k.stream.consumers[k.name] != k || e.starts != starts || e.streams[k.stream.cfg.Name] != k.stream {
			return
		}
		to := e.net.interests(k.cfg.DeliverSubject)
		switch {
		case len(to) == 0 && k.lonely.IsZero():
			k.lonely = time.Now()
		case len(to) == 0 && time.Since(k.lonely) > max(k.cfg.InactiveThreshold, 5*time.Second):
			delete(k.stream.consumers, k.name)
			return
		case len(to) > 0:
			k.lonely = time.Time{}
			e.push(k)
			if time.Since(k.quiet) >= k.cfg.IdleHeartbeat {
				h := fmt.Appendf(nil, "NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: %d\r\nNats-Last-Stream: %d\r\n\r\n", k.seq, k.next-1)
				e.net.reply(to[0], classTail, "consumer "+k.name, "", k.cfg.DeliverSubject, "", h, nil)
			}
		}
		e.beat(k)
	})
}

// pull opens a pull request.
func (e *engine) pull(c *conn, cmd *command, what, streamName, name string) {
	var k *consumer
	if s := e.streams[streamName]; s != nil {
		k = s.consumers[name]
	}
	if k == nil || k.cfg.DeliverSubject != "" {
		e.respond(c, cmd.reply, classReply, what, []byte("NATS/1.0 503\r\n\r\n"), nil)
		return
	}
	var r struct {
		Batch     int           `json:"batch"`
		Expires   time.Duration `json:"expires"`
		NoWait    bool          `json:"no_wait"`
		Heartbeat time.Duration `json:"idle_heartbeat"`
	}
	if err := json.Unmarshal(cmd.data, &r); err != nil {
		panic(fmt.Sprintf("pull: %v", err))
	}
	p := &pullRequest{conn: c, reply: cmd.reply, left: max(r.Batch, 1), heartbeat: r.Heartbeat}
	if !r.NoWait {
		p.until = time.Now().Add(r.Expires)
		if r.Expires > 0 {
			e.net.after(r.Expires, func() { e.closePull(k, p, "408 Request Timeout") })
		}
		if r.Heartbeat > 0 {
			e.pullBeat(k, p)
		}
	}
	k.pulls = append(k.pulls, p)
	e.serve(k)
	if r.NoWait {
		e.closePull(k, p, "404 No Messages")
	}
}

// pullBeat sends the sign of life of an open pull.
func (e *engine) pullBeat(k *consumer, p *pullRequest) {
	e.net.after(p.heartbeat, func() {
		if k.alive(e) && slices.Contains(k.pulls, p) {
			e.respond(p.conn, p.reply, classReply, "", []byte("NATS/1.0 100 Idle Heartbeat\r\n\r\n"), nil)
			e.pullBeat(k, p)
		}
	})
}

func (k *consumer) alive(e *engine) bool {
	return k.stream.consumers[k.name] == k && e.streams[k.stream.cfg.Name] == k.stream
}

// closePull ends a pull that is still open.
func (e *engine) closePull(k *consumer, p *pullRequest, status string) {
	if i := slices.Index(k.pulls, p); i >= 0 && k.alive(e) {
		k.pulls = slices.Delete(k.pulls, i, i+1)
		e.respondIn(p.conn, p.reply, classReply, "consumer "+k.name, "", []byte("NATS/1.0 "+status+"\r\n\r\n"), nil)
	}
}

// serve delivers to open pulls, the oldest first.
func (e *engine) serve(k *consumer) {
	for len(k.pulls) > 0 {
		p := k.pulls[0]
		to := p.conn.interestsOf(p.reply)
		if p.conn.gone() || len(to) == 0 {
			k.pulls = k.pulls[1:]
			continue
		}
		m := k.take()
		if m == nil {
			return
		}
		k.seq++
		d := k.pending[m.seq]
		if d == nil {
			d = &delivery{}
		}
		d.count++
		if k.cfg.AckPolicy != jetstream.AckNonePolicy {
			k.pending[m.seq] = d
			d.until = time.Now().Add(cmp.Or(k.cfg.AckWait, 30*time.Second))
			e.redeliverAt(k, m.seq, d, d.until)
		}
		// The subject of a delivery is that of the stored message; the client's subscription is its reply.
		e.net.reply(to[0], classOffer, "consumer "+k.name, "", m.subject, k.ackSubject(m, d.count), m.header, m.data)
		if p.left--; p.left == 0 {
			k.pulls = k.pulls[1:]
		}
	}
}

// redeliverAt gives a message out again if it is not acked by then.
func (e *engine) redeliverAt(k *consumer, seq uint64, d *delivery, at time.Time) {
	e.net.at(at, func() {
		if k.alive(e) && k.pending[seq] == d && d.until.Equal(at) {
			e.again(k, seq)
		}
	})
}

func (e *engine) again(k *consumer, seq uint64) {
	if !slices.Contains(k.again, seq) {
		k.again = append(k.again, seq)
	}
	e.serve(k)
}

// ack takes the answer to a delivery: it acts on the stream sequence, whatever delivery it comes from.
func (e *engine) ack(cmd *command) {
	f := strings.Split(cmd.subject, ".")
	if len(f) < 9 {
		return
	}
	s := e.streams[f[2]]
	if s == nil || s.consumers[f[3]] == nil {
		return
	}
	k := s.consumers[f[3]]
	seq, _ := strconv.ParseUint(f[5], 10, 64)
	d := k.pending[seq]
	if d == nil {
		return
	}
	switch {
	case len(cmd.data) == 0, bytes.HasPrefix(cmd.data, []byte("+ACK")), bytes.HasPrefix(cmd.data, []byte("+TERM")):
		delete(k.pending, seq)
		if m := s.at(seq); m != nil && s.cfg.Retention == jetstream.WorkQueuePolicy {
			s.remove(m)
		}
	case bytes.HasPrefix(cmd.data, []byte("-NAK")):
		d.until = time.Time{}
		e.again(k, seq)
	case bytes.HasPrefix(cmd.data, []byte("+WPI")):
		d.until = time.Now().Add(k.cfg.AckWait)
		e.redeliverAt(k, seq, d, d.until)
	}
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
