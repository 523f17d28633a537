package ledger

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"github.com/dartwing/jobledger/schemas"
)

const (
	// partsWindow is how many parts of pages one round of requests reads: 8 MiB at most.
	partsWindow = 16
	// freshTries is how often a read begins anew with the newest catalogue, when segments are removed meanwhile.
	freshTries = 5
)

// damageError says what of the archive cannot be read. Nothing is handed out in place of it.
type damageError struct {
	segment string
	page    int // -1: the index, -2: the filter
	at      schemas.Seq
	problem string
}

// ErrArchiveDamaged: a part of the archive cannot be read, or was changed (`log verify` names it).
var ErrArchiveDamaged = errors.New("the archive is damaged")

// Is has a damage be ErrArchiveDamaged.
func (e *damageError) Is(target error) bool { return target == ErrArchiveDamaged }

// Error implements error.
func (e *damageError) Error() string {
	what := fmt.Sprintf("page %d", e.page)
	stream := StreamArchive
	switch e.page {
	case pageIndex:
		what = "the index"
	case pageFilter:
		what, stream = "the filter", StreamCatalog
	}
	return fmt.Sprintf("segment %s is damaged: %s, message %d of stream %s: %s", e.segment, what, e.at, stream, e.problem)
}

const (
	pageIndex  = -1
	pageFilter = -2
)

// archivedJob is what is looked for.
type archivedJob struct {
	org     schemas.OrgID
	id      schemas.JobID
	subject string
	made    int64 // Unix milliseconds, if timed
	timed   bool
	asks    bool         // where it stands, if a filter is not in memory (Ledger.AskWhere)
	where   *Whereabouts // it is known; nil: it is not
}

// lookFor is what a look for a job's subject is for.
func lookFor(at schemas.Subject) archivedJob {
	want := archivedJob{org: at.Org, id: at.Job, subject: at.String()}
	want.made, want.timed = timed(at.Job)
	return want
}

// find returns all archived messages of a subject, ascending.
func (a *archive) find(ctx context.Context, want archivedJob) (entries []*Entry, err error) {
	err = a.fresh(ctx, func(c *catalog) error {
		entries, err = a.findIn(ctx, c, want)
		return err
	})
	return entries, err
}

// fresh calls read with the newest catalogue, and again if a segment was removed while it was read: what seems damaged
// is then only gone.
func (a *archive) fresh(ctx context.Context, read func(*catalog) error) error {
	for try := 0; ; try++ {
		c, err := a.refresh(ctx)
		if err != nil {
			return err
		}
		err = read(c)
		var damage *damageError
		if !errors.As(err, &damage) || try == freshTries {
			return err
		}
		now, refreshErr := a.refresh(ctx)
		if refreshErr != nil {
			return refreshErr
		}
		if now.holds(damage.segment) {
			return err
		}
		a.forget(damage.segment)
	}
}

func (a *archive) findIn(ctx context.Context, c *catalog, want archivedJob) (entries []*Entry, err error) {
	err = a.eachHolding(ctx, c, want, func(s *archiveSegment, hash uint64) (done bool, err error) {
		entries, err = a.findSegment(ctx, s, want.subject, hash, entries)
		return false, err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(entries, func(a, b *Entry) int { return cmp.Compare(a.Seq, b.Seq) })
	return entries, nil
}

// later reports that the id was made later than all of a segment.
func (w *archivedJob) later(s *archiveSegment) bool {
	return w.timed && s.Made > 0 && w.made > s.Made
}

// findSegment appends the messages of a subject in one segment.
func (a *archive) findSegment(ctx context.Context, s *archiveSegment, subject string, hash uint64, entries []*Entry) ([]*Entry, error) {
	x, err := a.indexOf(ctx, s)
	if err != nil {
		return nil, err
	}
	numbers := x.find(hash)
	contents, err := a.pages(ctx, s, x, numbers)
	if err != nil {
		return nil, err
	}
	var d pageDecoder
	for i, content := range contents {
		var bad error
		err := walkPage(content, subject, func(e pagedEvent) {
			entry, err := d.entry(e)
			bad = cmp.Or(bad, err)
			entries = append(entries, entry)
		})
		if err = cmp.Or(err, bad); err != nil {
			return nil, &damageError{segment: s.ID, page: numbers[i], at: x.pages[numbers[i]].at[0], problem: err.Error()}
		}
	}
	return entries, nil
}

// indexOf is a segment's index.
func (a *archive) indexOf(ctx context.Context, s *archiveSegment) (*segmentIndex, error) {
	if x := a.index(s.ID); x != nil {
		return x, nil
	}
	content, err := a.content(ctx, StreamArchive, s.ID, kindIndex, pageIndex, s.Index, s.Size)
	if err != nil {
		return nil, err
	}
	bad := func(problem string) error {
		return &damageError{segment: s.ID, page: pageIndex, at: s.Index[0], problem: problem}
	}
	if sumOf(content) != s.Sum {
		return nil, bad("its SHA-256 is not the one that the record names")
	}
	x, err := decodeIndex(content)
	if err != nil {
		return nil, bad(err.Error())
	}
	if len(x.pages) != s.Pages {
		return nil, bad(fmt.Sprintf("it names %d pages, the record %d", len(x.pages), s.Pages))
	}
	a.keepIndex(s.ID, x)
	return x, nil
}

// pages reads some pages of a segment and compares them with their sums.
func (a *archive) pages(ctx context.Context, s *archiveSegment, x *segmentIndex, numbers []int) ([][]byte, error) {
	var seqs []schemas.Seq
	for _, n := range numbers {
		seqs = append(seqs, x.pages[n].at...)
	}
	parts, err := a.messages(ctx, StreamArchive, seqs)
	if err != nil {
		return nil, err
	}
	contents := make([][]byte, len(numbers))
	for i, n := range numbers {
		p := &x.pages[n]
		contents[i], err = joinParts(s.ID, kindPage, n, p.at, parts[:len(p.at)], p.size)
		if err != nil {
			return nil, err
		}
		if sha256.Sum256(contents[i]) != p.sum {
			return nil, &damageError{segment: s.ID, page: n, at: p.at[0], problem: "its SHA-256 is not the one that the index names"}
		}
		parts = parts[len(p.at):]
	}
	return contents, nil
}

// content reads an index or a filter.
func (a *archive) content(ctx context.Context, stream, id string, kind byte, page int, at []schemas.Seq, size int) ([]byte, error) {
	parts, err := a.messages(ctx, stream, at)
	if err != nil {
		return nil, err
	}
	return joinParts(id, kind, page, at, parts, size)
}

// joinParts puts the parts of one page, index or filter together; page is its number, or what it is.
func joinParts(id string, kind byte, page int, at []schemas.Seq, parts []*Entry, size int) ([]byte, error) {
	want, err := uuid.Parse(id)
	if err != nil {
		return nil, err
	}
	var whole []byte
	for i, m := range parts {
		bad := func(problem string) error {
			return &damageError{segment: id, page: page, at: at[i], problem: problem}
		}
		if m == nil {
			return nil, bad("it is not there")
		}
		h, content, ok := parsePart(m.Body)
		switch {
		case !ok:
			return nil, bad("it is no message of the archive")
		case h.kind != kind, h.id != want, int(h.number) != max(page, 0), int(h.part) != i, int(h.parts) != len(parts):
			return nil, bad(fmt.Sprintf("it holds part %d of %d of page %d of segment %s", h.part, h.parts, h.number, h.id))
		}
		if len(parts) == 1 {
			whole = content
		} else {
			whole = append(whole, content...)
		}
	}
	if len(whole) != size {
		return nil, &damageError{segment: id, page: page, at: at[0], problem: fmt.Sprintf("it has %d bytes instead of %d", len(whole), size)}
	}
	return whole, nil
}

// messages reads messages of a stream; nil for those that its leader does not have either.
func (a *archive) messages(ctx context.Context, stream string, seqs []schemas.Seq) ([]*Entry, error) {
	out := make([]*Entry, 0, len(seqs))
	for window := range slices.Chunk(seqs, partsWindow) {
		entries, err := a.l.directWindow(ctx, stream, window)
		if err != nil {
			entries = make([]*Entry, len(window))
		}
		for i, e := range entries {
			if e != nil {
				continue
			}
			if entries[i], err = a.message(ctx, stream, window[i]); err != nil {
				return nil, fmt.Errorf("read message %d of stream %s: %w", window[i], stream, err)
			}
		}
		out = append(out, entries...)
	}
	return out, nil
}

// message reads one message from the stream's leader; nil if it has none.
func (a *archive) message(ctx context.Context, stream string, seq schemas.Seq) (e *Entry, err error) {
	err = a.l.reading(ctx, func(ctx context.Context) error {
		m, err := a.l.leaderMessage(ctx, stream, getRequest{Seq: seq})
		if err == nil {
			e = &Entry{Event: &schemas.Event{Seq: m.Seq}, Body: m.Data}
		}
		return err
	})
	if errors.Is(err, errNoMessage) {
		return nil, nil
	}
	return e, err
}
