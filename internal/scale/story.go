package main

import (
	"cmp"
	"context"
	"math"
	"slices"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// told is one job as the ledger tells it. The zero time is: not yet.
type told struct {
	org       schemas.OrgID
	priority  schemas.Priority
	submitted time.Time
	due       time.Time // not before
	queued    time.Time // the first time
	started   time.Time // of the first attempt
	ended     time.Time
	losses    int
}

// story reads a stretch of the ledger.
type story struct {
	jobs    map[schemas.Seq]*told // by submitted
	epochs  int                   // leader events
	order   []*told               // as they started
	entries int
}

// readAfter reads the story of what was stored from a sequence on, once is holds and the worker has stopped.
func (b *bed) readAfter(ctx context.Context, c *crew, from schemas.Seq, what string, is func() bool) (*story, error) {
	if err := c.await(ctx, what, is); err != nil {
		return nil, err
	}
	if err := c.stop(); err != nil {
		return nil, err
	}
	return b.read(ctx, from)
}

// read tells what was stored from a sequence on, up to now.
func (b *bed) read(ctx context.Context, from schemas.Seq) (*story, error) {
	s := &story{jobs: make(map[schemas.Seq]*told)}
	err := b.look.Replay(ctx, ledger.ReplayQuery{From: ledger.ReplayBound{Seq: from}}, func(e *ledger.Entry) error {
		s.entries++
		s.event(e)
		return nil
	})
	return s, err
}

func (s *story) event(e *ledger.Entry) {
	switch d := e.Data.(type) {
	case *schemas.Submitted:
		j := &told{org: e.Org, priority: d.Priority, submitted: e.Time}
		j.due, _ = d.Due(e.Time)
		s.jobs[e.Seq] = j
	case *schemas.LeaderElected:
		s.epochs++
	case *schemas.Queued:
		if j := s.jobs[d.Submitted]; j != nil && j.queued.IsZero() {
			j.queued = e.Time
		}
	case *schemas.Running:
		if j := s.jobs[d.Submitted]; j != nil && j.started.IsZero() {
			j.started = e.Time
			s.order = append(s.order, j)
		}
	case *schemas.Lost:
		if j := s.jobs[d.Submitted]; j != nil {
			j.losses++
		}
	case *schemas.Completed:
		if j := s.jobs[d.Submitted]; j != nil && j.ended.IsZero() {
			j.ended = e.Time
		}
	}
}

// drain is how many jobs ended in a second, from the first start to the last end.
func (s *story) drain() float64 {
	var first, last time.Time
	n := 0
	for _, j := range s.jobs {
		if j.ended.IsZero() {
			continue
		}
		n++
		if first.IsZero() || j.started.Before(first) {
			first = j.started
		}
		if j.ended.After(last) {
			last = j.ended
		}
	}
	return float64(n) / max(last.Sub(first).Seconds(), 0.001)
}

// end is the sequence behind which a part begins.
func (b *bed) end(ctx context.Context) (schemas.Seq, error) {
	at, err := b.look.End(ctx)
	return at.Seq + 1, err
}

// quantile returns the nearest rank of values, which it sorts.
func quantile(values []time.Duration, q float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	i := int(math.Ceil(q*float64(len(values)))) - 1
	return values[max(i, 0)].Seconds()
}

const (
	shareSpan = 10 * time.Second // over any ten seconds
	shareStep = time.Second
)

// unfair is the greatest deviation of a share from its weight's, over every span of starts between two times. A run that
// is shorter than a span is one; spans tells how many there were.
func (s *story) unfair(weights map[schemas.OrgID]int, from, to time.Time) (worst float64, spans int) {
	total := 0
	for _, w := range weights {
		total += w
	}
	span := min(shareSpan, to.Sub(from))
	for at := from; !at.Add(span).After(to); at = at.Add(shareStep) {
		spans++
		got, sum := make(map[schemas.OrgID]int), 0
		first, _ := slices.BinarySearchFunc(s.order, at, func(j *told, t time.Time) int { return cmp.Compare(j.started.UnixNano(), t.UnixNano()) })
		for _, j := range s.order[first:] {
			if !j.started.Before(at.Add(span)) {
				break
			}
			if weights[j.org] > 0 {
				got[j.org]++
				sum++
			}
		}
		for org, w := range weights {
			want := float64(sum) * float64(w) / float64(total)
			worst = max(worst, math.Abs(float64(got[org])/want-1))
		}
	}
	return worst, spans
}
