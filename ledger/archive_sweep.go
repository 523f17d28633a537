package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/dartwing/jobledger/schemas"
)

// sweepArchive removes what writers have left that died before their record, and what a removal has left that was
// broken off; messages younger than age may be on their way to a record. It returns how many messages went.
//
// What a record names is never removed: it looks only at what stands outside of all segments, and before it removes
// anything it appends a record itself, behind the last one that it knew. A writer whose messages it takes has built on
// an earlier one, and is refused.
func (l *Ledger) sweepArchive(ctx context.Context, age time.Duration) (removed int, err error) {
	c, err := l.archive.refresh(ctx)
	if err != nil {
		return 0, fmt.Errorf("archive: sweep: %w", err)
	}
	left, ids, err := l.archive.leftOver(ctx, c, age)
	if err != nil {
		return 0, fmt.Errorf("archive: sweep: %w", err)
	}
	orphans, more, err := l.archive.orphans(ctx, c, age)
	if err != nil {
		return 0, fmt.Errorf("archive: sweep: %w", err)
	}
	if ids = append(ids, more...); len(ids) > 0 {
		r := &archiveRecord{V: recordVersion, Kind: recordSweep, ID: uuid.NewString(), Prev: c.sum, Swept: ids}
		if err := l.appendRecord(ctx, r, c.at); err != nil {
			return 0, fmt.Errorf("archive: sweep: %w", err)
		}
	}
	// From here on nothing of this can be named by a record any more. A restart sweeps again.
	if err := l.deleteMessages(ctx, StreamArchive, left); err != nil {
		return 0, fmt.Errorf("archive: sweep: %w", err)
	}
	if err := l.deleteMessages(ctx, StreamCatalog, orphans); err != nil {
		return len(left), fmt.Errorf("archive: sweep: %w", err)
	}
	return len(left) + len(orphans), nil
}

// leftOver are messages of ARCHIVE that no segment names, and the segments that they were written for, of those that
// are not part of the archive.
func (a *archive) leftOver(ctx context.Context, c *catalog, age time.Duration) (left []schemas.Seq, ids []string, err error) {
	s, err := a.l.stream(ctx, StreamArchive)
	if err != nil {
		return nil, nil, err
	}
	info := s.CachedInfo()
	gaps, err := a.gaps(ctx, c, info.TimeStamp, schemas.Seq(max(info.State.FirstSeq, 1)), schemas.Seq(info.State.LastSeq))
	if err != nil {
		return nil, nil, err
	}
	found := strays{c: c}
	for _, g := range gaps {
		for next := g.from; next <= g.to && len(found.seqs) < sweepMax; {
			m, err := a.nextOn(ctx, StreamArchive, archiveSubjects, next)
			if err != nil {
				return nil, nil, err
			}
			if m == nil || m.Seq > g.to {
				break
			}
			next = m.Seq + 1
			found.add(m, info.TimeStamp, age)
		}
	}
	return found.seqs, found.ids, nil
}

// strays are messages that no record names, and the segments that they were written for, of those that are not part of
// the archive.
type strays struct {
	c    *catalog
	seqs []schemas.Seq
	ids  []string
}

// add takes a message, unless it is none of ours, or younger than age and may be on its way.
func (s *strays) add(m *storedMessage, now time.Time, age time.Duration) {
	h, _, ok := parsePart(m.Data)
	if !ok || now.Sub(m.Time) < age {
		return
	}
	s.seqs = append(s.seqs, m.Seq)
	if id := h.id.String(); !slices.Contains(s.ids, id) && !s.c.holds(id) {
		s.ids = append(s.ids, id)
	}
}

// span is a stretch of ARCHIVE, both ends included.
type span struct{ from, to schemas.Seq }

// gaps are the stretches of ARCHIVE from first to last that no segment names, nor one that was removed a short time ago.
func (a *archive) gaps(ctx context.Context, c *catalog, now time.Time, first, last schemas.Seq) ([]span, error) {
	var taken []span
	for i := range c.leaving {
		if m := &c.leaving[i]; now.Sub(m.at) < removeDelay {
			taken = append(taken, span{m.Low, m.High})
		}
	}
	for _, k := range c.chunks {
		for _, s := range k.segments {
			if int(s.High-s.Low)+1 == s.Messages {
				taken = append(taken, span{s.Low, s.High})
				continue
			}
			// Others stand in between: two wrote at a time, or a message was stored twice.
			own, err := a.belongings(ctx, []*archiveSegment{s})
			if err != nil {
				return nil, err
			}
			if len(own) != s.Messages {
				taken = append(taken, span{s.Low, s.High}) // its index is damaged: nothing is touched
				continue
			}
			for _, at := range own {
				taken = append(taken, span{at, at})
			}
		}
	}
	slices.SortFunc(taken, func(a, b span) int { return int(int64(a.from) - int64(b.from)) })
	var gaps []span
	next := first
	for _, t := range taken {
		if t.from > next {
			gaps = append(gaps, span{next, t.from - 1})
		}
		next = max(next, t.to+1)
	}
	if next <= last {
		gaps = append(gaps, span{next, last})
	}
	return gaps, nil
}

// nextOn is the first message of a stream on some subjects at seq or behind it; nil if there is none.
func (a *archive) nextOn(ctx context.Context, stream, subjects string, seq schemas.Seq) (m *storedMessage, err error) {
	err = a.l.reading(ctx, func(ctx context.Context) error {
		m, err = a.l.leaderMessage(ctx, stream, getRequest{Seq: seq, NextFor: subjects})
		return err
	})
	if errors.Is(err, errNoMessage) {
		return nil, nil
	}
	return m, err
}

// deleteMessages removes messages of a stream; those that are gone already are no error.
func (l *Ledger) deleteMessages(ctx context.Context, stream string, seqs []schemas.Seq) error {
	for _, seq := range seqs {
		body, err := json.Marshal(struct {
			Seq     schemas.Seq `json:"seq"`
			NoErase bool        `json:"no_erase"`
		}{seq, true})
		if err != nil {
			return err
		}
		if err := l.asking(ctx, func(ctx context.Context) error { return l.deleteMessage(ctx, stream, seq, body) }); err != nil {
			return fmt.Errorf("message %d of stream %s: %w", seq, stream, err)
		}
	}
	return nil
}

func (l *Ledger) deleteMessage(ctx context.Context, stream string, seq schemas.Seq, body []byte) error {
	m, err := l.nc.RequestWithContext(ctx, subjectDelete+stream, body)
	if err != nil {
		return err
	}
	var resp struct {
		Success bool `json:"success"`
	}
	if err := json.Unmarshal(m.Data, &resp); err != nil {
		return err
	}
	if resp.Success {
		return nil
	}
	left, err := l.archive.message(ctx, stream, seq)
	if err == nil && left != nil {
		err = fmt.Errorf("it cannot be removed: %s", m.Data)
	}
	return err
}
