package sim_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// api answers a request to JetStream.
func (e *engine) api(c *conn, cmd *command, what string) {
	f := strings.Split(strings.TrimPrefix(cmd.subject, "$JS.API."), ".")
	verb := strings.Join(f[:min(2, len(f))], ".")
	switch {
	case f[0] == "INFO":
		e.answer(c, cmd, what, map[string]any{"type": "account_info", "api": map[string]any{"level": 5}, "limits": map[string]any{}})
	case verb == "STREAM.NAMES":
		e.answer(c, cmd, what, map[string]any{"total": len(e.streams), "streams": e.names()})
	case verb == "STREAM.MSG" && len(f) == 4:
		e.named(c, cmd, what, f[3], func(s *stream) any {
			if f[2] == "DELETE" {
				return e.deleteMessage(s, cmd.data)
			}
			return e.getMessage(s, cmd.data)
		})
	case verb == "DIRECT.GET" && len(f) >= 3:
		e.directGet(c, cmd, what, f[2], strings.Join(f[3:], "."))
	case f[0] == "STREAM" && len(f) == 3:
		e.streamAPI(c, cmd, what, f[1], f[2])
	case verb == "CONSUMER.MSG" && len(f) == 5:
		e.pull(c, cmd, what, f[3], f[4])
	case f[0] == "CONSUMER":
		e.consumerAPI(c, cmd, what, f)
	default:
		e.respond(c, cmd.reply, classReply, what, []byte("NATS/1.0 503\r\n\r\n"), nil)
	}
}

func (e *engine) names() []string {
	var out []string
	for name := range e.streams {
		out = append(out, name)
	}
	return out
}

func (e *engine) answer(c *conn, cmd *command, what string, v any) {
	body, ok := v.(json.RawMessage)
	if !ok {
		body = mustJSON(v)
	}
	e.respond(c, cmd.reply, classReply, what, nil, body)
}

// apiError is an answer that names an error.
func apiError(status, code int, text string) any {
	return map[string]any{"error": map[string]any{"code": status, "err_code": code, "description": text}}
}

// named answers a request about a stream that must be there.
func (e *engine) named(c *conn, cmd *command, what, name string, do func(*stream) any) {
	s := e.streams[name]
	if s == nil {
		e.answer(c, cmd, what, apiError(404, codeStreamMissing, "stream not found"))
		return
	}
	e.answer(c, cmd, what, do(s))
}

// streamAnswer is a stream's info as an answer. It is asked for every second by everybody, and its config seldom changes.
func streamAnswer(s *stream, now time.Time) json.RawMessage {
	if s.form == nil {
		s.form = mustJSON(s.cfg)
	}
	state := jetstream.StreamState{Msgs: uint64(len(s.messages)), FirstSeq: s.first, LastSeq: s.last, LastTime: s.lastAt,
		Consumers: len(s.consumers), NumSubjects: uint64(len(s.bySubject))}
	return fmt.Appendf(nil, `{"type":"stream","config":%s,"created":%s,"state":%s,"ts":%s}`, s.form, mustJSON(s.created), mustJSON(state), mustJSON(now))
}

func (e *engine) streamAPI(c *conn, cmd *command, what, verb, name string) {
	info := func(s *stream) any { return streamAnswer(s, e.now()) }
	switch verb {
	case "CREATE":
		var cfg jetstream.StreamConfig
		if err := json.Unmarshal(cmd.data, &cfg); err != nil {
			panic(fmt.Sprintf("stream config: %v", err))
		}
		if s := e.streams[name]; s != nil {
			if string(mustJSON(s.cfg)) != string(mustJSON(cfg)) {
				e.answer(c, cmd, what, apiError(400, codeNameInUse, "stream name already in use with a different configuration"))
				return
			}
		} else {
			e.streams[name] = newStream(cfg, e.now())
		}
		e.named(c, cmd, what, name, info)
	case "UPDATE":
		e.named(c, cmd, what, name, func(s *stream) any {
			if err := json.Unmarshal(cmd.data, &s.cfg); err != nil {
				panic(fmt.Sprintf("stream config: %v", err))
			}
			s.form = nil
			return info(s)
		})
	case "INFO":
		e.named(c, cmd, what, name, info)
	case "DELETE":
		e.named(c, cmd, what, name, func(*stream) any {
			e.drop(name)
			return map[string]any{"success": true}
		})
	case "PURGE":
		e.named(c, cmd, what, name, func(s *stream) any { return e.purge(s, cmd.data) })
	default:
		panic("stream API " + verb)
	}
}

// drop deletes a stream, if it is there, and tells everybody.
func (e *engine) drop(name string) {
	if e.streams[name] == nil {
		return
	}
	delete(e.streams, name)
	advisory := "$JS.EVENT.ADVISORY.STREAM.DELETED." + name
	e.respond(nil, advisory, classReply, "", nil, mustJSON(map[string]string{"stream": name}))
}

// purge removes messages: all, those of a filter, or those before a sequence.
func (e *engine) purge(s *stream, body []byte) any {
	var r struct {
		Seq    uint64 `json:"seq"`
		Filter string `json:"filter"`
	}
	_ = json.Unmarshal(body, &r) // an empty body purges all
	n := 0
	for _, m := range append([]*message(nil), s.messages...) {
		if (r.Seq == 0 || m.seq < r.Seq) && (r.Filter == "" || matches(r.Filter, m.subject)) {
			s.remove(m)
			n++
		}
	}
	return map[string]any{"success": true, "purged": n}
}

// messageRequest is the body of the get APIs.
type messageRequest struct {
	Seq   uint64     `json:"seq"`
	Last  string     `json:"last_by_subj"`
	Next  string     `json:"next_by_subj"`
	Batch int        `json:"batch"`
	Since *time.Time `json:"start_time"`
}

// first returns the message that the request asks for first.
func (r *messageRequest) first(s *stream) *message {
	switch {
	case r.Last != "":
		return s.lastFor(r.Last)
	case r.Next != "":
		return s.nextFor(r.Next, r.Seq)
	case r.Since != nil:
		for _, m := range s.messages {
			if !m.at.Before(*r.Since) {
				return m
			}
		}
		return nil
	case r.Batch > 0:
		return s.nextFor(">", r.Seq)
	}
	return s.at(r.Seq)
}

func (e *engine) getMessage(s *stream, body []byte) any {
	var r messageRequest
	if err := json.Unmarshal(body, &r); err != nil {
		panic(fmt.Sprintf("get: %v", err))
	}
	m := r.first(s)
	if m == nil {
		return apiError(404, codeNoMessage, "no message found")
	}
	return map[string]any{"message": map[string]any{"subject": m.subject, "seq": m.seq, "hdrs": m.header, "data": m.data,
		"time": m.at.UTC()}}
}

func (e *engine) deleteMessage(s *stream, body []byte) any {
	var r messageRequest
	if err := json.Unmarshal(body, &r); err != nil {
		panic(fmt.Sprintf("delete: %v", err))
	}
	m := s.at(r.Seq)
	if m == nil {
		return apiError(404, 10043, "no message found")
	}
	s.remove(m)
	return map[string]any{"success": true}
}

// directGet answers with stored messages as they are.
func (e *engine) directGet(c *conn, cmd *command, what, name, subject string) {
	s := e.streams[name]
	if s == nil || !s.cfg.AllowDirect {
		e.respond(c, cmd.reply, classReply, what, []byte("NATS/1.0 503\r\n\r\n"), nil)
		return
	}
	r := messageRequest{Last: subject}
	if subject == "" {
		if err := json.Unmarshal(cmd.data, &r); err != nil {
			panic(fmt.Sprintf("direct get: %v", err))
		}
	}
	m := r.first(s)
	if m == nil {
		e.respond(c, cmd.reply, classReply, what, []byte("NATS/1.0 404 Message Not Found\r\n\r\n"), nil)
		return
	}
	lane := "direct " + cmd.reply
	send := func(m *message, extra ...string) {
		e.respondIn(c, cmd.reply, classReply, lane, what, withHeaders(m.header, append([]string{"Nats-Stream", name, "Nats-Subject", m.subject,
			"Nats-Sequence", strconv.FormatUint(m.seq, 10), "Nats-Time-Stamp", m.at.UTC().Format(time.RFC3339Nano)}, extra...)...), m.data)
	}
	if r.Batch == 0 {
		send(m)
		return
	}
	filter := r.Next
	if filter == "" {
		filter = ">"
	}
	var all []*message
	for next := m; next != nil; next = s.nextFor(filter, next.seq+1) {
		all = append(all, next)
	}
	var before uint64
	for i, m := range all[:min(r.Batch, len(all))] {
		send(m, "Nats-Num-Pending", strconv.Itoa(len(all)-i-1), "Nats-Last-Sequence", strconv.FormatUint(before, 10))
		before = m.seq
	}
	left := max(0, len(all)-r.Batch)
	e.respondIn(c, cmd.reply, classReply, lane, what, fmt.Appendf(nil, "NATS/1.0 204 EOB\r\nNats-Num-Pending: %d\r\nNats-Last-Sequence: %d\r\n\r\n", left, before), nil)
}
