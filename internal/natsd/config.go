package natsd

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap"
)

const (
	// DefaultHost keeps the embedded server to this machine.
	DefaultHost = "127.0.0.1"

	// DefaultSyncInterval bounds what a power loss may take in Standard mode.
	// The server's own default is two minutes; one second costs about 8 % of
	// the append rate (ENGINE 8).
	DefaultSyncInterval = time.Second

	// maxPayload is the largest message the server takes, in bytes. Args of
	// 1 MiB travel inside an envelope, and a carried event holds args,
	// result and history together; 8 MiB is where the server starts to warn.
	maxPayload = 8 << 20

	// maxSubs is how many subscriptions a connection may have, about 300 bytes each. A server and a submitter need a handful, a
	// worker one for each type that it takes.
	maxSubs = 16_384

	// unlimitedConsumers lifts the server's 1,000 consumers a stream: WORK has
	// one durable per (queue, type) and the number of types is the user's.
	unlimitedConsumers = -1

	// readyTimeout bounds what a start takes once the files are open; an engine that
	// is not ready then will not come.
	readyTimeout = time.Minute

	// startNotice is how often a start says that it goes on opening files. That has
	// no bound: behind a crash nats-server reads every block of a stream that was
	// written to, some two seconds for a million messages and more from a slow disk,
	// and to give it up would only begin it anew.
	startNotice = 10 * time.Second

	// tlsTimeout bounds a client's handshake, in seconds.
	tlsTimeout = 5
)

// Config describes one embedded server. The zero value of every field but
// StoreDir is usable.
type Config struct {
	// StoreDir is the data folder; created when missing. Required.
	StoreDir string

	// Name is the server's name, unique in a cluster; "jobledger" when empty.
	Name string

	// Host is the address to listen on; DefaultHost when empty.
	Host string

	// Port is the client port. 0 and -1 take any free one.
	Port int

	// PortFallback moves to a free port when Port is taken; otherwise Start
	// refuses with a *PortBusyError.
	PortFallback bool

	// DontListen opens no client port: only ConnectInProcess reaches the
	// server.
	DontListen bool

	// Durability is Standard when empty.
	Durability Durability

	// SyncInterval is the time between two syncs in Standard mode;
	// DefaultSyncInterval when zero. Strict ignores it.
	SyncInterval time.Duration

	// Cluster joins this server to others; nil means alone.
	Cluster *ClusterConfig

	// Guard, if set, has clients log in.
	Guard *Guard

	// TLS, if set, is spoken with all clients, but those of this process.
	TLS *tls.Config `json:"-"` // tests describe members of a cluster in JSON

	// Logger receives the server's own log under component=nats; none when nil.
	Logger *zap.Logger

	notice time.Duration // startNotice, but in tests
}

// ClusterConfig makes a server a member of a cluster.
type ClusterConfig struct {
	// Name is the same on every member.
	Name string

	// Port is the route port of this member on Config.Host. Required: the
	// others must know it before this one has started.
	Port int

	// Peers are the route addresses (host:port) of all members. Listing this
	// one too does no harm.
	Peers []string
}

// withDefaults returns the configuration with every empty field filled.
func (c Config) withDefaults() Config {
	if c.Name == "" {
		c.Name = "jobledger"
	}
	if c.Host == "" {
		c.Host = DefaultHost
	}
	if c.Port == 0 {
		c.Port = server.RANDOM_PORT
	}
	if c.Durability == "" {
		c.Durability = Standard
	}
	if c.SyncInterval == 0 {
		c.SyncInterval = DefaultSyncInterval
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
	if c.notice == 0 {
		c.notice = startNotice
	}
	return c
}

func (c Config) validate() error {
	if c.StoreDir == "" {
		return errors.New("natsd: a data folder is required")
	}
	if c.Port < server.RANDOM_PORT || c.Port > 65535 {
		return fmt.Errorf("natsd: port %d is not a port", c.Port)
	}
	if c.SyncInterval < 0 {
		return fmt.Errorf("natsd: sync interval %v is negative", c.SyncInterval)
	}
	if _, err := ParseDurability(string(c.Durability)); err != nil {
		return fmt.Errorf("natsd: %w", err)
	}
	if c.Cluster != nil && c.Guard != nil {
		return errors.New("natsd: the members of a cluster would not know each other's tenants")
	}
	if c.Cluster != nil && (c.Cluster.Name == "" || c.Cluster.Port <= 0 || len(c.Cluster.Peers) == 0) {
		return errors.New("natsd: a cluster needs a name, a route port and its peers")
	}
	return nil
}

// options translates into the server's own terms.
func (c Config) options(g *guard) *server.Options {
	opts := &server.Options{
		ServerName:        c.Name,
		Host:              c.Host,
		Port:              c.Port,
		DontListen:        c.DontListen,
		NoSigs:            true, // signals belong to the program, not to its engine
		MaxPayload:        maxPayload,
		MaxSubs:           maxSubs,
		JetStream:         true,
		StoreDir:          c.StoreDir,
		JetStreamMaxStore: storeLimit(c.StoreDir),
		// Nearly every subject is one job's, one answer's or one acknowledgement's: a cache of who listens to which would be filled
		// and emptied all the time, and hardly asked.
		NoSublistCache:  true,
		SyncInterval:    c.SyncInterval,
		SyncAlways:      c.Durability == Strict,
		JetStreamLimits: server.JSLimitOpts{DefaultMaxConsumers: unlimitedConsumers},
	}
	if c.TLS != nil {
		opts.TLSConfig, opts.TLSTimeout = c.TLS, tlsTimeout
	}
	if g != nil {
		opts.CustomClientAuthentication = g
	}
	if c.Cluster != nil {
		opts.Cluster = server.ClusterOpts{Name: c.Cluster.Name, Host: c.Host, Port: c.Cluster.Port}
		for _, peer := range c.Cluster.Peers {
			opts.Routes = append(opts.Routes, server.RoutesFromStr("nats://"+peer)...)
		}
	}
	return opts
}

// PortBusyError says that the port asked for is taken by another program.
type PortBusyError struct {
	Address string // host:port
	Err     error
}

func (e *PortBusyError) Error() string {
	return fmt.Sprintf("cannot listen on %s: another program uses this port", e.Address)
}

func (e *PortBusyError) Unwrap() error { return e.Err }

// claimPort answers the port to start with: the one asked for when it is free,
// RANDOM_PORT when it is taken and the configuration allows to move. Between
// this probe and the server's own listen another program may still take the
// port; Start then fails with the server's message.
func (c Config) claimPort() (int, error) {
	if c.DontListen || c.Port == server.RANDOM_PORT {
		return c.Port, nil
	}
	addr := net.JoinHostPort(c.Host, strconv.Itoa(c.Port))
	l, err := net.Listen("tcp", addr)
	if err == nil {
		return c.Port, l.Close()
	}
	if !c.PortFallback {
		return 0, &PortBusyError{Address: addr, Err: err}
	}
	c.Logger.Info("port is taken, using a free one", zap.String("address", addr))
	return server.RANDOM_PORT, nil
}
