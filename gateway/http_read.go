package gateway

import (
	"io"
	"net"
	"net/http"
	"net/netip"
)

// readAll reads a body of a stated size at once, and any other as it comes.
func readAll(r io.Reader, size int64) ([]byte, error) {
	if size <= 0 || size > bodyMax {
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
