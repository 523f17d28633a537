package cell

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/dartwing/jobledger/dispatcher"
	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/gateway/console"
	"github.com/dartwing/jobledger/internal/metrics"
	"github.com/dartwing/jobledger/internal/web"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/projector"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// readyLagMax is how long a fold may be behind the ledger's end on a server that calls itself ready.
	readyLagMax = 30 * time.Second
	// readyAskMax bounds the question whether JetStream answers.
	readyAskMax = 2 * time.Second
	// readyKept is how long an answer to it is good for, so that nobody floods the ledger by way of /readyz.
	readyKept = time.Second
)

// HTTP says where a server listens for HTTP, and what it says there of itself.
type HTTP struct {
	// Listener is closed by Run. nil: nothing is served.
	Listener net.Listener
	// TLS, if set, is what is spoken on it.
	TLS   *tls.Config
	Build metrics.Build
	// Orgs says which orgs have metrics of their own.
	Orgs metrics.OrgLabel
	gateway.HTTPConfig
	// Console is how the web console appears; nil: there is none.
	Console *console.Config
}

// close closes what listens, also where nothing was served.
func (h *HTTP) close() {
	if h.Listener != nil {
		_ = h.Listener.Close() // as a rule it is closed
	}
}

// watched are the parts of a server that it tells of.
type watched struct {
	feed  *ledger.Feed
	host  *dispatcher.Host
	views *projector.Projector
	space *ledger.SpaceWatch
	door  *gateway.Gateway
	index *indexed
	told  *metrics.Meters
	end   schemas.Position // of the ledger at the start
}

// observe returns the parts by which others see how a server does; none without HTTP. They are stopped last: while the
// others stop, /readyz says so.
func observe(ctx context.Context, cfg *Config, l *ledger.Ledger, of watched) ([]part, error) {
	if cfg.HTTP.Listener == nil {
		return nil, nil
	}
	m, err := metrics.New(metrics.Config{Feed: of.feed, From: of.end, Dispatcher: of.host, Projector: of.views, Ledger: l, Space: of.space.Space, Index: of.index.position(), Meters: of.told, Live: liveStates(of.door.Live()), Orgs: cfg.HTTP.Orgs, Counts: of.index.counts(), Build: cfg.HTTP.Build,
		Logger: component(cfg.Logger, "metrics")})
	if err != nil {
		return nil, err
	}
	of.door.Live().Observe(of.told.LiveLatency)
	r := &readiness{l: l, m: m, host: of.host, start: of.end.Seq}
	s, err := web.New(web.Config{Listener: cfg.HTTP.Listener, TLS: cfg.HTTP.TLS, Ready: r.reasons, Metrics: r.fresh(m.Handler()), Observe: m.HTTP, Logger: component(cfg.Logger, "http")})
	if err != nil {
		return nil, err
	}
	s.Handle("/v1/", of.door.HTTP(cfg.HTTP.HTTPConfig))
	if cfg.HTTP.Console != nil {
		s.Handle("/", console.Handler(*cfg.HTTP.Console))
	}
	context.AfterFunc(ctx, s.Drain)
	return []part{{"http", s.Run}, {"metrics", m.Run}}, nil
}

// readiness says why a server is not ready.
type readiness struct {
	l     *ledger.Ledger
	m     *metrics.Metrics
	host  *dispatcher.Host
	start schemas.Seq // where the ledger ended when the server started

	mu    sync.Mutex // held over the question: who comes meanwhile takes its answer
	asked time.Time
	err   error
}

func (r *readiness) reasons(context.Context) []string {
	var why []string
	if err := r.reachable(); err != nil {
		why = append(why, fmt.Sprintf("jetstream: %v", err))
	}
	if at := r.host.Status().Position; at < r.start {
		why = append(why, fmt.Sprintf("dispatcher: the ledger is being folded, %d of %d", at, r.start))
	}
	for _, l := range r.m.Lags() {
		if l.For > readyLagMax {
			why = append(why, fmt.Sprintf("%s: %d events behind for %s", l.Projection, l.Events, l.For.Truncate(time.Second)))
		}
	}
	return why
}

// fresh has a scrape be told where the ledger ends now: a lag is as fresh as what is known of that.
func (r *readiness) fresh(scrape http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		_ = r.reachable() // /readyz says why it does not answer
		scrape.ServeHTTP(w, req)
	})
}

// liveStates tells of the live feed in the words of metrics. A stream over HTTP is a connection.
func liveStates(v *gateway.Live) func() []metrics.LiveState {
	return func() (all []metrics.LiveState) {
		for _, u := range v.Use() {
			s := metrics.LiveState{Transport: u.Transport, Subscriptions: int(u.Subscriptions), Published: uint64(u.Published), Delivered: uint64(u.Delivered)}
			if u.Transport == gateway.TransportSSE {
				s.Connections = s.Subscriptions
			}
			all = append(all, s)
		}
		return all
	}
}

// reachable asks the ledger where it ends. The question outlives who asks first: others wait for its answer.
func (r *readiness) reachable() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.asked) < readyKept {
		return r.err
	}
	ctx, cancel := context.WithTimeout(context.Background(), readyAskMax)
	defer cancel()
	var end schemas.Position
	if end, r.err = r.l.End(ctx); r.err == nil {
		r.m.Ends(end.Seq) // the feed has a connection of its own, and may stand still
	}
	r.asked = time.Now()
	return r.err
}
