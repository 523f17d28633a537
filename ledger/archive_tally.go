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

// A commit stores a tally beside its record: what its stretch of the ledger did to the counts. Tallies are never removed:
// their sum says how many jobs there were up to a boundary, whatever has been removed since.

const (
	// tallySubject takes the tallies, in as many parts as one needs.
	tallySubject = "catalog.tally"
	// tallyBatch and tallyBytes bound one answer when tallies are read.
	tallyBatch = 256
	tallyBytes = 8 << 20
)

// archiveTally says where the tally of a commit stands.
type archiveTally struct {
	At   []schemas.Seq `json:"at"` // its parts, in CATALOG
	Size int           `json:"size"`
	Sum  string        `json:"sha256"` // of the whole content
}

func (t *archiveTally) valid() bool {
	return t == nil || len(t.At) > 0 && t.Size > 0 && isSum(t.Sum)
}

// committed is what a catalogue keeps of every commit, also when nothing is left of its segments.
type committed struct {
	from      schemas.Seq // without it
	through   schemas.Position
	throughAt time.Time
	tally     *archiveTally // nil: an older version made the commit
	segments  int           // how many it had
}

// storeTally stores the tally of a commit whose record will bear an id. A restart finds messages that no record names,
// which the sweep removes.
func (l *Ledger) storeTally(ctx context.Context, r *archiveRecord, t *Tally) (*archiveTally, error) {
	content, err := encodeTally(r.From, r.Through.Seq, t)
	if err != nil {
		return nil, err
	}
	id, err := uuid.Parse(r.ID)
	if err != nil {
		return nil, err
	}
	at, err := l.storeContent(ctx, StreamCatalog, tallySubject, partHead{kind: kindTally, id: id}, content)
	if err != nil {
		return nil, fmt.Errorf("tally: %w", err)
	}
	return &archiveTally{At: at, Size: len(content), Sum: sumOf(content)}, nil
}

// tallyError: the tally of a commit is not what its record names.
type tallyError struct {
	from, through schemas.Seq
	problem       string
}

// Error implements error.
func (e *tallyError) Error() string {
	return fmt.Sprintf("the tally of the commit from %d to %d is damaged: %s", e.from, e.through, e.problem)
}

// tallies reads the tallies of commits one after the other; what follows is read ahead. It belongs to one goroutine.
type tallies struct {
	l     *Ledger
	ahead map[schemas.Seq][]byte // messages by their sequence in CATALOG
}

// of returns the tally of a commit that has one. The error is a *tallyError if it is damaged.
func (r *tallies) of(ctx context.Context, c *committed) (*Tally, error) {
	damaged := func(format string, args ...any) error {
		return &tallyError{from: c.from, through: c.through.Seq, problem: fmt.Sprintf(format, args...)}
	}
	var content []byte
	for part, at := range c.tally.At {
		body, err := r.message(ctx, at)
		if err != nil {
			return nil, err
		}
		h, rest, ok := parsePart(body)
		switch {
		case body == nil:
			return nil, damaged("message %d of stream %s is not there", at, StreamCatalog)
		case !ok || h.kind != kindTally || int(h.part) != part || int(h.parts) != len(c.tally.At):
			return nil, damaged("message %d of stream %s is no such part of it", at, StreamCatalog)
		}
		content = append(content, rest...)
	}
	if len(content) != c.tally.Size || sumOf(content) != c.tally.Sum {
		return nil, damaged("its SHA-256 is not the one that the record names")
	}
	t, err := decodeTally(c.from, c.through.Seq, content)
	if err != nil {
		return nil, damaged("%v", err)
	}
	return t, nil
}

// message is one message of CATALOG; nil if it is not there.
func (r *tallies) message(ctx context.Context, seq schemas.Seq) ([]byte, error) {
	if body, ok := r.ahead[seq]; ok {
		return body, nil
	}
	r.ahead = make(map[schemas.Seq][]byte)
	batch, _, err := r.l.directBatchOf(ctx, StreamCatalog, getRequest{Seq: seq, NextFor: tallySubject, Batch: tallyBatch, MaxBytes: tallyBytes})
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err == nil {
		for _, m := range batch {
			r.ahead[m.Seq] = m.Body
		}
	}
	if body, ok := r.ahead[seq]; ok {
		return body, nil
	}
	e, err := r.l.archive.message(ctx, StreamCatalog, seq) // a replica that lags behind, or it is gone
	if err != nil || e == nil {
		return nil, err
	}
	return e.Body, nil
}

// Tallied is what the counts were at a boundary of the archive.
type Tallied struct {
	schemas.Position           // of the boundary; zero: nothing can be said
	At               time.Time // stream time of the message there
	Tally
	// Removed: segments of the archive were removed, so that a fold of what is left does not tell the counts.
	Removed bool
	// Missing says why it does not reach as far as was asked for; empty if it does. Behind Position the counts are told by
	// the messages alone.
	Missing string
}

// Tallied sums the tallies up to the last boundary of the archive whose message is older than a time; zero: the last one
// of all. It ends before a commit whose tally is missing or damaged.
func (l *Ledger) Tallied(ctx context.Context, before time.Time) (*Tallied, error) {
	c, err := l.archive.refresh(ctx)
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	sum := &Tallied{Tally: Tally{Counts: make(Counts)}, Removed: c.removed > 0}
	read := tallies{l: l}
	for i := range c.commits {
		k := &c.commits[i]
		if !before.IsZero() && !k.throughAt.Before(before) {
			return sum, nil
		}
		if k.tally == nil {
			sum.Missing = fmt.Sprintf("the commit from %d to %d was made by a version that kept no tallies", k.from, k.through.Seq)
			return sum, nil
		}
		t, err := read.of(ctx, k)
		var damaged *tallyError
		if errors.As(err, &damaged) {
			sum.Missing = damaged.Error()
			return sum, nil
		}
		if err != nil {
			return nil, fmt.Errorf("archive: tallies: %w", err)
		}
		sum.Add(t)
		sum.Position, sum.At = k.through, k.throughAt
	}
	return sum, nil
}

// untallied names segments of commits without a tally: with them the counts of their jobs would be lost.
func (c *catalog) untallied(segments []*archiveSegment) (ids []string) {
	for _, s := range segments {
		i, ok := slices.BinarySearchFunc(c.commits, s.First, func(k committed, seq schemas.Seq) int {
			switch {
			case k.through.Seq < seq:
				return -1
			case k.from >= seq:
				return 1
			}
			return 0
		})
		if !ok || c.commits[i].tally == nil {
			ids = append(ids, s.ID)
		}
	}
	return ids
}
