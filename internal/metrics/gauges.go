package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dartwing/jobledger/projector"
	"github.com/dartwing/jobledger/schemas"
)

// gauges tells how things stand when it is asked.
type gauges struct{ m *Metrics }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(namespace, "", name), help, labels, nil)
}

var (
	descBuild       = desc("build_info", "1, with what this program is.", "version", "revision", "go_version", "nats_version")
	descLeader      = desc("dispatcher_leader", "1 on the server that leads, 0 on the others.")
	descJobs        = desc("jobs", "Jobs by state, as the views count them; on the leader.", "queue", "state")
	descDead        = desc("dead_letters_open", "Dead letters that nobody closed; on the leader.", "queue")
	descLagEvents   = desc("projection_lag_events", "Events that a fold of this server lacks.", "projection")
	descLagSeconds  = desc("projection_lag_seconds", "For how long a fold has lacked the first of them; 600 at most.", "projection")
	descQuarantined = desc("quarantined_events", "Messages in the ledger that nobody can decode, as the views count them; on the leader.", "projection")
	descIllegal     = desc("illegal_events_total", "Events in the ledger that were not legal where they stand, as the views count them; on the leader.")
	descEvents      = desc("ledger_events", "Messages in the hot ledger.")
	descBytes       = desc("ledger_bytes", "Bytes of the hot ledger.")
	descFree        = desc("storage_free_bytes", "Room that is left in the store.")
	descTotal       = desc("storage_total_bytes", "Room that the store has, where a limit is known.")
	descReserve     = desc("storage_reserve_bytes", "Room that is kept for jobs that exist: submits are refused when no more is left.")
)

// Describe implements prometheus.Collector.
func (g *gauges) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descBuild, descLeader, descJobs, descDead, descLagEvents, descLagSeconds, descQuarantined, descIllegal,
		descEvents, descBytes, descFree, descTotal, descReserve,
		descDepth, descOldest, descOverdue, descUnserved, descWorkers, descSlots, descBusy, descHolds, descBreaker, descReoffers, descMissed,
		descLiveConns, descLiveSubs, descPublished, descDelivered, descOrgJobs, descOrgAttempts} {
		out <- d
	}
}

// sink takes gauges of one scrape.
type sink chan<- prometheus.Metric

func (s sink) gauge(d *prometheus.Desc, v float64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (s sink) counter(d *prometheus.Desc, v float64, labels ...string) {
	s <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(out chan<- prometheus.Metric) {
	m, to := g.m, sink(out)
	b := &m.cfg.Build
	to.gauge(descBuild, 1, b.Version, b.Revision, b.GoVersion, b.NATSVersion)
	leading := m.cfg.Dispatcher.Status().Leading
	to.gauge(descLeader, number(leading))
	for _, l := range m.Lags() {
		to.gauge(descLagEvents, float64(l.Events), l.Projection)
		to.gauge(descLagSeconds, l.For.Seconds(), l.Projection)
	}
	if s := m.cfg.Projector.Status(); s != nil && leading {
		to.views(s)
	}
	m.dispatch(to)
	m.live(to)
	m.orgs(to)
	if events, bytes, ok := m.size.known(); ok {
		to.gauge(descEvents, float64(events))
		to.gauge(descBytes, float64(bytes))
	}
	if m.cfg.Space == nil {
		return
	}
	if s := m.cfg.Space(); s.Total > 0 {
		to.gauge(descFree, float64(s.Free))
		to.gauge(descTotal, float64(s.Total))
		to.gauge(descReserve, float64(s.Reserve))
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// views tells what the projector counts.
func (s sink) views(v *projector.Status) {
	n := 0
	for name, c := range v.Queues {
		if n++; n > seriesMax {
			break
		}
		for _, state := range schemas.States() {
			s.gauge(descJobs, float64(c.Of(state)), string(name), string(state))
		}
		s.gauge(descDead, float64(c.DeadLettersOpen), string(name))
	}
	s.gauge(descQuarantined, float64(v.Quarantined), "jobs")
	s.counter(descIllegal, float64(v.Illegal))
}
