package metrics

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/dispatcher"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/projector"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// scrapesMax bounds the scrapes at a time; a further one is refused with 503.
	scrapesMax = 4
	// scrapeTimeout bounds one.
	scrapeTimeout = 10 * time.Second
)

// Build says what the program is, for build_info.
type Build struct {
	Version, Revision, GoVersion, NATSVersion string
}

// Config configures Metrics.
type Config struct {
	// Feed is the server's one tail. Required. Somebody runs it.
	Feed *ledger.Feed
	// From is where the ledger ended when the server started: what is behind it is counted.
	From schemas.Position
	// Dispatcher and Projector are those of this server. Required.
	Dispatcher *dispatcher.Host
	Projector  *projector.Projector
	// Index tells how far this server's query index is, and whether it answers. nil: it keeps none.
	Index func() (at schemas.Position, ready bool)
	// Ledger is asked how large the streams are, at most every sizeEvery. Required.
	Ledger *ledger.Ledger
	// Space tells of the store's room. nil: nothing is told.
	Space func() ledger.Space
	// Meters count what the server's parts do. nil: what they would tell stays zero.
	Meters *Meters
	// Live tells of the followers of the live feed. nil: nothing is told.
	Live func() []LiveState
	// Orgs says which orgs have families of their own, and Counts are the counters for them; nil: they are not known.
	Orgs   OrgLabel
	Counts func(context.Context) (map[ledger.CountKey]ledger.Count, error)
	// Build is shown as it is.
	Build Build
	// Logger is required; use zap.NewNop() for none.
	Logger *zap.Logger
}

func (c *Config) validate() error {
	switch {
	case c.Feed == nil:
		return errors.New("metrics: Config.Feed is required")
	case c.Dispatcher == nil:
		return errors.New("metrics: Config.Dispatcher is required")
	case c.Projector == nil:
		return errors.New("metrics: Config.Projector is required")
	case c.Ledger == nil:
		return errors.New("metrics: Config.Ledger is required")
	case c.Logger == nil:
		return errors.New("metrics: Config.Logger is required")
	}
	return nil
}

// Metrics counts and tells what one server knows of its cell.
type Metrics struct {
	cfg      Config
	registry *prometheus.Registry
	http     *prometheus.HistogramVec
	lag      lagWatch
	ages     ages

	mu       sync.Mutex // held over a batch of events
	fold     *fold
	attempts orgAttempts

	size sizes
}

// New returns metrics that count nothing before Run.
func New(cfg Config) (*Metrics, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	m := &Metrics{cfg: cfg, registry: prometheus.NewRegistry()}
	m.fold, m.http = newFold(newFamilies(m.registry), cfg.From.Seq), newHTTP(m.registry)
	if m.cfg.Meters == nil {
		m.cfg.Meters = NewMeters()
	}
	if cfg.Orgs.on {
		m.attempts = orgAttempts{}
	}
	m.registry.MustRegister(m.cfg.Meters.own...)
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), &gauges{m: m})
	return m, nil
}

// Run counts until ctx ends, and returns nil then.
func (m *Metrics) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { m.watch(ctx) })
	defer wg.Wait()
	for from := m.cfg.From; ; {
		c := m.cfg.Feed.Subscribe(from)
		err := m.count(ctx, c)
		c.Close()
		if ctx.Err() != nil {
			return nil
		}
		if !errors.Is(err, ledger.ErrPositionExpired) {
			return err
		}
		m.cfg.Logger.Warn("the ledger went back to older data: what it lost stays counted", zap.Error(err))
		from = m.cfg.Feed.Last()
		m.anew(from.Seq)
	}
}

// anew forgets when events were stored that the ledger does not hold any more: others bear their sequences.
func (m *Metrics) anew(from schemas.Seq) {
	m.mu.Lock()
	m.fold.anew(from)
	m.mu.Unlock()
	m.ages.forget()
	m.lag.anew(from, time.Now())
}

func (m *Metrics) count(ctx context.Context, c *ledger.Cursor) error {
	for {
		entries, err := c.Next(ctx)
		if err != nil {
			return err
		}
		m.apply(entries)
	}
}

func (m *Metrics) apply(entries []*ledger.Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range entries {
		if e.Err == nil {
			m.fold.apply(e.Event)
			m.attempts.count(e.Event)
		}
	}
}

// stored says when an event was stored, if that is known by now.
func (m *Metrics) stored(seq schemas.Seq) (time.Time, bool) {
	if seq == 0 {
		return time.Time{}, false
	}
	m.mu.Lock()
	at, ok := m.fold.times.of(seq)
	m.mu.Unlock()
	if ok {
		return time.Unix(0, at), true
	}
	return m.ages.of(seq)
}

// watch notes where the ledger ends and how large it is.
func (m *Metrics) watch(ctx context.Context) {
	t := time.NewTicker(lagEvery)
	defer t.Stop()
	m.lag.read(m.cfg.From.Seq, time.Now())
	for {
		m.size.look(ctx, m.cfg.Ledger)
		m.ages.look(ctx, m.cfg.Ledger)
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			m.lag.read(m.cfg.Feed.Last().Seq, time.Now())
		}
	}
}

// Ends tells where the ledger says that it ends: a feed that stands still does not know.
func (m *Metrics) Ends(at schemas.Seq) { m.lag.tell(at, time.Now()) }

// Handler answers scrapes.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: scrapesMax, Timeout: scrapeTimeout})
}

// Lag is how far a fold of this server is behind the ledger's end.
type Lag struct {
	Projection string // dispatcher, index; where this server leads also jobs, counts and config
	Events     uint64
	For        time.Duration // it has been behind at all; ten minutes at most
}

// Lags are those of all folds that this server runs now. It says nothing of the views before their first is written, nor of
// an index that is being built.
func (m *Metrics) Lags() []Lag {
	now := time.Now()
	lag := func(name string, at schemas.Seq) Lag {
		events, d := m.lag.behind(at, now)
		return Lag{name, events, d}
	}
	lags := []Lag{lag("dispatcher", m.cfg.Dispatcher.Status().Position)}
	if s := m.cfg.Projector.Status(); s != nil && m.cfg.Dispatcher.Status().Leading {
		lags = append(lags, lag("jobs", s.Jobs), lag("counts", s.Counts), lag("config", s.Config))
	}
	if m.cfg.Index != nil {
		if at, ready := m.cfg.Index(); ready { // one that is being built is asked nothing: the views answer
			lags = append(lags, lag("index", at.Seq))
		}
	}
	return lags
}
