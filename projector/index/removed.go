package index

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// When the time of a segment of the archive is over it is removed, and a fold from zero does not meet its jobs any
// more. So their rows leave, too: the segment is read once more, as long as that can be done, and each of its jobs becomes
// what a fold from zero would make of it. The number of removals that were followed stands beside the position.

const (
	// removedEvery is how often an index asks whether history was removed, removedSilence how often it says at most that it cannot
	// follow.
	removedEvery, removedSilence = time.Minute, time.Hour
	// removedAge is how old an index is at least that begins anew since nothing tells any more what was removed, as when its server
	// stood still for days: a fold from zero takes minutes where there are millions of jobs.
	removedAge = 24 * time.Hour
)

// history tells what was removed.
type history struct {
	// removed is how many segments of the archive were removed, ever, and the id of the last; since calls fn with each behind that.
	removed func(ctx context.Context) (int, string, error)
	since   func(ctx context.Context, after int, last string, fn func(*ledger.RemovedSegment) error) error
	// remaining are the messages of a job that are left, of ARCHIVE between two sequences, or all.
	remaining  func(ctx context.Context, org schemas.OrgID, id schemas.JobID, from, to schemas.Seq) ([]*ledger.Entry, error)
	every, age time.Duration
}

func historyOf(l *ledger.Ledger) history {
	h := history{every: removedEvery, age: removedAge, removed: func(context.Context) (int, string, error) { return 0, "", nil }}
	if l != nil {
		h.removed, h.since, h.remaining = l.Removals, l.RemovalsSince, l.Remaining
	}
	return h
}

// leaving hands over what was removed from the archive, and is followed by a session.
type leaving struct {
	after    int    // so many removals are followed
	last     string // the id of the last one; "": it is not known
	begun    time.Time
	segments chan *ledger.RemovedSegment
	failed   chan error // takes one: it cannot be followed any more

	now  *ledger.RemovedSegment // is being followed
	left []schemas.Subject      // jobs of it
}

// removals reads what the file says about removals. What was removed until it was begun it does not meet.
func (s *session) removals(ctx context.Context) error {
	var begun int64
	l := leaving{segments: make(chan *ledger.RemovedSegment), failed: make(chan error, 1)}
	err := s.file.write.QueryRowContext(ctx, `SELECT (SELECT value FROM meta WHERE key = 'begun'), (SELECT value FROM meta WHERE key = 'removed'),
		(SELECT value FROM meta WHERE key = 'segment')`).Scan(&begun, &l.after, &l.last)
	if err != nil {
		return err
	}
	if l.after < 0 {
		if l.after, l.last, err = s.x.history.removed(ctx); err != nil {
			return fmt.Errorf("%w: %w", errOutside, err)
		}
		if err := writeRemovals(ctx, s.file.write, l.after, l.last); err != nil {
			return err
		}
	}
	l.begun = time.Unix(begun, 0)
	s.leaving = l
	return nil
}

// writeRemovals notes how many removals are followed, and the last of them.
func writeRemovals(ctx context.Context, q interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}, n int, last string) error {
	if _, err := q.ExecContext(ctx, `UPDATE meta SET value = CASE key WHEN 'removed' THEN ? ELSE ? END WHERE key IN ('removed', 'segment')`, n, last); err != nil {
		return fmt.Errorf("index: removals: %w", err)
	}
	return nil
}

// watchRemovals hands over one removed segment after the other until ctx ends. One is handed over once all its events are in
// the file: a fold from zero that is under way may meet them still. What cannot be asked now is asked next time.
func (s *session) watchRemovals(ctx context.Context) {
	h, after, last := &s.x.history, s.leaving.after, s.leaving.last
	tick := time.NewTicker(h.every)
	defer tick.Stop()
	var said time.Time
	for {
		err := h.since(ctx, after, last, func(g *ledger.RemovedSegment) error {
			if err := s.x.WaitFor(ctx, g.Last); err != nil {
				return err
			}
			select {
			case s.leaving.segments <- g:
				after, last = g.Number, g.ID
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		forgotten := errors.Is(err, ledger.ErrRemovalForgotten) && time.Since(s.leaving.begun) >= h.age
		if forgotten || errors.Is(err, ledger.ErrPositionExpired) {
			s.leaving.failed <- fmt.Errorf("%w: it cannot follow what was removed from the archive: %w", errAnew, err)
			return
		}
		if err != nil && ctx.Err() == nil && time.Since(said) >= removedSilence {
			said = time.Now()
			s.x.cfg.Logger.Warn("the index cannot follow what was removed from the archive; trying again", zap.Error(err))
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// followSome has some jobs of the segment that is being followed leave.
func (s *session) followSome(ctx context.Context) error {
	l := &s.leaving
	some := l.left[:min(len(l.left), lookAtOnce)]
	if err := s.fold.leave(ctx, l.now, some, s.leftOf); err != nil {
		return err
	}
	if l.left = l.left[len(some):]; len(l.left) == 0 {
		s.fold.followed(l.now)
		l.now = nil
	}
	return nil
}

// leftOf is what is left of a job of which a part was removed. Of one that used its id alone all that its fold is made of stands between its
// submitted and its last message, so that no other segment is looked at.
func (s *session) leftOf(ctx context.Context, ent *entry) ([]*ledger.Entry, error) {
	j, from, to := ent.job, ent.job.SubmittedSeq, ent.job.LastSeq
	if ent.again {
		from, to = 0, 0
	}
	left, err := s.x.history.remaining(ctx, j.Org, j.ID, from, to)
	switch {
	case errors.Is(err, ledger.ErrArchiveDamaged):
		s.x.cfg.Logger.Warn("what is left of a job cannot be read; its row stays in the index as it is", zap.String("org", string(j.Org)), zap.String("job", string(j.ID)), zap.Error(err))
		return nil, errStays
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errOutside, err)
	}
	return left, nil
}

// errStays: a job's row is left as it is.
var errStays = errors.New("the row stays")

// leftOf is what is left of a job; the error may be errStays.
type leftOf func(ctx context.Context, ent *entry) ([]*ledger.Entry, error)

// leave folds anew what is left of jobs of which a part was removed, at most lookAtOnce.
func (f *fold) leave(ctx context.Context, g *ledger.RemovedSegment, jobs []schemas.Subject, leftOf leftOf) error {
	ents := make(map[jobKey]*entry, len(jobs)) // those in memory may leave it as soon as another one is kept
	f.missing = f.missing[:0]
	for _, at := range jobs {
		k := jobKey{at.Org, at.Job}
		if ents[k] = f.young[k]; ents[k] == nil {
			ents[k] = f.old[k]
		}
		if ents[k] == nil && !slices.Contains(f.missing, k) {
			f.missing = append(f.missing, k)
		}
	}
	if len(f.missing) > 0 {
		if err := f.lookup(ctx, f.missing, func(k jobKey, j *ledger.Job, again bool) { ents[k] = newEntry(k, j, again) }); err != nil {
			return fmt.Errorf("index: jobs of a removed segment: %w", err)
		}
	}
	for _, at := range jobs {
		k := jobKey{at.Org, at.Job}
		ent := ents[k]
		if ents[k] = nil; ent == nil || !ent.job.Exists() || ent.job.SubmittedSeq > g.Last { // it is gone, or its id was used again
			continue
		}
		if err := f.leaveJob(ctx, ent, g, leftOf); err != nil {
			return err
		}
		f.keep(k, ent)
	}
	return nil
}

// leaveJob is leave for one job.
func (f *fold) leaveJob(ctx context.Context, ent *entry, g *ledger.RemovedSegment, leftOf leftOf) error {
	j := ent.job
	var left []*ledger.Entry
	// What began and ended in the segment left with it: of one job all that one step takes is in one segment. But an earlier
	// life of the id may be kept for longer.
	if ent.again || j.SubmittedSeq < g.First || j.LastSeq > g.Last {
		var err error
		if left, err = leftOf(ctx, ent); errors.Is(err, errStays) {
			return nil
		} else if err != nil {
			return err
		}
	}
	stood := ledger.StandingOf(j)
	f.counts.Apply(stood, ledger.Standing{})
	f.moved[stood.Key] = true
	ent.job, ent.again = &ledger.Job{Org: j.Org, ID: j.ID}, false
	if !ent.dirty {
		ent.dirty = true
		f.dirty = append(f.dirty, ent)
	}
	f.messages++
	for _, e := range left {
		if e.Seq <= f.at.Seq {
			f.applyJob(ent, e.Event, e.Err)
		}
	}
	// The rules in force when it was submitted may have been stricter: what the row holds stays, and that of an earlier life holds nothing.
	ent.args, ent.result = nil, nil
	return nil
}

// followed notes that a removal is followed.
func (f *fold) followed(g *ledger.RemovedSegment) {
	f.removed = g
	f.messages++ // it is to be written, whatever else is
}
