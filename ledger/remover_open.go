package ledger

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/schemas"
)

// A segment of jobs that were not over when it was written is due when each of them has been over for its time, counted
// from the last finish. That is found out job by job, at a pace, a segment at most once a day, and no sooner than the
// shortest retention behind its last event: until then nothing in it can be due.

// judgeOpen looks at the segments of jobs that were not over, those whose turn it is, as long as the look has time; the ones
// that have waited longest come first. One that cannot be judged stays, and keeps no other from its turn. found: there are
// some whose time is over.
func (r *Remover) judgeOpen(ctx context.Context, now time.Time) (found bool, err error) {
	c, err := r.l.archive.refresh(ctx)
	if err != nil {
		return false, err
	}
	k, err := r.l.keeping(ctx)
	if err != nil {
		return false, err
	}
	began := time.Now()
	for n, s := range r.turns(c, k, now) {
		if n > 0 && time.Since(began) >= r.cfg.OpenBudget {
			break
		}
		o, err := r.judgeSegment(ctx, s, c.latest(s.Last))
		if ctx.Err() != nil {
			return found, ctx.Err()
		}
		if err != nil {
			o = openSegment{}
			r.cfg.Logger.Warn("what became of the jobs of a segment could not be found out: it stays", zap.String("segment", s.ID), zap.Error(err))
		}
		o.look, o.next = r.looks, now.Add(openEvery)
		if o.ended != nil && !o.over(k, now.Add(openRest)) {
			o.next = now.Add(openRest)
		}
		r.opened[s.ID] = o
		found = found || o.over(k, now)
	}
	return found, nil
}

// due reports whether it is time to look again; also where the clock was ahead when that was decided.
func (o *openSegment) due(now time.Time) bool {
	return !now.Before(o.next) || o.next.Sub(now) > openRest
}

// turns are the segments that are to be looked into.
func (r *Remover) turns(c *catalog, k *keeping, now time.Time) (turns []*archiveSegment) {
	shortest := k.shortest()
	for _, chunk := range c.chunks {
		for _, s := range chunk.segments {
			o := r.opened[s.ID]
			// What was found out is told again before anything goes by it: a job may live again, or a retention be shorter.
			if s.Class == classOpen && passed(s.LastAt, shortest, now) && (o.due(now) || o.over(k, now) && r.waited(s.ID, now)) {
				turns = append(turns, s)
			}
		}
	}
	slices.SortStableFunc(turns, func(a, b *archiveSegment) int { return r.opened[a.ID].next.Compare(r.opened[b.ID].next) })
	return turns
}

// over reports whether all jobs of the segment have been over for their time.
func (o *openSegment) over(k *keeping, now time.Time) bool {
	return o.ended != nil && !slices.ContainsFunc(o.ended, func(e openEnd) bool { return !passed(e.ended, k.of(e.org, e.typ), now) })
}

// judgeSegment finds out when the jobs of a segment were over: not before it was made, whatever clocks say.
func (r *Remover) judgeSegment(ctx context.Context, s *archiveSegment, made time.Time) (openSegment, error) {
	if err := r.pace(ctx, "open"); err != nil {
		return openSegment{}, err
	}
	a := &r.l.archive
	x, err := a.indexOf(ctx, s)
	if err != nil {
		return openSegment{}, err
	}
	ended := []openEnd{}
	rest := &rester{rests: restAlways}
	for n := range x.pages {
		contents, err := a.pages(ctx, s, x, []int{n})
		if err != nil {
			return openSegment{}, err
		}
		jobs, err := openJobs(contents[0])
		if err != nil {
			return openSegment{}, &damageError{segment: s.ID, page: n, at: x.pages[n].at[0], problem: err.Error()}
		}
		for i := range jobs {
			rest.work()
			if err := ctx.Err(); err != nil {
				return openSegment{}, err
			}
			ends, over, err := r.jobEnded(ctx, &jobs[i])
			if err != nil {
				return openSegment{}, err
			}
			if !over {
				return openSegment{}, nil
			}
			for _, e := range ends {
				e.ended = later(e.ended, made)
				ended = withEnd(ended, e)
			}
			if len(ended) > openGroupsMax {
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

// openJob is a job that a page holds events of.
type openJob struct {
	subject string
	last    schemas.Seq        // of its events there
	types   []schemas.TypeName // that those name: an id may have been used again for another type
}

// openJobs are the jobs of a page.
func openJobs(content []byte) (jobs []openJob, err error) {
	var d pageDecoder
	var bad error
	err = walkPage(content, "", func(e pagedEvent) {
		entry, err := d.entry(e)
		if err != nil {
			bad = cmp.Or(bad, err)
			return
		}
		if n := len(jobs); n == 0 || jobs[n-1].subject != e.subject {
			jobs = append(jobs, openJob{subject: e.subject})
		}
		j := &jobs[len(jobs)-1]
		j.last = e.seq
		if typ := typeOf(entry.Data); typ != "" && !slices.Contains(j.types, typ) {
			j.types = append(j.types, typ)
		}
	})
	return jobs, cmp.Or(err, bad)
}

// jobEnded says when a job was over, by all that is known of it, for each type that keeps it; over is false if it is not.
func (r *Remover) jobEnded(ctx context.Context, of *openJob) (ends []openEnd, over bool, err error) {
	at, err := schemas.ParseSubject(of.subject)
	if err != nil || at.Job == "" {
		return nil, true, nil // none of ours
	}
	j, err := r.l.Fold(ctx, at.Org, at.Job)
	switch {
	case errors.Is(err, ErrNotFound): // what came later was removed, when its time was over
		return nil, true, nil
	case err != nil:
		return nil, false, err
	case j.Unreadable, endedAt(j).IsZero():
		return nil, false, nil
	}
	ends = []openEnd{{org: at.Org, typ: j.Spec.Type, ended: endedAt(j)}}
	for _, typ := range of.types {
		if typ != j.Spec.Type {
			ends = append(ends, openEnd{org: at.Org, typ: typ, ended: endedAt(j)})
		}
	}
	return ends, true, nil
}
