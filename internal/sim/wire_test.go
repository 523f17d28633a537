package sim_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// conn is one connection of a party: what its client writes waits for the scheduler, and the scheduler alone
// adds to what the client reads. Only the handshake is answered at once, for the client holds a lock over it.
type conn struct {
	net   *network
	party *party
	name  string // party, role and number: what faults and lanes are keyed by
	subs  map[string]*subscription

	lanes map[string]time.Time // when the latest message of a lane arrives
	drawn map[string]uint64    // messages of a class so far

	mu       sync.Mutex
	out      []byte // written by the client, not yet taken by the scheduler
	in       []byte // to be read by the client
	readable chan struct{}
	deadline time.Time
	greeted  bool // the first PING was answered
	closed   bool // by the client
	dead     bool // by the other side: end of stream
	void     bool // by a crash: nothing goes in or out any more, and the client is not told
}

// subscription is one interest of a connection.
type subscription struct {
	conn    *conn
	sid     string
	subject string
	queue   string
	left    int    // messages until it ends by itself; 0: no bound
	prefix  string // of subject, before its first wildcard
	literal bool   // it has none
}

const info = `INFO {"server_id":"SIM","server_name":"sim","version":"2.15.2","proto":1,"headers":true,"max_payload":8388608,"jetstream":true,"client_id":1}` + "\r\n"

func newConn(n *network, p *party, name string) *conn {
	return &conn{net: n, party: p, name: name, subs: make(map[string]*subscription), lanes: make(map[string]time.Time),
		drawn: make(map[string]uint64), in: []byte(info), readable: make(chan struct{}, 1)}
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	for {
		c.mu.Lock()
		n := copy(p, c.in)
		c.in = c.in[n:]
		closed, dead, deadline := c.closed, c.dead, c.deadline
		c.mu.Unlock()
		switch {
		case n > 0:
			return n, nil
		case closed:
			return 0, net.ErrClosed
		case dead:
			return 0, io.EOF
		}
		var late <-chan time.Time
		if !deadline.IsZero() {
			t := time.NewTimer(time.Until(deadline))
			defer t.Stop()
			late = t.C
		}
		select {
		case <-c.readable:
		case <-late:
			return 0, os.ErrDeadlineExceeded
		}
	}
}

// Write implements net.Conn. It never blocks.
func (c *conn) Write(p []byte) (int, error) {
	defer c.net.wrote(c)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0, net.ErrClosed
	}
	if c.dead {
		return 0, io.ErrClosedPipe
	}
	if c.void {
		return len(p), nil
	}
	c.out = append(c.out, p...)
	if i := bytes.Index(c.out, []byte("PING\r\n")); !c.greeted && i >= 0 {
		c.greeted = true
		c.out = c.out[i+len("PING\r\n"):]
		c.in = append(c.in, "PONG\r\n"...)
		c.wake()
	}
	return len(p), nil
}

// wake lets the reader look again. c.mu is held.
func (c *conn) wake() {
	select {
	case c.readable <- struct{}{}:
	default:
	}
}

// give adds to what the client reads.
func (c *conn) give(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.void {
		c.in = append(c.in, b...)
		c.wake()
	}
}

// sever ends the connection: by a crash of its party, whose client must not act upon it, or by the network.
func (c *conn) sever(crash bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = nil
	if crash {
		c.void = true
		return
	}
	c.dead = true
	c.wake()
}

// Close implements net.Conn.
func (c *conn) Close() error {
	defer c.net.wrote(c)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.wake()
	return nil
}

func (c *conn) gone() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed || c.dead || c.void
}

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr { return &net.UnixAddr{Name: c.name} }

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return &net.UnixAddr{Name: "sim"} }

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.deadline = t
	return nil
}

// SetWriteDeadline implements net.Conn: a write never waits.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// command is one operation of a client.
type command struct {
	op      string
	subject string
	reply   string
	queue   string
	sid     string
	max     int
	header  []byte // raw, with its end
	data    []byte
}

// take parses the whole commands that the client has written.
func (c *conn) take() []*command {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.greeted || c.void {
		return nil
	}
	var out []*command
	for {
		cmd, n, err := parse(c.out)
		if err != nil {
			panic(fmt.Sprintf("connection %s: %v", c.name, err))
		}
		if cmd == nil {
			return out
		}
		c.out = c.out[n:]
		out = append(out, cmd)
	}
}

// parse reads one command from b, and how long it is; nil if it has not come whole.
func parse(b []byte) (*command, int, error) {
	line, _, ok := bytes.Cut(b, []byte("\r\n"))
	if !ok {
		return nil, 0, nil
	}
	at := len(line) + 2
	f := strings.Fields(string(line))
	if len(f) == 0 {
		return nil, 0, fmt.Errorf("an empty line")
	}
	cmd := &command{op: strings.ToUpper(f[0])}
	var head, total int
	switch {
	case cmd.op == "CONNECT" || cmd.op == "PING" || cmd.op == "PONG":
	case cmd.op == "SUB" && len(f) == 3:
		cmd.subject, cmd.sid = f[1], f[2]
	case cmd.op == "SUB" && len(f) == 4:
		cmd.subject, cmd.queue, cmd.sid = f[1], f[2], f[3]
	case cmd.op == "UNSUB" && len(f) >= 2:
		cmd.sid = f[1]
		if len(f) > 2 {
			cmd.max, _ = strconv.Atoi(f[2])
		}
	case cmd.op == "PUB" && (len(f) == 3 || len(f) == 4):
		cmd.subject, total = f[1], number(f[len(f)-1])
		if len(f) == 4 {
			cmd.reply = f[2]
		}
	case cmd.op == "HPUB" && (len(f) == 4 || len(f) == 5):
		cmd.subject, head, total = f[1], number(f[len(f)-2]), number(f[len(f)-1])
		if len(f) == 5 {
			cmd.reply = f[2]
		}
	default:
		return nil, 0, fmt.Errorf("unknown command %q", line)
	}
	if cmd.op != "PUB" && cmd.op != "HPUB" {
		return cmd, at, nil
	}
	if len(b) < at+total+2 {
		return nil, 0, nil
	}
	body := bytes.Clone(b[at : at+total])
	cmd.header, cmd.data = body[:head], body[head:]
	return cmd, at + total + 2, nil
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(fmt.Sprintf("%q is no length", s))
	}
	return n
}

// encode is the message as the client reads it.
func (s *subscription) encode(subject, reply string, header, data []byte) []byte {
	const numbers = 64 // bytes of what stands around the parts
	b := make([]byte, 0, numbers+len(subject)+len(reply)+len(header)+len(data))
	if len(header) > 0 {
		b = append(b, 'H')
	}
	b = append(b, "MSG "...)
	b = append(append(b, subject...), ' ')
	b = append(append(b, s.sid...), ' ')
	if reply != "" {
		b = append(append(b, reply...), ' ')
	}
	if len(header) > 0 {
		b = append(strconv.AppendInt(b, int64(len(header)), 10), ' ')
	}
	b = append(strconv.AppendInt(b, int64(len(header)+len(data)), 10), "\r\n"...)
	b = append(append(b, header...), data...)
	return append(b, "\r\n"...)
}

// matches reports whether a subject is one of a pattern's.
func matches(pattern, subject string) bool {
	for pattern != "" && subject != "" {
		p, restP, moreP := strings.Cut(pattern, ".")
		s, restS, moreS := strings.Cut(subject, ".")
		if p == ">" {
			return true
		}
		if p != "*" && p != s || moreP != moreS && restP != ">" {
			return false
		}
		pattern, subject = restP, restS
	}
	return pattern == "" && subject == ""
}
