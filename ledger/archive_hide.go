package ledger

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/dartwing/jobledger/schemas"
)

// A job may have events in several segments, which go each at its own time. Where a later part goes first, the earlier one
// would tell of a job that never ended: so the record of the removal hides it (archiveRemoval.Earlier). But what is
// complete by itself is never hidden, as an earlier life of an id that was used again: it may be kept for longer, or held.
// A part that is some of each keeps the later segment from going until it goes itself.

// errEntangled: a segment stays since an earlier one that stays holds both a complete life of some id, which nothing may
// hide, and the beginning of the life that ends in this one.
var errEntangled = errors.New("what would be left of a job is not told apart from an earlier life of its id")

// earlier finds the jobs of a segment of which an earlier one, which stays, holds a beginning without its end, by that
// one's id.
func (a *archive) earlier(ctx context.Context, c *catalog, s *archiveSegment, going []archiveRemoval) (map[string][]byte, error) {
	var x *segmentIndex
	var hashes []uint64
	begins := make(map[uint64]schemas.Seq)
	var found map[string][]byte
	for _, k := range c.chunks {
		for _, e := range k.segments {
			if e.First >= s.First || e.Class == classControl || e.LastAt.Before(s.Since) ||
				slices.ContainsFunc(going, func(m archiveRemoval) bool { return m.ID == e.ID }) {
				continue
			}
			if x == nil {
				var err error
				if x, err = a.indexOf(ctx, s); err != nil {
					return nil, err
				}
				hashes = x.hashes()
			}
			both, err := a.common(ctx, e, hashes, c.hiddenBy(s.ID, e.ID))
			if err == nil {
				err = a.begin(ctx, s, x, both, begins)
			}
			if err == nil {
				both, err = a.halves(ctx, e, both, begins)
			}
			if err != nil {
				return nil, err
			}
			if len(both) == 0 {
				continue
			}
			if found == nil {
				found = make(map[string][]byte)
			}
			for _, h := range both {
				found[e.ID] = binary.LittleEndian.AppendUint64(found[e.ID], h)
			}
		}
	}
	return found, nil
}

// hideRoom is how many hashes one record names at most: half of a message's room is for them.
func (l *Ledger) hideRoom() int {
	const each = 11 // bytes of one, as text
	room := cmp.Or(l.archive.hideMax, earlierMax)
	if limit := int(l.nc.MaxPayload()) / 2 / each; limit > 0 {
		room = min(room, limit)
	}
	return room
}

// spill writes what the removal of a segment hides in records of their own, each behind the one before; it returns the
// catalogue behind the last. Whoever writes a record in between has the error be ErrRefused: it may be a legal hold. If this
// process dies in here, the next removal of the segment needs to say less.
func (l *Ledger) spill(ctx context.Context, c *catalog, s *archiveSegment, found map[string][]byte) (*catalog, error) {
	size := l.hideRoom() * keySize
	for id, hashes := range found {
		for part := range slices.Chunk(hashes, size) {
			r := &archiveRecord{V: recordVersion, Kind: recordHide, ID: uuid.NewString(), Prev: c.sum, For: s.ID, Earlier: map[string][]byte{id: part}}
			next, err := l.appendBehind(ctx, c, r)
			if err != nil {
				return nil, err
			}
			c = next
		}
	}
	return c, nil
}

// appendBehind appends a record behind the one that a catalogue ends with, and returns the catalogue that it makes.
func (l *Ledger) appendBehind(ctx context.Context, c *catalog, r *archiveRecord) (*catalog, error) {
	ctx, cancel := withSettleTimeout(ctx)
	defer cancel()
	body, err := r.encode()
	if err != nil {
		return nil, err
	}
	if err := l.appendRecord(ctx, r, c.at); err != nil {
		return nil, err
	}
	next, err := l.archive.refresh(ctx)
	if err != nil {
		return nil, err
	}
	if next.sum != sumOf(body) {
		return nil, &RefusedError{Subject: catalogSubject, Expected: c.at, At: next.at}
	}
	return next, nil
}

// common are those of some subjects that a segment holds events of, but for those that are hidden in it.
func (a *archive) common(ctx context.Context, e *archiveSegment, hashes []uint64, hidden map[uint64]bool) (both []uint64, err error) {
	var filters [2]filter
	for i, timed := range []bool{true, false} {
		if filters[i], err = a.filter(ctx, e, timed); err != nil {
			return nil, err
		}
	}
	var x *segmentIndex
	for _, h := range hashes {
		if hidden[h] || !filters[0].may(h) && !filters[1].may(h) {
			continue
		}
		if x == nil {
			if x, err = a.indexOf(ctx, e); err != nil {
				return nil, err
			}
		}
		if len(x.find(h)) > 0 {
			both = append(both, h)
		}
	}
	return both, nil
}

// begin adds to begins, of some subjects, where the story begins that a segment tells the next part of: what stands before
// that is complete without it. A subject with nothing of ours in the segment is not in begins.
func (a *archive) begin(ctx context.Context, s *archiveSegment, x *segmentIndex, subjects []uint64, begins map[uint64]schemas.Seq) error {
	var unknown []uint64
	for _, h := range subjects {
		if _, known := begins[h]; !known {
			unknown = append(unknown, h)
		}
	}
	var d pageDecoder
	return a.visit(ctx, s, x, unknown, func(h uint64, e pagedEvent) error {
		if _, known := begins[h]; known {
			return nil
		}
		entry, err := d.entry(e)
		if err == nil && !errors.Is(entry.Err, schemas.ErrForeign) {
			begins[h] = beginsAt(entry)
		}
		return err
	})
}

// beginsAt is where the story begins that an event goes on with: with itself, where it begins a life, or holds the state of
// a job that is over; else with the submitted that it names. 0: it is not known.
func beginsAt(e *Entry) schemas.Seq {
	switch d := e.Data.(type) {
	case *schemas.Submitted:
		return e.Seq
	case *schemas.Carried:
		if d.From.Finished() && d.Job.Resolution != schemas.ResolutionOpen {
			return e.Seq
		}
		return d.Submitted
	case schemas.JobData:
		return d.Common().Submitted
	}
	return 0
}

// halves are those of some subjects of which a segment holds the beginning of a story that goes on elsewhere.
func (a *archive) halves(ctx context.Context, e *archiveSegment, subjects []uint64, begins map[uint64]schemas.Seq) (hide []uint64, err error) {
	var unsure []uint64
	for _, h := range subjects {
		switch at, ok := begins[h]; {
		case !ok, at > e.Last: // all of it is complete
		case at <= e.First:
			hide = append(hide, h)
		default:
			unsure = append(unsure, h)
		}
	}
	if len(unsure) == 0 {
		return hide, nil
	}
	x, err := a.indexOf(ctx, e)
	if err != nil {
		return nil, err
	}
	complete, half := make(map[uint64]bool), make(map[uint64]bool)
	err = a.visit(ctx, e, x, unsure, func(h uint64, p pagedEvent) error {
		if p.seq < begins[h] {
			complete[h] = true
		} else {
			half[h] = true
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, h := range unsure {
		switch {
		case half[h] && complete[h]:
			return nil, fmt.Errorf("%w: segment %s", errEntangled, e.ID)
		case half[h]:
			hide = append(hide, h)
		}
	}
	return hide, nil
}

// visit calls fn with each event that a segment holds of some subjects, those of one subject ascending. What fn finds wrong
// is damage.
func (a *archive) visit(ctx context.Context, s *archiveSegment, x *segmentIndex, subjects []uint64, fn func(hash uint64, e pagedEvent) error) error {
	want := make(map[uint64]bool, len(subjects))
	var numbers []int
	for _, h := range subjects {
		want[h] = true
		numbers = append(numbers, x.find(h)...)
	}
	slices.Sort(numbers)
	for window := range slices.Chunk(slices.Compact(numbers), partsWindow) {
		contents, err := a.pages(ctx, s, x, window)
		if err != nil {
			return err
		}
		for i, content := range contents {
			var bad error
			subject, hash := "", uint64(0)
			err := walkPage(content, "", func(e pagedEvent) {
				if e.subject != subject {
					subject, hash = e.subject, keyOf(e.subject)
				}
				if bad == nil && want[hash] {
					bad = fn(hash, e)
				}
			})
			if err = cmp.Or(err, bad); err != nil {
				return &damageError{segment: s.ID, page: window[i], at: x.pages[window[i]].at[0], problem: err.Error()}
			}
		}
	}
	return nil
}
