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

// Ledger reads and appends events. It is safe for concurrent use and holds no goroutine of its own.
type Ledger struct {
	cfg     Config
	nc      *nats.Conn
	js      jetstream.JetStream
	log     *zap.Logger
	publish PublishFunc
	fresh   time.Duration // PayloadFresh, but in tests

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
	l := &Ledger{cfg: cfg, nc: cfg.Conn, js: js, log: cfg.Logger, fresh: PayloadFresh}
	l.publish = l.request
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

func (l *Ledger) request(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
	return l.nc.RequestMsgWithContext(ctx, m)
}
