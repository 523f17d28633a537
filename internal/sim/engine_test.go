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

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// engine is the model of a NATS server with JetStream, as far as jobledger uses one: streams with expected
// sequences and a window of message ids, durable pull consumers with acks and redelivery, push consumers, the
// get APIs, key-value buckets with TTLs. Transcripts hold it to the real one (TestModelIsTheEngine).
type engine struct {
	net     *network
	skew    time.Duration // of its clock
	r3      bool          // the order of checks of a replicated stream
	streams map[string]*stream
	starts  int
	made    int    // consumers so far
	writer  *party // of the message being stored

	unanswered func(what string) engineFault // the fault of an append, if any
	stored     func(s *stream, m *message)   // told of each stored message
}

// message is one stored message.
type message struct {
	seq     uint64
	subject string
	header  []byte
	data    []byte
	at      time.Time
	ends    time.Time // TTL
}

// stream is one stream.
type stream struct {
	cfg       jetstream.StreamConfig
	form      []byte // cfg as it is told; nil: not yet
	created   time.Time
	messages  []*message // by sequence
	bySubject map[string][]*message
	first     uint64 // of the next message if there is none
	last      uint64
	lastAt    time.Time
	expires   time.Time // no message does earlier; zero: none does
	window    map[string]remembered
	inFlight  map[string]bool // subjects with a write that is not committed yet
	consumers map[string]*consumer
}

// remembered is a message id in the window.
type remembered struct {
	seq uint64
	at  time.Time
}

// Codes of JetStream that the model answers with.
const (
	codeStreamMissing   = 10059
	codeNameInUse       = 10058
	codeNoMessage       = 10037
	codeConsumerMissing = 10014
	codeWrongLast       = 10071
	codeWrongInFlight   = 10164
	codeStoreFailed     = 10077
	codeWrongStream     = 10060
)

func newEngine(n *network) *engine {
	return &engine{net: n, streams: make(map[string]*stream)}
}

func (e *engine) now() time.Time { return time.Now().Add(e.skew) }

func newStream(cfg jetstream.StreamConfig, now time.Time) *stream {
	s := &stream{cfg: cfg, created: now, first: 1, bySubject: make(map[string][]*message),
		window: make(map[string]remembered), inFlight: make(map[string]bool), consumers: make(map[string]*consumer)}
	if cfg.FirstSeq > 0 {
		s.first = cfg.FirstSeq
	}
	s.last = s.first - 1
	return s
}

// streamOf returns the stream that takes a subject.
func (e *engine) streamOf(subject string) *stream {
	for _, s := range e.streams {
		if slices.ContainsFunc(s.cfg.Subjects, func(p string) bool { return matches(p, subject) }) {
			return s
		}
	}
	return nil
}

// handle takes a message that has arrived.
func (e *engine) handle(c *conn, cmd *command, what string) {
	e.expire()
	switch {
	case strings.HasPrefix(cmd.subject, "$JS.API."):
		e.api(c, cmd, what)
	case strings.HasPrefix(cmd.subject, "$JS.ACK."):
		e.ack(cmd)
	case strings.HasPrefix(cmd.subject, "$JS."):
	default:
		if s := e.streamOf(cmd.subject); s != nil {
			e.publish(c, s, cmd, what)
			return
		}
		e.forward(c, cmd, what)
	}
}

// forward carries a core message to its subscribers; a request that nobody takes is told so.
func (e *engine) forward(c *conn, cmd *command, what string) {
	to := e.net.interests(cmd.subject)
	for _, s := range to {
		e.net.reply(s, classOf(cmd.subject), "core "+c.name+" "+cmd.subject, what, cmd.subject, cmd.reply, cmd.header, cmd.data)
	}
	if len(to) == 0 && cmd.reply != "" {
		e.respond(c, cmd.reply, classReply, what, []byte("NATS/1.0 503\r\n\r\n"), nil)
	}
}

// respond sends an answer to whoever listens on a reply subject of c.
func (e *engine) respond(c *conn, to, class, what string, header, data []byte) {
	e.respondIn(c, to, class, "", what, header, data)
}

func (e *engine) respondIn(c *conn, to, class, lane, what string, header, data []byte) {
	if to == "" {
		return
	}
	if c == nil {
		for _, s := range e.net.interests(to) {
			e.net.reply(s, class, lane, what, to, "", header, data)
		}
		return
	}
	if !e.net.open(c) {
		return
	}
	for _, s := range c.interestsOf(to) {
		e.net.reply(s, class, lane, what, to, "", header, data)
	}
}

// engineFault is what goes wrong with one publish inside the engine.
type engineFault uint8

const (
	engineFine     engineFault = iota
	engineFull                 // 10077, not stored
	engineInFlight             // committed a moment later; others meet 10164 meanwhile
	engineRestart              // stored, and the server restarts before it answers
	engineCut                  // stored, and the writer's connection breaks
	engineCrash                // stored, and the writer dies before it hears
	enginePause                // stored, and the writer stands still for longer than a lease
)

// publish stores a message, or says why not.
func (e *engine) publish(c *conn, s *stream, cmd *command, what string) {
	fault := engineFine
	if e.unanswered != nil && s.cfg.Name == "LEDGER" {
		fault = e.unanswered(what)
	}
	if fault == engineFull {
		e.net.hits.engine(what, fault)
		e.answerPublish(c, cmd, what, s.refusal(503, codeStoreFailed, "insufficient resources"))
		return
	}
	if answer := e.check(s, cmd); answer != nil {
		e.answerPublish(c, cmd, what, answer)
		return
	}
	if fault == engineInFlight && e.r3 {
		e.commitLater(c, s, cmd, what)
		return
	}
	e.writer = c.party
	m := e.store(s, cmd)
	answer := fmt.Appendf(nil, `{"stream":%q,"seq":%d}`, s.cfg.Name, m.seq)
	e.net.hits.engine(what, fault)
	switch fault {
	case engineRestart, engineCut, engineCrash, enginePause:
		e.net.world.strike(c, fault)
	default:
		e.answerPublish(c, cmd, what, answer)
	}
	e.deliver(s)
}

func (e *engine) answerPublish(c *conn, cmd *command, what string, answer []byte) {
	e.respond(c, cmd.reply, classPubAck, what, nil, answer)
}

// commitLater has a write in flight for a while, as on a stream with replicas.
func (e *engine) commitLater(c *conn, s *stream, cmd *command, what string) {
	s.inFlight[cmd.subject] = true
	r := e.net.random("commit", s.last)
	starts := e.starts
	e.net.hits.engine(what, engineInFlight)
	e.net.after(spread(r, time.Millisecond, 3*time.Second), func() {
		if e.streams[s.cfg.Name] != s || !s.inFlight[cmd.subject] || e.starts != starts {
			return // the server restarted: it was never stored
		}
		delete(s.inFlight, cmd.subject)
		e.writer = c.party
		m := e.store(s, cmd)
		e.answerPublish(c, cmd, what, fmt.Appendf(nil, `{"stream":%q,"seq":%d}`, s.cfg.Name, m.seq))
		e.deliver(s)
	})
}

func (s *stream) refusal(status, code int, text string) []byte {
	return fmt.Appendf(nil, `{"error":{"code":%d,"err_code":%d,"description":%q},"stream":%q,"seq":0}`, status, code, text, s.cfg.Name)
}

// check returns the refusal of a publish, nil to store it. One server looks at the expectation first, a
// cluster at the message id (ENGINE 1).
func (e *engine) check(s *stream, cmd *command) []byte {
	first, second := e.checkExpected, e.checkWindow
	if e.r3 {
		first, second = second, first
	}
	if answer := first(s, cmd); answer != nil {
		return answer
	}
	if answer := second(s, cmd); answer != nil {
		return answer
	}
	return e.checkRoom(s, cmd)
}

func (e *engine) checkExpected(s *stream, cmd *command) []byte {
	v := headerOf(cmd.header, "Nats-Expected-Last-Subject-Sequence")
	if v == "" {
		return nil
	}
	if s.inFlight[cmd.subject] {
		return s.refusal(400, codeWrongInFlight, "wrong last sequence")
	}
	var last uint64
	if all := s.bySubject[cmd.subject]; len(all) > 0 {
		last = all[len(all)-1].seq
	}
	if want, err := strconv.ParseUint(v, 10, 64); err != nil || want != last {
		return s.refusal(400, codeWrongLast, fmt.Sprintf("wrong last sequence: %d", last))
	}
	return nil
}

func (e *engine) checkWindow(s *stream, cmd *command) []byte {
	id := headerOf(cmd.header, "Nats-Msg-Id")
	if id == "" {
		return nil
	}
	if r, ok := s.window[id]; ok && e.now().Sub(r.at) < s.cfg.Duplicates {
		return fmt.Appendf(nil, `{"stream":%q,"seq":%d,"duplicate":true}`, s.cfg.Name, r.seq)
	}
	return nil
}

func (e *engine) checkRoom(s *stream, cmd *command) []byte {
	if s.cfg.DiscardNewPerSubject && s.cfg.MaxMsgsPerSubject > 0 && int64(len(s.bySubject[cmd.subject])) >= s.cfg.MaxMsgsPerSubject {
		return s.refusal(503, codeStoreFailed, "maximum messages per subject exceeded")
	}
	return nil
}

// store appends a message to the stream.
func (e *engine) store(s *stream, cmd *command) *message {
	s.last++
	m := &message{seq: s.last, subject: cmd.subject, header: cmd.header, data: cmd.data, at: e.now()}
	if ttl, err := time.ParseDuration(headerOf(cmd.header, "Nats-TTL")); err == nil && s.cfg.AllowMsgTTL {
		m.ends = m.at.Add(ttl)
	}
	if s.cfg.MaxAge > 0 {
		m.ends = m.at.Add(s.cfg.MaxAge)
	}
	if !m.ends.IsZero() && (s.expires.IsZero() || m.ends.Before(s.expires)) {
		s.expires = m.ends
	}
	if headerOf(cmd.header, "Nats-Rollup") == "sub" {
		for _, old := range slices.Clone(s.bySubject[cmd.subject]) {
			s.remove(old)
		}
	}
	if id := headerOf(cmd.header, "Nats-Msg-Id"); id != "" {
		s.window[id] = remembered{seq: m.seq, at: m.at}
	}
	s.lastAt = m.at
	s.messages = append(s.messages, m)
	s.bySubject[m.subject] = append(s.bySubject[m.subject], m)
	if limit := s.cfg.MaxMsgsPerSubject; limit > 0 {
		for int64(len(s.bySubject[m.subject])) > limit {
			s.remove(s.bySubject[m.subject][0])
		}
	}
	if e.stored != nil {
		e.stored(s, m)
	}
	return m
}

// remove takes a message out of the stream.
func (s *stream) remove(m *message) {
	i, ok := s.find(m.seq)
	if !ok || s.messages[i] != m {
		return
	}
	s.messages = slices.Delete(s.messages, i, i+1)
	all := slices.DeleteFunc(s.bySubject[m.subject], func(o *message) bool { return o == m })
	if s.bySubject[m.subject] = all; len(all) == 0 {
		delete(s.bySubject, m.subject)
	}
	if len(s.messages) == 0 {
		s.first = s.last + 1
	} else {
		s.first = s.messages[0].seq
	}
	for _, c := range s.consumers {
		delete(c.pending, m.seq)
	}
}

// find returns the place of the first message at or behind seq, and whether it is at seq.
func (s *stream) find(seq uint64) (int, bool) {
	return slices.BinarySearchFunc(s.messages, seq, func(m *message, seq uint64) int { return cmp.Compare(m.seq, seq) })
}

func (s *stream) at(seq uint64) *message {
	if i, ok := s.find(seq); ok {
		return s.messages[i]
	}
	return nil
}

// lastFor returns the last message of a subject, which may be a pattern.
func (s *stream) lastFor(subject string) *message {
	if all := s.bySubject[subject]; len(all) > 0 {
		return all[len(all)-1]
	}
	if !strings.ContainsAny(subject, "*>") {
		return nil
	}
	for _, m := range slices.Backward(s.messages) {
		if matches(subject, m.subject) {
			return m
		}
	}
	return nil
}

// nextFor returns the first message of a pattern at or behind seq.
func (s *stream) nextFor(subject string, seq uint64) *message {
	i, _ := s.find(seq)
	for _, m := range s.messages[i:] {
		if matches(subject, m.subject) {
			return m
		}
	}
	return nil
}

// expire removes what has passed its time.
func (e *engine) expire() {
	now := e.now()
	for _, s := range e.streams {
		if s.expires.IsZero() || s.expires.After(now) {
			continue
		}
		s.expires = time.Time{}
		for _, m := range slices.Clone(s.messages) {
			switch {
			case m.ends.IsZero():
			case !m.ends.After(now):
				s.remove(m)
			case s.expires.IsZero() || m.ends.Before(s.expires):
				s.expires = m.ends
			}
		}
	}
}

// restart ends all connections and takes away what lives in memory, as a crash of the one server does.
func (e *engine) restart() {
	e.starts++
	for name, s := range e.streams {
		if s.cfg.Storage == jetstream.MemoryStorage {
			delete(e.streams, name)
			continue
		}
		clear(s.inFlight)
		clear(s.consumers) // jobledger has none that would stay
		for id, r := range s.window {
			if s.at(r.seq) == nil {
				delete(s.window, id)
			}
		}
	}
}

// headersOf decodes raw headers.
func headersOf(raw []byte) nats.Header {
	if len(raw) == 0 {
		return nil
	}
	h, err := nats.DecodeHeadersMsg(raw)
	if err != nil {
		return nil
	}
	return h
}

// headerOf reads one of raw headers.
func headerOf(raw []byte, name string) string {
	for len(raw) > 0 {
		var line []byte
		line, raw, _ = bytes.Cut(raw, []byte("\r\n"))
		if len(line) > len(name) && line[len(name)] == ':' && string(line[:len(name)]) == name {
			return string(bytes.TrimSpace(line[len(name)+1:]))
		}
	}
	return ""
}

// withHeaders adds lines to raw headers.
func withHeaders(raw []byte, pairs ...string) []byte {
	var b bytes.Buffer
	if len(raw) == 0 {
		b.WriteString("NATS/1.0\r\n")
	} else {
		b.Write(bytes.TrimSuffix(raw, []byte("\r\n")))
	}
	for i := 0; i < len(pairs); i += 2 {
		fmt.Fprintf(&b, "%s: %s\r\n", pairs[i], pairs[i+1])
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

func mustJSON(v any) []byte {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return raw
}
