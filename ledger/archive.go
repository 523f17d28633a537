package ledger

import (
	"context"
	"fmt"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// The archive is the beginning of the ledger, kept in another form (DESIGN D13): every message of LEDGER up to a
// boundary, once; all that is behind it is in LEDGER. Messages up to the boundary that still stand in LEDGER, since
// they were not purged yet, are the same ones.
//
// ARCHIVE holds pages: many events of one org in one message, those of a job side by side, each with its sequence,
// time, headers and body as they were. A segment is what one step of the archiver took, of one retention class: pages,
// and an index that says which page holds which subject. CATALOG holds a filter for each segment, which says from
// memory that a job is not in it, and the records: a segment is part of the archive from the moment that a record
// names it, and nothing else is.
//
// A step is written so: pages, index, filter, record. Up to the record a restart finds messages that no record names,
// which the sweep removes; behind it the step is done, and what it covers is purged from LEDGER, again if need be.
// Records are appended behind the last one that their writer knew, so that of two writers one is refused, and each
// names the sum of the one before.
//
// A reader looks at LEDGER first and at the archive second, with the newest record: what left LEDGER in between is
// there then.
const (
	archiveSubjects = "archive.>"
	pageSubject     = "archive.page."  // followed by a page's place
	indexSubject    = "archive.index"  // one for each segment
	catalogSubjects = "catalog.>"      // records and filters
	catalogSubject  = "catalog.record" // one for each step
	filterSubject   = "catalog.filter" // one for each segment; tallies stand on tallySubject

	// segmentEventsMax and segmentBytesMax are what a step takes at most, for it waits in memory until it is written;
	// a larger event is a step of its own.
	segmentEventsMax = 1 << 16
	segmentBytesMax  = 32 << 20
	// pageTarget is about the size of a page: what has to be read to find a job, and enough to be compressed well.
	pageTarget = 256 << 10
	// partMax is how much of a page or index one message holds: below the max_payload of any server (1 MiB).
	partMax = 512 << 10
	// pagePartsMax bounds the parts of one page: the largest event that any server takes is 64 MiB.
	pagePartsMax = 256
)

// ArchiveState says what the archive holds.
type ArchiveState struct {
	// Through is the boundary: the last message of the ledger that is in the archive. Its id is empty if that message
	// bears none. Zero: the archive is empty.
	Through schemas.Position `json:"through"`
	// ThroughAt is the stream time of that message.
	ThroughAt time.Time `json:"through_at,omitzero"`
	// First is the sequence at which what the archive still holds begins; 0 if it holds nothing. What stood before was
	// removed when its time was over.
	First schemas.Seq `json:"first"`
	// Segments, Events and Bytes are what is there. Bytes are of contents, before the server compresses them.
	Segments int   `json:"segments"`
	Events   int64 `json:"events"`
	Bytes    int64 `json:"bytes"`
	// Jobs counts a job once for each segment that holds events of it.
	Jobs int64 `json:"jobs"`
	// Removed is how many segments were there and are not any more, since the time of what they held was over, and
	// RemovedEvents what they held.
	Removed       int   `json:"removed_segments"`
	RemovedEvents int64 `json:"removed_events"`
}

// Archived says what the archive holds now, as its leader knows it.
func (l *Ledger) Archived(ctx context.Context) (ArchiveState, error) {
	c, err := l.archive.refresh(ctx)
	if err != nil {
		return ArchiveState{}, fmt.Errorf("archive: %w", err)
	}
	return c.state(), nil
}

// archivedSubject returns the messages of a job that are in the archive, ascending; none if there are none. Whoever
// wants all of them reads LEDGER before.
func (l *Ledger) archivedSubject(ctx context.Context, org schemas.OrgID, id schemas.JobID) ([]*Entry, error) {
	want := lookFor(schemas.JobSubject(org, id))
	entries, err := l.archive.find(ctx, want)
	if err != nil {
		return nil, fmt.Errorf("archive: read %s: %w", want.subject, err)
	}
	return entries, nil
}

// archivedRange calls fn with the archived messages from one sequence to another, both included, ascending, many at a
// time; of one org, or of all and the control events if org is empty. It reads to the boundary at its start.
//
// A segment that is removed while it is read is left out from then on.
func (l *Ledger) archivedRange(ctx context.Context, from, to schemas.Seq, org schemas.OrgID, fn func([]*Entry) error) error {
	r := archiveRange{a: &l.archive, next: max(from, 1), to: to, org: org, fn: fn}
	if err := r.run(ctx); err != nil {
		return fmt.Errorf("archive: read from %d to %d: %w", from, to, err)
	}
	return nil
}

// newSegment begins the next step of the archive, which ends at from now (ArchiveState.Through): the messages behind
// it are added, ascending, without leaving one out.
func (l *Ledger) newSegment(from schemas.Seq) *segmentWriter {
	return &segmentWriter{l: l, from: from}
}
