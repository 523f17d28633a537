package groups_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/internal/groups"
	"github.com/dartwing/jobledger/internal/natsd"
	"github.com/dartwing/jobledger/internal/replies"
)

const wait = time.Minute

type bed struct {
	nc *nats.Conn
	x  *replies.Mux
	s  jetstream.Stream
}

func start(t *testing.T, change func(*jetstream.StreamConfig)) *bed {
	t.Helper()
	server, err := natsd.Start(natsd.Config{StoreDir: t.TempDir(), DontListen: true, Durability: natsd.Strict})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Shutdown)
	nc, err := server.ConnectInProcess()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	c := jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, Storage: jetstream.FileStorage, AllowAtomicPublish: true}
	change(&c)
	s, err := js.CreateStream(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return &bed{nc: nc, x: replies.New(nc), s: s}
}

func asIs(*jetstream.StreamConfig) {}

// messages are n of a kind, each behind nothing on a subject of its own.
func messages(kind string, n int) []*nats.Msg {
	msgs := make([]*nats.Msg, n)
	for i := range msgs {
		msgs[i] = &nats.Msg{Subject: fmt.Sprintf("s.%s.%d", kind, i), Data: []byte(kind),
			Header: nats.Header{"Nats-Msg-Id": {fmt.Sprintf("%s-%d", kind, i)}, "Nats-Expected-Last-Subject-Sequence": {"0"}}}
	}
	return msgs
}

func (b *bed) count(t *testing.T) uint64 {
	t.Helper()
	info, err := b.s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info.State.Msgs
}

// D12: a batch is stored in order and without a gap, from the smallest to the largest, and what was sent is as before.
func TestCommit(t *testing.T) {
	t.Parallel()
	b := start(t, asIs)
	next := uint64(1)
	for _, n := range []int{2, groups.Worth, groups.Max} {
		msgs := messages(fmt.Sprint("n", n), n)
		first, err := groups.Commit(t.Context(), b.x, b.nc, msgs, wait)
		if err != nil || first != next {
			t.Fatalf("%d messages: at %d, want %d: %v", n, first, next, err)
		}
		for _, i := range []int{0, n - 1} {
			m, err := b.s.GetMsg(t.Context(), first+uint64(i))
			if err != nil || m.Subject != msgs[i].Subject || string(m.Data) != string(msgs[i].Data) {
				t.Errorf("message %d of %d: %v %v", i, n, m, err)
			}
			if len(msgs[i].Header) != 2 || msgs[i].Reply != "" {
				t.Errorf("message %d of %d was changed: %v", i, n, msgs[i])
			}
		}
		next += uint64(n)
	}
}

// One message that is to be refused has all of the batch refused, and nothing of it is stored.
func TestRefused(t *testing.T) {
	t.Parallel()
	b := start(t, asIs)
	if _, err := groups.Commit(t.Context(), b.x, b.nc, messages("a", 10), wait); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*nats.Msg){
		"a stale expectation": func(m *nats.Msg) { m.Subject = "s.a.3" },
		"a known message id": func(m *nats.Msg) {
			m.Header["Nats-Msg-Id"] = []string{"a-3"}
		},
		"a subject twice": func(m *nats.Msg) { m.Subject = "s.twice.0" },
	} {
		kind := strings.ReplaceAll(name, " ", "-")
		if strings.HasSuffix(name, "twice") {
			kind = "twice"
		}
		msgs := messages(kind, 20)
		spoil(msgs[12])
		_, err := groups.Commit(t.Context(), b.x, b.nc, msgs, wait)
		var refused *groups.RefusedError
		if !errors.As(err, &refused) || refused.Disabled() {
			t.Errorf("%s: %v", name, err)
		}
		if n := b.count(t); n != 10 {
			t.Errorf("%s: %d messages are stored, want 10", name, n)
		}
	}
}

// A stream that takes no batches says so.
func TestDisabled(t *testing.T) {
	t.Parallel()
	b := start(t, func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false })
	_, err := groups.Commit(t.Context(), b.x, b.nc, messages("a", 10), wait)
	var refused *groups.RefusedError
	if !errors.As(err, &refused) || !refused.Disabled() || b.count(t) != 0 {
		t.Errorf("%v; %d are stored", err, b.count(t))
	}
}

// What is no refusal and no success is not settled.
func TestUnsettled(t *testing.T) {
	t.Parallel()
	b := start(t, asIs)
	answers := []string{`{"stream":"S","error":{"code":503,"err_code":10077,"description":"full"}}`, `{"stream":"S","seq":9,"batch":"x","count":3}`,
		`{"stream":"S","seq":9}`, `nonsense`}
	for i, answer := range answers {
		subject := fmt.Sprintf("other.%d", i)
		if _, err := b.nc.Subscribe(subject, func(m *nats.Msg) {
			if m.Reply != "" {
				_ = m.Respond([]byte(answer))
			}
		}); err != nil {
			t.Fatal(err)
		}
		msgs := messages("a", 2)
		msgs[0].Subject, msgs[1].Subject = subject, subject
		_, err := groups.Commit(t.Context(), b.x, b.nc, msgs, wait)
		var unsettled *groups.UnsettledError
		if !errors.As(err, &unsettled) || string(unsettled.Answer) != answer {
			t.Errorf("%s: %v", answer, err)
		}
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := groups.Commit(gone, b.x, b.nc, messages("b", 2), wait); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	if _, err := groups.Commit(t.Context(), b.x, b.nc, nil, wait); err == nil {
		t.Error("a batch of nothing is stored")
	}
	b.nc.Close()
	if _, err := groups.Commit(t.Context(), b.x, b.nc, messages("c", 2), wait); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("closed: %v", err)
	}
}

// What is too large with the headers of a batch, and not without them, is refused, wherever it stands in the batch.
func TestTooLarge(t *testing.T) {
	t.Parallel()
	b := start(t, asIs)
	for _, at := range []int{0, 5, 9} {
		msgs := messages(fmt.Sprint("large", at), 10)
		msgs[at].Data = make([]byte, int(b.nc.MaxPayload())-messageHead(msgs[at]))
		_, err := groups.Commit(t.Context(), b.x, b.nc, msgs, wait)
		var refused *groups.RefusedError
		if !errors.As(err, &refused) || !errors.Is(err, nats.ErrMaxPayload) || b.count(t) != 0 {
			t.Errorf("message %d too large: %v; %d are stored", at, err, b.count(t))
		}
		if answer, err := b.x.Request(t.Context(), msgs[at], wait); err != nil || !strings.Contains(string(answer.Data), `"seq"`) {
			t.Errorf("by itself: %v %v", answer, err)
		}
		if err := b.s.Purge(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// messageHead is what the headers of a message take on their way.
func messageHead(m *nats.Msg) int {
	n := len("NATS/1.0\r\n\r\n")
	for k, v := range m.Header {
		n += len(k) + len(": \r\n") + len(v[0])
	}
	return n
}
