package natsd

import (
	"bytes"
	"encoding/json"
	"net"
	"time"
)

const (
	// selfTimeout bounds the connecting of this process with itself: the client holds its lock meanwhile.
	selfTimeout = time.Second
	// infoMax is how long the line may be with which a server greets: a few hundred bytes, and 1 KiB for each of its cluster's addresses.
	infoMax = 64 << 10
)

// dialSelf connects to this server through the loopback interface; nil if it is not this server that answers there. Another
// one may: an address is not ours alone on every system, and a feed that read a foreign ledger would show it as ours.
func (s *Server) dialSelf(addr *net.TCPAddr) net.Conn {
	to := *addr
	if to.IP.IsUnspecified() {
		to.IP = nil // this machine
	}
	c, err := net.DialTimeout("tcp", to.String(), selfTimeout)
	if err != nil {
		return nil
	}
	greeting, id := greeted(c)
	if id == "" || id != s.ns.ID() {
		_ = c.Close() // nothing was sent
		return nil
	}
	return &greetedConn{Conn: c, greeting: greeting}
}

// greeted reads the first line that a server sends, "INFO {…}", and the server's id in it.
func greeted(c net.Conn) (line []byte, id string) {
	if c.SetReadDeadline(time.Now().Add(selfTimeout)) != nil {
		return nil, ""
	}
	buf := make([]byte, 0, 4<<10)
	for !bytes.ContainsRune(buf, '\n') {
		if len(buf) >= infoMax {
			return nil, ""
		}
		buf = append(buf, make([]byte, 4<<10)...)
		n, err := c.Read(buf[len(buf)-4<<10:])
		if buf = buf[:len(buf)-4<<10+n]; err != nil {
			return nil, ""
		}
	}
	var info struct {
		ID string `json:"server_id"`
	}
	text, _, _ := bytes.Cut(buf, []byte{'\n'})
	text, ok := bytes.CutPrefix(text, []byte("INFO "))
	if !ok || json.Unmarshal(text, &info) != nil || c.SetReadDeadline(time.Time{}) != nil {
		return nil, ""
	}
	return buf, info.ID
}

// greetedConn gives back what was read of a connection before anything else.
type greetedConn struct {
	net.Conn
	greeting []byte
}

func (c *greetedConn) Read(p []byte) (int, error) {
	if len(c.greeting) > 0 {
		n := copy(p, c.greeting)
		c.greeting = c.greeting[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}
