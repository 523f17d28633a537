package web

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// Loopback reports whether a host:port can be reached from this machine alone.
func Loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// BusyError: another program listens there.
type BusyError struct{ Addr string }

func (e *BusyError) Error() string { return fmt.Sprintf("%s is taken by another program", e.Addr) }

// Listen listens at host:port, port 0 being any that is free. fallback moves from a port that is taken to a free one.
// The error is a BusyError if it is taken.
func Listen(host string, port int, fallback bool) (net.Listener, error) {
	addr := net.JoinHostPort(host, strconv.Itoa(port))
	l, err := net.Listen("tcp", addr)
	switch {
	case err == nil:
		return l, nil
	case !errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("listen at %s: %w", addr, err)
	case fallback && port != 0:
		return Listen(host, 0, false)
	}
	return nil, &BusyError{addr}
}
