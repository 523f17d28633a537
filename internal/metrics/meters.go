package metrics

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dartwing/jobledger/schemas"
)

// Meters count what a server's own parts do, and tell its Metrics of it. They are made before those parts.
type Meters struct {
	appends map[schemas.EventName]*appendSeries // never changed
	limited map[string]prometheus.Counter       // never changed
	latency *prometheus.HistogramVec
	own     []prometheus.Collector
}

// appendSeries are the metrics of one event's appends.
type appendSeries struct {
	outcomes  map[string]prometheus.Counter
	conflicts prometheus.Counter
	seconds   prometheus.Observer
}

// appendBuckets are 0.25 ms to 30 s: what an append takes, which a server in the same process answers in less than one.
var appendBuckets = []float64{.00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// NewMeters returns meters at zero.
func NewMeters() *Meters {
	m := &Meters{appends: map[schemas.EventName]*appendSeries{}, limited: map[string]prometheus.Counter{}}
	appends := m.counter("appends_total", "Appends by this server's own parts, one at a time, by how they ended: stored, refused because something else stood there, or unknown.", "event", "outcome")
	conflicts := m.counter("append_conflicts_total", "Appends that were refused because something else stood there.", "event")
	took := prometheus.NewHistogramVec(histogramOpts("append_seconds", "What stored appends took, retries included.", appendBuckets), []string{"event"})
	for _, name := range slices.Concat(schemas.JobEvents(), schemas.ControlEvents()) {
		s := &appendSeries{outcomes: map[string]prometheus.Counter{}, conflicts: conflicts.WithLabelValues(string(name)), seconds: took.WithLabelValues(string(name))}
		for _, o := range []string{"stored", "refused", "unknown"} {
			s.outcomes[o] = appends.WithLabelValues(string(name), o)
		}
		m.appends[name] = s
	}
	limited := m.counter("limited_total", "Submits that this server refused because a limit was reached: waiting jobs, or a rate.", "limit")
	for _, limit := range []string{"waiting", "rate"} {
		m.limited[limit] = limited.WithLabelValues(limit)
	}
	m.latency = prometheus.NewHistogramVec(histogramOpts("live_latency_seconds", "From when an event was stored to when it was handed to a follower.", durationBuckets), []string{"transport"})
	m.own = append(m.own, took, m.latency)
	return m
}

func (m *Meters) counter(name, help string, labels ...string) *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	m.own = append(m.own, v)
	return v
}

// Appended is for ledger.Config.
func (m *Meters) Appended(e schemas.EventName, outcome string, took time.Duration) {
	s := m.appends[e]
	if s == nil {
		return
	}
	s.outcomes[outcome].Inc()
	switch outcome {
	case "stored":
		s.seconds.Observe(took.Seconds())
	case "refused":
		s.conflicts.Inc()
	}
}

// Limited is for ledger.Config.
func (m *Meters) Limited(limit string) {
	if c := m.limited[limit]; c != nil {
		c.Inc()
	}
}

// LiveLatency is for the live feed.
func (m *Meters) LiveLatency(transport string, took time.Duration) {
	m.latency.WithLabelValues(transport).Observe(max(0, took.Seconds()))
}

// LiveState is how the followers of the live feed stand that have come by one transport.
type LiveState struct {
	Transport                  string
	Connections, Subscriptions int
	Published, Delivered       uint64 // events
}

// live tells how the followers stand.
func (m *Metrics) live(to sink) {
	if m.cfg.Live == nil {
		return
	}
	for _, s := range m.cfg.Live() {
		to.gauge(descLiveConns, float64(s.Connections), s.Transport)
		to.gauge(descLiveSubs, float64(s.Subscriptions), s.Transport)
		to.counter(descPublished, float64(s.Published), s.Transport)
		to.counter(descDelivered, float64(s.Delivered), s.Transport)
	}
}

var (
	descLiveConns = desc("live_connections", "Streams of events over HTTP that are open.", "transport")
	descLiveSubs  = desc("live_subscriptions", "Followers of the live feed now; a request over NATS is one while it waits.", "transport")
	descPublished = desc("live_published_total", "Events that matched what followers asked for.", "transport")
	descDelivered = desc("live_delivered_total", "Of them, those that were written to their follower.", "transport")
)
