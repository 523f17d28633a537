package packs

import (
	"bytes"
	"net"
)

// roomFor is how much of what the server sends waits here: a message that was read in part and what the server writes at
// once, 64 KiB. A message that is larger is waited for as a whole, within the server's bound of one.
const roomFor = 128 << 10

// Conn returns a connection to a server that reads from and writes to c, and hands on in packs what may be packed. It
// is for one reader, as every connection of the client is; TLS, if any, is inside of c.
func Conn(c net.Conn) net.Conn { return &conn{Conn: c} }

type conn struct {
	net.Conn
	room     []byte // room[from:to] was read
	from, to int
	err      error // that came with it

	// What Read hands on now: head, then pass bytes of the room, then tail.
	head, tail []byte
	pass       int
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	for {
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
