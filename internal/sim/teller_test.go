package sim_test

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// teller tells a transcript to a server, real or modelled, and notes what it answers.
type teller struct {
	t       testing.TB
	nc      *nats.Conn
	lines   []string
	restart func()
	slow    func(bool)        // has writes be in flight for a while; of the model
	begun   map[string]uint64 // of each bucket that was asked for, what lies below its first revision
}

func (l *teller) note(format string, args ...any) {
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

// pub publishes and notes the acknowledgement.
func (l *teller) pub(subject, body string, headers ...string) {
	stream := ""
	if bucket, ok := strings.CutPrefix(subject, "$KV."); ok {
		stream = "KV_" + bucket[:strings.IndexByte(bucket, '.')]
	}
	m := &nats.Msg{Subject: subject, Data: []byte(body), Header: nats.Header{}}
	for i := 0; i < len(headers); i += 2 {
		m.Header.Set(headers[i], headers[i+1])
		if headers[i] == expect {
			m.Header.Set(expect, l.absolute(stream, headers[i+1]))
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	reply, err := l.nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		l.note("pub %s %v: %v", subject, headers, err)
		return
	}
	l.note("pub %s %v: %s", subject, headers, l.relative(stream, ackOf(reply.Data)))
}

// below is what lies below a bucket's first revision: the time of its creation. Elsewhere it is 0.
func (l *teller) below(stream string) uint64 {
	if n, ok := l.begun[stream]; ok || !strings.HasPrefix(stream, "KV_") {
		return n
	}
	js, err := jetstream.New(l.nc)
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s, err := js.Stream(ctx, stream)
	if err != nil {
		l.t.Fatal(err)
	}
	if l.begun == nil {
		l.begun = make(map[string]uint64)
	}
	l.begun[stream] = max(s.CachedInfo().Config.FirstSeq, 1) - 1
	return l.begun[stream]
}

// absolute is a revision that a transcript counts from 1, as the server has it.
func (l *teller) absolute(stream, rev string) string {
	if n := number(rev); n > 0 {
		return fmt.Sprint(uint64(n) + l.below(stream))
	}
	return rev
}

var seqField = regexp.MustCompile(`"seq":\d+`)

var longNumber = regexp.MustCompile(`\d{15,}`)

// relative counts the revisions in a server's answer from 1.
func (l *teller) relative(stream, answer string) string {
	return longNumber.ReplaceAllStringFunc(answer, func(n string) string { return fmt.Sprint(uint64(number(n)) - l.below(stream)) })
}

// ackOf is what an answer says, without what differs from server to server.
func ackOf(body []byte) string {
	var a struct {
		Stream    string `json:"stream"`
		Seq       uint64 `json:"seq"`
		Duplicate bool   `json:"duplicate"`
		Success   bool   `json:"success"`
		Purged    int    `json:"purged"`
		Message   *struct {
			Subject string `json:"subject"`
			Seq     uint64 `json:"seq"`
			Header  []byte `json:"hdrs"`
			Data    []byte `json:"data"`
		} `json:"message"`
		Error *struct {
			Code        int    `json:"code"`
			ErrCode     int    `json:"err_code"`
			Description string `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return "unreadable: " + string(body)
	}
	switch {
	case a.Error != nil:
		return fmt.Sprintf("error %d %d %s", a.Error.Code, a.Error.ErrCode, a.Error.Description)
	case a.Message != nil:
		return fmt.Sprintf("%s at %d: %q %q", a.Message.Subject, a.Message.Seq, a.Message.Header, a.Message.Data)
	case a.Stream == "WORK":
		return "WORK" // its sequences begin with the time of its creation
	case a.Stream != "":
		return fmt.Sprintf("%s %d duplicate %t", a.Stream, a.Seq, a.Duplicate)
	}
	return fmt.Sprintf("success %t purged %d", a.Success, a.Purged)
}

// ask sends a request to the JetStream API.
func (l *teller) ask(subject, body string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	stream := subject[strings.LastIndexByte(subject, '.')+1:]
	sent := seqField.ReplaceAllStringFunc(body, func(f string) string { return `"seq":` + l.absolute(stream, strings.TrimPrefix(f, `"seq":`)) })
	reply, err := l.nc.RequestWithContext(ctx, "$JS.API."+subject, []byte(sent))
	if err != nil {
		l.note("%s %s: %v", subject, body, err)
		return
	}
	l.note("%s %s: %s", subject, body, l.relative(stream, ackOf(reply.Data)))
}

// direct asks for stored messages and notes every answer until the last.
func (l *teller) direct(body string) {
	inbox := l.nc.NewInbox()
	sub, err := l.nc.SubscribeSync(inbox)
	if err != nil {
		l.t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := l.nc.PublishRequest("$JS.API.DIRECT.GET.LEDGER", inbox, []byte(body)); err != nil {
		l.t.Fatal(err)
	}
	for {
		m, ok := l.next(sub, 2*time.Second)
		if !ok {
			l.note("direct %s: silence", body)
			return
		}
		h := m.Header
		l.note("direct %s: status %q seq %q of %q behind %q pending %q %q", body, h.Get("Status"), h.Get("Nats-Sequence"), h.Get("Nats-Subject"),
			h.Get("Nats-Last-Sequence"), h.Get("Nats-Num-Pending"), m.Data)
		if h.Get("Status") != "" || h.Get("Nats-Num-Pending") == "" {
			return
		}
	}
}

// next waits for a message, by a context: the client's own timers outlive a bubble.
func (l *teller) next(sub *nats.Subscription, d time.Duration) (*nats.Msg, bool) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	m, err := sub.NextMsgWithContext(ctx)
	return m, err == nil
}

// pull asks a consumer of WORK for messages, without waiting if expires is 0, and notes what comes.
func (l *teller) pull(consumer string, batch int, expires time.Duration) (got []*nats.Msg) {
	body := fmt.Sprintf(`{"batch":%d,"expires":%d}`, batch, expires)
	if expires == 0 {
		body = fmt.Sprintf(`{"batch":%d,"no_wait":true}`, batch)
	}
	inbox := l.nc.NewInbox()
	sub, err := l.nc.SubscribeSync(inbox)
	if err != nil {
		l.t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := l.nc.PublishRequest("$JS.API.CONSUMER.MSG.NEXT.WORK."+consumer, inbox, []byte(body)); err != nil {
		l.t.Fatal(err)
	}
	for len(got) < batch {
		m, ok := l.next(sub, expires+3*time.Second)
		if !ok {
			l.note("pull %s: silence", body)
			return got
		}
		switch status := m.Header.Get("Status"); {
		case status == "100":
		case status != "":
			l.note("pull %s: status %s", body, status)
			return got
		default:
			meta, err := m.Metadata()
			if err != nil {
				l.t.Fatal(err)
			}
			l.note("pull %s: %s %q delivery %d, %d pending", body, m.Subject, m.Data, meta.NumDelivered, meta.NumPending)
			got = append(got, m)
		}
	}
	return got
}

// ready waits until a consumer of WORK has so many messages to give: a busy server tells its consumers of a message after
// it has acknowledged it, and a pull that does not wait may come in between.
func (l *teller) ready(consumer string, n uint64) {
	js, err := jetstream.New(l.nc)
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for {
		c, err := js.Consumer(ctx, "WORK", consumer)
		switch {
		case err != nil:
			l.note("consumer %s: %v", consumer, err)
			return
		case c.CachedInfo().NumPending >= n:
			return
		}
		if err := wait(ctx, 10*time.Millisecond); err != nil {
			l.note("consumer %s never had %d messages: %v", consumer, n, err)
			return
		}
	}
}

// answer acks or naks a delivery, and waits until the server has taken it.
func (l *teller) answer(m *nats.Msg, body string) {
	if err := l.nc.Publish(m.Reply, []byte(body)); err != nil {
		l.t.Fatal(err)
	}
	l.flush()
}

func (l *teller) flush() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := l.nc.FlushWithContext(ctx); err != nil {
		l.t.Fatal(err)
	}
	// Acks are taken by the consumer behind the connection: a request to its stream comes behind them.
	_, _ = l.nc.RequestWithContext(ctx, "$JS.API.CONSUMER.INFO.WORK.default~t", nil)
}

func (l *teller) messages(stream string) {
	js, err := jetstream.New(l.nc)
	if err != nil {
		l.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s, err := js.Stream(ctx, stream)
	if err != nil {
		l.note("stream %s: %v", stream, err)
		return
	}
	l.note("stream %s: %d messages", stream, s.CachedInfo().State.Msgs)
}

func (l *teller) pause(d time.Duration) { _ = wait(context.Background(), d) }
