package ledger

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// A segment of jobs that were not over when it was written is due when each of them has been over for its time, counted
// from the last finish. That is found out job by job, at a pace, a segment at most once a day, and no sooner than the
// shortest retention behind its last event: until then nothing in it can be due.

// judgeOpen looks at the segments of jobs that were not over, those whose turn it is.
func (r *Remover) judgeOpen(ctx context.Context, now time.Time) error {
	c, err := r.l.archive.refresh(ctx)
	if err != nil {
		return err
	}
	k, err := r.l.keeping(ctx)
	if err != nil {
		return err
	}
	shortest := k.shortest()
	for _, chunk := range c.chunks {
		for _, s := range chunk.segments {
			if s.Class != classOpen || !passed(s.LastAt, shortest, now) {
				continue
			}
			if o, ok := r.opened[s.ID]; ok && now.Before(o.next) {
				continue
			}
			o, err := r.judgeSegment(ctx, s)
			var damage *damageError
			if errors.As(err, &damage) {
				o, err = openSegment{}, nil // it stays
			}
			if err != nil {
				return err
			}
			o.next = now.Add(openEvery)
			if o.ended != nil && !o.over(k, now.Add(openRest)) {
				o.next = now.Add(openRest)
			}
			r.opened[s.ID] = o
		}
	}
	return nil
}

// over reports whether all jobs of the segment have been over for their time.
func (o *openSegment) over(k *keeping, now time.Time) bool {
	return o.ended != nil && !slices.ContainsFunc(o.ended, func(e openEnd) bool { return !passed(e.ended, k.of(e.org, e.typ), now) })
}

// judgeSegment finds out when the jobs of a segment were over.
func (r *Remover) judgeSegment(ctx context.Context, s *archiveSegment) (openSegment, error) {
	a := &r.l.archive
	x, err := a.indexOf(ctx, s)
	if err != nil {
		return openSegment{}, err
	}
	ended := []openEnd{}
	rest := &rester{cut: cutoff{late: time.Unix(0, 0)}, at: time.Now()}
	var before string
	for n := range x.pages {
		contents, err := a.pages(ctx, s, x, []int{n})
		if err != nil {
			return openSegment{}, err
		}
		var subjects []string
		if err := walkPage(contents[0], "", func(e pagedEvent) {
			if e.subject != before {
				before = e.subject
				subjects = append(subjects, e.subject)
			}
		}); err != nil {
			return openSegment{}, err
		}
		for _, subject := range subjects {
			rest.work()
			if err := ctx.Err(); err != nil {
				return openSegment{}, err
			}
			e, over, err := r.jobEnded(ctx, subject)
			if err != nil {
				return openSegment{}, err
			}
			if !over {
				return openSegment{}, nil
			}
			if ended = withEnd(ended, e); len(ended) > openGroupsMax {
				return openSegment{}, nil
			}
			if r.cfg.Now == nil {
				if err := rest.rest(ctx); err != nil {
					return openSegment{}, err
				}
			}
		}
	}
	return openSegment{ended: ended}, nil
}

// withEnd notes when a job was over; one without a time has nothing to wait for.
func withEnd(ended []openEnd, e openEnd) []openEnd {
	if e.ended.IsZero() {
		return ended
	}
	i := slices.IndexFunc(ended, func(o openEnd) bool { return o.org == e.org && o.typ == e.typ })
	switch {
	case i < 0:
		return append(ended, e)
	case e.ended.After(ended[i].ended):
		ended[i].ended = e.ended
	}
	return ended
}

// jobEnded says when a job was over, by all that is known of it; over is false if it is not.
func (r *Remover) jobEnded(ctx context.Context, subject string) (e openEnd, over bool, err error) {
	at, err := schemas.ParseSubject(subject)
	if err != nil || at.Job == "" {
		return e, true, nil // none of ours
	}
	j, err := r.l.Fold(ctx, at.Org, at.Job)
	switch {
	case errors.Is(err, ErrNotFound): // what came later was removed, when its time was over
		return e, true, nil
	case err != nil:
		return e, false, err
	case j.Unreadable:
		return e, false, nil
	}
	e = openEnd{org: at.Org, typ: j.Spec.Type, ended: endedAt(j)}
	return e, !e.ended.IsZero(), nil
}
