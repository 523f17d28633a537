package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/dartwing/jobledger/schemas"
)

const (
	// sweepMax is how many left over messages one sweep removes; the next one goes on.
	sweepMax = 10_000
	// subjectDelete, followed by a stream, removes one message.
	subjectDelete = "$JS.API.STREAM.MSG.DELETE."
	// earlierMax is how many hashes of jobs one record of a removal names at most: half of a message's room.
	earlierMax = 48_000
)

// errUntallied: an older version made the commit of a segment, without a tally: if it went, nothing would tell how many
// jobs it held.
var errUntallied = errors.New("the counts of what they hold stand nowhere else")

// removal says which segments are to go, and by whom.
type removal struct {
	Segments []string
	Reason   string
	Actor    schemas.Actor
	At       time.Time
	// Stays is told of a segment that cannot go now, and why; it is left out. nil: that is an error.
	Stays func(s *archiveSegment, why error)
}

// stays reports whether a segment is to be left out.
func (q *removal) stays(s *archiveSegment, why error) bool {
	var damage *damageError
	if q.Stays == nil || !errors.Is(why, errEntangled) && !errors.As(why, &damage) {
		return false
	}
	q.Stays(s, why)
	return true
}

// appendRemoval takes segments out of the archive for good, with a record of what they were, appended behind the one that
// c ends with: whoever wrote one since has the error be ErrRefused. Segments that are not there are left out; nil is
// returned if none is left.
//
// If this process dies before the record, nothing has happened. Behind it the segments are no longer part of the
// archive; their messages stand there for removeDelay, and are then deleted by whoever removes.
func (l *Ledger) appendRemoval(ctx context.Context, c *catalog, q removal) (*archiveRecord, error) {
	r := &archiveRecord{V: recordVersion, Kind: recordRemove, ID: uuid.NewString(), Reason: q.Reason, Actor: q.Actor.String(), At: q.At.UTC()}
	named, room := 0, l.hideRoom()
	for _, k := range c.chunks {
		for _, s := range k.segments {
			if !slices.Contains(q.Segments, s.ID) {
				continue
			}
			if ids := c.untallied([]*archiveSegment{s}); len(ids) > 0 {
				return nil, fmt.Errorf("archive: remove: segments %v: %w", ids, errUntallied)
			}
			m := archiveRemoval{ID: s.ID, Class: s.Class, Ended: s.Ended, First: s.First, Last: s.Last, Events: s.Events, Jobs: s.Jobs, Sum: s.Sum,
				Messages: s.Messages, Low: s.Low, High: s.High, Filter: s.Filter, Index: s.Index, Size: s.Size, Pages: s.Pages}
			var err error
			if m.Earlier, err = l.archive.earlier(ctx, c, s, r.Removed); q.stays(s, err) {
				continue
			} else if err != nil {
				return nil, err
			}
			n := 0
			for _, hashes := range m.Earlier {
				n += len(hashes) / keySize
			}
			if n > room {
				if c, err = l.spill(ctx, c, s, m.Earlier); err != nil {
					return nil, fmt.Errorf("archive: remove: %w", err)
				}
				m.Earlier, n = nil, 0
			}
			if named += n; named > room {
				return r, l.appendRemoved(ctx, r, c) // the rest goes with the next record
			}
			r.Removed = append(r.Removed, m)
		}
	}
	if len(r.Removed) == 0 {
		return nil, nil
	}
	return r, l.appendRemoved(ctx, r, c)
}

// appendRemoved appends the record of a removal behind the one that c ends with. Whatever stands in its way, it ends.
func (l *Ledger) appendRemoved(ctx context.Context, r *archiveRecord, c *catalog) error {
	ctx, cancel := withSettleTimeout(ctx)
	defer cancel()
	r.Prev = c.sum
	if err := l.appendRecord(ctx, r, c.at); err != nil {
		return fmt.Errorf("archive: remove: %w", err)
	}
	for i := range r.Removed {
		l.archive.forget(r.Removed[i].ID)
	}
	return nil
}

// expel deletes the messages of segments that were removed long enough ago, unless done says that it is done. A restart
// does it again: what is gone already costs a look.
func (l *Ledger) expel(ctx context.Context, now time.Time, done map[string]bool, step func() error) (deleted int, err error) {
	c, err := l.archive.refresh(ctx)
	if err != nil {
		return 0, fmt.Errorf("archive: %w", err)
	}
	for i := range c.leaving {
		m := &c.leaving[i]
		if done[m.ID] || now.Sub(m.at) < removeDelay {
			continue
		}
		if int(m.High-m.Low)+1 != m.Messages { // others stand in between: the sweep looks at each
			if err := l.deleteMessages(ctx, StreamCatalog, []schemas.Seq{m.Filter}); err != nil {
				return deleted, err
			}
			done[m.ID] = true
			continue
		}
		last, err := l.archive.message(ctx, StreamArchive, m.High)
		if err != nil {
			return deleted, err
		}
		for seq := m.Low; last != nil && seq <= m.High; {
			if err := step(); err != nil {
				return deleted, err
			}
			// The filter goes first and the last message of ARCHIVE last: what a restart finds there says whether all is done.
			if seq == m.Low {
				if err := l.deleteMessages(ctx, StreamCatalog, []schemas.Seq{m.Filter}); err != nil {
					return deleted, err
				}
			}
			var batch []schemas.Seq
			for ; seq <= m.High && len(batch) < partsWindow; seq++ {
				batch = append(batch, seq)
			}
			if err := l.deleteMessages(ctx, StreamArchive, batch); err != nil {
				return deleted, err
			}
			deleted += len(batch)
		}
		done[m.ID] = true
	}
	return deleted, nil
}

// belongings are the messages of ARCHIVE that segments consist of. Of a segment whose index is damaged only the index
// is known: the sweep finds the rest.
func (a *archive) belongings(ctx context.Context, segments []*archiveSegment) ([]schemas.Seq, error) {
	var all []schemas.Seq
	for _, s := range segments {
		all = append(all, s.Index...)
		x, err := a.indexOf(ctx, s)
		var damage *damageError
		if errors.As(err, &damage) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for i := range x.pages {
			all = append(all, x.pages[i].at...)
		}
	}
	return all, nil
}
