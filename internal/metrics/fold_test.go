package metrics

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/dartwing/jobledger/schemas"
)

// tale feeds a fold with events that are a second apart, unless told otherwise.
type tale struct {
	t   testing.TB
	f   *fold
	r   *prometheus.Registry
	seq schemas.Seq
	now time.Time
}

func newTale(t testing.TB, from schemas.Seq) *tale {
	r := prometheus.NewRegistry()
	return &tale{t: t, r: r, f: newFold(newFamilies(r), from), seq: from, now: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)}
}

func (x *tale) tell(d schemas.Data) schemas.Seq {
	x.now = x.now.Add(time.Second)
	x.seq++
	e := schemas.Event{Seq: x.seq, Time: x.now, Data: d}
	x.f.apply(&e)
	return x.seq
}

func (x *tale) samples() samples {
	return scrape(x.t, promhttp.HandlerFor(x.r, promhttp.HandlerOpts{}))
}

func (x *tale) expect(want map[string]float64) {
	x.t.Helper()
	got := x.samples()
	for name, v := range want {
		if has, ok := got[name]; !ok && v != 0 || has != v {
			x.t.Errorf("%s is %v (there: %v), want %v", name, has, ok, v)
		}
	}
}

func submitted() *schemas.Submitted {
	return &schemas.Submitted{Type: "email", Queue: "mail", Priority: schemas.PriorityHigh, Generation: 1}
}

func head(of schemas.Seq, from schemas.State) schemas.Head {
	return schemas.Head{From: from, Type: "email", Queue: "mail", Priority: schemas.PriorityHigh, Generation: 1, Submitted: of}
}

func attempt(of schemas.Seq, n int) schemas.AttemptHead {
	return schemas.AttemptHead{Head: head(of, schemas.StateRunning), Attempt: n}
}

func running(of schemas.Seq, n int) *schemas.Running {
	return &schemas.Running{Head: head(of, schemas.StateQueued), Attempt: n}
}

// What a job's events count, and how long it waited for each of its attempts: from its submission, from when its
// retry was due, from when it was handed back.
func TestCounts(t *testing.T) {
	t.Parallel()
	x := newTale(t, 100)
	id := x.tell(submitted())
	x.tell(&schemas.Queued{Head: head(id, schemas.StateSubmitted)})
	x.tell(running(id, 1)) // two seconds after its submission
	x.tell(&schemas.Failed{AttemptHead: attempt(id, 1), Error: schemas.JobError{Class: schemas.ClassTransient}, DelayMS: 1000, DurationMS: 40})
	x.tell(&schemas.Queued{Head: head(id, schemas.StateRetrying)})
	x.tell(running(id, 2)) // one second after it was due
	x.tell(&schemas.Released{AttemptHead: attempt(id, 2), Cause: schemas.ReleaseDrain})
	x.tell(running(id, 3)) // one second
	x.tell(&schemas.Lost{AttemptHead: attempt(id, 3), Cause: schemas.LossWorkerGone})
	x.tell(running(id, 4)) // one second
	x.tell(&schemas.Completed{AttemptHead: attempt(id, 4), DurationMS: 7000})
	x.tell(&schemas.LateResult{AttemptHead: attempt(id, 3)})
	x.expect(map[string]float64{
		`jobledger_jobs_submitted_total{priority="high",queue="mail",result="accepted",type="email"}`:           1,
		`jobledger_jobs_submitted_total{priority="high",queue="mail",result="rejected",type="email"}`:           0,
		`jobledger_attempts_started_total{queue="mail",type="email"}`:                                           4,
		`jobledger_attempts_finished_total{error_class="transient",outcome="failed",queue="mail",type="email"}`: 1,
		`jobledger_attempts_finished_total{error_class="",outcome="released",queue="mail",type="email"}`:        1,
		`jobledger_attempts_finished_total{error_class="lost",outcome="lost",queue="mail",type="email"}`:        1,
		`jobledger_attempts_finished_total{error_class="",outcome="completed",queue="mail",type="email"}`:       1,
		`jobledger_leases_lost_total{queue="mail",type="email"}`:                                                1,
		`jobledger_late_results_total{queue="mail",type="email"}`:                                               1,
		`jobledger_jobs_finished_total{queue="mail",state="completed",type="email"}`:                            1,
		`jobledger_job_wait_seconds_count{priority="high",queue="mail"}`:                                        4,
		`jobledger_job_wait_seconds_sum{priority="high",queue="mail"}`:                                          5,
		`jobledger_attempt_duration_seconds_sum{outcome="failed",queue="mail",type="email"}`:                    0.04,
		`jobledger_attempt_duration_seconds_sum{outcome="completed",queue="mail",type="email"}`:                 7,
		`jobledger_attempt_duration_seconds_count{outcome="lost",queue="mail",type="email"}`:                    0,
		`jobledger_job_total_seconds_sum{queue="mail",type="email"}`:                                            10,
	})
	if len(x.f.later) > 0 {
		t.Errorf("%d jobs are kept that have ended", len(x.f.later))
	}
}

// Of a job that was to wait, the time from when it could run is observed; of one with parents, and of one from before the
// server's start, nothing is.
func TestWaitsKnown(t *testing.T) {
	t.Parallel()
	x := newTale(t, 100)
	late, child := submitted(), submitted()
	late.DelayMS = 3000
	child.Parents = []schemas.ParentRef{{ID: "p", Generation: 1}}
	a, b := x.tell(late), x.tell(child)
	x.tell(running(b, 1))
	x.tell(&schemas.Canceled{Head: head(x.tell(late), schemas.StateSubmitted)})
	x.tell(running(a, 1)) // five seconds after its submission, two after it was due
	x.tell(running(7, 1))
	x.tell(&schemas.Completed{AttemptHead: attempt(7, 1), DurationMS: 1})
	x.expect(map[string]float64{
		`jobledger_attempts_started_total{queue="mail",type="email"}`:                                    3,
		`jobledger_job_wait_seconds_count{priority="high",queue="mail"}`:                                 1,
		`jobledger_job_wait_seconds_sum{priority="high",queue="mail"}`:                                   2,
		`jobledger_job_total_seconds_count{queue="mail",type="email"}`:                                   1, // of the canceled one
		`jobledger_attempt_duration_seconds_count{outcome="canceled",queue="mail",type="email"}`:         0,
		`jobledger_attempts_finished_total{error_class="",outcome="canceled",queue="mail",type="email"}`: 0,
	})
	if len(x.f.later) > 0 {
		t.Errorf("%d jobs are kept", len(x.f.later))
	}
}

// Where there is no room to keep from when jobs can run, their waits are not observed, and no others are lost.
func TestWaitsBounded(t *testing.T) {
	t.Parallel()
	x := newTale(t, 0)
	late := submitted()
	late.DelayMS = 1_000_000_000
	for range laterMax {
		x.tell(late)
	}
	beyond := x.tell(late)
	plain := x.tell(submitted())
	x.tell(running(beyond, 1))
	x.tell(running(plain, 1))
	x.expect(map[string]float64{`jobledger_job_wait_seconds_count{priority="high",queue="mail"}`: 1})
	if n := len(x.f.later); n != laterMax {
		t.Errorf("%d jobs are kept, %d may", n, laterMax)
	}
}

// Whoever submits to ever new queues makes no more than so many series.
func TestSeriesBounded(t *testing.T) {
	t.Parallel()
	x := newTale(t, 0)
	for i := range 2*seriesMax + 1 {
		s := submitted()
		s.Queue = schemas.QueueName("q" + schemas.Seq(i).String())
		id := x.tell(s)
		h := head(id, schemas.StateQueued)
		h.Queue = s.Queue
		x.tell(&schemas.Running{Head: h, Attempt: 1})
	}
	if n, w := len(x.f.series), len(x.f.works); n > seriesMax+4 || w > seriesMax+1 {
		t.Errorf("%d and %d series", n, w)
	}
	x.expect(map[string]float64{
		`jobledger_attempts_started_total{queue="_other",type="_other"}`:                                 seriesMax + 1,
		`jobledger_jobs_submitted_total{priority="high",queue="_other",result="accepted",type="_other"}`: seriesMax + 1,
	})
}

// When an event was stored is known exactly for a while, nearly so for minutes, and to a minute for days; nothing is known
// of what was before.
func TestTimes(t *testing.T) {
	t.Parallel()
	x := newTimes(10)
	const n = 2_000_000
	at := func(seq schemas.Seq) int64 { return int64(seq) * int64(time.Millisecond) * 10 }
	for seq := schemas.Seq(11); seq <= n; seq++ {
		x.add(seq, at(seq))
	}
	for _, c := range []struct {
		back schemas.Seq
		off  time.Duration
	}{{0, 0}, {recentMax - 1, 0}, {recentMax, fineStep}, {20_000, fineStep}, {n - 11, coarseStep}} {
		got, ok := x.of(n - c.back)
		if off := time.Duration(at(n-c.back) - got); !ok || off < 0 || off > c.off {
			t.Errorf("of %d events back: %v, off by %s", c.back, ok, off)
		}
	}
	if _, ok := x.of(10); ok {
		t.Error("an event that was not seen has a time")
	}
	if n := len(x.fine.marks) + len(x.coarse.marks); n > 2*(fineMax+coarseMax) {
		t.Errorf("%d marks are kept", n)
	}
}

// The five events of a plain job allocate nothing, once their series are there.
func TestFoldAllocatesNothing(t *testing.T) {
	x := newTale(t, 0)
	tell := x.plainJobs()
	for range 3 * recentMax {
		tell()
	}
	if n := testing.AllocsPerRun(1000, tell); n > 0.1 { // a map may grow once more
		t.Errorf("an event allocates %v times", n)
	}
}

// plainJobs tells one event at each call, of jobs that take four, and of each tenth that fails once.
func (x *tale) plainJobs() (tell func()) {
	events := []schemas.Event{
		{Data: submitted()}, {Data: &schemas.Queued{}}, {Data: &schemas.Running{Attempt: 1}},
		{Data: &schemas.Failed{Error: schemas.JobError{Class: schemas.ClassTransient}, DelayMS: 1000}},
		{Data: &schemas.Queued{}}, {Data: &schemas.Running{Attempt: 2}}, {Data: &schemas.Completed{DurationMS: 12}},
	}
	i, n, id := 0, 0, schemas.Seq(0)
	return func() {
		e := &events[i]
		x.seq++
		x.now = x.now.Add(100 * time.Microsecond)
		e.Seq, e.Time = x.seq, x.now
		switch d := e.Data.(type) {
		case *schemas.Submitted:
			id, n = e.Seq, n+1
		case schemas.JobData:
			from := schemas.StateRunning
			*d.Common() = head(id, from)
		}
		x.f.apply(e)
		if i++; i == 3 && n%10 != 0 {
			i = 6
		}
		i %= len(events)
	}
}

// What the fold adds to the cost of an event of the tail.
func BenchmarkFold(b *testing.B) {
	x := newTale(b, 0)
	tell := x.plainJobs()
	b.ReportAllocs()
	for b.Loop() {
		tell()
	}
}
