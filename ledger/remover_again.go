package ledger

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/schemas"
)

// A job that was over when it left may live on: it was retried, or a dead letter was closed later. Its segment knows only
// the first end. So just before a segment goes, it is found out of which of its jobs there are events behind it, in LEDGER or
// in a later segment, and those are folded: as long as one of them is not over, or not for long enough, the segment stays. A
// later life of an id that was used again keeps nothing: the one before it is complete.

const (
	// standFor is how long the answer counts: a job may be retried behind it.
	standFor = 15 * time.Minute
	// standBudget is how long is asked for one record, so that others write none meanwhile.
	standBudget = time.Minute
)

// standing are segments that may go with one record, of those whose time is over.
func (r *Remover) standing(ctx context.Context, d *duty, now time.Time) (due []*archiveSegment, err error) {
	began := time.Now()
	for _, s := range d.segments {
		if len(due) == removeMax || len(due) > 0 && time.Since(began) >= standBudget {
			break
		}
		stands, err := r.stands(ctx, d, s, now)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			r.cfg.Logger.Warn("whether the jobs of a segment live on could not be found out: it stays", zap.String("segment", s.ID), zap.Error(err))
		}
		if stands && err == nil {
			due = append(due, s)
		} else {
			r.stays[s.ID] = true
		}
	}
	return due, nil
}

// stands reports whether a segment whose time is over may go.
func (r *Remover) stands(ctx context.Context, d *duty, s *archiveSegment, now time.Time) (bool, error) {
	if s.Class == classOpen {
		return true, nil // each of its jobs was folded in this look
	}
	if at, ok := r.stood[s.ID]; ok && time.Since(at) < standFor {
		return true, nil
	}
	if o, ok := r.opened[s.ID]; ok && !o.due(now) {
		return false, nil
	}
	jobs, err := r.laterOf(ctx, d.c, s)
	if err != nil {
		return false, err
	}
	for i := range jobs {
		on, err := r.livesOn(ctx, d, s, &jobs[i], now)
		if err != nil {
			return false, err
		}
		if on {
			r.opened[s.ID] = openSegment{next: now.Add(openEvery)}
			r.cfg.Logger.Info("a segment of the archive stays, though its time is over: a job of it was begun again",
				zap.String("segment", s.ID), zap.String("subject", jobs[i].subject))
			return false, nil
		}
	}
	delete(r.opened, s.ID)
	r.stood[s.ID] = time.Now()
	return true, nil
}

// livesOn reports whether a life that a segment tells of goes on behind it, and is not over for its time.
func (r *Remover) livesOn(ctx context.Context, d *duty, s *archiveSegment, of *openJob, now time.Time) (bool, error) {
	at, err := schemas.ParseSubject(of.subject)
	if err != nil || at.Job == "" {
		return false, nil // none of ours
	}
	j, err := r.l.Fold(ctx, at.Org, at.Job)
	switch {
	case errors.Is(err, ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	case j.Unreadable:
		return true, nil
	case j.SubmittedSeq > s.Last:
		return false, nil // another life
	}
	ended := endedAt(j)
	if ended.IsZero() || ended.After(d.c.throughAt) {
		return true, nil
	}
	ended = later(ended, s.Ended) // it was over here, or behind
	return slices.ContainsFunc(append(of.types, j.Spec.Type), func(typ schemas.TypeName) bool { return !passed(ended, d.k.of(at.Org, typ), now) }), nil
}

// laterOf are the jobs of a segment of which LEDGER or a later segment holds events behind it.
func (r *Remover) laterOf(ctx context.Context, c *catalog, s *archiveSegment) (jobs []openJob, err error) {
	a := &r.l.archive
	x, err := a.indexOf(ctx, s)
	if err != nil {
		return nil, err
	}
	later, err := a.later(ctx, c, s, x)
	if err != nil {
		return nil, err
	}
	rest := &rester{rests: restAlways}
	for n := range x.pages {
		contents, err := a.pages(ctx, s, x, []int{n})
		if err != nil {
			return nil, err
		}
		of, err := openJobs(contents[0])
		if err != nil {
			return nil, &damageError{segment: s.ID, page: n, at: x.pages[n].at[0], problem: err.Error()}
		}
		for window := range slices.Chunk(of, directInFlight) {
			rest.work()
			places, after := make([]*leavingPlace, len(window)), window[0].last
			for i := range window {
				places[i] = &leavingPlace{subject: window[i].subject, last: window[i].last}
				after = min(after, window[i].last)
			}
			behind, err := r.l.behind(ctx, places, after)
			if err != nil {
				return nil, err
			}
			for i := range window {
				if behind[i] > 0 || later[keyOf(window[i].subject)] {
					jobs = append(jobs, window[i])
				}
			}
			if r.cfg.Now == nil {
				if err := rest.rest(ctx); err != nil {
					return nil, err
				}
			}
		}
	}
	return jobs, nil
}

// later are the subjects of a segment that later ones hold events of. Of a segment whose jobs were all submitted behind this
// one it is known that it goes on with none of them.
func (a *archive) later(ctx context.Context, c *catalog, s *archiveSegment, x *segmentIndex) (map[uint64]bool, error) {
	later := make(map[uint64]bool)
	hashes := x.hashes()
	for _, k := range c.chunks {
		for _, e := range k.segments {
			if e.First <= s.First || e.Class == classControl || !e.Since.IsZero() && e.Since.After(s.LastAt) {
				continue
			}
			both, err := a.common(ctx, e, hashes, nil)
			if err != nil {
				return nil, err
			}
			for _, h := range both {
				later[h] = true
			}
		}
	}
	return later, nil
}
