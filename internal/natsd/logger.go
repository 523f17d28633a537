package natsd

import (
	"fmt"
	"strings"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap"
)

// logAdapter hands the server's log to zap. The server formats its own
// messages, so they arrive as text; component=nats tells them from ours.
//
// The server calls Fatalf where a program of its own would exit. Here it must
// not: the first such message becomes the error of Start, and is logged as an
// error afterwards.
type logAdapter struct {
	log   *zap.Logger
	fatal chan error // capacity 1: the first fatal message
	once  sync.Once
}

func newLogAdapter(log *zap.Logger) *logAdapter {
	return &logAdapter{
		log:   log.With(zap.String("component", "nats")),
		fatal: make(chan error, 1),
	}
}

// Noticef is debug here: what the server calls a notice (versions, folders,
// listening addresses) is said once more, and shorter, by our own programs.
func (a *logAdapter) Noticef(format string, v ...any) { a.log.Debug(fmt.Sprintf(format, v...)) }
func (a *logAdapter) Debugf(format string, v ...any)  { a.log.Debug(fmt.Sprintf(format, v...)) }
func (a *logAdapter) Tracef(format string, v ...any)  { a.log.Debug(fmt.Sprintf(format, v...)) }
func (a *logAdapter) Warnf(format string, v ...any)   { a.log.Warn(fmt.Sprintf(format, v...)) }

// Errorf leaves out that a login was refused, of which a stranger could make as many lines as he likes: the guard sums them up.
func (a *logAdapter) Errorf(format string, v ...any) {
	msg := fmt.Sprintf(format, v...)
	if strings.Contains(msg, server.ErrAuthentication.Error()) {
		a.log.Debug(msg)
		return
	}
	a.log.Error(msg)
}

func (a *logAdapter) Fatalf(format string, v ...any) {
	msg := fmt.Sprintf(format, v...)
	a.log.Error(msg)
	a.once.Do(func() { a.fatal <- fmt.Errorf("nats-server: %s", msg) })
}
