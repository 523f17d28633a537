//go:build unix

package storm_test

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// proxy stands between one process and NATS, and can cut, hold and delay what passes.
type proxy struct {
	url    string
	target string
	l      net.Listener

	mu      sync.Mutex
	conns   map[net.Conn]struct{}
	refuses bool          // new connections
	gate    chan struct{} // closed while bytes may pass
	delay   time.Duration // each way
	over    bool
}

const (
	chunk     = 64 << 10 // bytes that pass at a time
	inTransit = 256      // chunks that may be delayed at a time; more wait in the sockets
)

// startProxy listens on a port of its own for connections to the NATS at url.
func startProxy(t *testing.T, url string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{url: "nats://" + l.Addr().String(), target: strings.TrimPrefix(url, "nats://"), l: l,
		conns: make(map[net.Conn]struct{}), gate: make(chan struct{})}
	close(p.gate)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.serve(c) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		p.mu.Lock()
		p.over = true
		p.mu.Unlock()
		p.open()
		p.closeAll()
		wg.Wait()
	})
	return p
}

func (p *proxy) serve(c net.Conn) {
	defer c.Close()
	p.mu.Lock()
	refuses := p.refuses
	p.mu.Unlock()
	if refuses {
		return
	}
	up, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer up.Close()
	p.mu.Lock()
	if p.refuses || p.over {
		p.mu.Unlock()
		return
	}
	p.conns[c], p.conns[up] = struct{}{}, struct{}{}
	p.mu.Unlock()
	var wg sync.WaitGroup
	for _, way := range [][2]net.Conn{{c, up}, {up, c}} {
		wg.Go(func() {
			p.pass(way[0], way[1])
			c.Close() // one way ended: so does the other
			up.Close()
		})
	}
	wg.Wait()
	p.mu.Lock()
	delete(p.conns, c)
	delete(p.conns, up)
	p.mu.Unlock()
}

// parcel is some bytes and when they are due.
type parcel struct {
	b   []byte
	due time.Time
}

// pass copies from one side to the other until either ends.
func (p *proxy) pass(from io.Reader, to io.Writer) {
	way := make(chan parcel, inTransit)
	gone := make(chan struct{})
	go func() {
		defer close(way)
		for {
			b := make([]byte, chunk)
			n, err := from.Read(b)
			p.mu.Lock()
			due := time.Now().Add(p.delay)
			p.mu.Unlock()
			if n > 0 {
				select {
				case way <- parcel{b[:n], due}:
				case <-gone:
					return
				}
			}
			if err != nil {
				return
			}
		}
	}()
	defer close(gone)
	for parcel := range way {
		if wait := time.Until(parcel.due); wait > 0 {
			<-time.After(wait)
		}
		p.mu.Lock()
		gate := p.gate
		p.mu.Unlock()
		<-gate
		if _, err := to.Write(parcel.b); err != nil {
			return
		}
	}
}

func (p *proxy) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
}

// hold lets nothing pass until open; connections stand, as behind a dead switch.
func (p *proxy) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.gate:
		p.gate = make(chan struct{})
	default: // it holds
	}
}

// open lets pass what was held.
func (p *proxy) open() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.gate:
	default:
		close(p.gate)
	}
}

// cut breaks all connections, and refuses new ones until mend.
func (p *proxy) cut() {
	p.mu.Lock()
	p.refuses = true
	p.mu.Unlock()
	p.closeAll()
}

func (p *proxy) mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuses = false
}

// slow delays what passes, each way.
func (p *proxy) slow(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}
