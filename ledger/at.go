package ledger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// before reports whether e had been stored by the moment b, inclusive.
func (b ReplayBound) holds(e *Entry) bool {
	return (b.Seq == 0 || e.Seq <= b.Seq) && (b.Time.IsZero() || !e.Time.After(b.Time))
}

// upTo is the story as it was told at a moment.
func (b ReplayBound) upTo(entries []*Entry) []*Entry {
	for i, e := range entries {
		if !b.holds(e) {
			return entries[:i]
		}
	}
	return entries
}

// HistoryAt is History as it stood at a moment. The error is ErrNotFound, too, for a job that did not exist by then.
func (l *Ledger) HistoryAt(ctx context.Context, org schemas.OrgID, id schemas.JobID, at ReplayBound) (*JobHistory, error) {
	s, err := l.wholeStory(ctx, org, id)
	if err != nil {
		return nil, fmt.Errorf("history of %s.%s: %w", org, id, err)
	}
	h := historyOf(org, id, at.upTo(s.entries))
	l.passOver(h)
	if !h.Job.Exists() && !h.Job.Unreadable {
		return nil, l.missing(s.entries)
	}
	return h, nil
}

// RecordAt is the record of a job as it stood at a moment, with its attempts, and how its parents stood then. What no
// event holds is missing: progress that was not stored, and whether somebody served it.
func (l *Ledger) RecordAt(ctx context.Context, org schemas.OrgID, id schemas.JobID, at ReplayBound) (*Record, error) {
	h, err := l.HistoryAt(ctx, org, id, at)
	if err != nil {
		return nil, err
	}
	r := RecordOf(h.Job)
	r.Attempts = h.Attempts
	satisfied, err := l.parentsAt(ctx, h.Job, at, &r)
	if err != nil {
		return nil, err
	}
	if h.Job.State == schemas.StateSubmitted {
		then := at.Time
		if then.IsZero() {
			e, err := l.EventAt(ctx, at.Seq)
			if errors.Is(err, ErrNotFound) { // it stands for a moment that has not come
				then = time.Now()
			} else if err != nil {
				return nil, err
			} else {
				then = e.Time
			}
		}
		reason := r.ReasonAt(then, satisfied)
		r.Reason = &reason
	}
	return &r, nil
}

// parentsAt says how the job's parents stood, and whether they let it run. One that is a duplicate stands for itself.
func (l *Ledger) parentsAt(ctx context.Context, j *Job, at ReplayBound, r *Record) (satisfied bool, err error) {
	satisfied = true
	for i, p := range j.Spec.Parents {
		s, err := l.wholeStory(ctx, j.Org, p.ID)
		if err != nil {
			return false, fmt.Errorf("parent %s: %w", p.ID, err)
		}
		end := EndingOf(j.Org, schemas.JobRef{ID: p.ID, Generation: p.Generation}, at.upTo(s.entries))
		state := end.Job.State
		if end.State != schemas.StateNone {
			state = end.State
		}
		r.Parents[i].State = &state
		satisfied = satisfied && end.Judge(p.OnFailure) == EdgeSatisfied
	}
	return satisfied || j.ParentsWaived, nil
}

// CountsAt counts the jobs of an org, of all for an empty one, by where they stood at a moment. It reads the history up
// to there, and keeps about a kilobyte for each job meanwhile. Jobs whose history was removed from the archive are not
// counted. as is the sequence up to which it counted; progress is told as in ReplayQuery, nil for nobody.
func (l *Ledger) CountsAt(ctx context.Context, org schemas.OrgID, at ReplayBound, progress func(at, end schemas.Seq)) (counts map[CountKey]Count, as schemas.Seq, err error) {
	type key struct {
		org schemas.OrgID
		id  schemas.JobID
	}
	jobs := make(map[key]*Job)
	q := ReplayQuery{Org: org, To: at, Progress: func(at, end schemas.Seq) {
		if as = at; progress != nil {
			progress(at, end)
		}
	}}
	err = l.Replay(ctx, q, func(e *Entry) error {
		if e.Job == "" {
			return nil
		}
		k := key{e.Org, e.Job}
		j := jobs[k]
		if j == nil {
			j = &Job{Org: e.Org, ID: e.Job}
			jobs[k] = j
		}
		e.ApplyTo(j)
		// What does not say where a job stands is not kept.
		j.Spec.Args, j.Result, j.Checkpoint, j.Error, j.Progress = nil, nil, nil, nil, nil
		return nil
	})
	if err != nil {
		return nil, 0, err
	}
	sum := make(Counts)
	for _, j := range jobs {
		sum.Apply(Standing{}, StandingOf(j))
	}
	counts = make(map[CountKey]Count, len(sum))
	for k, c := range sum {
		counts[k] = *c
	}
	return counts, as, nil
}
