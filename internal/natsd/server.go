package natsd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/internal/packs"
)

// Version is the version of the embedded server, "2.15.2" for example.
const Version = server.VERSION

// Server is a running embedded server. Its methods may be called from any
// goroutine.
type Server struct {
	cfg  Config
	ns   *server.Server
	lock *os.File
	stop sync.Once

	guard *guard // nil: there are no logins
	watch sync.WaitGroup
	ended chan struct{} // closed by Shutdown
}

// Start takes the data folder, starts the server and returns when it accepts
// connections and its streams are open. The errors a caller may want to tell
// apart are *FolderBusyError and *PortBusyError.
//
// What an acknowledgement by this server is worth is [Durability.Promise] of
// the configured mode.
func Start(cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	lock, err := lockFolder(cfg.StoreDir)
	if err != nil {
		return nil, err
	}
	var g *guard
	if cfg.Guard != nil {
		g = newGuard(*cfg.Guard, cfg.Logger)
	}
	ns, err := startEngine(cfg, g)
	if err != nil {
		unlock(lock)
		return nil, err
	}
	s := &Server{cfg: cfg, ns: ns, lock: lock, guard: g, ended: make(chan struct{})}
	if g != nil {
		s.watch.Go(func() { g.watchUnread(s.ended) })
	}
	return s, nil
}

// startEngine runs nats-server until it is ready or has said why it cannot be.
func startEngine(cfg Config, g *guard) (*server.Server, error) {
	port, err := cfg.claimPort()
	if err != nil {
		return nil, err
	}
	cfg.Port = port
	ns, err := server.NewServer(cfg.options(g))
	if err != nil {
		return nil, fmt.Errorf("natsd: %w", err)
	}
	if g != nil {
		g.ns = ns
	}
	adapter := newLogAdapter(cfg.Logger)
	ns.SetLoggerV2(adapter, false, false, false)

	started := make(chan error, 1)
	go func() {
		ns.Start()
		if !ns.ReadyForConnections(readyTimeout) {
			started <- fmt.Errorf("natsd: the server was not ready within %v", readyTimeout)
			return
		}
		started <- nil
	}()

	err = awaitStart(cfg, started, adapter.fatal)
	if err == nil {
		// Both may be there: Start can end after a fatal message.
		select {
		case err = <-adapter.fatal:
		default:
		}
	}
	if err != nil {
		ns.Shutdown()
		ns.WaitForShutdown()
		return nil, err
	}
	return ns, nil
}

// awaitStart waits for a start's end, and says every now and then that it goes on.
func awaitStart(cfg Config, started, fatal <-chan error) error {
	began, notice := time.Now(), time.NewTicker(cfg.notice)
	defer notice.Stop()
	for {
		select {
		case err := <-started:
			return err
		case err := <-fatal:
			return err
		case <-notice.C:
			cfg.Logger.Info("the NATS server is opening its files: behind a crash it reads all of them",
				zap.String("store", cfg.StoreDir), zap.Duration("since", time.Since(began).Round(time.Second)))
		}
	}
}

// URL is the address for clients, nats://127.0.0.1:4222 for example; empty when
// the server does not listen.
func (s *Server) URL() string {
	if s.cfg.DontListen {
		return ""
	}
	return s.ns.ClientURL()
}

// StoreDir is the data folder.
func (s *Server) StoreDir() string { return s.cfg.StoreDir }

// Durability is the mode the server runs in.
func (s *Server) Durability() Durability { return s.cfg.Durability }

// LeadsCluster reports whether this member leads the cluster's JetStream: it places streams and consumers. False for
// a server that is alone.
func (s *Server) LeadsCluster() bool { return s.cfg.Cluster != nil && s.ns.JetStreamIsLeader() }

// ConnectInProcess opens a connection that does not touch the network and works
// with or without a listener. Roles (appends, feed, work) take one each, so that
// the pending buffer of one cannot delay another (ENGINE 10). It never gives up
// on an interrupted connection; the caller closes it.
func (s *Server) ConnectInProcess(opts ...nats.Option) (*nats.Conn, error) {
	return s.connect(s.ns, opts)
}

func (s *Server) connect(through nats.InProcessConnProvider, opts []nats.Option) (*nats.Conn, error) {
	base := []nats.Option{nats.InProcessServer(through), nats.MaxReconnects(-1)}
	if s.guard != nil {
		base = append(base, nats.Token(s.guard.own))
	}
	nc, err := nats.Connect("", append(base, opts...)...)
	if err != nil {
		return nil, fmt.Errorf("natsd: connect in process: %w", err)
	}
	return nc, nil
}

// InProcessConn opens a raw connection, which makes Server an
// [nats.InProcessConnProvider]: whoever restarts a server on the same folder can
// hand clients a provider that leads to the current one.
func (s *Server) InProcessConn() (net.Conn, error) { return s.ns.InProcessConn() }

// PackedConn opens a raw connection for a reader of many messages, which hands them on in packs (internal/packs). It
// goes through the loopback interface where the server listens: the server writes many small buffers, which one system
// call takes together, and which the reader of an in-process connection has to wait for one by one. A server that speaks TLS
// there is read in process.
func (s *Server) PackedConn() (net.Conn, error) {
	if addr, ok := s.ns.Addr().(*net.TCPAddr); ok && !s.cfg.DontListen && s.cfg.TLS == nil {
		if c := s.dialSelf(addr); c != nil {
			return packs.Conn(c), nil
		}
	}
	c, err := s.ns.InProcessConn()
	if err != nil {
		return nil, err
	}
	return packs.Conn(c), nil
}

// packed is a [nats.InProcessConnProvider] of packed connections.
type packed struct{ s *Server }

// InProcessConn implements nats.InProcessConnProvider.
func (p packed) InProcessConn() (net.Conn, error) { return p.s.PackedConn() }

// ConnectReader is ConnectInProcess for a reader of many messages.
func (s *Server) ConnectReader(opts ...nats.Option) (*nats.Conn, error) {
	return s.connect(packed{s}, opts)
}

// Shutdown stops the server and returns when its files are written and closed
// and the data folder is free for another process. Close or drain your
// connections first: what they still hold is not sent. Later calls do nothing.
func (s *Server) Shutdown() {
	s.stop.Do(func() {
		close(s.ended)
		s.watch.Wait()
		s.ns.Shutdown()
		s.ns.WaitForShutdown()
		unlock(s.lock)
	})
}

// ErrNotReady is returned by [Server.WaitReady] when time is up.
var ErrNotReady = errors.New("natsd: the cluster has no ready leader")

// readyTry is how long WaitReady waits for one answer. A request that reaches a
// member without a leader, or before its routes are up, is dropped in silence,
// so only asking again helps.
const readyTry = 250 * time.Millisecond

// WaitReady returns when JetStream answers requests through this server: at
// once when it stands alone, in a cluster when this member has caught up with
// the leaders of all that it holds a replica of, so that another member may be
// stopped. It returns ErrNotReady when ctx ends before.
func (s *Server) WaitReady(ctx context.Context) error {
	nc, err := s.ConnectInProcess()
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return fmt.Errorf("natsd: %w", err)
	}
	for {
		if s.ask(ctx, js) {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %s: %w", ErrNotReady, s.cfg.Name, ctx.Err())
		}
	}
}

// ask makes one request and uses up the whole try when it is not answered, so
// that an immediate refusal does not turn WaitReady into a busy loop.
func (s *Server) ask(ctx context.Context, js jetstream.JetStream) bool {
	try, cancel := context.WithTimeout(ctx, readyTry)
	defer cancel()
	_, err := js.AccountInfo(try)
	if err == nil && (s.cfg.Cluster == nil || s.healthy()) {
		return true
	}
	<-try.Done()
	return false
}

// healthy asks what a cluster's operator asks before the next member is
// stopped: /healthz. JetStreamIsCurrent is not enough: it looks at the meta
// layer alone, and is true of a member that has not heard its leader yet and
// still serves the streams that were its own when it stopped.
func (s *Server) healthy() bool {
	r, err := http.NewRequest(http.MethodGet, server.HealthzPath, nil)
	if err != nil {
		return false
	}
	answer := statusOnly{header: make(http.Header)}
	s.ns.HandleHealthz(&answer, r)
	return answer.status == http.StatusOK
}

// statusOnly is an [http.ResponseWriter] that keeps the status.
type statusOnly struct {
	header http.Header
	status int
}

func (w *statusOnly) Header() http.Header  { return w.header }
func (w *statusOnly) WriteHeader(code int) { w.status = code }

func (w *statusOnly) Write(body []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return len(body), nil
}
