package natsd

import (
	"net"
	"testing"
	"time"
)

// A server connects with itself only: another one that answers at the address, or something that says nothing or anything
// else, is left alone, and the connection in the process takes its place.
func TestDialSelf(t *testing.T) {
	t.Parallel()
	begin := func() *Server {
		s, err := Start(Config{StoreDir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Shutdown)
		return s
	}
	one, other := begin(), begin()
	says := func(text string) *net.TCPAddr {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = c.Write([]byte(text))
			}
		}()
		return l.Addr().(*net.TCPAddr)
	}
	for name, addr := range map[string]*net.TCPAddr{
		"another server": other.ns.Addr().(*net.TCPAddr),
		"silence":        says(""),
		"no NATS":        says("SSH-2.0-x\r\n"),
		"no JSON":        says("INFO x\r\n"),
		"no id":          says("INFO {}\r\n"),
	} {
		if c := one.dialSelf(addr); c != nil {
			t.Errorf("%s was taken for this server", name)
		}
	}
	c := one.dialSelf(one.ns.Addr().(*net.TCPAddr))
	if c == nil {
		t.Fatal("this server was not known")
	}
	_ = c.Close()
	nc, err := one.ConnectReader()
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if nc.ConnectedServerId() != one.ns.ID() {
		t.Errorf("connected with %s, not %s", nc.ConnectedServerId(), one.ns.ID())
	}
	sub, err := nc.SubscribeSync("here")
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Publish("here", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if m, err := sub.NextMsg(time.Minute); err != nil || string(m.Data) != "x" {
		t.Errorf("%v, %v", m, err)
	}
}
