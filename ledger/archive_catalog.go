package ledger

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/schemas"
)

// catalogBatch is how many records one request reads.
const catalogBatch = 256

// archive is what a Ledger knows of the archive: the catalogue as it was read last, and some filters and indexes.
type archive struct {
	l *Ledger
	// now is replaced by whoever holds turn; nil: not read yet.
	now  atomic.Pointer[catalog]
	turn chan struct{} // capacity 1
	// hideMax is how many hashes one record names at most; 0 means earlierMax. Others are for tests.
	hideMax int
	// reading is archiveReading, but in tests.
	reading int
	// tables are the filters of the catalogue that was asked last, of each sort.
	tables [2]atomic.Pointer[filterTable]
	// where tells where a job stands; nil: nobody does (AskWhere).
	where atomic.Pointer[func(context.Context, schemas.OrgID, schemas.JobID) (Whereabouts, bool)]
	*ArchiveCache
}

func (a *archive) init(l *Ledger) {
	a.l, a.reading = l, archiveReading
	a.turn = make(chan struct{}, 1)
	if a.ArchiveCache = l.cfg.ArchiveCache; a.ArchiveCache == nil {
		a.ArchiveCache = NewArchiveCache()
	}
}

// catalog is what the records up to one amount to. It is never changed.
type catalog struct {
	at  schemas.Seq // of the last record in CATALOG; 0: there is none
	sum string      // of that record

	through   schemas.Position
	throughAt time.Time
	chunks    []*chunk    // ascending: each begins where the one before ended; those of which nothing is left are gone
	commits   []committed // all of them, ascending

	segments            int
	events, jobs, bytes int64
	removed             int // segments whose time was over
	removedEvents       int64

	// leaving are removed segments whose messages may stand in ARCHIVE still, as the records name them.
	leaving []leavingSegment
	// gone are, by segment, the hashes of subjects whose later events were removed: what the segment holds of them is
	// not shown. Never changed but by fold, on a copy.
	gone map[string]map[uint64]bool
	// hides are, by segment, what its removal hides beside what the record of that says.
	hides map[string][]hiding
}

// hiding are hashes of subjects, 8 bytes each, that are to be hidden in a segment.
type hiding struct {
	segment string
	hashes  []byte
}

// leavingSegment is a segment that was removed at a time.
type leavingSegment struct {
	archiveRemoval
	at time.Time
}

const (
	// removeDelay is how long messages of ARCHIVE stay there when their segment was removed: a backup, or a reader, that
	// began before reads on.
	removeDelay = 24 * time.Hour
	// leavingKept is how long removals are remembered to be finished: what nobody could delete in that time, the sweep
	// finds.
	leavingKept = 7 * 24 * time.Hour
)

// chunk is what one commit covers and what is left of it.
type chunk struct {
	from, through schemas.Seq // without from
	segments      []*archiveSegment
}

func (c *catalog) state() ArchiveState {
	s := ArchiveState{Through: c.through, ThroughAt: c.throughAt, Segments: c.segments, Events: c.events, Jobs: c.jobs, Bytes: c.bytes,
		Removed: c.removed, RemovedEvents: c.removedEvents}
	for _, k := range c.chunks {
		for _, g := range k.segments {
			if s.First == 0 || g.First < s.First {
				s.First = g.First
			}
		}
		if s.First > 0 {
			break
		}
	}
	return s
}

// holds reports whether a segment is part of the archive.
func (c *catalog) holds(id string) bool {
	for _, k := range c.chunks {
		for _, s := range k.segments {
			if s.ID == id {
				return true
			}
		}
	}
	return false
}

// errChain: the records of CATALOG do not follow each other.
var errChain = errors.New("the catalogue's records do not follow each other: one was changed, or is missing")

// apply folds a batch of records, in order. c itself stays as it is.
func (c *catalog) apply(records []*Entry) (*catalog, error) {
	next := *c
	next.chunks, next.commits = slices.Clone(c.chunks), slices.Clip(c.commits)
	next.leaving, next.gone, next.hides = slices.Clone(c.leaving), maps.Clone(c.gone), maps.Clone(c.hides)
	for _, m := range records {
		r, err := decodeRecord(m.Body)
		if err != nil {
			return nil, fmt.Errorf("record %d of stream %s: %w", m.Seq, StreamCatalog, err)
		}
		if r.Prev != next.sum {
			return nil, fmt.Errorf("record %d of stream %s: %w", m.Seq, StreamCatalog, errChain)
		}
		if err := next.fold(r); err != nil {
			return nil, fmt.Errorf("record %d of stream %s: %w", m.Seq, StreamCatalog, err)
		}
		next.at, next.sum = m.Seq, sumOf(m.Body)
	}
	return &next, nil
}

// fold applies one record to c, which is not shared yet, but for its chunks.
func (c *catalog) fold(r *archiveRecord) error {
	switch r.Kind {
	case recordCommit:
		if r.From != c.through.Seq {
			return fmt.Errorf("%w: a step from %d, and the archive ended at %d", errChain, r.From, c.through.Seq)
		}
		k := &chunk{from: r.From, through: r.Through.Seq}
		for i := range r.Segments {
			s := &r.Segments[i]
			k.segments = append(k.segments, s)
			c.count(s, 1)
		}
		c.through, c.throughAt = r.Through, r.ThroughAt
		c.commits = append(c.commits, committed{from: r.From, through: r.Through, throughAt: r.ThroughAt, tally: r.Tally,
			segments: len(r.Segments)})
		if len(k.segments) > 0 {
			c.chunks = append(c.chunks, k)
		}
	case recordRemove:
		for i := range r.Removed {
			if !c.remove(r.Removed[i].ID) {
				return fmt.Errorf("%w: segment %s was removed and is not there", errChain, r.Removed[i].ID)
			}
			c.leave(&r.Removed[i], r.At)
		}
	case recordHide:
		if !c.holds(r.For) {
			return nil // it went without
		}
		if c.hides == nil {
			c.hides = make(map[string][]hiding)
		}
		for id, hashes := range r.Earlier {
			c.hides[r.For] = append(slices.Clip(c.hides[r.For]), hiding{segment: id, hashes: hashes})
		}
	}
	return nil
}

func (c *catalog) count(s *archiveSegment, n int) {
	c.segments += n
	c.events += int64(n * s.Events)
	c.jobs += int64(n * s.Jobs)
	c.bytes += int64(n) * s.Bytes
}

// leave notes what comes of a removal.
func (c *catalog) leave(m *archiveRemoval, at time.Time) {
	c.removed++
	c.removedEvents += int64(m.Events)
	for len(c.leaving) > 0 && at.Sub(c.leaving[0].at) > leavingKept {
		c.leaving = c.leaving[1:]
	}
	c.leaving = append(c.leaving, leavingSegment{archiveRemoval: *m, at: at})
	delete(c.gone, m.ID)
	for id, hashes := range m.Earlier {
		c.hide(hiding{segment: id, hashes: hashes})
	}
	for _, h := range c.hides[m.ID] {
		c.hide(h)
	}
	delete(c.hides, m.ID)
}

// hide notes that some subjects are not shown in a segment any more.
func (c *catalog) hide(h hiding) {
	if !c.holds(h.segment) {
		return // it went, or goes with the same record
	}
	if c.gone == nil {
		c.gone = make(map[string]map[uint64]bool)
	}
	hidden := maps.Clone(c.gone[h.segment])
	if hidden == nil {
		hidden = make(map[uint64]bool)
	}
	for hashes := h.hashes; len(hashes) >= keySize; hashes = hashes[keySize:] {
		hidden[binary.LittleEndian.Uint64(hashes)] = true
	}
	c.gone[h.segment] = hidden
}

// hiddenBy is what is not shown in a segment any more, or will not be once another one is gone.
func (c *catalog) hiddenBy(going, segment string) map[uint64]bool {
	if len(c.hides[going]) == 0 {
		return c.gone[segment]
	}
	next := catalog{gone: maps.Clone(c.gone), chunks: c.chunks}
	for _, h := range c.hides[going] {
		if h.segment == segment {
			next.hide(h)
		}
	}
	return next.gone[segment]
}

// remove takes a segment out; false if there is none of this id.
func (c *catalog) remove(id string) bool {
	for i, k := range c.chunks {
		at := slices.IndexFunc(k.segments, func(s *archiveSegment) bool { return s.ID == id })
		if at < 0 {
			continue
		}
		c.count(k.segments[at], -1)
		left := &chunk{from: k.from, through: k.through, segments: slices.Delete(slices.Clone(k.segments), at, at+1)}
		if len(left.segments) == 0 {
			c.chunks = slices.Delete(c.chunks, i, i+1)
		} else {
			c.chunks[i] = left
		}
		return true
	}
	return false
}

// refresh returns the catalogue as the stream's leader knows it: one small read if nothing has changed.
func (a *archive) refresh(ctx context.Context) (*catalog, error) {
	ctx, cancel := withSettleTimeout(ctx)
	defer cancel()
	last, err := a.last(ctx)
	if err != nil {
		return nil, err
	}
	return a.upTo(ctx, last)
}

// upTo returns the catalogue with the record that was the newest a moment ago, and what is known to have come since.
func (a *archive) upTo(ctx context.Context, last *Entry) (c *catalog, err error) {
	if c := a.now.Load(); c != nil && c.is(last) {
		return c, nil
	}
	select {
	case a.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-a.turn }()
	if c = a.now.Load(); c == nil {
		c = &catalog{}
	}
	if c.at > 0 && (last == nil || last.Seq < c.at) {
		// Another one read a newer record since: to go back to this one would hide what left by it. Or older data was put back.
		if last, err = a.last(ctx); err != nil {
			return nil, err
		}
	}
	if !c.is(last) && (last != nil && c.at < last.Seq) {
		c, err = a.readOn(ctx, c, last)
	}
	if errors.Is(err, errChain) || err == nil && !c.is(last) {
		// Older data was put back, and its sequences are given out again (DESIGN D2): what was known is void. Filters count as the newer
		// the later they stand in CATALOG: those that were would keep others out.
		a.clear()
		c, err = a.readOn(ctx, &catalog{}, last)
	}
	if err != nil {
		return nil, err
	}
	a.now.Store(c)
	return c, nil
}

// is reports that last is the record that c ends with.
func (c *catalog) is(last *Entry) bool {
	if last == nil {
		return c.at == 0
	}
	return c.at == last.Seq && c.sum == sumOf(last.Body)
}

// last is the newest record; nil if there is none.
func (a *archive) last(ctx context.Context) (last *Entry, err error) {
	err = a.l.reading(ctx, func(ctx context.Context) error {
		m, err := a.l.leaderMessage(ctx, StreamCatalog, getRequest{LastFor: catalogSubject})
		if isNotFound(err) {
			return a.absent(ctx)
		}
		if err == nil {
			last = &Entry{Event: &schemas.Event{Seq: m.Seq}, Body: m.Data}
		}
		return err
	})
	if errors.Is(err, errNoMessage) {
		return nil, nil
	}
	return last, err
}

// absent judges a cell without CATALOG: it was made by an older version, which archives nothing, or what left LEDGER is
// lost.
func (a *archive) absent(ctx context.Context) error {
	s, err := a.l.js.Stream(ctx, StreamLedger)
	switch {
	case err != nil:
		return err
	case s.CachedInfo().State.FirstSeq > 1:
		return fmt.Errorf("there is no stream %s, and LEDGER begins at %d only: what stood before cannot be read",
			StreamCatalog, s.CachedInfo().State.FirstSeq)
	}
	return errNoMessage
}

func isNotFound(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && api.ErrorCode == jetstream.JSErrCodeStreamNotFound
}

// readOn folds the records behind c up to last.
func (a *archive) readOn(ctx context.Context, c *catalog, last *Entry) (*catalog, error) {
	for last != nil && c.at < last.Seq {
		batch, err := a.records(ctx, c.at+1, last)
		if err != nil {
			return nil, err
		}
		if c, err = c.apply(batch); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// records are the next ones from seq on, up to last, which is known already. A replica that lags behind is not asked
// twice.
func (a *archive) records(ctx context.Context, seq schemas.Seq, last *Entry) (batch []*Entry, err error) {
	if seq == last.Seq {
		return []*Entry{last}, nil
	}
	batch, _, err = a.l.directBatchOf(ctx, StreamCatalog, getRequest{Seq: seq, NextFor: catalogSubject, Batch: catalogBatch})
	if err == nil && len(batch) > 0 {
		end := slices.IndexFunc(batch, func(e *Entry) bool { return e.Seq > last.Seq })
		if end >= 0 {
			batch = batch[:end]
		}
		return batch, nil
	}
	err = a.l.reading(ctx, func(ctx context.Context) error {
		m, err := a.l.leaderMessage(ctx, StreamCatalog, getRequest{Seq: seq, NextFor: catalogSubject})
		if err == nil {
			batch = []*Entry{{Event: &schemas.Event{Seq: m.Seq}, Body: m.Data}}
		}
		return err
	})
	return batch, err
}
