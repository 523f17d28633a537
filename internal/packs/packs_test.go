package packs_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"

	"github.com/dartwing/jobledger/internal/packs"
)

// frame is one message as the server sends it.
func frame(sid int, consumer string, n int, body string) string {
	const header = "NATS/1.0\r\nce-id: x\r\n\r\n"
	return fmt.Sprintf("HMSG jobs.acme.%d %d $JS.ACK.LEDGER.%s.1.%d.%d.1700000000000000000.5 %d %d\r\n%s%s\r\n",
		n, sid, consumer, n+100, n, len(header), len(header)+len(body), header, body)
}

// unpack undoes what Conn does: what is left must be what the server sent.
func unpack(t *testing.T, got string) (sent string, packed int) {
	t.Helper()
	for len(got) > 0 {
		line, rest, _ := strings.Cut(got, "\r\n")
		f := strings.Fields(line)
		if !strings.HasPrefix(line, "MSG ") && !strings.HasPrefix(line, "HMSG ") {
			sent, got = sent+line+"\r\n", rest
			continue
		}
		size := 0
		if _, err := fmt.Sscan(f[len(f)-1], &size); err != nil || rest[size:size+2] != "\r\n" {
			t.Fatalf("%q, %v", line, err)
		}
		if f[1] != packs.Subject {
			sent += line + "\r\n" + rest[:size+2]
		} else {
			sent += rest[:size]
			for pack := []byte(rest[:size]); len(pack) > 0; packed++ {
				one, left, ok := packs.Next(pack)
				if !ok || !strings.Contains(line, " "+strings.Fields(string(pack))[2]+" ") || string(one.Header) != "NATS/1.0\r\nce-id: x\r\n\r\n" {
					t.Fatalf("a pack holds %q", pack)
				}
				pack = left
			}
		}
		got = rest[size+2:]
	}
	return sent, packed
}

// Whatever the server sends, and in whatever pieces, arrives in its order and byte for byte, once packs are opened; what
// is not for packs arrives as it is.
func TestConnHandsOnWhatCame(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	var sent strings.Builder
	sent.WriteString("INFO {\"x\":\"" + strings.Repeat("y", 2000) + "\"}\r\nPONG\r\n")
	for n := range 3000 {
		switch r.IntN(12) {
		case 0:
			sent.WriteString("PING\r\n")
		case 1:
			sent.WriteString("MSG _INBOX.x 3 12\r\nHMSG a b 1\r\n\r\n")
		case 2:
			sent.WriteString(frame(5, "other", n, "b"))
		case 3:
			sent.WriteString("HMSG _INBOX.x 4 $JS.FC.LEDGER.jl-tail-1.x 12 12\r\nNATS/1.0\r\n\r\n\r\n")
		case 4:
			sent.WriteString(frame(6+r.IntN(2), "jl-tail-2", n, strings.Repeat("z", r.IntN(300_000)/(1+r.IntN(1000)))))
		default:
			sent.WriteString(frame(4, "jl-tail-1", n, "{\"a\":\"\r\n\"}"))
		}
	}
	server, client := net.Pipe()
	go func() {
		b := []byte(sent.String())
		for len(b) > 0 {
			n := min(len(b), 1+r.IntN(1<<r.IntN(18)))
			if _, err := server.Write(b[:n]); err != nil {
				return
			}
			b = b[n:]
		}
		server.Close()
	}()
	conn := packs.Conn(client)
	var got bytes.Buffer
	room := make([]byte, 32<<10)
	small := rand.New(rand.NewPCG(seed, 2))
	for {
		n, err := conn.Read(room[:1+small.IntN(len(room))])
		got.Write(room[:n])
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	back, packed := unpack(t, got.String())
	if back != sent.String() {
		t.Fatalf("seed %d: %d bytes came back as %d others", seed, sent.Len(), len(back))
	}
	if packed < 500 {
		t.Errorf("seed %d: only %d messages came in packs", seed, packed)
	}
}

// Where the client speaks TLS, or anything but the protocol of NATS, all that comes behind the greeting passes as it came,
// however much it looks like messages.
func TestConnLeavesOtherProtocolsAlone(t *testing.T) {
	const greeting = "INFO {\"tls_required\":true}\r\n"
	for name, first := range map[string]string{"tls": "\x16\x03\x01", "websocket": "GET / HTTP/1.1\r\n", "nats": "CONNECT {}\r\n"} {
		server, client := net.Pipe()
		sent := frame(4, "jl-tail-1", 1, "a") + frame(4, "jl-tail-1", 2, "b") + "HMSG a b"
		go func() {
			defer server.Close()
			said := make([]byte, len(first))
			if _, err := io.WriteString(server, greeting); err != nil {
				return
			}
			if _, err := io.ReadFull(server, said); err != nil {
				return
			}
			_, _ = io.WriteString(server, sent)
		}()
		conn := packs.Conn(client)
		greeted := make([]byte, len(greeting))
		if _, err := io.ReadFull(conn, greeted); err != nil || string(greeted) != greeting {
			t.Fatalf("%s: %q, %v", name, greeted, err)
		}
		if _, err := io.WriteString(conn, first); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(conn)
		if err != nil || name != "nats" && string(got) != sent {
			t.Errorf("%s: %q of %q, %v", name, got, sent, err)
		}
		if packed := strings.Contains(string(got), " "+packs.Subject+" "); packed != (name == "nats") {
			t.Errorf("%s: packed %t", name, packed)
		}
	}
}

// The place of a message is read as the client reads it, and nothing else is.
func TestPlaceOf(t *testing.T) {
	p, ok := packs.PlaceOf([]byte("$JS.ACK.LEDGER.c.1.12.3.1700000000000000001.9"))
	if !ok || p != (packs.Place{Seq: 12, Number: 3, Time: 1700000000000000001, Pending: 9}) {
		t.Errorf("read %+v, %t", p, ok)
	}
	for _, reply := range []string{"", "x", "$JS.ACK.LEDGER.c.1.12.3.1700000000000000001", "$JS.ACK.LEDGER.c.1.12.3.1700000000000000001.9.9",
		"$JS.ACK.LEDGER.c.1.12.3.1700000000000000001.x", "$JS.ACK.LEDGER.c.1.x.3.1700000000000000001.9", "$JS.ACK.LEDGER.c.1.12..1700000000000000001.9", "$JS.ACK.LEDGER.c.1.12.3.99999999999999999999.9"} {
		if p, ok := packs.PlaceOf([]byte(reply)); ok {
			t.Errorf("%q is %+v", reply, p)
		}
	}
}
