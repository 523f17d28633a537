package natsd_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/internal/natsd"
)

// stranger refuses a secret.
type stranger struct{}

func (stranger) Error() string { return "unknown" }
func (stranger) Refused() bool { return true }

// guarded is a server that knows two tenants: one for good, one until a while from now. Services of the ledger's account
// answer with the subject they were asked on.
func guarded(t *testing.T, g natsd.Guard, expires time.Time) *natsd.Server {
	t.Helper()
	s := start(t, natsd.Config{StoreDir: t.TempDir(), Guard: &g})
	s.Admit(func(_ context.Context, secret string) (natsd.Tenant, error) {
		switch secret {
		case "one":
			return natsd.Tenant{Account: "ONE", From: "service.one.>", To: "as.ONE.one.>"}, nil
		case "short":
			return natsd.Tenant{Account: "SHORT", From: "service.>", To: "as.SHORT.>", Expires: expires}, nil
		}
		return natsd.Tenant{}, stranger{}
	})
	own, err := s.ConnectInProcess()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(own.Close)
	if _, err := own.Subscribe(">", func(m *nats.Msg) { _ = m.Respond([]byte(m.Subject)) }); err != nil {
		t.Fatal(err)
	}
	if err := own.Flush(); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestGuard: who shows a secret is in an account of his own, from which one import leads out; who shows a wrong one, or
// none where one is required, is refused.
func TestGuard(t *testing.T) {
	s := guarded(t, natsd.Guard{Required: true, Secret: "root"}, time.Time{})
	for _, opts := range [][]nats.Option{{}, {nats.Token("two")}, {nats.UserInfo("one", "two")}} {
		if nc, err := nats.Connect(s.URL(), opts...); !errors.Is(err, nats.ErrAuthorization) {
			t.Errorf("a stranger: %v, %v", nc, err)
		}
	}
	for name, opt := range map[string]nats.Option{"token": nats.Token("one"), "password": nats.UserInfo("whoever", "one")} {
		nc, err := nats.Connect(s.URL(), opt)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		t.Cleanup(nc.Close)
		if m, err := nc.Request("service.one.get.7", nil, time.Minute); err != nil || string(m.Data) != "as.ONE.one.get.7" {
			t.Errorf("%s: the import answers %v, %v", name, m, err)
		}
		for _, subject := range []string{"service.two.get.7", "as.ONE.one.get.7", "other", "$JS.API.INFO"} {
			if m, err := nc.Request(subject, nil, time.Minute); !errors.Is(err, nats.ErrNoResponders) {
				t.Errorf("%s: %s answers %v, %v", name, subject, m, err)
			}
		}
	}
	root, err := nats.Connect(s.URL(), nats.Token("root"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(root.Close)
	if m, err := root.Request("other", nil, time.Minute); err != nil || string(m.Data) != "other" {
		t.Errorf("the ledger's account answers %v, %v", m, err)
	}
}

// TestGuardEnds: a connection ends when its credential expires, and when its account is expelled.
func TestGuardEnds(t *testing.T) {
	s := guarded(t, natsd.Guard{}, time.Now().Add(500*time.Millisecond))
	ends := make(chan string, 2)
	for _, secret := range []string{"short", "one"} {
		nc, err := nats.Connect(s.URL(), nats.Token(secret), nats.NoReconnect(), nats.ClosedHandler(func(*nats.Conn) { ends <- secret }))
		if err != nil && secret != "short" { // it may be over before it was there
			t.Fatal(err)
		}
		if err != nil {
			ends <- secret
			continue
		}
		t.Cleanup(nc.Close)
	}
	s.Expel("ONE")
	seen := map[string]bool{}
	for range 2 {
		select {
		case who := <-ends:
			seen[who] = true
		case <-time.After(time.Minute):
			t.Fatalf("only %v ended", seen)
		}
	}
	if anyone, err := nats.Connect(s.URL()); err != nil {
		t.Errorf("without a credential: %v", err)
	} else {
		anyone.Close()
	}
}

// TestGuardAdmitsLater: a client that comes before secrets are recognised, or while that fails, is in as soon as it does
// not fail any more: it is not refused, after which it would give up.
func TestGuardAdmitsLater(t *testing.T) {
	s := start(t, natsd.Config{StoreDir: t.TempDir(), Guard: new(natsd.Guard)})
	in, closed := make(chan struct{}, 8), make(chan error, 1)
	nc, err := nats.Connect(s.URL(), nats.Token("one"), nats.Timeout(time.Minute), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.ReconnectWait(time.Millisecond),
		nats.ConnectHandler(func(*nats.Conn) { in <- struct{}{} }), nats.ReconnectHandler(func(*nats.Conn) { in <- struct{}{} }),
		nats.ClosedHandler(func(nc *nats.Conn) { closed <- nc.LastError() }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	until := func(what string, c <-chan struct{}) {
		t.Helper()
		select {
		case <-c:
		case err := <-closed:
			t.Fatalf("%s: the client gave up: %v", what, err)
		case <-time.After(time.Minute):
			t.Fatal(what)
		}
	}
	var failing atomic.Bool
	failed := make(chan struct{}, 1024)
	s.Admit(func(context.Context, string) (natsd.Tenant, error) {
		if failing.Load() {
			select {
			case failed <- struct{}{}:
			default:
			}
			return natsd.Tenant{}, errors.New("the ledger is away")
		}
		return natsd.Tenant{Account: "ONE", From: "service.one.>", To: "as.ONE.one.>"}, nil
	})
	until("before secrets are recognised", in)
	failing.Store(true)
	s.Expel("ONE")
	for range 4 { // a client that is refused twice gives up
		until("while it fails", failed)
	}
	failing.Store(false)
	until("when it fails no more", in)
}

// TestGuardSetsUpAgain: an account that could not be set up is set up by the next login.
func TestGuardSetsUpAgain(t *testing.T) {
	s := start(t, natsd.Config{StoreDir: t.TempDir(), Guard: new(natsd.Guard)})
	var tried atomic.Int32
	s.Admit(func(context.Context, string) (natsd.Tenant, error) {
		from := "service.one.>"
		if tried.Add(1) == 1 {
			from = "service..>"
		}
		return natsd.Tenant{Account: "ONE", From: from, To: "as.ONE.one.>"}, nil
	})
	if nc, err := nats.Connect(s.URL(), nats.Token("one"), nats.Timeout(time.Minute)); err == nil || errors.Is(err, nats.ErrAuthorization) {
		t.Errorf("an account that cannot be set up: %v, %v", nc, err)
	}
	nc, err := nats.Connect(s.URL(), nats.Token("one"), nats.Timeout(time.Minute))
	if err != nil {
		t.Fatalf("the next login: %v", err)
	}
	nc.Close()
}

// TestGuardBounds: a tenant hears answers and nothing else, sends nothing to himself, and has a bounded number of
// subscriptions; his other requests go on being answered at once.
func TestGuardBounds(t *testing.T) {
	s := guarded(t, natsd.Guard{}, time.Time{})
	failures := make(chan error, 1<<15)
	nc, err := nats.Connect(s.URL(), nats.Token("one"), nats.CustomInboxPrefix("_INBOX.mine"), nats.NoReconnect(),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { failures <- err }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	refused := func(what string, want error) {
		t.Helper()
		select {
		case err := <-failures:
			if !errors.Is(err, want) {
				t.Errorf("%s: %v", what, err)
			}
		case <-time.After(time.Minute):
			t.Errorf("%s: nothing was refused", what)
		}
	}
	heard := make(chan *nats.Msg, 16)
	hear := func(subject string) *nats.Subscription {
		t.Helper()
		sub, err := nc.ChanSubscribe(subject, heard)
		if err != nil {
			t.Fatal(err)
		}
		return sub
	}
	for _, subject := range []string{">", "service.one.x", "mine", "*.mine", "$SYS.>"} {
		hear(subject)
		refused(subject, nats.ErrPermissionViolation)
	}
	hear("_INBOX.loop")
	if err := nc.Publish("_INBOX.loop", make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	refused("a message to himself", nats.ErrPermissionViolation)
	if m, err := nc.Request("service.one.get.7", nil, time.Minute); err != nil || string(m.Data) != "as.ONE.one.get.7" {
		t.Errorf("a request: %v, %v", m, err)
	}
	if m, err := nc.Request("mine", nil, time.Minute); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("a request to nobody: %v, %v", m, err)
	}
	if len(heard) != 0 {
		t.Errorf("he hears %s", (<-heard).Subject)
	}
	for range natsd.MaxSubs {
		hear("_INBOX.many")
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	refused("subscriptions without end", nats.ErrMaxSubscriptionsExceeded)
}
