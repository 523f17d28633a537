package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// A job id whose job has left LEDGER finds its subject empty: submitting it again is stored, and begins a life of the first
// generation, though there was one before. The leader looks such an id up in ARCHIVE before the job is queued, and the
// policy of the id says what the earlier life means (DESIGN D13): an id that is used once for ever, of a schedule's tick
// or a batch's item, is a duplicate of it; a caller's own id is one, or is free again, as the type's reuse policy says
// ids derived from content or key live on. A submitter who knows that the archive may hold the id reads it first,
// and begins the next generation, or finds the job that stands for its work.

const (
	// drawnWithin is how far the time in a UUIDv7 may be from its submit for it to be one that was drawn for it, which
	// nobody has used before. It is half of the least time after which anything leaves LEDGER (HotWindowMin): so an
	// earlier life of the id, which had left by then, would tell an earlier time, also by a clock that is off by as much.
	drawnWithin = schemas.DedupWindow
	// archiveFresh is how old a submitter's knowledge of the archive may be: what it misses the leader finds.
	archiveFresh = time.Second
	// archivePatience is how long a submitter waits for an answer about it, and archiveReading how many bytes it reads for one at most;
	// a part of a server reads on, for what it reads serves all parts and all that is submitted there.
	archivePatience = 2 * time.Second
	archiveReading  = 1 << 20
)

// Earlier returns the latest life of a job's id that had left LEDGER when this one was submitted; nil if there was none,
// or if the id was drawn for this job. It costs a look into memory where the archive does not hold the id, and one
// request for all who ask at a time.
func (l *Ledger) Earlier(ctx context.Context, j *Job) (*Job, error) {
	if j.Generation != 1 || drawn(j.ID, j.SubmittedAt) {
		return nil, nil
	}
	earlier, err := l.archivedBefore(ctx, j)
	if err != nil || !earlier.Exists() {
		return nil, err
	}
	return earlier, nil
}

// archivedBefore is what the archive, as it is now, holds of a job's id from before the job was submitted. A job that waited
// for long left many times since: that is not read.
func (l *Ledger) archivedBefore(ctx context.Context, j *Job) (*Job, error) {
	at := schemas.JobSubject(j.Org, j.ID)
	want := lookFor(at)
	want.asks = true
	var entries []*Entry
	err := l.archiveSince(ctx, time.Now(), func(c *catalog) error {
		entries = nil
		return l.archive.eachHolding(ctx, c, want, func(s *archiveSegment, hash uint64) (done bool, err error) {
			if s.First < j.SubmittedSeq {
				entries, err = l.archive.findSegment(ctx, s, at.String(), hash, entries)
			}
			return false, err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("look for %s in the archive: %w", at, err)
	}
	slices.SortFunc(entries, func(a, b *Entry) int { return cmp.Compare(a.Seq, b.Seq) })
	return FoldEvents(j.Org, j.ID, before(entries, j.SubmittedSeq)), nil
}

// drawn reports whether an id was made by NewJobID about when its job was submitted.
func drawn(id schemas.JobID, submitted time.Time) bool {
	made, ok := timed(id)
	return ok && time.UnixMilli(made).Sub(submitted).Abs() < drawnWithin
}

// archiveSince calls read with the archive's catalogue as it was at a time or later, and again if a segment was removed while
// it was read. It does not call it where nothing is archived.
func (l *Ledger) archiveSince(ctx context.Context, since time.Time, read func(*catalog) error) error {
	if err := l.lookAtArchive(ctx, since); err != nil {
		return err
	}
	c := l.archive.now.Load()
	if c == nil || c.through.Seq == 0 {
		return nil
	}
	err := read(c)
	var damage *damageError
	if errors.As(err, &damage) { // or it was removed meanwhile
		err = l.archive.fresh(ctx, read)
	}
	return err
}

// lookAtArchive brings what is known of the archive to how it was at a time or later.
func (l *Ledger) lookAtArchive(ctx context.Context, since time.Time) error {
	return l.archiveLooks.since(ctx, since, func(time.Time) error {
		_, err := l.archive.refresh(ctx)
		return err
	})
}

// mayBeArchived reports whether the archive may hold a job, as far as its filters and indexes tell: of a job that left many
// times the pages are many, and where LEDGER begins it none of them is needed. A submitter does not wait for an archive that
// cannot be read, or of which it would have to read much first: the leader judges.
func (l *Ledger) mayBeArchived(ctx context.Context, org schemas.OrgID, id schemas.JobID) (may bool) {
	if drawn(id, time.Now()) {
		return false
	}
	want := lookFor(schemas.JobSubject(org, id))
	want.asks = true
	err := l.archiveSince(ctx, time.Now().Add(-archiveFresh), func(c *catalog) error {
		if may = false; l.cfg.ArchiveCache == nil && l.archive.unread(c, want) > l.archive.reading {
			return nil
		}
		return l.archive.eachHolding(ctx, c, want, func(s *archiveSegment, hash uint64) (done bool, err error) {
			x, err := l.archive.indexOf(ctx, s)
			may = err == nil && len(x.find(hash)) > 0
			return may, err
		})
	})
	return err == nil && may
}

// foldToSubmit is the job under an id that is to be submitted, where the archive may hold it; an empty one where it does not,
// or where that cannot be read in time: the append meets what stands in LEDGER, and the leader judges the rest.
func (l *Ledger) foldToSubmit(ctx context.Context, org schemas.OrgID, id schemas.JobID) *Job {
	ctx, cancel := context.WithTimeout(ctx, archivePatience)
	defer cancel()
	if l.mayBeArchived(ctx, org, id) {
		if j, err := l.foldAny(ctx, org, id); err == nil {
			return j
		}
	}
	return &Job{Org: org, ID: id}
}

// JudgeAgain says what becomes of a job that was submitted under the id of an earlier one, which had left LEDGER: the
// command that ends it, or nil if it may run. reuse is its type's policy.
func JudgeAgain(j, earlier *Job, reuse schemas.ReusePolicy) Command {
	duplicate := &Cancel{DuplicateOf: &schemas.JobRef{ID: earlier.ID, Generation: earlier.Generation}}
	switch {
	case strings.HasPrefix(string(j.ID), schemas.ReservedPrefix) && j.ID != derivedID(&j.Spec):
		return duplicate // of a tick, a batch's item or callback: used once for ever
	case strings.HasPrefix(string(j.ID), schemas.ReservedPrefix), mayReuse(reuse, earlier.State):
		return nil
	}
	a, errA := contentOf(&j.Spec)
	b, errB := contentOf(&earlier.Spec)
	if errA == nil && errB == nil && a == b {
		return duplicate
	}
	return &DeadLetter{Reason: schemas.DeadRejected, Error: &schemas.JobError{Class: schemas.ClassPermanent, Code: string(CodeIDConflict),
		Message: fmt.Sprintf("job id %s was used for other content (generation %d, %s), and its type does not let it be used again", j.ID, earlier.Generation, earlier.State)}}
}

// StandsFor is the history of the life that this one stands for, where it was canceled since an earlier life of the same
// id had left LEDGER; else h itself.
func (h *JobHistory) StandsFor() *JobHistory {
	for repeats(h.Job) {
		earlier := historyOf(h.Job.Org, h.Job.ID, before(h.Entries, h.Job.SubmittedSeq))
		if !earlier.Job.Exists() {
			return h // its time was over, and it was removed
		}
		h = earlier
	}
	return h
}

// repeats reports a life that was canceled because an earlier one of the same id stands for it.
func repeats(j *Job) bool {
	return j.State == schemas.StateCanceled && j.DuplicateOf != nil && j.DuplicateOf.ID == j.ID
}
