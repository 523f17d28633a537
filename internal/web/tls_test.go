package web

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap"
)

// writePair writes a self-signed certificate for loopback with a serial number.
func writePair(t *testing.T, dir string, serial int64) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
		stamp := time.Unix(1_800_000_000+serial, 0) // a file system may be too coarse to tell two writes apart
		if err := os.Chtimes(path, stamp, stamp); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// TestCertificateRenewed: a certificate is read again when its files have changed; while they cannot be read the one before
// stays.
func TestCertificateRenewed(t *testing.T) {
	dir := t.TempDir()
	cert, key := writePair(t, dir, 1)
	c, err := LoadCertificate(cert, key, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	serial := func(at time.Time) int64 {
		leaf, err := x509.ParseCertificate(c.current(at).Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return leaf.SerialNumber.Int64()
	}
	now := time.Now()
	writePair(t, dir, 2)
	if got := serial(now); got != 1 {
		t.Errorf("looked at once a second, it is %d at once", got)
	}
	if got := serial(now.Add(2 * time.Second)); got != 2 {
		t.Errorf("renewed, it is %d", got)
	}
	if err := os.WriteFile(cert, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := serial(now.Add(4 * time.Second)); got != 2 {
		t.Errorf("broken, it is %d", got)
	}
	writePair(t, dir, 3)
	if got := serial(now.Add(6 * time.Second)); got != 3 {
		t.Errorf("mended, it is %d", got)
	}
	if _, err := LoadCertificate(cert, filepath.Join(dir, "none"), zap.NewNop()); err == nil {
		t.Error("a key that is not there was read")
	}
}

// runTLS serves health by a configuration until the test ends.
func runTLS(t *testing.T, cfg *tls.Config) (addr string) {
	t.Helper()
	l, err := Listen("127.0.0.1", 0, false)
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Listener: l, TLS: cfg, Logger: zap.NewNop(), Ready: func(context.Context) []string { return nil }, Metrics: http.NotFoundHandler()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("it ended with %v", err)
		}
	})
	return l.Addr().String()
}

// TestTLS: a server with a certificate speaks TLS 1.2 and later, and nothing else.
func TestTLS(t *testing.T) {
	cert, key := writePair(t, t.TempDir(), 1)
	c, err := LoadCertificate(cert, key, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(cert)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	addr := runTLS(t, c.Config())
	client := func(max uint16) *http.Client {
		return &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, MaxVersion: max, MinVersion: tls.VersionTLS10}}}
	}
	for max, want := range map[uint16]bool{tls.VersionTLS13: true, tls.VersionTLS12: true, tls.VersionTLS11: false} {
		res, err := client(max).Get("https://" + addr + "/healthz")
		if (err == nil) != want {
			t.Errorf("TLS up to %x: %v", max, err)
		}
		if err == nil {
			res.Body.Close()
			if res.StatusCode != http.StatusOK || res.ProtoMajor != 1 {
				t.Errorf("TLS up to %x: %s %s", max, res.Status, res.Proto)
			}
		}
	}
	if res, err := client(0).Get("http://" + addr + "/healthz"); err == nil {
		res.Body.Close()
		if res.StatusCode == http.StatusOK {
			t.Error("it answers without TLS")
		}
	}
}
