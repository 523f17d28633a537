package ledger

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/dartwing/jobledger/schemas"
)

// What is removed from the archive is gone for every reader at once, and nothing in the ledger says which jobs it was: who
// keeps something about each job, such as a query index, reads it once more while its messages stand there (removeDelay).

// ErrRemovalForgotten: a segment was removed so long ago that nothing tells what it held.
var ErrRemovalForgotten = errors.New("what was removed from the archive cannot be told any more")

// RemovedSegment is a part of the archive that was removed when its time was over.
type RemovedSegment struct {
	// Number is how many were removed up to this one, itself included: ArchiveState.Removed just behind it. ID names it.
	Number int
	ID     string
	// First and Last are the ledger sequences between which its events stood.
	First, Last schemas.Seq
	// Jobs are those that it held events of. What one of them amounts to now, Remaining tells.
	Jobs []schemas.Subject
}

// Removals is how many segments were removed from the archive, ever, and the id of the last one; "" where that is not remembered.
func (l *Ledger) Removals(ctx context.Context) (n int, last string, err error) {
	c, err := l.archive.refresh(ctx)
	if err != nil {
		return 0, "", fmt.Errorf("archive: %w", err)
	}
	return c.removed, c.removedAs(c.removed), nil
}

// removedAs is the id of the segment that was removed as the nth; "" where that is not remembered.
func (c *catalog) removedAs(n int) string {
	if at := n - 1 - (c.removed - len(c.leaving)); at >= 0 && at < len(c.leaving) {
		return c.leaving[at].ID
	}
	return ""
}

// RemovalsSince calls fn with each segment that was removed behind so many others, of which the last had an id ("" if that is not
// known), in the order of their removal, until fn returns an error, which it returns. The error wraps ErrRemovalForgotten where the
// messages of the next one are deleted, a day after its removal, and ErrPositionExpired where these are not the removals of
// this archive: older data was put back.
func (l *Ledger) RemovalsSince(ctx context.Context, after int, last string, fn func(*RemovedSegment) error) error {
	c, err := l.archive.refresh(ctx)
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	known := c.removed - len(c.leaving) // so many are not remembered
	if as := c.removedAs(after); after > c.removed || as != "" && last != "" && as != last {
		return fmt.Errorf("archive: removal %d of %d is another one: %w", after, c.removed, ErrPositionExpired)
	}
	if after < known {
		return fmt.Errorf("archive: removals behind %d of %d: %w", after, c.removed, ErrRemovalForgotten)
	}
	for i := range c.leaving[after-known:] {
		m := &c.leaving[after-known+i]
		s := &RemovedSegment{Number: after + i + 1, ID: m.ID, First: m.First, Last: m.Last}
		if s.Jobs, err = l.archive.removedJobs(ctx, &m.archiveRemoval); err != nil {
			return fmt.Errorf("archive: read removed segment %s: %w", m.ID, err)
		}
		if err := fn(s); err != nil {
			return err
		}
	}
	return nil
}

// Remaining are the messages on a job's subject, in ledger order, what left for ARCHIVE included, but not what was removed or is
// not shown since; there may be none. Of ARCHIVE it looks at what stands from one sequence to another, both included; to of 0: at all.
func (l *Ledger) Remaining(ctx context.Context, org schemas.OrgID, id schemas.JobID, from, to schemas.Seq) ([]*Entry, error) {
	at := schemas.JobSubject(org, id)
	hot, err := l.subject(ctx, at)
	if err != nil {
		return nil, fmt.Errorf("what is left of %s: %w", at, err)
	}
	want := lookFor(at)
	if to > 0 {
		want.where = &Whereabouts{Through: math.MaxUint64, From: from, To: to}
	}
	s, err := l.completedBy(ctx, want, hot)
	if err != nil {
		return nil, fmt.Errorf("what is left of %s: %w", at, err)
	}
	return s.entries, nil
}

// removedJobs are the jobs that a removed segment held events of.
func (a *archive) removedJobs(ctx context.Context, m *archiveRemoval) ([]schemas.Subject, error) {
	if len(m.Index) == 0 {
		return nil, fmt.Errorf("an older version removed it: %w", ErrRemovalForgotten)
	}
	s := &archiveSegment{ID: m.ID, Index: m.Index, Size: m.Size, Pages: m.Pages, Sum: m.Sum}
	defer a.forget(s.ID)
	jobs, err := a.jobsOf(ctx, s)
	var damage *damageError
	if errors.As(err, &damage) { // or they are deleted
		return nil, fmt.Errorf("%w: %w", ErrRemovalForgotten, err)
	}
	return jobs, err
}

// jobsOf are the jobs that a segment holds events of, each once for each of its pages that do.
func (a *archive) jobsOf(ctx context.Context, s *archiveSegment) ([]schemas.Subject, error) {
	x, err := a.indexOf(ctx, s)
	if err != nil {
		return nil, err
	}
	numbers := make([]int, len(x.pages))
	for n := range numbers {
		numbers[n] = n
	}
	var jobs []schemas.Subject
	for window := range slices.Chunk(numbers, partsWindow) {
		contents, err := a.pages(ctx, s, x, window)
		if err != nil {
			return nil, err
		}
		for i, content := range contents {
			subject := ""
			err := walkPage(content, "", func(e pagedEvent) {
				if e.subject == subject {
					return
				}
				subject = e.subject
				if at, err := schemas.ParseSubject(subject); err == nil && at.Job != "" {
					jobs = append(jobs, at)
				}
			})
			if err != nil {
				return nil, &damageError{segment: s.ID, page: window[i], at: x.pages[window[i]].at[0], problem: err.Error()}
			}
		}
	}
	return jobs, nil
}
