package ledgertest

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/internal/natsd"
	"github.com/dartwing/jobledger/ledger"
)

const (
	// reconnectWait is short, so that tests which restart the server do not wait for their clients.
	reconnectWait = 20 * time.Millisecond

	// provisionTimeout bounds the set-up of one environment; a cluster elects a leader for each stream.
	provisionTimeout = time.Minute

	// verifyTimeout bounds the check at the end of a test, with the patience it has for what is on its way.
	verifyTimeout = time.Minute
)

// Env is a provisioned ledger that lives as long as its test.
type Env struct {
	// Ledger appends through Faults, on a connection of its own.
	Ledger *ledger.Ledger
	// Cell is the current start; Restart changes it.
	Cell ledger.Cell
	// NATS is the embedded server; nil in a cluster. Restart replaces it.
	NATS *natsd.Server
	// Cluster is the embedded cluster; nil with one server.
	Cluster *natsd.Cluster
	// Faults makes writes of Ledger fail.
	Faults *Faults

	t          testing.TB
	cfg        config
	dir        string
	provider   *provider
	skipVerify bool
}

type config struct {
	provision ledger.ProvisionConfig
	server    natsd.Config
	log       *zap.Logger
	checkArgs ledger.Config
	bare      bool
}

// Option changes how Start and StartCluster set up.
type Option func(*config)

// WithWindow sets LEDGER's duplicate window.
func WithWindow(d time.Duration) Option {
	return func(c *config) { c.provision.DuplicateWindow = d }
}

// WithLogs writes the ledger's and the server's log to the test's log.
func WithLogs(t testing.TB) Option {
	return func(c *config) { c.log = zaptest.NewLogger(t) }
}

// WithLedgerConfig takes CheckArgs from cfg; its other fields are Start's.
func WithLedgerConfig(cfg ledger.Config) Option {
	return func(c *config) { c.checkArgs = cfg }
}

// WithPort makes the server listen on a loopback port of its own, for other processes (Env.URL).
func WithPort() Option {
	return func(c *config) { c.server.DontListen = false }
}

// WithLogins has the server take logins: who shows a token (nats.Token) is a tenant in an account of his own, judged by the
// server that runs (RunServer); who shows none is in the ledger's account.
func WithLogins() Option {
	return func(c *config) { c.server.Guard = new(natsd.Guard) }
}

// WithStoreDir keeps the server's data in dir, such as a file system that can fill up.
func WithStoreDir(dir string) Option {
	return func(c *config) { c.server.StoreDir = dir }
}

// WithDurability makes the server promise more than it does by default.
func WithDurability(d natsd.Durability) Option {
	return func(c *config) { c.server.Durability = d }
}

// WithGroups makes the server sync each write, and appends and view documents that meet go together, as a strict server does.
func WithGroups() Option {
	return func(c *config) {
		c.server.Durability, c.provision.GroupCommit = natsd.Strict, ledger.GroupCommitOn
	}
}

// WithoutProvision leaves the server empty: the test calls ledger.Provision itself.
func WithoutProvision() Option {
	return func(c *config) { c.bare = true }
}

// Start opens an embedded ledger: one server, in-process connections, file storage in t.TempDir.
func Start(t testing.TB, opts ...Option) *Env {
	t.Helper()
	env := newEnv(t, opts)
	env.StartServer()
	t.Cleanup(func() { env.Stop() })
	env.open(nats.InProcessServer(env.provider))
	return env
}

// StartCluster opens a ledger with three replicas on a cluster of three embedded servers. It takes seconds;
// call it only where replication is what the test is about.
func StartCluster(t testing.TB, opts ...Option) *Env {
	t.Helper()
	env := newEnv(t, opts)
	if env.cfg.provision.Replicas == 0 {
		env.cfg.provision.Replicas = 3
	}
	c, err := natsd.StartCluster(env.dir, 3, natsd.Config{Logger: env.cfg.log})
	if err != nil {
		t.Fatalf("start a cluster: %v", err)
	}
	t.Cleanup(c.Shutdown)
	env.Cluster = c
	env.open()
	return env
}

func newEnv(t testing.TB, opts []Option) *Env {
	cfg := config{log: zap.NewNop(), server: natsd.Config{DontListen: true},
		provision: ledger.ProvisionConfig{Version: "test"}}
	for _, o := range opts {
		o(&cfg)
	}
	cfg.server.Logger = cfg.log
	if cfg.server.StoreDir == "" {
		cfg.server.StoreDir = t.TempDir()
	}
	return &Env{t: t, cfg: cfg, dir: cfg.server.StoreDir, provider: &provider{}, Faults: &Faults{}}
}

// open connects the environment's own ledger and provisions it. Cleanups run last first: the ledger is
// checked while its server still runs.
func (env *Env) open(opts ...nats.Option) {
	env.t.Helper()
	l, err := ledger.New(ledger.Config{Conn: env.Connect(opts...), Logger: env.cfg.log,
		CheckArgs: env.cfg.checkArgs.CheckArgs, Intercept: env.Faults.intercept})
	if err != nil {
		env.t.Fatal(err)
	}
	env.Ledger = l
	if env.cfg.bare {
		return
	}
	env.Provision()
	env.t.Cleanup(env.verify)
}

// Connect opens another connection to the ledger's account; it is closed at the end of the test. It survives
// Restart, as a program's connection does.
func (env *Env) Connect(opts ...nats.Option) *nats.Conn {
	env.t.Helper()
	nc, err := env.connect(opts...)
	if err != nil {
		env.t.Fatalf("connect: %v", err)
	}
	env.t.Cleanup(nc.Close)
	return nc
}

func (env *Env) connect(opts ...nats.Option) (*nats.Conn, error) {
	base := []nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait), nats.ReconnectJitter(0, 0)}
	url := ""
	if env.Cluster != nil {
		url = env.Cluster.URL()
	} else {
		base = append(base, nats.InProcessServer(env.provider))
	}
	return nats.Connect(url, append(base, opts...)...)
}

// connectPart connects a part of a cell as the program does.
func (env *Env) connectPart(name string) (*nats.Conn, error) {
	if cell.ReadsLong(name) && env.Cluster == nil {
		return env.connect(nats.InProcessServer(readers{env.provider}))
	}
	return env.connect()
}

// NewReader is NewLedger on a connection such as a server's feed has: the messages of a long stretch come in packs. Of a
// cluster there is none.
func (env *Env) NewReader() *ledger.Ledger {
	env.t.Helper()
	return env.ledgerOn(env.Connect(nats.InProcessServer(readers{env.provider})))
}

// NewLedger opens a second ledger, as another process would have it: a connection of its own, no faults.
func (env *Env) NewLedger() *ledger.Ledger {
	env.t.Helper()
	return env.ledgerOn(env.Connect())
}

func (env *Env) ledgerOn(nc *nats.Conn) *ledger.Ledger {
	env.t.Helper()
	l, err := ledger.New(ledger.Config{Conn: nc, Logger: env.cfg.log, CheckArgs: env.cfg.checkArgs.CheckArgs})
	if err != nil {
		env.t.Fatal(err)
	}
	return l
}

// Context ends with the test, at the latest after a minute.
func (env *Env) Context() context.Context {
	ctx, cancel := context.WithTimeout(env.t.Context(), time.Minute)
	env.t.Cleanup(cancel)
	return ctx
}

// URL is the address for other processes; empty without WithPort.
func (env *Env) URL() string {
	if env.Cluster != nil {
		return env.Cluster.URL()
	}
	return env.NATS.URL()
}

// Provision calls ledger.Provision with the environment's configuration and sets Cell.
func (env *Env) Provision() {
	env.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), provisionTimeout)
	defer cancel()
	cell, err := ledger.Provision(ctx, env.Ledger, env.cfg.provision)
	if err != nil {
		env.t.Fatalf("provision: %v", err)
	}
	env.Cell = cell
}

// Stop shuts the server down, or all members of the cluster, and waits until their files are closed;
// connections stay and retry.
func (env *Env) Stop() {
	if env.Cluster != nil {
		env.Cluster.Shutdown()
		return
	}
	env.provider.set(nil)
	if env.NATS != nil {
		env.NATS.Shutdown()
	}
}

// StartServer starts what Stop stopped, on the same data. Memory streams are gone until Provision.
func (env *Env) StartServer() {
	env.t.Helper()
	if env.Cluster != nil {
		env.startMembers(env.members()...)
		return
	}
	s, err := natsd.Start(env.cfg.server)
	if err != nil {
		env.t.Fatalf("start the server: %v", err)
	}
	env.NATS = s
	env.provider.set(s)
}

// Restart stops the server, starts it on the same data and provisions what lived in its memory, as a program
// that embeds it does. It is a new start of the cell.
func (env *Env) Restart() {
	env.t.Helper()
	env.Stop()
	env.StartServer()
	env.Provision()
}

// SkipVerify leaves out the check at the end, for a test that damages its ledger on purpose.
func (env *Env) SkipVerify() { env.skipVerify = true }

// verify is the checker that no test can forget. It has a context of its own: the test's has ended by now.
func (env *Env) verify() {
	if env.skipVerify || env.t.Failed() {
		return
	}
	if env.Cluster == nil && env.provider.stopped() {
		env.StartServer()
	}
	ctx, cancel := context.WithTimeout(context.Background(), verifyTimeout)
	defer cancel()
	v, err := ledger.Verify(ctx, ledger.VerifyConfig{Ledger: env.NewLedger(), Full: true})
	if err != nil {
		env.t.Errorf("the checker could not check the ledger: %v", err)
		return
	}
	if v.OK {
		return
	}
	text, err := json.Marshal(v)
	env.t.Errorf("the checker found the ledger damaged (a test that does so on purpose calls SkipVerify): %s, %v", text, err)
}

// provider leads in-process connections to the server that runs now.
type provider struct {
	mu sync.Mutex
	s  *natsd.Server
}

func (p *provider) set(s *natsd.Server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.s = s
}

func (p *provider) stopped() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.s == nil
}

// errStopped is what a client sees between Stop and StartServer.
var errStopped = errors.New("ledgertest: the server is stopped")

// InProcessConn implements nats.InProcessConnProvider.
func (p *provider) InProcessConn() (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.s == nil {
		return nil, errStopped
	}
	return p.s.InProcessConn()
}

// readers is the provider of connections such as a server's feed has.
type readers struct{ *provider }

// InProcessConn implements nats.InProcessConnProvider.
func (p readers) InProcessConn() (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.s == nil {
		return nil, errStopped
	}
	return p.s.PackedConn()
}
