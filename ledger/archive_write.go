package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/schemas"
)

const (
	// pagesInFlight is how many pages are on their way at a time: on a cluster each waits for a round trip.
	pagesInFlight = 8
	// partRoom is what a message needs beside its part of a page: frame, subject, headers.
	partRoom = 1 << 10
)

// segmentWriter collects one step of the archive and writes it. It belongs to one goroutine.
type segmentWriter struct {
	l        *Ledger
	from     schemas.Seq
	messages []*rawMessage
	bytes    int
	tally    *Tally                 // what the messages do to the counts; nil: it is not known, as in tests
	classes  map[string]*classified // by subject; those that are not in it are of the default class
	free     []*pageBuilder         // to be used again, by the next step too
}

// classify says to which class the messages of a subject go. It keeps c.
func (w *segmentWriter) classify(subject string, c *classified) {
	if w.classes == nil {
		w.classes = make(map[string]*classified, len(w.messages)/fewMessages)
	}
	w.classes[subject] = c
}

// Add takes the next message; it keeps what m refers to until Commit.
func (w *segmentWriter) Add(m *rawMessage) {
	w.messages = append(w.messages, m)
	w.bytes += m.size()
}

// Full reports that the step is as large as it may be: nothing more is to be added.
func (w *segmentWriter) Full() bool {
	return len(w.messages) >= segmentEventsMax || w.bytes >= segmentBytesMax
}

// Last is the position of the last message added, to be the boundary if nothing else is; of a message that is no event
// without an id.
func (w *segmentWriter) Last() schemas.Position {
	if len(w.messages) == 0 {
		return schemas.Position{Seq: w.from}
	}
	m := *w.messages[len(w.messages)-1]
	m.Data = nil // it is read for its id
	return m.entry().Position()
}

// Commit writes what was added and makes it part of the archive, which then reaches up to through: the last message
// added, or one behind it if there are none in between any more.
//
// The error is ErrRefused if the archive no longer ends where the step began, since another writer was faster: nothing
// of this step is in the archive and never will be. It is ErrUnknown if ctx ended before it was settled: ask Archived.
// After any other error the step is not part of the archive.
func (w *segmentWriter) Commit(ctx context.Context, through schemas.Position) (*archiveRecord, error) {
	ctx, cancel := withSettleTimeout(ctx)
	defer cancel()
	if err := w.check(through); err != nil {
		return nil, err
	}
	c, err := w.l.archive.refresh(ctx)
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	if c.through.Seq != w.from {
		return nil, fmt.Errorf("archive: a step from %d: %w", w.from, &RefusedError{Subject: catalogSubject, Expected: c.at, At: c.at})
	}
	r := &archiveRecord{V: recordVersion, Kind: recordCommit, ID: uuid.NewString(), Prev: c.sum, From: w.from, Through: through}
	if n := len(w.messages); n > 0 {
		r.ThroughAt = w.messages[n-1].Time.UTC()
	} else {
		r.ThroughAt = c.throughAt
	}
	for _, of := range w.byClass() {
		s, err := w.write(ctx, of)
		if err != nil {
			return nil, fmt.Errorf("archive: write a segment: %w", err)
		}
		r.Segments = append(r.Segments, s)
	}
	if w.tally != nil {
		if r.Tally, err = w.l.storeTally(ctx, r, w.tally); err != nil {
			return nil, fmt.Errorf("archive: %w", err)
		}
	}
	// Up to here a restart finds messages that no record names, which the sweep removes. From here on the step is
	// done: what it covers may be purged.
	if err := w.l.appendRecord(ctx, r, c.at); err != nil {
		return nil, fmt.Errorf("archive: commit: %w", err)
	}
	return r, nil
}

// check refuses what would be wrong for ever.
func (w *segmentWriter) check(through schemas.Position) error {
	last := w.from
	for _, m := range w.messages {
		if m.Seq <= last {
			return fmt.Errorf("archive: message %d was added behind %d", m.Seq, last)
		}
		last = m.Seq
	}
	if through.Seq < last || through.Seq <= w.from {
		return fmt.Errorf("archive: a step from %d with messages up to %d cannot end at %d", w.from, last, through.Seq)
	}
	return nil
}

// segmentDraft is a segment that is being written.
type segmentDraft struct {
	l       *Ledger
	kinds   map[uint64]bool // keys of types that are in the filter
	org     schemas.OrgID   // org and type whose keys were put there last
	typ     schemas.TypeName
	ageless bool // of some job nobody knows when it was submitted
	id      uuid.UUID
	s       archiveSegment
	pages   []archivedPage
	waiting []*pageBuilder // built, not yet sent
	free    []*pageBuilder // sent: to be used again
	keys    []indexKey
	order   []int    // the page of each sequence from the segment's first on, noPage where it is not the segment's; nil if most are not
	timed   []uint64 // hashes
	other   []uint64
}

// write stores the pages, the index and the filter of one class.
func (w *segmentWriter) write(ctx context.Context, of []*subjectGroup) (archiveSegment, error) {
	d := &segmentDraft{l: w.l, id: uuid.New(), kinds: make(map[uint64]bool), free: w.free}
	w.free = nil
	first := of[0].messages[0]
	d.s = archiveSegment{ID: d.id.String(), Class: of[0].class, First: first.Seq, FirstAt: first.Time.UTC(), LastAt: first.Time.UTC()}
	for _, g := range of {
		d.s.Events += len(g.messages)
		d.s.First, d.s.Last = min(d.s.First, g.messages[0].Seq), max(d.s.Last, g.messages[len(g.messages)-1].Seq)
		for _, m := range g.messages {
			if m.Time.Before(d.s.FirstAt) {
				d.s.FirstAt = m.Time.UTC()
			} else if m.Time.After(d.s.LastAt) {
				d.s.LastAt = m.Time.UTC()
			}
		}
	}
	if n := int(d.s.Last-d.s.First) + 1; n <= orderSpread*d.s.Events {
		d.order = slices.Repeat([]int{noPage}, n)
	}
	if err := d.writePages(ctx, of); err != nil {
		return d.s, err
	}
	w.free = d.free
	if d.ageless {
		d.s.Since = time.Time{}
	}
	if err := d.writeIndex(ctx); err != nil {
		return d.s, err
	}
	return d.s, d.writeFilter(ctx)
}

// writePages makes pages of groups that are sorted by place and subject.
func (d *segmentDraft) writePages(ctx context.Context, of []*subjectGroup) error {
	var page *pageBuilder
	number := -1 // of page
	for _, g := range of {
		hash := d.note(g, page)
		for rest := g.messages; len(rest) > 0; {
			if page == nil || page.place != g.place || len(page.body) >= pageTarget {
				page = d.newPage(g.place)
				number++
				if err := d.keep(ctx, page); err != nil {
					return err
				}
			}
			n := page.add(rest)
			if n == 0 {
				page = nil // the next one does not fit
				continue
			}
			d.keys = append(d.keys, indexKey{hash: hash, page: number})
			d.place(rest[:n], number)
			rest = rest[n:]
		}
	}
	return d.send(ctx)
}

// place notes which page some messages are on.
func (d *segmentDraft) place(messages []*rawMessage, page int) {
	if d.order == nil {
		return
	}
	for _, m := range messages {
		d.order[m.Seq-d.s.First] = page
	}
}

// note counts a subject and puts it into a filter; page is the one before.
func (d *segmentDraft) note(g *subjectGroup, page *pageBuilder) uint64 {
	hash := keyOf(g.subject)
	if page == nil || page.place != g.place {
		d.other = append(d.other, keyOf(g.place)) // orgs are found by the filter too
	}
	at, err := schemas.ParseSubject(g.subject)
	if err == nil && at.Job != "" {
		d.s.Jobs++
		d.noteJob(at.Org, g.classified)
		if made, ok := timed(at.Job); ok {
			d.s.Made = max(d.s.Made, made)
			d.timed = append(d.timed, hash)
			return hash
		}
	}
	d.other = append(d.other, hash)
	return hash
}

// noteJob puts what a job is kept by into the record and the filter: legal holds and retentions that are set later find it
// there.
func (d *segmentDraft) noteJob(org schemas.OrgID, c *classified) {
	switch {
	case c.since.IsZero():
		d.ageless = true
	case d.s.Since.IsZero() || c.since.Before(d.s.Since):
		d.s.Since = c.since.UTC()
	}
	if c.ended.After(d.s.Ended) {
		d.s.Ended = c.ended.UTC()
	}
	d.noteType(org, c.typ)
	for _, typ := range c.types { // a legal hold on any of its lives keeps them
		d.noteType(org, typ)
	}
}

func (d *segmentDraft) noteType(org schemas.OrgID, typ schemas.TypeName) {
	if typ == "" || typ == d.typ && org == d.org { // most often it is the one of the job before
		return
	}
	d.org, d.typ = org, typ
	for _, key := range []uint64{keyOfType(typ), keyOfTypeIn(org, typ)} {
		if !d.kinds[key] {
			d.kinds[key] = true
			d.other = append(d.other, key)
		}
	}
}

// newPage is a builder with the room of one whose page was sent.
func (d *segmentDraft) newPage(place string) *pageBuilder {
	n := len(d.free)
	if n == 0 {
		return newPage(place)
	}
	page := d.free[n-1]
	d.free = d.free[:n-1]
	page.begin(place)
	return page
}

// keep queues a page that is begun; those before it are complete.
func (d *segmentDraft) keep(ctx context.Context, page *pageBuilder) error {
	if len(d.waiting) >= pagesInFlight {
		if err := d.send(ctx); err != nil {
			return err
		}
	}
	d.waiting = append(d.waiting, page)
	return nil
}

// send stores the pages that wait, all at a time.
func (d *segmentDraft) send(ctx context.Context) error {
	first := len(d.pages)
	d.pages = append(d.pages, make([]archivedPage, len(d.waiting))...)
	errs := make([]error, len(d.waiting))
	var wg sync.WaitGroup
	for i, p := range d.waiting {
		wg.Go(func() {
			content := p.content()
			at, err := d.store(ctx, kindPage, pageSubject+p.place, first+i, content)
			d.pages[first+i] = archivedPage{place: p.place, at: at, size: len(content), sum: sha256.Sum256(content),
				events: p.events, first: p.first, last: p.last}
			errs[i] = err
		})
	}
	wg.Wait()
	d.waiting, d.free = d.waiting[:0], append(d.free, d.waiting...)
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	for _, p := range d.pages[first:] {
		d.stored(p.at, p.size)
	}
	return nil
}

// stored counts messages of the segment in ARCHIVE.
func (d *segmentDraft) stored(at []schemas.Seq, size int) {
	for _, seq := range at {
		if d.s.Messages == 0 {
			d.s.Low = seq
		}
		d.s.Low, d.s.High = min(d.s.Low, seq), max(d.s.High, seq)
		d.s.Messages++
	}
	d.s.Bytes += int64(size)
}

func (d *segmentDraft) writeIndex(ctx context.Context) error {
	d.s.Pages = len(d.pages)
	content := encodeIndex(d.pages, d.keys, d.order)
	at, err := d.store(ctx, kindIndex, indexSubject, 0, content)
	d.s.Index, d.s.Size, d.s.Sum = at, len(content), sumOf(content)
	d.stored(at, len(content))
	return err
}

// newFilters returns both filters of a segment, which one message holds: where each job has an org and a type of its own, there are
// four hashes for each, and fewer bits for one.
func newFilters(timedHashes, otherHashes []uint64) (timed, other filter) {
	timed = newFilter(timedHashes, timedBits)
	return timed, newFilter(otherHashes, min(otherBits, (partMax-len(timed))*8/max(1, len(otherHashes))))
}

// writeFilter stores both filters, in one message.
func (d *segmentDraft) writeFilter(ctx context.Context) error {
	timed, other := newFilters(d.timed, d.other)
	content := slices.Concat([]byte(timed), []byte(other))
	d.s.Timed, d.s.Other, d.s.FilterSum = len(timed), len(other), sumOf(content)
	at, err := d.l.storePart(ctx, StreamCatalog, filterSubject, partHead{kind: kindFilter, id: d.id, parts: 1}, content)
	d.s.Filter = at
	return err
}

// store puts a content of the segment into ARCHIVE and returns where it stands.
func (d *segmentDraft) store(ctx context.Context, kind byte, subject string, number int, content []byte) ([]schemas.Seq, error) {
	return d.l.storeContent(ctx, StreamArchive, subject, partHead{kind: kind, id: d.id, number: uint32(number)}, content)
}

// storeContent puts a content into as many messages as it needs and returns where they are.
func (l *Ledger) storeContent(ctx context.Context, stream, subject string, h partHead, content []byte) ([]schemas.Seq, error) {
	size := partMax
	if limit := int(l.nc.MaxPayload()) - partRoom; limit > 0 {
		size = min(size, limit)
	}
	h.parts = uint16(max(1, (len(content)+size-1)/size))
	at := make([]schemas.Seq, 0, h.parts)
	for h.part = range h.parts {
		from := int(h.part) * size
		seq, err := l.storePart(ctx, stream, subject, h, content[from:min(from+size, len(content))])
		if err != nil {
			return nil, err
		}
		at = append(at, seq)
	}
	return at, nil
}

// What a message of ARCHIVE, or a filter or a tally of CATALOG, holds.
const (
	kindPage   = 'p'
	kindIndex  = 'i'
	kindFilter = 'f'
	kindTally  = 't'
)

// partMagic begins every message of ARCHIVE; the digit is the version of the form.
const partMagic = "JLA1"

// partHead is what stands before the content in a message: magic, kind, the id of the segment or of a tally's record, the page's number, which part
// of how many; numbers little-endian.
type partHead struct {
	kind        byte
	id          uuid.UUID
	number      uint32
	part, parts uint16
}

const partHeadSize = len(partMagic) + 1 + 16 + 4 + 2 + 2

func (h *partHead) append(b []byte) []byte {
	b = append(append(append(b, partMagic...), h.kind), h.id[:]...)
	b = binary.LittleEndian.AppendUint32(b, h.number)
	b = binary.LittleEndian.AppendUint16(b, h.part)
	return binary.LittleEndian.AppendUint16(b, h.parts)
}

// parsePart splits a message into its head and its share of the content; false if it is none of ours.
func parsePart(body []byte) (h partHead, content []byte, ok bool) {
	rest, ok := bytes.CutPrefix(body, []byte(partMagic))
	if !ok || len(body) < partHeadSize {
		return h, nil, false
	}
	h.kind = rest[0]
	copy(h.id[:], rest[1:])
	h.number = binary.LittleEndian.Uint32(rest[17:])
	h.part = binary.LittleEndian.Uint16(rest[21:])
	h.parts = binary.LittleEndian.Uint16(rest[23:])
	return h, body[partHeadSize:], true
}

// partRooms are what parts are put together in; a page is most often one part of that size.
var partRooms = sync.Pool{New: func() any { return new([]byte) }}

// storePart stores one message, sending it again under its own id until it is confirmed or ctx ends. A restart finds it
// or not: no record names it yet.
func (l *Ledger) storePart(ctx context.Context, stream, subject string, h partHead, content []byte) (schemas.Seq, error) {
	room := partRooms.Get().(*[]byte)
	m := nats.NewMsg(subject)
	m.Data = append(h.append(slices.Grow((*room)[:0], partHeadSize+len(content))), content...)
	*room = m.Data
	m.Header[schemas.HeaderMsgID] = []string{fmt.Sprintf("%s.%c.%d.%d", h.id, h.kind, h.number, h.part)}
	for try := 0; ; try++ {
		wait, cancel := context.WithTimeout(ctx, replyTimeout(try))
		reply, err := l.publish(wait, m)
		cancel()
		if err == nil {
			var ack *pubAck
			if ack, err = decodeAckOf(stream, reply.Data); err == nil {
				if ack.Code == 0 {
					if try == 0 { // a try without an answer may be under way still: its bytes stay what they are
						partRooms.Put(room)
					}
					return ack.Seq, nil
				}
				err = ack
			}
		}
		if l.nc.IsClosed() || !pause(ctx, try) {
			return 0, fmt.Errorf("message %d of stream %s, part %d: %w", h.number, stream, h.part, err)
		}
	}
}
