package main

import (
	"crypto/tls"
	"errors"
	"net"
	"strconv"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/gateway/console"
	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/internal/metrics"
	"github.com/dartwing/jobledger/internal/web"
	"github.com/dartwing/jobledger/ledger"
)

const loopback = "127.0.0.1"

// listenHTTP listens for HTTP; what keeps it from that is said with a code.
func listenHTTP(host string, port int, fallback bool) (net.Listener, error) {
	l, err := web.Listen(host, port, fallback)
	var busy *web.BusyError
	switch {
	case errors.As(err, &busy):
		return nil, failf(ledger.CodeInUse, "--http: %w", err)
	case err != nil:
		return nil, failf(ledger.CodeUnavailable, "--http: %w", err)
	}
	return l, nil
}

// listenHTTP listens where the configuration says; nil where it says nothing.
func (c *serverConfig) listenHTTP(log *zap.Logger) (net.Listener, error) {
	if c.http.Value == "" {
		return nil, nil
	}
	host, text, _ := net.SplitHostPort(c.http.Value) // checked
	port, err := strconv.Atoi(text)
	if err != nil {
		return nil, usagef("--http: %w", err)
	}
	l, err := listenHTTP(host, port, false)
	if err == nil && !web.Loopback(c.http.Value) && c.tlsCert.Value == "" {
		log.Warn("unsafe_bind: whoever reaches this address sees the cell's metrics, and tokens and jobs cross the network unencrypted", zap.String("http", c.http.Value))
	}
	return l, err
}

// tlsOf is TLS by a certificate in two files; nil where none is named.
func tlsOf(cert, key string, log *zap.Logger) (*tls.Config, error) {
	if cert == "" {
		return nil, nil
	}
	pair, err := web.LoadCertificate(cert, key, log)
	if err != nil {
		return nil, err
	}
	return pair.Config(), nil
}

// httpOf is what a cell serves on a listener, nothing on none. nats is the version of the server it runs on.
func httpOf(l net.Listener, nats string) cell.HTTP {
	b := buildVersion()
	return cell.HTTP{Listener: l, Console: &console.Config{}, Build: metrics.Build{Version: b.Version, Revision: deref(b.Revision), GoVersion: b.GoVersion, NATSVersion: nats}}
}

// httpOf is what a server serves on its listener.
func (c *serverConfig) httpOf(l net.Listener, secured *tls.Config, nats string) cell.HTTP {
	h := httpOf(l, nats)
	h.TLS, h.Environment, h.TraceLink = secured, c.environment.Value, c.traceLink.Value
	h.Orgs, _ = metrics.ParseOrgLabel(c.orgLabel.Value) // checked
	return h
}

func checkOrgLabel(s string) error {
	_, err := metrics.ParseOrgLabel(s)
	return err
}

// httpURL is where a listener answers; nil for none.
func httpURL(l net.Listener) *string {
	if l == nil {
		return nil
	}
	url := "http://" + l.Addr().String()
	return &url
}

// httpURL is where the server answers; nil where it does not.
func (c *serverConfig) httpURL(l net.Listener) *string {
	url := httpURL(l)
	if url != nil && c.tlsCert.Value != "" {
		*url = "https" + (*url)[len("http"):]
	}
	return url
}
