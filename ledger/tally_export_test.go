package ledger

import (
	"context"

	"github.com/dartwing/jobledger/schemas"
)

// count gives a step of a test its tally, as the archiver does.
func (w *segmentWriter) count(ctx context.Context) (err error) {
	s := &departure{from: w.from}
	bySubject := make(map[string]*leavingPlace)
	for _, m := range w.messages {
		s.add(bySubject, m)
		s.last, s.through = m.Seq, m.Seq
	}
	a := &Archiver{l: w.l}
	w.tally, err = a.tally(ctx, s)
	return err
}

// TallyOf is the tally of a stretch by its messages, which begin with the first of all: what the archiver's must be.
func TallyOf(entries []*Entry, from, through schemas.Seq) *Tally {
	t := &Tally{Counts: make(Counts)}
	jobs := make(map[string]*Job)
	for _, e := range entries {
		if e.Seq > through {
			break
		}
		m := Move{}
		if e.Job != "" {
			key := JobKey(e.Org, e.Job)
			if jobs[key] == nil {
				jobs[key] = new(Job)
			}
			m = Counted(jobs[key], e.Event, e.Err)
		} else if e.Err != nil {
			m.Quarantined = 1
		}
		if e.Seq > from {
			t.Count(m)
		}
	}
	return t
}

// Differs names a counter in which tallies differ; the totals of what is no job are compared too.
func (t *Tally) Differs(o *Tally) (CountKey, bool) {
	k, differ := t.differs(o, "", nil)
	return k, differ || t.Quarantined != o.Quarantined || t.Illegal != o.Illegal
}

// Commits are the boundaries that the archive ever had, and where the parts of their tallies stand in CATALOG.
func (l *Ledger) Commits(ctx context.Context) (through []schemas.Position, at [][]schemas.Seq, err error) {
	c, err := l.archive.refresh(ctx)
	if err != nil {
		return nil, nil, err
	}
	for i := range c.commits {
		through = append(through, c.commits[i].through)
		if t := c.commits[i].tally; t != nil {
			at = append(at, t.At)
		} else {
			at = append(at, nil)
		}
	}
	return through, at, nil
}

// ErrUntallied is why a segment is not removed.
var ErrUntallied = errUntallied

// ArchiveMiscounted is ArchiveThrough for one step with a tally that counts one job too many.
func (l *Ledger) ArchiveMiscounted(ctx context.Context, events int) error {
	state, err := l.Archived(ctx)
	if err != nil {
		return err
	}
	w := l.newSegment(state.Through.Seq)
	if err := l.fillSegment(ctx, w, 0, events); err != nil {
		return err
	}
	if err := w.count(ctx); err != nil {
		return err
	}
	w.tally.Count(Move{Is: Standing{Key: CountKey{Org: "acme", Queue: "default", Type: "t"}, State: schemas.StateCompleted}})
	_, err = w.Commit(ctx, w.Last())
	return err
}
