package metrics

import (
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// laterMax is how many jobs are kept that could run later than they were submitted: 4 MiB. Of what does not fit it is only
// kept that it lies between two sequences: how long those jobs waited is not observed.
const laterMax = 1 << 17

// fold counts events. It belongs to one goroutine.
type fold struct {
	f      *families
	series map[seriesKey]*series
	works  map[workKey]*work
	times  *times
	// later holds, by the sequence of its submitted, from when a job could run, in ns, if that is not its submission: it
	// has a not-before or waits for a retry. 0: it waits for parents, and nobody says until when.
	later map[schemas.Seq]int64
	// unkept are the first and the last job that later had no room for.
	unkept [2]schemas.Seq
}

func newFold(f *families, from schemas.Seq) *fold {
	return &fold{f: f, series: map[seriesKey]*series{}, works: map[workKey]*work{}, times: newTimes(from), later: map[schemas.Seq]int64{}}
}

// anew goes on behind a sequence as if nothing before it was seen, but for what is counted.
func (f *fold) anew(from schemas.Seq) {
	f.times, f.later, f.unkept = newTimes(from), map[schemas.Seq]int64{}, [2]schemas.Seq{}
}

// apply counts one event.
func (f *fold) apply(e *schemas.Event) {
	at := e.Time.UnixNano()
	f.times.add(e.Seq, at)
	switch d := e.Data.(type) {
	case *schemas.Submitted:
		f.submitted(e, d, at)
	case *schemas.Running:
		f.running(d, at)
	case *schemas.Completed:
		w := f.work(&d.Head)
		w.attempt(f.f, outcomeCompleted, "").Inc()
		w.duration(f.f, outcomeCompleted).Observe(seconds(d.DurationMS))
		f.finished(w, stateCompleted, &d.Head, at)
	case *schemas.Failed:
		f.retrying(&d.AttemptHead, outcomeFailed, &d.Error, d.DurationMS, at+int64(d.DelayMS.Duration()))
	case *schemas.TimedOut:
		f.retrying(&d.AttemptHead, outcomeTimedOut, &d.Error, d.DurationMS, at+int64(d.DelayMS.Duration()))
	case *schemas.Released:
		f.work(&d.Head).attempt(f.f, outcomeReleased, "").Inc()
		f.keep(d.Submitted, at)
	case *schemas.Lost:
		w := f.work(&d.Head)
		w.attempt(f.f, outcomeLost, string(schemas.ClassLost)).Inc()
		w.lost.Inc()
		f.keep(d.Submitted, at)
	case *schemas.Canceled:
		w := f.work(&d.Head)
		f.ended(w, &d.Head, outcomeCanceled, d.Outcome, d.Error, d.DurationMS)
		f.finished(w, stateCanceled, &d.Head, at)
	case *schemas.DeadLettered:
		w := f.work(&d.Head)
		f.ended(w, &d.Head, outcomeDeadLettered, d.Outcome, d.Error, d.DurationMS)
		if d.Cause != "" {
			w.lost.Inc()
		}
		f.finished(w, stateDeadLettered, &d.Head, at)
	case *schemas.Retried:
		f.work(&d.Head).retried.Inc()
		if len(d.Parents) > 0 {
			at = 0
		}
		f.keep(d.Submitted, at)
	case *schemas.LateResult:
		f.work(&d.Head).late.Inc()
	}
}

func seconds(ms schemas.Millis) float64 { return ms.Duration().Seconds() }

func (f *fold) submitted(e *schemas.Event, d *schemas.Submitted, at int64) {
	s := f.seriesOf(d.Queue, d.Type, d.Priority)
	if d.Refused != nil {
		s.rejected.Inc()
		return
	}
	s.accepted.Inc()
	if d.Tick != nil {
		f.f.late.Observe(max(0, e.Time.Sub(*d.Tick).Seconds()))
	}
	if len(d.Parents) > 0 {
		f.keep(e.Seq, 0)
		return
	}
	if d.DelayMS > 0 || d.NotBefore != nil {
		if due, _ := d.Due(e.Time); due.After(e.Time) {
			f.keep(e.Seq, due.UnixNano())
		}
	}
}

func (f *fold) running(d *schemas.Running, at int64) {
	f.work(&d.Head).started.Inc()
	ready, ok := f.ready(d)
	if !ok {
		return
	}
	f.seriesOf(d.Queue, d.Type, d.Priority).wait.Observe(max(0, time.Duration(at-ready).Seconds()))
}

// ready says from when a job that starts could have, if that is known.
func (f *fold) ready(d *schemas.Running) (at int64, ok bool) {
	if len(f.later) > 0 {
		if at, ok = f.later[d.Submitted]; ok {
			delete(f.later, d.Submitted)
			return at, at != 0
		}
	}
	if d.Attempt > 1 || d.Submitted >= f.unkept[0] && d.Submitted <= f.unkept[1] {
		return 0, false
	}
	return f.times.of(d.Submitted)
}

// retrying counts an attempt after which the job waits until due.
func (f *fold) retrying(h *schemas.AttemptHead, o outcome, err *schemas.JobError, took schemas.Millis, due int64) {
	w := f.work(&h.Head)
	w.attempt(f.f, o, string(err.Class)).Inc()
	w.duration(f.f, o).Observe(seconds(took))
	f.keep(h.Submitted, due)
}

// ended counts the attempt that a job's end ended, if it did. told is what the worker said of it, if it said anything.
func (f *fold) ended(w *work, h *schemas.Head, o outcome, told schemas.EventName, err *schemas.JobError, took schemas.Millis) {
	if h.From != schemas.StateRunning {
		return
	}
	class := ""
	if err != nil {
		class = string(err.Class)
	}
	w.attempt(f.f, o, class).Inc()
	if told != "" {
		w.duration(f.f, o).Observe(seconds(took))
	}
}

// finished counts the end of a job.
func (f *fold) finished(w *work, state int, h *schemas.Head, at int64) {
	w.finished[state].Inc()
	if len(f.later) > 0 {
		delete(f.later, h.Submitted)
	}
	if begin, ok := f.times.of(h.Submitted); ok {
		w.total.Observe(max(0, time.Duration(at-begin).Seconds()))
	}
}

// keep notes from when a job can run, which is not its submission.
func (f *fold) keep(id schemas.Seq, ready int64) {
	if len(f.later) < laterMax {
		f.later[id] = ready
		return
	}
	if _, ok := f.later[id]; ok {
		f.later[id] = ready
		return
	}
	if f.unkept[1] == 0 {
		f.unkept[0] = id
	}
	f.unkept[0], f.unkept[1] = min(f.unkept[0], id), max(f.unkept[1], id)
}
