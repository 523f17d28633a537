package handlers

import (
	"context"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Limits of one progress report; what is longer is cut, not refused.
const (
	ProgressMessageMax  = 500 // characters
	ProgressStepsMax    = 100
	ProgressStepNameMax = 100 // characters
)

// Pace of what a worker writes into LIVE.
const (
	// progressEvery is the least time between two writes of one attempt. A change that comes after a longer
	// silence is written at once, so it is seen well within 500 ms; R-314's once a second would not be.
	progressEvery = 250 * time.Millisecond
	// progressRate is how many bytes of progress a worker writes in a second, whatever its handlers report.
	progressRate = 2 << 20
)

// Progress replaces the attempt's progress. It never blocks: reports are conflated, only the latest is
// shown and kept in the outcome. Percent is clamped to 0..100, long texts and lists are cut, a step is
// pending, in_progress or done, and pending where it says anything else.
func (a *Attempt) Progress(p schemas.Progress) {
	p.Percent = min(max(p.Percent, 0), 100)
	p.Message = cutRunes(p.Message, ProgressMessageMax)
	steps := p.Steps[:min(len(p.Steps), ProgressStepsMax)]
	p.Steps = nil
	if len(steps) > 0 { // a copy: the caller may go on using its slice
		p.Steps = append([]schemas.Step(nil), steps...)
		for i := range p.Steps {
			s := &p.Steps[i]
			s.Name = cutRunes(s.Name, ProgressStepNameMax)
			if s.State != stepInProgress && s.State != stepDone {
				s.State = stepPending
			}
		}
	}
	a.progress.Store(&p)
	if a.host.progressed != nil {
		a.host.progressed()
	}
}

// LastProgress returns the latest report, or nil before the first. It is shared: do not change it.
func (a *Attempt) LastProgress() *schemas.Progress { return a.progress.Load() }

// reporter writes the progress of a session's attempts into LIVE, from one goroutine. Nothing waits for it:
// handlers mark their attempt and go on, and it shares no lock, and by default no connection, with claims,
// beats and outcomes. What it writes is not acknowledged; what is lost is written again.
type reporter struct {
	nc    *nats.Conn
	log   *zap.Logger
	every time.Duration
	wake  chan struct{} // capacity 1

	mu     sync.Mutex
	queue  []*running               // marked, each once; at most as many as attempts run
	shown  map[*running]*shownState // attempts that have reported and are not over
	broken bool                     // a write failed, and that was said
}

// shownState is what is known of an attempt's value in LIVE.
type shownState struct {
	last *schemas.Progress
	n    uint64
	at   time.Time
}

func newReporter(nc *nats.Conn, log *zap.Logger, every time.Duration) *reporter {
	return &reporter{nc: nc, log: log, every: every, wake: make(chan struct{}, 1), shown: make(map[*running]*shownState)}
}

// mark says that the progress of r has changed. A flood of calls costs little more than the first.
func (p *reporter) mark(r *running) {
	if !r.reported.CompareAndSwap(false, true) {
		return
	}
	p.mu.Lock()
	if !r.reportsOver {
		p.queue = append(p.queue, r)
		if p.shown[r] == nil {
			p.shown[r] = &shownState{}
		}
	}
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// over says that the attempt has its outcome: from here nothing is written of it.
func (p *reporter) over(r *running) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r.reportsOver = true
	delete(p.shown, r)
}

// run writes until ctx ends.
func (p *reporter) run(ctx context.Context) {
	refresh := time.NewTicker(ledger.ProgressRefresh)
	defer refresh.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var waiting []*running // marked, but written a moment ago
	var resume time.Time   // nothing is written before: a measure of what was written last
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		case <-timer.C:
		case <-refresh.C:
			p.markStale(time.Now())
		}
		now := time.Now()
		if now.Before(resume) {
			timer.Reset(resume.Sub(now))
			continue
		}
		p.mu.Lock()
		waiting = append(waiting, p.queue...)
		clear(p.queue)
		p.queue = p.queue[:0]
		p.mu.Unlock()
		var wrote int
		var next time.Time
		waiting, wrote, next = p.write(waiting, now)
		resume = now.Add(time.Duration(wrote) * time.Second / progressRate)
		if next.Before(resume) {
			next = resume
		}
		if len(waiting) > 0 {
			timer.Reset(time.Until(next))
		}
	}
}

// markStale marks the attempts whose value in LIVE grows old.
func (p *reporter) markStale(now time.Time) {
	p.mu.Lock()
	var stale []*running
	for r, s := range p.shown {
		if now.Sub(s.at) >= ledger.ProgressRefresh/2 {
			stale = append(stale, r)
		}
	}
	p.mu.Unlock()
	for _, r := range stale {
		p.mark(r)
	}
}

// write publishes what is due, up to the bytes of one second, and returns the rest with the time when the first
// of it is due.
func (p *reporter) write(all []*running, now time.Time) (rest []*running, wrote int, next time.Time) {
	connected := p.nc.IsConnected() // else it would heap up in the client's buffer
	rest = all[:0]
	for _, r := range all {
		p.mu.Lock()
		s := p.shown[r]
		p.mu.Unlock()
		if s == nil {
			continue // over
		}
		due := s.at.Add(p.every)
		if !connected {
			due = now.Add(p.every)
		}
		if wrote >= progressRate || due.After(now) {
			rest = append(rest, r)
			if next.IsZero() || due.Before(next) {
				next = due
			}
			continue
		}
		r.reported.Store(false) // before the value is read: a later change marks again
		wrote += p.publish(r, s, now)
	}
	clear(all[len(rest):])
	return rest, wrote, next
}

// publish writes one value and returns its size.
func (p *reporter) publish(r *running, s *shownState, now time.Time) int {
	last := r.a.LastProgress()
	if last != s.last {
		s.last = last
		s.n++
	}
	s.at = now
	v := ledger.LiveProgress{Org: r.a.Org, Job: r.a.ID, Type: r.a.Type, Generation: r.a.Generation, Attempt: r.a.Number,
		Fence: r.a.Fence, N: s.n, Progress: *last}
	m, err := v.Encode()
	if err == nil {
		err = p.nc.PublishMsg(m)
	}
	if err != nil {
		if !p.broken {
			p.broken = true
			p.log.Warn("progress could not be written; this is said once", append(r.fields(), zap.Error(err))...)
		}
		return 0
	}
	return len(m.Data)
}
