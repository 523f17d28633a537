package packs

import (
	"bytes"
	"net"
	"sync/atomic"
	"time"
)

// roomFor is how much of what the server sends waits here: a message that was read in part and what the server writes at
// once, 64 KiB. A message that is larger is waited for as a whole, within the server's bound of one.
const roomFor = 128 << 10

// Conn returns a connection to a server that reads from and writes to c, and hands on in packs what may be packed. It
// is for one reader, as every connection of the client is. Where the client speaks something else than the NATS protocol
// to c, such as TLS or WebSocket, everything passes as it is.
func Conn(c net.Conn) net.Conn { return &conn{Conn: c} }

// Dialer opens connections for a client that connects by address. Timeout bounds each.
type Dialer struct{ Timeout time.Duration }

// Dial implements nats.CustomDialer.
func (d Dialer) Dial(network, address string) (net.Conn, error) {
	// As the client's own dialer: it goes through the addresses of a name itself.
	c, err := (&net.Dialer{Timeout: d.Timeout, FallbackDelay: -1}).Dial(network, address)
	if err != nil {
		return nil, err
	}
	return Conn(c), nil
}

type conn struct {
	net.Conn
	speaks   atomic.Int32 // what the client does, by its first bytes
	room     []byte       // room[from:to] was read
	from, to int
	err      error // that came with it

	// What Read hands on now: head, then pass bytes of the room, then tail.
	head, tail []byte
	pass       int
}

// What the client speaks. The server's greeting comes before it has said anything, as one line.
const (
	nothing int32 = iota
	plainNATS
	other
)

// Write implements net.Conn. Its first bytes tell what the client speaks, before an answer to them can be read.
func (c *conn) Write(p []byte) (int, error) {
	if c.speaks.Load() == nothing && len(p) > 0 {
		if bytes.HasPrefix(p, connects) {
			c.speaks.Store(plainNATS)
		} else {
			c.speaks.Store(other)
		}
	}
	return c.Conn.Write(p)
}

var connects = []byte("CONNECT ")

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	for {
		if c.speaks.Load() == other {
			return c.readAsItIs(p)
		}
		if n := c.hand(p); n > 0 || len(p) == 0 {
			return n, nil
		}
		if c.plan(); c.pass > 0 {
			continue
		}
		if c.err != nil {
			err := c.err
			c.err = nil
			return 0, err
		}
		c.fill()
	}
}

// readAsItIs hands on what was read ahead, and then what c reads.
func (c *conn) readAsItIs(p []byte) (int, error) {
	if c.from == c.to {
		return c.Conn.Read(p)
	}
	n := copy(p, c.room[c.from:c.to])
	c.from += n
	return n, nil
}

// hand hands on what is planned, as far as it fits.
func (c *conn) hand(p []byte) int {
	h := copy(p, c.head)
	c.head = c.head[h:]
	if len(c.head) > 0 {
		return h
	}
	m := copy(p[h:], c.room[c.from:c.from+c.pass])
	c.from += m
	if c.pass -= m; c.pass > 0 {
		return h + m
	}
	t := copy(p[h+m:], c.tail)
	c.tail = c.tail[t:]
	return h + m + t
}

// plan looks at what was read: packs come first, and of what is not for packs as much as there is.
func (c *conn) plan() {
	b := c.room[c.from:c.to]
	size, f, ok := cut(b)
	if !ok {
		return
	}
	first, end, n := f.sid, size, 1
	for end < len(b) {
		if size, f, ok = cut(b[end:]); !ok || !bytes.Equal(f.sid, first) {
			break
		}
		end += size
		n++
	}
	c.pass = end
	if first != nil && n > 1 {
		c.head, c.tail = appendHead(c.head[:0], first, end), lineEnd
	}
}

// fill reads more. What was handed on leaves the room; where one message fills it, it grows.
func (c *conn) fill() {
	c.to = copy(c.room, c.room[c.from:c.to])
	c.from = 0
	if c.to == len(c.room) {
		c.grow()
	}
	var n int
	n, c.err = c.Conn.Read(c.room[c.to:])
	c.to += n
}

func (c *conn) grow() {
	size, _, _ := cut(c.room[:c.to])
	room := make([]byte, max(roomFor, size, 2*len(c.room)))
	copy(room, c.room[:c.to])
	c.room = room
}
