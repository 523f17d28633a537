package ledger

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// ArchiveThrough copies LEDGER up to through, or its end if 0, into the archive, in steps of at most events, and
// purges nothing.
func (l *Ledger) ArchiveThrough(ctx context.Context, through schemas.Seq, events int) error {
	for {
		state, err := l.Archived(ctx)
		if err != nil {
			return err
		}
		w := l.newSegment(state.Through.Seq)
		if err := l.fillSegment(ctx, w, through, events); err != nil {
			return err
		}
		if len(w.messages) == 0 {
			return nil
		}
		if err := w.count(ctx); err != nil {
			return err
		}
		if _, err := w.Commit(ctx, w.Last()); err != nil {
			return err
		}
	}
}

func (l *Ledger) fillSegment(ctx context.Context, w *segmentWriter, through schemas.Seq, events int) error {
	for next := w.from + 1; ; {
		batch, err := l.rawFrom(ctx, next)
		if err != nil || len(batch) == 0 {
			return err
		}
		for i := range batch {
			m := &batch[i]
			if through > 0 && m.Seq > through || events > 0 && len(w.messages) >= events || w.Full() {
				return nil
			}
			w.Add(m)
			next = m.Seq + 1
		}
	}
}

// ArchivedSubject and ArchivedRange are what histories and replays read.
func (l *Ledger) ArchivedSubject(ctx context.Context, org schemas.OrgID, id schemas.JobID) ([]*Entry, error) {
	return l.archivedSubject(ctx, org, id)
}

// ArchivedRange reads a stretch.
func (l *Ledger) ArchivedRange(ctx context.Context, from, to schemas.Seq, org schemas.OrgID, fn func([]*Entry) error) error {
	return l.archivedRange(ctx, from, to, org, fn)
}

// ArchiveStep is one step of at most events messages, collected now and written when commit is called.
func (l *Ledger) ArchiveStep(ctx context.Context, events int) (commit func(context.Context) error, err error) {
	state, err := l.Archived(ctx)
	if err != nil {
		return nil, err
	}
	w := l.newSegment(state.Through.Seq)
	if err := l.fillSegment(ctx, w, 0, events); err != nil {
		return nil, err
	}
	if err := w.count(ctx); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		_, err := w.Commit(ctx, w.Last())
		return err
	}, nil
}

// SweepArchive removes what no record names.
func (l *Ledger) SweepArchive(ctx context.Context, age time.Duration) (int, error) {
	return l.sweepArchive(ctx, age)
}

// ArchiveSegments describes what is there: of each segment its id, its first and last sequence, and how many messages
// of ARCHIVE it consists of.
func (l *Ledger) ArchiveSegments(ctx context.Context) (segments []ArchiveSegment, err error) {
	c, err := l.archive.refresh(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range c.chunks {
		for _, s := range k.segments {
			segments = append(segments, ArchiveSegment{ID: s.ID, Class: s.Class, First: s.First, Last: s.Last, Messages: s.Messages, Ended: s.Ended})
		}
	}
	return segments, nil
}

// ArchiveSegment is one of ArchiveSegments.
type ArchiveSegment struct {
	ID, Class   string
	First, Last schemas.Seq
	Messages    int
	Ended       time.Time
}

// RemoveSegments takes segments out, with their messages.
func (l *Ledger) RemoveSegments(ctx context.Context, ids ...string) error {
	c, err := l.archive.refresh(ctx)
	if err == nil {
		_, err = l.appendRemoval(ctx, c, removal{Segments: ids, Reason: "test", Actor: schemas.Actor{Type: "system", ID: "test"}, At: time.Now()})
	}
	if err == nil {
		_, err = l.Expel(ctx, time.Now().Add(removeDelay))
	}
	return err
}

// SettledAt is the time that commits which end at some times agree on.
func SettledAt(ends []time.Time, wait time.Duration) time.Time {
	commits := make([]committed, len(ends))
	for i, at := range ends {
		commits[i].throughAt = at
	}
	return settledAt(commits, wait)
}

// HideMax sets how many jobs one record hides at most.
func (l *Ledger) HideMax(n int) { l.archive.hideMax = n }

// Records are the kinds of the records of CATALOG, in order.
func (l *Ledger) Records(ctx context.Context) (kinds []string, err error) {
	last, err := l.archive.last(ctx)
	for seq := schemas.Seq(0); err == nil && last != nil && seq < last.Seq; {
		var batch []*Entry
		if batch, err = l.archive.records(ctx, seq+1, last); err != nil {
			break
		}
		for _, e := range batch {
			r, err := decodeRecord(e.Body)
			if err != nil {
				return nil, err
			}
			kinds, seq = append(kinds, r.Kind), e.Seq
		}
	}
	return kinds, err
}

// RemoveBecause takes a segment out, for a reason.
func (l *Ledger) RemoveBecause(ctx context.Context, id, reason string) error {
	c, err := l.archive.refresh(ctx)
	if err == nil {
		_, err = l.appendRemoval(ctx, c, removal{Segments: []string{id}, Reason: reason, Actor: schemas.Actor{Type: "system", ID: "test"}, At: time.Now()})
	}
	return err
}

// RemoveLater decides to take a segment out now, and does it when remove is called.
func (l *Ledger) RemoveLater(ctx context.Context, id string) (remove func() error, err error) {
	c, err := l.archive.refresh(ctx)
	return func() error {
		_, err := l.appendRemoval(ctx, c, removal{Segments: []string{id}, Reason: "test", Actor: schemas.Actor{Type: "system", ID: "test"}, At: time.Now()})
		return err
	}, err
}

// RemoveDelay is how long the messages of what was removed stay.
const RemoveDelay = removeDelay

// Expel deletes what was removed removeDelay before now.
func (l *Ledger) Expel(ctx context.Context, now time.Time) (int, error) {
	return l.expel(ctx, now, make(map[string]bool), func() error { return nil })
}

// PageSeqs are where a segment's pages stand in ARCHIVE.
func (l *Ledger) PageSeqs(ctx context.Context, id string) (at []schemas.Seq, err error) {
	c, err := l.archive.refresh(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range c.chunks {
		for _, s := range k.segments {
			if s.ID == id {
				x, err := l.archive.indexOf(ctx, s)
				if err != nil {
					return nil, err
				}
				for i := range x.pages {
					at = append(at, x.pages[i].at...)
				}
			}
		}
	}
	return at, nil
}

// ArchiveLost names what a look for it would not find where it is: each subject in each page is held to what the record,
// the filter and the index of its segment say. Each page is read once.
func (l *Ledger) ArchiveLost(ctx context.Context) (lost []string, err error) {
	c, err := l.archive.refresh(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range c.chunks {
		for _, s := range k.segments {
			if lost, err = l.lostIn(ctx, s, lost); err != nil {
				return nil, err
			}
		}
	}
	return lost, nil
}

func (l *Ledger) lostIn(ctx context.Context, s *archiveSegment, lost []string) ([]string, error) {
	x, err := l.archive.indexOf(ctx, s)
	if err != nil {
		return nil, err
	}
	var filters [2]filter // of subjects that tell no time, and of those that do
	for i := range filters {
		if filters[i], err = l.archive.filter(ctx, s, i == 1); err != nil {
			return nil, err
		}
	}
	for n := range x.pages {
		contents, err := l.archive.pages(ctx, s, x, []int{n})
		if err != nil {
			return nil, err
		}
		err = walkPage(contents[0], "", func(e pagedEvent) {
			at, err := schemas.ParseSubject(e.subject)
			if err != nil || at.Job == "" {
				return // nobody looks for it
			}
			f, hash := filters[0], keyOf(e.subject)
			want := lookFor(at)
			if want.timed {
				f = filters[1]
			}
			if want.later(s) || !f.may(hash) || !slices.Contains(x.find(hash), n) {
				lost = append(lost, fmt.Sprintf("%s at %d in page %d of segment %s", e.subject, e.seq, n, s.ID))
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return lost, nil
}

// ArchiveReader reads the newest record now, and brings the catalogue up to it when it is called.
func (l *Ledger) ArchiveReader(ctx context.Context) (read func() error, err error) {
	last, err := l.archive.last(ctx)
	return func() error {
		_, err := l.archive.upTo(ctx, last)
		return err
	}, err
}

// ArchiveKnown is the boundary as it is known without a look.
func (l *Ledger) ArchiveKnown() schemas.Seq { return l.archive.now.Load().through.Seq }

// At has f called before each durable step of the remover; what it returns ends the look.
func (r *Remover) At(f func(step string) error) { r.at = f }

// SegmentJobs are the subjects that a segment holds events of, and whether they are shown.
func (l *Ledger) SegmentJobs(ctx context.Context, id string) (subjects map[string]bool, err error) {
	c, err := l.archive.refresh(ctx)
	if err != nil {
		return nil, err
	}
	subjects = make(map[string]bool)
	for _, k := range c.chunks {
		for _, s := range k.segments {
			if s.ID != id {
				continue
			}
			x, err := l.archive.indexOf(ctx, s)
			if err != nil {
				return nil, err
			}
			for n := range x.pages {
				contents, err := l.archive.pages(ctx, s, x, []int{n})
				if err != nil {
					return nil, err
				}
				if err := walkPage(contents[0], "", func(e pagedEvent) { subjects[e.subject] = !c.gone[s.ID][keyOf(e.subject)] }); err != nil {
					return nil, err
				}
			}
		}
	}
	return subjects, nil
}

// NarrowArchiveCache holds so many bytes of filters of each sort.
func NarrowArchiveCache(room int) *ArchiveCache {
	c := NewArchiveCache()
	c.Bound(room, room)
	return c
}

// FilterBytes is what a cache holds of filters.
func (c *ArchiveCache) FilterBytes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.filters[sortTimed].bytes + c.filters[sortOther].bytes
}

// ReadAtMost bounds what a submitter reads of filters.
func (l *Ledger) ReadAtMost(bytes int) { l.archive.reading = bytes }

// MayBeArchived is what a submitter asks.
func (l *Ledger) MayBeArchived(ctx context.Context, org schemas.OrgID, id schemas.JobID) bool {
	return l.mayBeArchived(ctx, org, id)
}
