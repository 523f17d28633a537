package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dartwing/jobledger/schemas"
)

const (
	namespace = "jobledger"
	// seriesMax bounds the label sets of (queue, type, priority), and of (queue, type).
	seriesMax = 2000
	other     = "_other" // stands for all that are beyond
	// attemptsMax bounds the (outcome, error class) of one (queue, type): seven outcomes and the six classes that there are.
	attemptsMax = 32

	// Native histograms stand beside the buckets: buckets a tenth apart, for those who scrape with protobuf.
	nativeFactor = 1.1
	nativeMax    = 160
)

var (
	// waitBuckets are 5 ms to 1 h, durationBuckets 5 ms to 30 min (INTERFACE 6), in seconds; those of a whole job reach a day.
	waitBuckets     = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 1800, 3600}
	durationBuckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800}
	totalBuckets    = []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 1800, 3600, 4 * 3600, 24 * 3600}
)

// families are the counters and histograms of the fold.
type families struct {
	submitted, finished, retried, started, attempts, lost, lateResults *prometheus.CounterVec
	wait, duration, total                                              *prometheus.HistogramVec
	lateness                                                           *prometheus.HistogramVec
	late                                                               prometheus.Observer // lateness of schedules
}

func histogramOpts(name, help string, buckets []float64) prometheus.HistogramOpts {
	return prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets,
		NativeHistogramBucketFactor: nativeFactor, NativeHistogramMaxBucketNumber: nativeMax}
}

func histogram(r prometheus.Registerer, name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	v := prometheus.NewHistogramVec(histogramOpts(name, help, buckets), labels)
	r.MustRegister(v)
	return v
}

func newFamilies(r prometheus.Registerer) *families {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
		r.MustRegister(v)
		return v
	}
	f := &families{
		submitted:   counter("jobs_submitted_total", "Submissions that were stored: accepted, or recorded as rejected. Duplicates that the door answered are not stored.", "queue", "type", "priority", "result"),
		finished:    counter("jobs_finished_total", "Jobs that ended, by their final state.", "queue", "type", "state"),
		retried:     counter("jobs_retried_total", "Finished jobs that an operator gave a fresh budget.", "queue", "type"),
		started:     counter("attempts_started_total", "Claims of a job by a worker.", "queue", "type"),
		attempts:    counter("attempts_finished_total", "Attempts that ended, by outcome and class of the error.", "queue", "type", "outcome", "error_class"),
		lost:        counter("leases_lost_total", "Attempts whose worker fell silent.", "queue", "type"),
		lateResults: counter("late_results_total", "Outcomes of attempts that were no longer the job's current one.", "queue", "type"),
		wait:        histogram(r, "job_wait_seconds", "From when a job could run (submitted, due, retry due) to the start of its attempt; what holds and limits took is part of it. Jobs with parents are not observed.", waitBuckets, "queue", "priority"),
		duration:    histogram(r, "attempt_duration_seconds", "What attempts took, as their workers measured it.", durationBuckets, "queue", "type", "outcome"),
		total:       histogram(r, "job_total_seconds", "From submission to end, of jobs submitted since this server started.", totalBuckets, "queue", "type"),
		lateness:    histogram(r, "timer_lateness_seconds", "From the time of a schedule's tick to its job.", waitBuckets, "kind"),
	}
	f.late = f.lateness.WithLabelValues("schedule")
	return f
}

// seriesKey names what is counted by priority, too.
type seriesKey struct {
	queue    schemas.QueueName
	typ      schemas.TypeName
	priority schemas.Priority
}

// series are the metrics of one seriesKey.
type series struct {
	accepted, rejected prometheus.Counter
	wait               prometheus.Observer
}

func (f *fold) seriesOf(q schemas.QueueName, t schemas.TypeName, p schemas.Priority) *series {
	key := seriesKey{q, t, p}
	s := f.series[key]
	if s == nil {
		if len(f.series) >= seriesMax {
			key.queue, key.typ = other, other
			if s = f.series[key]; s != nil {
				return s
			}
		}
		labels := []string{string(key.queue), string(key.typ), string(key.priority)}
		s = &series{accepted: f.f.submitted.WithLabelValues(append(labels, "accepted")...), rejected: f.f.submitted.WithLabelValues(append(labels, "rejected")...),
			wait: f.f.wait.WithLabelValues(string(key.queue), string(key.priority))}
		f.series[key] = s
	}
	return s
}

// workKey names what is counted of a kind of work.
type workKey struct {
	queue schemas.QueueName
	typ   schemas.TypeName
}

// outcome is how an attempt ended.
type outcome uint8

const (
	outcomeCompleted outcome = iota
	outcomeFailed
	outcomeTimedOut
	outcomeCanceled
	outcomeLost
	outcomeReleased
	outcomeDeadLettered
	outcomes
)

var outcomeNames = [outcomes]string{"completed", "failed", "timed_out", "canceled", "lost", "released", "dead_lettered"}

// Final states, as indexes.
const (
	stateCompleted = iota
	stateCanceled
	stateDeadLettered
)

var finalStates = [...]schemas.State{schemas.StateCompleted, schemas.StateCanceled, schemas.StateDeadLettered}

// work are the metrics of one workKey; those by outcome are made when they are first needed.
type work struct {
	queue, typ                   string
	started, retried, lost, late prometheus.Counter
	finished                     [len(finalStates)]prometheus.Counter
	total                        prometheus.Observer
	durations                    [outcomes]prometheus.Observer
	attempts                     []attemptCounter
}

type attemptCounter struct {
	outcome outcome
	class   string
	prometheus.Counter
}

func (f *fold) work(h *schemas.Head) *work {
	key := workKey{h.Queue, h.Type}
	w := f.works[key]
	if w == nil {
		if len(f.works) >= seriesMax {
			key = workKey{other, other}
			if w = f.works[key]; w != nil {
				return w
			}
		}
		q, t := string(key.queue), string(key.typ)
		w = &work{queue: q, typ: t, started: f.f.started.WithLabelValues(q, t), retried: f.f.retried.WithLabelValues(q, t),
			lost: f.f.lost.WithLabelValues(q, t), late: f.f.lateResults.WithLabelValues(q, t), total: f.f.total.WithLabelValues(q, t)}
		for i, s := range finalStates {
			w.finished[i] = f.f.finished.WithLabelValues(q, t, string(s))
		}
		f.works[key] = w
	}
	return w
}

func (w *work) attempt(f *families, o outcome, class string) prometheus.Counter {
	for i := range w.attempts {
		if a := &w.attempts[i]; a.outcome == o && a.class == class {
			return a.Counter
		}
	}
	if len(w.attempts) >= attemptsMax {
		return f.attempts.WithLabelValues(w.queue, w.typ, outcomeNames[o], other)
	}
	c := f.attempts.WithLabelValues(w.queue, w.typ, outcomeNames[o], class)
	w.attempts = append(w.attempts, attemptCounter{o, class, c})
	return c
}

func (w *work) duration(f *families, o outcome) prometheus.Observer {
	if w.durations[o] == nil {
		w.durations[o] = f.duration.WithLabelValues(w.queue, w.typ, outcomeNames[o])
	}
	return w.durations[o]
}
