package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/internal/replies"
	"github.com/dartwing/jobledger/schemas"
)

// RequestTimeout is how long one request to the server may take before its outcome counts as unknown.
const RequestTimeout = 5 * time.Second

// PublishFunc sends one message to a stream and returns the server's reply.
type PublishFunc func(ctx context.Context, m *nats.Msg) (*nats.Msg, error)

// Config says how to reach a ledger.
type Config struct {
	// Conn is a connection in the ledger's own account. Required. Give each role its own (ENGINE 10).
	Conn *nats.Conn
	// Logger is required; use zap.NewNop() for none.
	Logger *zap.Logger
	// CheckArgs, if set, checks args against the type's JSON Schema before a submit is appended. It must
	// return an error naming the field. nil checks nothing beyond JSON syntax and size.
	CheckArgs func(t *schemas.TypeSettings, args json.RawMessage) error
	// Tracer, if set, makes spans of submissions.
	Tracer SubmitTracer
	// Appended, if set, is told of each event that was appended by itself, not in a batch, whose outcome is one of the three,
	// and what it took. Limited, if set, is told when a submit is refused by a limit on waiting jobs ("waiting"), or on a
	// rate ("rate"). Both must be quick.
	Appended func(e schemas.EventName, outcome string, took time.Duration)
	Limited  func(limit string)
	// ArchiveCache, if set, is what the Ledgers of this process that serve one cell know of the archive; nil: each one its own.
	ArchiveCache *ArchiveCache
	// Intercept, if set, wraps every publish to LEDGER, ARCHIVE, CATALOG and the object stores: tests refuse a
	// write or lose its reply with it.
	Intercept func(PublishFunc) PublishFunc
}

func (c *Config) validate() error {
	if c.Conn == nil {
		return errors.New("ledger: Config.Conn is required")
	}
	if c.Logger == nil {
		return errors.New("ledger: Config.Logger is required")
	}
	return nil
}

// Ledger reads and appends events. It is safe for concurrent use and holds no goroutine of its own between calls.
type Ledger struct {
	cfg     Config
	nc      *nats.Conn
	js      jetstream.JetStream
	log     *zap.Logger
	publish PublishFunc
	replies *replies.Mux
	gather  *gatherer
	fresh   time.Duration // PayloadFresh, but in tests
	// heard, which only tests set, is given each answer that SubmitMany hears and returns what it is to be; nil: lost.
	heard func(i int, answer []byte) []byte

	settings settingsCache
	door     door
	space    spaceDoor
	config   atomic.Pointer[streamConfig] // nil: not known yet
	// levelLooked is when Level looked last, in nanoseconds since 1970; 0: never.
	levelLooked atomic.Int64
	archive     archive
	// archiveLooks are those at the catalogue, shared by who looks for used ids.
	archiveLooks looks
}

// New returns a Ledger on cfg.Conn. It does not talk to the server: Provision creates what is missing and
// Check refuses a ledger that could not keep its promises.
func New(cfg Config) (*Ledger, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	js, err := jetstream.New(cfg.Conn)
	if err != nil {
		return nil, err
	}
	l := &Ledger{cfg: cfg, nc: cfg.Conn, js: js, log: cfg.Logger, fresh: PayloadFresh, replies: replies.New(cfg.Conn)}
	l.gather = newGatherer(l)
	l.publish = l.gather.publish
	l.archive.init(l)
	if cfg.Intercept != nil {
		l.publish = cfg.Intercept(l.publish)
	}
	return l, nil
}

// JetStream returns the JetStream context on the ledger's connection, for projections and offers.
func (l *Ledger) JetStream() jetstream.JetStream { return l.js }

// Conn returns the ledger's connection.
func (l *Ledger) Conn() *nats.Conn { return l.nc }

// Request sends m on the ledger's connection and returns the answer, as nats.Conn.RequestMsgWithContext does, for less:
// wait, how long for an answer, needs no context of its own. It sets m.Reply.
func (l *Ledger) Request(ctx context.Context, m *nats.Msg, wait time.Duration) (*nats.Msg, error) {
	return l.replies.Request(ctx, m, wait)
}

func (l *Ledger) request(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
	wait := SettleTimeout
	if until, ok := ctx.Deadline(); ok {
		wait = time.Until(until)
	}
	return l.replies.Request(ctx, m, wait)
}

// replyBy is a context with a deadline that only request keeps: an append waits for each reply for a while of its own,
// and a context with a timer for it would cost as much as the request.
type replyBy struct {
	context.Context
	until time.Time
}

// Deadline implements context.Context.
func (c *replyBy) Deadline() (time.Time, bool) { return c.until, true }

// withReplyTimeout bounds one publish.
func (l *Ledger) withReplyTimeout(ctx context.Context, wait time.Duration) (context.Context, context.CancelFunc) {
	if l.cfg.Intercept != nil { // which may wait for the context's end
		return context.WithTimeout(ctx, wait)
	}
	until := time.Now().Add(wait)
	if earlier, ok := ctx.Deadline(); ok && earlier.Before(until) {
		until = earlier
	}
	return &replyBy{ctx, until}, func() {}
}
