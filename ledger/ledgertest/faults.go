package ledgertest

import (
	"context"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Kind says how a write fails.
type Kind uint8

const (
	// Pass lets the write through; Before and After still run.
	Pass Kind = iota
	// Refuse: the server says that it did not store the message (10077, as on a full disk).
	Refuse
	// LoseRequest: the message never arrives, and the writer is not told.
	LoseRequest
	// LoseReply: the message is stored, the reply never arrives.
	LoseReply
)

// Fault is what happens to writes of one event.
type Fault struct {
	// Event it happens to; empty for any.
	Event schemas.EventName
	// Upload: it happens to messages of the object stores instead, chunks and records alike.
	Upload bool
	// Archive: it happens to messages of ARCHIVE and CATALOG instead whose subject begins so: "archive.page.",
	// "archive.index", "catalog.filter", "catalog.tally", "catalog.record".
	Archive string
	Kind    Kind
	// Skip lets so many matching writes pass first.
	Skip int
	// Times is how many writes it happens to; 0 means one.
	Times int
	// Before runs before the message is sent, After once its fate on the server is settled: to put
	// another writer's message in between, or to restart the server.
	Before, After func(m *nats.Msg)
}

// Faults makes publishes to LEDGER, ARCHIVE, CATALOG and the object stores fail. The zero value passes everything.
type Faults struct {
	mu     sync.Mutex
	active []*Fault
	hits   int
}

// Inject adds a fault. Of several that match a write the earliest that is not used up happens.
func (f *Faults) Inject(fault Fault) {
	fault.Times = max(fault.Times, 1)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active = append(f.active, &fault)
}

// Hits is the number of writes that met a fault.
func (f *Faults) Hits() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hits
}

// Clear takes back what was injected and did not happen yet.
func (f *Faults) Clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active = nil
}

// take returns a copy of the fault that happens to a message, if any, and counts it.
func (f *Faults) take(m *nats.Msg) (Fault, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.active {
		if a.Times == 0 || !a.matches(m) {
			continue
		}
		if a.Skip > 0 {
			a.Skip--
			continue
		}
		a.Times--
		f.hits++
		return *a, true
	}
	return Fault{}, false
}

// matches reports whether the fault is one of such messages.
func (f *Fault) matches(m *nats.Msg) bool {
	upload := strings.HasPrefix(m.Subject, "$O.")
	archive := strings.HasPrefix(m.Subject, "archive.") || strings.HasPrefix(m.Subject, "catalog.")
	if f.Upload != upload || (f.Archive != "") != archive {
		return false
	}
	return strings.HasPrefix(m.Subject, f.Archive) && (f.Event == "" || f.Event == eventName(m))
}

// storeFailed is the server's answer when it could not store a message.
const storeFailed = `{"error":{"code":503,"err_code":10077,"description":"injected"},"stream":"LEDGER","seq":0}`

// intercept is ledger.Config.Intercept. A lost request or reply is reported at once, without the wait.
func (f *Faults) intercept(next ledger.PublishFunc) ledger.PublishFunc {
	return func(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
		fault, ok := f.take(m)
		if !ok {
			return next(ctx, m)
		}
		if fault.Before != nil {
			fault.Before(m)
		}
		reply, err := fault.Kind.apply(ctx, m, next)
		if fault.After != nil {
			fault.After(m)
		}
		return reply, err
	}
}

func (k Kind) apply(ctx context.Context, m *nats.Msg, next ledger.PublishFunc) (*nats.Msg, error) {
	switch k {
	case Refuse:
		return &nats.Msg{Data: []byte(storeFailed)}, nil
	case LoseRequest:
		return nil, nats.ErrTimeout
	case LoseReply:
		if _, err := next(ctx, m); err != nil {
			return nil, err
		}
		return nil, nats.ErrTimeout
	}
	return next(ctx, m)
}

// eventName reads the event's name from its ce-type.
func eventName(m *nats.Msg) schemas.EventName {
	const prefix = "jobledger." + schemas.Version + "."
	if v := m.Header[schemas.HeaderType]; len(v) > 0 && len(v[0]) > len(prefix) {
		return schemas.EventName(v[0][len(prefix):])
	}
	return ""
}
