package gateway

import (
	"io"
	"net"
	"net/http"
	"net/netip"
)

// readAll reads a body of a stated size at once, and one of an unknown size as it comes. What is stated above a bound is
// refused before anything is read or allocated, with a *http.MaxBytesError, as r does for what comes above it.
func readAll(r io.Reader, size, bound int64) ([]byte, error) {
	switch {
	case size > bound:
		return nil, &http.MaxBytesError{Limit: bound}
	case size <= 0:
		return io.ReadAll(r)
	}
	b := make([]byte, size)
	n, err := io.ReadFull(r, b)
	if err != nil {
		return nil, err
	}
	return b[:n], nil
}

// loopback reports whether a request comes from this machine and was made for it by name: a page of a foreign site whose
// name was made to lead here (DNS rebinding) names its own host.
func loopback(r *http.Request) bool {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !from.Addr().Unmap().IsLoopback() {
		return false
	}
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(trimBrackets(host))
	return err == nil && addr.IsLoopback()
}

func trimBrackets(host string) string {
	if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		return host[1 : len(host)-1]
	}
	return host
}
