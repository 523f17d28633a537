package natsd_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/internal/natsd"
)

// TestTLS: with a certificate no client is heard without TLS, and this process's own connections, also its reader's, go on
// without.
func TestTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	pair := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	s := start(t, natsd.Config{StoreDir: t.TempDir(), Guard: &natsd.Guard{Required: true, Secret: "root"},
		TLS: &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return pair, nil }}})
	for name, connect := range map[string]func() (*nats.Conn, error){
		"in process": func() (*nats.Conn, error) { return s.ConnectInProcess() },
		"reader":     func() (*nats.Conn, error) { return s.ConnectReader() },
		"over TLS": func() (*nats.Conn, error) {
			return nats.Connect(s.URL(), nats.Token("root"), nats.Secure(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}))
		},
		"TLS by INFO": func() (*nats.Conn, error) {
			return nats.Connect(s.URL(), nats.Token("root"), func(o *nats.Options) error {
				o.TLSConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
				return nil
			})
		},
	} {
		nc, err := connect()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := nc.FlushTimeout(time.Minute); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		nc.Close()
	}
	if nc, err := nats.Connect(s.URL(), nats.Token("root")); err == nil {
		t.Errorf("a certificate that nobody knows was taken: %v", nc.ConnectedUrl())
		nc.Close()
	}
	at, err := url.Parse(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", at.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("CONNECT {\"auth_token\":\"root\",\"verbose\":false}\r\nPING\r\n")); err != nil {
		t.Fatal(err)
	}
	heard := make([]byte, 64<<10)
	for n := 0; ; {
		m, err := c.Read(heard[n:])
		if n += m; err != nil {
			heard = heard[:n]
			break
		}
	}
	if text := string(heard); !strings.HasPrefix(text, "INFO ") || strings.Contains(text, "PONG") {
		t.Errorf("without TLS it answers %q", text)
	}
}
