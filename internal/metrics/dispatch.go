package metrics

import (
	"context"
	"time"

	"github.com/dartwing/jobledger/dispatcher"
)

// dispatchMax is how long a scrape waits for the dispatcher; if it takes longer, its gauges are absent.
const dispatchMax = 2 * time.Second

var (
	descDepth    = desc("queue_depth", "Jobs that wait in a queue and are not to wait for a time or parents; on the leader.", "queue", "priority")
	descOldest   = desc("queue_oldest_age_seconds", "For how long the first of them has waited; on the leader.", "queue", "priority")
	descOverdue  = desc("jobs_overdue", "Jobs Running for more than twice their timeout, which must not be; on the leader.", "queue")
	descUnserved = desc("jobs_unserved", "Jobs that could start, but that no live worker serves them; on the leader.", "queue", "type")
	descWorkers  = desc("workers", "Live workers that take new jobs; on the leader.", "queue", "type")
	descSlots    = desc("worker_slots", "Slots of live workers that serve a queue; on the leader. Those that serve several queues count for each.", "queue")
	descBusy     = desc("worker_slots_busy", "Those of them in use; on the leader.", "queue")
	descHolds    = desc("holds", "Holds in force, by what they are on; on the leader.", "scope")
	descBreaker  = desc("breaker_state", "The worst breaker of a type over all orgs: 0 closed, 1 half-open, 2 open; on the leader.", "type")
	descMissed   = desc("schedule_missed_total", "Ticks of schedules that passed without their job, skipped or made up later, since this leader began; on the leader.")
	descReoffers = desc("reoffers_total", "Jobs offered again, because nobody took the offer.")
)

// dispatch tells how the leader's dispatcher stands.
func (m *Metrics) dispatch(to sink) {
	to.counter(descReoffers, float64(m.cfg.Dispatcher.Counters().Reoffered.Load()))
	ctx, cancel := context.WithTimeout(context.Background(), dispatchMax)
	defer cancel()
	g, err := m.cfg.Dispatcher.Gauges(ctx)
	if err != nil || !g.Leading {
		return
	}
	to.counter(descMissed, float64(g.Missed))
	for i := range min(len(g.Queues), seriesMax) {
		m.queue(to, &g.Queues[i])
	}
	for _, p := range g.Pairs[:min(len(g.Pairs), seriesMax)] {
		to.gauge(descWorkers, float64(p.Workers), string(p.Queue), string(p.Type))
		to.gauge(descUnserved, float64(p.Unserved), string(p.Queue), string(p.Type))
	}
	for scope, n := range g.Holds {
		to.gauge(descHolds, float64(n), scope)
	}
	for name, state := range g.Breakers {
		to.gauge(descBreaker, float64(state), string(name))
	}
}

func (m *Metrics) queue(to sink, q *dispatcher.QueueGauges) {
	name := string(q.Name)
	to.gauge(descOverdue, float64(q.Overdue), name)
	to.gauge(descSlots, float64(q.Slots), name)
	to.gauge(descBusy, float64(q.Busy), name)
	for priority, w := range q.Waiting {
		to.gauge(descDepth, float64(w.Jobs), name, string(priority))
		switch at, ok := m.stored(w.Oldest); {
		case w.Jobs == 0:
			to.gauge(descOldest, 0, name, string(priority))
		case ok:
			to.gauge(descOldest, max(0, time.Since(at).Seconds()), name, string(priority))
		}
	}
}
