package natsd

import (
	"context"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func at(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 4711} }

// An address that shows wrong secrets is answered later and later ones not at all, another one is not; the log has one line at once
// and one a minute, and what is remembered is bounded.
func TestGuesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.WarnLevel)
		g := newGuesses(zap.New(core))
		begin := time.Now()
		for range guessesFree {
			g.wrong(at("192.0.2.1"))
		}
		if took := time.Since(begin); took != 0 {
			t.Errorf("the first ones took %s", took)
		}
		for range guessesHeld {
			go g.wrong(at("192.0.2.1"))
		}
		synctest.Wait()
		if !g.crowded(at("192.0.2.1")) || g.crowded(at("192.0.2.2")) {
			t.Error("who may go on guessing is not told apart")
		}
		<-time.After(guessDelay)
		synctest.Wait()
		if g.crowded(at("192.0.2.1")) {
			t.Error("it may never ask again")
		}
		g.wrong(at("2001:db8::1"))
		g.wrong(at("2001:db8::2")) // one network
		<-time.After(guessWindow)
		synctest.Wait()
		g.wrong(at("192.0.2.1")) // a new window
		lines := logs.TakeAll()
		if len(lines) != 2 || lines[0].ContextMap()["count"] != int64(1) || lines[1].ContextMap()["count"] != int64(guessesFree+guessesHeld-1+2) || lines[1].ContextMap()["addresses"] != int64(2) {
			t.Errorf("the log tells %v", lines)
		}
		for i := range 3 * guessersMax {
			g.wrong(at(fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255)))
			if i == guessersMax+guessesFree-2 {
				break // from here they would wait as one
			}
		}
		if len(g.by) > guessersMax+1 {
			t.Errorf("%d addresses are remembered", len(g.by))
		}
		<-time.After(guessWindow)
		synctest.Wait()
	})
}

// A server whose log nobody may fill writes one line for many wrong logins, and lets in who is known.
func TestWrongLogins(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	s := knows(t, zap.New(core), "one")
	for range 5 {
		if nc, err := nats.Connect(s.URL(), nats.Token("two")); err == nil {
			nc.Close()
			t.Fatal("a stranger is in")
		}
	}
	nc, err := nats.Connect(s.URL(), nats.Token("one"))
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	if n := logs.Len(); n != 1 || logs.All()[0].Message != "logins were refused" {
		t.Errorf("%d lines: %v", n, logs.All())
	}
}

// Who is known gets in beside any number of wrong secrets from his address, and what cannot be judged for now makes one line a
// minute, however often it comes again.
func TestLoginBesideGuesses(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	s := knows(t, zap.New(core), "one")
	g := s.guard.guesses
	g.mu.Lock()
	g.by["127.0.0.1"] = &guesser{since: time.Now(), n: guessesFree + 1, held: guessesHeld}
	g.mu.Unlock()
	nc, err := nats.Connect(s.URL(), nats.Token("one"))
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	begin := func(token string) {
		if nc, err := nats.Connect(s.URL(), nats.Token(token)); err == nil {
			nc.Close()
			t.Fatal("a stranger is in")
		}
	}
	for range 2 * guessesHeld { // none is held back any more
		begin("two")
	}
	s.Admit(func(context.Context, string) (Tenant, error) { return Tenant{}, errNobody })
	for range 5 {
		begin("one")
	}
	if n := logs.FilterMessage("a login has to wait").Len(); n != 1 {
		t.Errorf("%d lines: %v", n, logs.All())
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if w := g.by["127.0.0.1"]; w.held != guessesHeld || w.n <= 2*guessesHeld {
		t.Errorf("%d are counted, %d held", w.n, w.held)
	}
}

// knows starts a server that knows the tenant one, and answers 1 MiB to all that it asks.
func knows(t *testing.T, log *zap.Logger, secret string) *Server {
	t.Helper()
	s, err := Start(Config{StoreDir: t.TempDir(), Guard: &Guard{Required: true}, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	s.Admit(func(_ context.Context, shown string) (Tenant, error) {
		if shown != secret {
			return Tenant{}, gone{}
		}
		return Tenant{Account: "ONE", From: "service.one.>", To: "as.ONE.one.>"}, nil
	})
	own, err := s.ConnectInProcess()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(own.Close)
	answer := make([]byte, 1<<20)
	if _, err := own.Subscribe("as.ONE.>", func(m *nats.Msg) { _ = m.Respond(answer) }); err != nil {
		t.Fatal(err)
	}
	if err := own.Flush(); err != nil {
		t.Fatal(err)
	}
	return s
}

// A tenant's connections that do not read are ended once all of them together hold too much, though each of them is below it; who
// reads goes on.
func TestUnreadAnswers(t *testing.T) {
	core, logs := observer.New(zapcore.WarnLevel)
	s := knows(t, zap.New(core), "one")
	s.guard.mu.Lock()
	s.guard.unread = 24 << 20
	s.guard.mu.Unlock()
	good, err := nats.Connect(s.URL(), nats.Token("one"), nats.NoReconnect())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(good.Close)
	for range 4 {
		c, err := net.Dial("tcp", s.ns.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		ask := `CONNECT {"verbose":false,"auth_token":"one"}` + "\r\nSUB _INBOX.x 1\r\n"
		for range 20 {
			ask += "PUB service.one.big _INBOX.x 0\r\n\r\n"
		}
		if _, err := c.Write([]byte(ask)); err != nil {
			t.Fatal(err)
		}
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(time.Minute); logs.FilterMessage("a connection that does not read its answers is ended").Len() == 0; <-tick.C {
		if time.Now().After(limit) {
			t.Fatal("none was ended")
		}
	}
	if m, err := good.Request("service.one.big", nil, time.Minute); err != nil || len(m.Data) != 1<<20 {
		t.Errorf("who reads is answered %v", err)
	}
}
