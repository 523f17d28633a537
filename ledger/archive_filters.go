package ledger

import (
	"context"
	"slices"

	"github.com/dartwing/jobledger/schemas"
)

// A look for a job goes through the filters of all segments that may hold it. They stand side by side in a table, so that it costs a
// few nanoseconds for each; those that are missing are read many at a time, by one of all who need them.

// filterTable are the filters of a catalogue's segments, of one sort. It is never changed.
type filterTable struct {
	of       *catalog
	segments []*archiveSegment // ascending
	filters  []filter          // of each
	known    []bool            // which of them are in memory
	unknown  int               // how many are not
}

// filterSize is how many bytes a filter of a segment has.
func (s *archiveSegment) filterSize(sort int) int {
	if sort == sortTimed {
		return s.Timed
	}
	return s.Other
}

// table is the filters of a catalogue as far as they were in memory when it was made.
func (a *archive) table(c *catalog, sort int) *filterTable {
	if t := a.tables[sort].Load(); t != nil && t.of == c {
		return t
	}
	return a.newTable(c, sort)
}

func (a *archive) newTable(c *catalog, sort int) *filterTable {
	t := &filterTable{of: c, segments: make([]*archiveSegment, 0, c.segments)}
	for _, k := range c.chunks {
		t.segments = append(t.segments, k.segments...)
	}
	t.filters, t.known = make([]filter, len(t.segments)), make([]bool, len(t.segments))
	t.unknown = len(t.segments) - a.knownFilters(sort, t)
	a.tables[sort].Store(t)
	return t
}

// missing are the segments whose filters a look needs, that are not in memory and have room there: the newest, as many as so
// many bytes hold.
func (t *filterTable) missing(want *archivedJob, sort, room int) (missing []*archiveSegment) {
	if t.unknown == 0 {
		return nil
	}
	for i, s := range slices.Backward(t.segments) {
		if room -= s.filterSize(sort); room < 0 {
			break
		}
		if !t.known[i] && !want.later(s) {
			missing = append(missing, s)
		}
	}
	return missing
}

// filtersFor is the table for a look, with all that it needs and memory holds. Of many callers who miss some, one reads at a
// time, and the others find what it read.
func (a *archive) filtersFor(ctx context.Context, c *catalog, want archivedJob) (*filterTable, error) {
	sort := sortOf(want.timed)
	t := a.table(c, sort)
	if len(t.missing(&want, sort, a.room[sort])) == 0 {
		return t, nil
	}
	select {
	case a.loading <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-a.loading }()
	t = a.newTable(c, sort)
	missing := t.missing(&want, sort, a.room[sort])
	if len(missing) > 0 {
		a.keepOnly(sort, t) // else what was removed would take the room of what is there
	}
	for some := range slices.Chunk(missing, partsWindow) {
		if err := a.readFilters(ctx, some, sort); err != nil {
			return nil, err
		}
	}
	if len(missing) > 0 {
		t = a.newTable(c, sort)
	}
	return t, nil
}

// eachHolding calls fn with each segment that may hold what is looked for, as its filter tells, and with its hash: the newest
// first, until fn is done.
func (a *archive) eachHolding(ctx context.Context, c *catalog, want archivedJob, fn func(s *archiveSegment, hash uint64) (done bool, err error)) error {
	t, err := a.filtersFor(ctx, c, want)
	if err != nil {
		return err
	}
	hash := keyOf(want.subject)
	places := probesOf(hash)
	where := a.whereabouts(ctx, t, &want)
	for i, s := range slices.Backward(t.segments) {
		if want.later(s) {
			continue
		}
		f := t.filters[i]
		if !t.known[i] {
			if where.excludes(s) {
				continue
			}
			if f, err = a.filter(ctx, s, want.timed); err != nil {
				return err
			}
		}
		if !f.holds(&places) || c.gone[s.ID][hash] { // or what came later was removed
			continue
		}
		if done, err := fn(s, hash); err != nil || done {
			return err
		}
	}
	return nil
}

// unread is how many bytes of filters a look would read.
func (a *archive) unread(c *catalog, want archivedJob) (bytes int) {
	sort := sortOf(want.timed)
	t := a.table(c, sort)
	if t.unknown == 0 {
		return 0
	}
	for i, s := range t.segments {
		if !t.known[i] && !want.later(s) {
			bytes += s.filterSize(sort)
		}
	}
	return bytes
}

// readFilters reads filters of some segments, all at a time, and keeps them.
func (a *archive) readFilters(ctx context.Context, segments []*archiveSegment, sort int) error {
	at := make([]schemas.Seq, len(segments))
	for i, s := range segments {
		at[i] = s.Filter
	}
	parts, err := a.messages(ctx, StreamCatalog, at)
	if err != nil {
		return err
	}
	for i, s := range segments {
		f, err := s.cutFilter(parts[i], sort)
		if err != nil {
			return err
		}
		a.keepFilter(sort, s, f)
	}
	return nil
}

// cutFilter takes one of a segment's two filters out of the message that holds them.
func (s *archiveSegment) cutFilter(m *Entry, sort int) (filter, error) {
	content, err := joinParts(s.ID, kindFilter, pageFilter, []schemas.Seq{s.Filter}, []*Entry{m}, s.Timed+s.Other)
	if err != nil {
		return nil, err
	}
	if sumOf(content) != s.FilterSum {
		return nil, &damageError{segment: s.ID, page: pageFilter, at: s.Filter, problem: "its SHA-256 is not the one that the record names"}
	}
	if sort == sortTimed {
		return slices.Clone(filter(content[:s.Timed])), nil // not both
	}
	return slices.Clone(filter(content[s.Timed:])), nil
}

// filter is one of a segment's two filters.
func (a *archive) filter(ctx context.Context, s *archiveSegment, timed bool) (filter, error) {
	sort := sortOf(timed)
	if f, ok := a.filterOf(sort, s); ok {
		return f, nil
	}
	parts, err := a.messages(ctx, StreamCatalog, []schemas.Seq{s.Filter})
	if err != nil {
		return nil, err
	}
	f, err := s.cutFilter(parts[0], sort)
	if err != nil {
		return nil, err
	}
	a.keepFilter(sort, s, f)
	return f, nil
}
