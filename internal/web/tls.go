package web

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"

	"go.uber.org/zap"
)

// certCheck is how often, at most, it is looked whether the files of a certificate have changed: with a handshake.
const certCheck = time.Second

// Certificate is a certificate and its key in two files, read again once they have changed, as a renewal does. Files that
// cannot be read leave the one before in use.
type Certificate struct {
	cert, key string
	log       *zap.Logger

	mu      sync.Mutex
	pair    *tls.Certificate
	stamp   [2]stamp
	checked time.Time
}

// stamp tells a file from the one that was there before.
type stamp struct {
	size int64
	time time.Time
}

// LoadCertificate reads a PEM certificate, with those that lead to its authority, and its key.
func LoadCertificate(cert, key string, log *zap.Logger) (*Certificate, error) {
	c := &Certificate{cert: cert, key: key, log: log}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("read the certificate %s with the key %s: %w", cert, key, err)
	}
	c.pair, c.stamp, c.checked = &pair, c.look(), time.Now()
	return c, nil
}

// Config is what a Server speaks TLS by. HTTP/2 is not spoken: the bounds of this package are those of connections.
func (c *Certificate) Config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current(time.Now()), nil }}
}

// current is the certificate as the files hold it, at most certCheck ago.
func (c *Certificate) current(now time.Time) *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(c.checked) < certCheck {
		return c.pair
	}
	c.checked = now
	is := c.look()
	if is == c.stamp {
		return c.pair
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key) // half of a renewal fits no key, and is looked at again
	if err != nil {
		c.log.Warn("the certificate has changed and cannot be read: the one before stays", zap.String("cert", c.cert), zap.Error(err))
		return c.pair
	}
	c.pair, c.stamp = &pair, is
	c.log.Info("the certificate was read again", zap.String("cert", c.cert))
	return c.pair
}

func (c *Certificate) look() (is [2]stamp) {
	for i, file := range []string{c.cert, c.key} {
		if info, err := os.Stat(file); err == nil {
			is[i] = stamp{info.Size(), info.ModTime()}
		}
	}
	return is
}
