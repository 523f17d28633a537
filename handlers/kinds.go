package handlers

import (
	"context"
	"database/sql/driver"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/schemas"
)

// kindOf knows the errors of that carry no mark and no status. An empty class means
// unclassified. Order matters: a network error often wraps a system error that would mean something else
// in another place, such as a socket file that does not exist.
func kindOf(err error) (schemas.ErrorClass, string) {
	var dns *net.DNSError
	var timeout interface{ Timeout() bool }
	var op *net.OpError
	switch {
	case errors.As(err, &dns):
		return schemas.ClassTransient, CodeDNS
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return schemas.ClassTransient, CodeTimeout
	case errors.As(err, &timeout) && timeout.Timeout():
		return schemas.ClassTransient, CodeTimeout
	case isAny(err, brokenConn[:]), errors.As(err, &op):
		return schemas.ClassTransient, CodeNetwork
	case isAny(err, exhausted[:]):
		return schemas.ClassTransient, CodeResources
	}
	if state := (interface{ SQLState() string })(nil); errors.As(err, &state) && passingSQLState(state.SQLState()) || errors.Is(err, driver.ErrBadConn) {
		return schemas.ClassTransient, CodeDatabase
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		return schemas.ClassPermanent, CodeDenied
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, exec.ErrNotFound):
		return schemas.ClassPermanent, CodeNotFound
	}
	return "", ""
}

// brokenConn are connections refused, reset or gone, and services that are not there now.
var brokenConn = [...]error{
	syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ECONNABORTED, syscall.EPIPE, syscall.EHOSTUNREACH,
	syscall.ENETUNREACH, syscall.ENETDOWN, syscall.ETIMEDOUT, net.ErrClosed,
	nats.ErrNoResponders, nats.ErrConnectionClosed, nats.ErrConnectionReconnecting, nats.ErrDisconnected, nats.ErrNoServers,
}

// exhausted are memory, disk and descriptors that are used up now.
var exhausted = [...]error{
	syscall.ENOSPC, syscall.ENOMEM, syscall.EMFILE, syscall.ENFILE, syscall.EAGAIN, syscall.EDQUOT,
}

func isAny(err error, targets []error) bool {
	for _, t := range targets {
		if errors.Is(err, t) {
			return true
		}
	}
	return false
}

// passingSQLState reports SQL states that a retry may mend: 08 connection, 40 rollback (deadlock,
// serialization), 53 resources, 57P operator intervention.
func passingSQLState(s string) bool {
	return strings.HasPrefix(s, "08") || strings.HasPrefix(s, "40") || strings.HasPrefix(s, "53") || strings.HasPrefix(s, "57P")
}
