package natsd

import (
	"context"
	"net"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
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
			return Tenant{}, errNobody
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
