package natsd

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// fading is a client whose connection ends after its address was asked for a number of times.
type fading struct {
	server.ClientAuthentication // what is not said here is not to be asked of it
	opts                        server.ClientOpts
	left                        int
	registered                  bool
}

func (c *fading) Kind() int                   { return server.CLIENT }
func (c *fading) GetOpts() *server.ClientOpts { return &c.opts }
func (c *fading) GetID() uint64               { return 1 << 60 }
func (c *fading) RegisterUser(u *server.User) { c.registered = true }

func (c *fading) RemoteAddress() net.Addr {
	if c.left--; c.left < 0 {
		return nil
	}
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 4711}
}

// gone refuses a secret.
type gone struct{}

func (gone) Error() string { return "gone" }
func (gone) Refused() bool { return true }

// TestGuardOfAClosedClient: a connection that ends while it is judged, as that of a second CONNECT may, is let in
// nowhere, and takes nothing with it.
func TestGuardOfAClosedClient(t *testing.T) {
	s, err := Start(Config{StoreDir: t.TempDir(), DontListen: true, Guard: new(Guard)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	s.Admit(func(_ context.Context, secret string) (Tenant, error) {
		if secret != "one" {
			return Tenant{}, gone{}
		}
		return Tenant{Account: "ONE", From: "service.one.>", To: "as.ONE.one.>"}, nil
	})
	required := newGuard(Guard{Required: true}, zap.NewNop())
	for name, try := range map[string]struct {
		g      *guard
		secret string
		left   int
	}{"no secret": {required, "", 0}, "a wrong one": {s.guard, "two", 0}, "a wrong one, closed meanwhile": {s.guard, "two", 1}, "a good one": {s.guard, "one", 0}, "a good one, closed meanwhile": {s.guard, "one", 1}} {
		c := &fading{opts: server.ClientOpts{Token: try.secret}, left: try.left}
		if try.g.Check(c) || c.registered && try.left == 0 {
			t.Errorf("%s was let in", name)
		}
	}
}

// TestGuardAsksAgain: a connection is ended when its secret turns out to be revoked, and not while that cannot be learnt.
func TestGuardAsksAgain(t *testing.T) {
	s, err := Start(Config{StoreDir: t.TempDir(), Guard: new(Guard)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Shutdown)
	s.guard.again = time.Millisecond
	answers, asked := make(chan error), 0 // only one asks at a time: the login, and then the timer
	s.Admit(func(ctx context.Context, _ string) (Tenant, error) {
		if asked++; asked == 1 {
			return Tenant{Account: "ONE", From: "service.one.>", To: "as.ONE.one.>"}, nil
		}
		return Tenant{}, <-answers
	})
	closed := make(chan struct{})
	nc, err := nats.Connect(s.URL(), nats.Token("one"), nats.NoReconnect(), nats.ClosedHandler(func(*nats.Conn) { close(closed) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	for _, answer := range []error{errors.New("the ledger is away"), context.DeadlineExceeded, errNobody, gone{}} {
		select {
		case answers <- answer:
		case <-closed:
			t.Fatalf("the connection has ended before it was answered %v", answer)
		case <-time.After(time.Minute):
			t.Fatalf("nobody asks again, before %v", answer)
		}
	}
	select {
	case <-closed:
	case <-time.After(time.Minute):
		t.Error("the connection lives on")
	}
}
