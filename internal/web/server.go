package web

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Bounds of a connection. A client that dribbles its request, reads no answer or keeps an idle connection is let go.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 30 * time.Second
	writeTimeout  = 60 * time.Second
	idleTimeout   = 2 * time.Minute
	headerMax     = 32 << 10
	// connsMax bounds connections at a time: further ones wait in the system's backlog.
	connsMax = 16_384
	// stopWait is how long answers under way may take once the server stops.
	stopWait = 2 * time.Second
)

// Config configures a Server.
type Config struct {
	// Listener is where it listens; Run closes it. Required.
	Listener net.Listener
	// TLS, if set, is what it speaks TLS by. nil: it does not.
	TLS *tls.Config
	// Ready says why this server is not ready; nothing if it is. ctx ends with the request. Required.
	Ready func(ctx context.Context) []string
	// Metrics answers scrapes. Required.
	Metrics http.Handler
	// Observe, if set, is told of requests.
	Observe Observe
	// Logger is required; use zap.NewNop() for none.
	Logger *zap.Logger
}

// Server answers HTTP requests.
type Server struct {
	cfg      Config
	mux      *http.ServeMux
	draining atomic.Bool
}

// New returns a server. It answers nothing before Run.
func New(cfg Config) (*Server, error) {
	switch {
	case cfg.Listener == nil:
		return nil, errors.New("web: Config.Listener is required")
	case cfg.Ready == nil:
		return nil, errors.New("web: Config.Ready is required")
	case cfg.Metrics == nil:
		return nil, errors.New("web: Config.Metrics is required")
	case cfg.Logger == nil:
		return nil, errors.New("web: Config.Logger is required")
	}
	s := &Server{cfg: cfg, mux: http.NewServeMux()}
	s.mux.HandleFunc("GET /healthz", s.health)
	s.mux.HandleFunc("GET /readyz", s.ready)
	s.mux.Handle("GET /metrics", cfg.Metrics)
	return s, nil
}

// Handle adds a route, as http.ServeMux.Handle does. Call it before Run.
func (s *Server) Handle(pattern string, h http.Handler) { s.mux.Handle(pattern, h) }

// Drain has /readyz refuse from now on: this server is about to stop.
func (s *Server) Drain() { s.draining.Store(true) }

// Run serves until ctx ends, then lets answers under way end within stopWait, and returns nil. The error is why it could
// not go on.
func (s *Server) Run(ctx context.Context) error {
	log, err := zap.NewStdLogAt(s.cfg.Logger, zap.DebugLevel) // of connections that break: their clients' affair
	if err != nil {
		return fmt.Errorf("web: %w", err)
	}
	h := &http.Server{Handler: observed(s.mux, s.cfg.Observe), ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: headerMax, ErrorLog: log, TLSConfig: s.cfg.TLS}
	ended := make(chan error, 1)
	go func() {
		l := newLimited(s.cfg.Listener, connsMax)
		if s.cfg.TLS != nil {
			ended <- h.ServeTLS(l, "", "")
			return
		}
		ended <- h.Serve(l)
	}()
	s.cfg.Logger.Info("HTTP is served", zap.String("addr", s.cfg.Listener.Addr().String()), zap.Bool("tls", s.cfg.TLS != nil))
	select {
	case err := <-ended:
		return fmt.Errorf("web: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWait)
	defer cancel()
	if h.Shutdown(stop) != nil {
		_ = h.Close() // what is under way has had its time
	}
	<-ended
	return nil
}

// readiness is the body of /readyz.
type readiness struct {
	Ready   bool     `json:"ready"`
	Reasons []string `json:"reasons"`
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]bool{"ok": true})
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	why := []string{}
	if s.draining.Load() {
		why = append(why, "draining: this server is stopping")
	} else {
		why = append(why, s.cfg.Ready(r.Context())...)
	}
	if len(why) > 0 {
		answer(w, http.StatusServiceUnavailable, readiness{Reasons: why})
		return
	}
	answer(w, http.StatusOK, readiness{Ready: true, Reasons: why})
}

func answer(w http.ResponseWriter, status int, body any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // whoever does not hear it asks again
}
