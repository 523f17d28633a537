package ledger

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dartwing/jobledger/schemas"
)

// The one history of a job is what ARCHIVE holds of it, then what LEDGER does (DESIGN D13). A message may stand in both:
// what left was committed to ARCHIVE before it is purged from LEDGER. So a reader takes LEDGER first and ARCHIVE second,
// as it is then, and joins the two by sequence: what it did not find in LEDGER any more, ARCHIVE holds by now. The other
// way about it would lose what was moved in between.
//
// LEDGER alone is enough for a fold where a message there begins the job: its submitted, or carried with the whole state.

// jobStory is what was read of one job.
type jobStory struct {
	entries []*Entry // ascending
	// cold is how many of them are in ARCHIVE.
	cold int
	// emptied: LEDGER holds nothing of it.
	emptied bool
}

// story reads what a fold of the job needs.
func (l *Ledger) story(ctx context.Context, org schemas.OrgID, id schemas.JobID) (*jobStory, error) {
	at := schemas.JobSubject(org, id)
	hot, linked, err := l.subjectTo(ctx, at, beginning)
	if err != nil {
		return nil, err
	}
	if linked && begun(hot) {
		return &jobStory{entries: hot}, nil
	}
	if !linked {
		state, err := l.Archived(ctx)
		if err != nil {
			return nil, fmt.Errorf("where the archive ends: %w", err)
		}
		if begins := slices.IndexFunc(hot, beginning); state.Through.Seq == 0 {
			return &jobStory{entries: hot}, nil
		} else if begins >= 0 && hot[begins].Seq > state.Through.Seq {
			return &jobStory{entries: hot[begins:]}, nil
		}
	}
	return l.completed(ctx, at, hot)
}

// wholeStory reads everything that is known of the job.
func (l *Ledger) wholeStory(ctx context.Context, org schemas.OrgID, id schemas.JobID) (*jobStory, error) {
	at := schemas.JobSubject(org, id)
	hot, err := l.subject(ctx, at)
	if err != nil {
		return nil, err
	}
	return l.completed(ctx, at, hot)
}

// completed puts what ARCHIVE holds of a subject before what was read in LEDGER just now.
func (l *Ledger) completed(ctx context.Context, at schemas.Subject, hot []*Entry) (*jobStory, error) {
	return l.completedBy(ctx, lookFor(at), hot)
}

func (l *Ledger) completedBy(ctx context.Context, want archivedJob, hot []*Entry) (*jobStory, error) {
	cold, err := l.archive.find(ctx, want)
	if err != nil {
		return nil, fmt.Errorf("archived events on %s: %w", want.subject, err)
	}
	s := &jobStory{entries: hot}
	if len(cold) == 0 {
		return s, nil
	}
	s.emptied = len(hot) == 0
	for len(hot) > 0 && hot[0].Seq <= cold[len(cold)-1].Seq {
		hot = hot[1:]
	}
	s.cold = len(cold)
	s.entries = append(cold[:len(cold):len(cold)], hot...)
	return s, nil
}

// fold is the job that the story amounts to, with where it stands.
func (s *jobStory) fold(org schemas.OrgID, id schemas.JobID) *Job {
	j := FoldEvents(org, id, s.entries)
	j.Archived, j.Emptied = s.archived(j), s.emptied
	return j
}

// archived reports that nothing which is to stay in LEDGER begins the job that the story amounts to.
func (s *jobStory) archived(j *Job) bool {
	return s.cold > 0 && j.SubmittedSeq <= s.entries[s.cold-1].Seq && !slices.ContainsFunc(s.entries[s.cold:], func(e *Entry) bool {
		_, carried := e.Data.(*schemas.Carried)
		return carried && e.Err == nil
	})
}

// begun reports whether a fold may begin with the first of a job's messages. What is no event of ours says nothing.
func begun(entries []*Entry) bool {
	for _, e := range entries {
		if !errors.Is(e.Err, schemas.ErrForeign) {
			return beginning(e)
		}
	}
	return false
}

// missing is the error of a job that what is known of it does not begin.
func (l *Ledger) missing(entries []*Entry) error {
	if l.removed() && slices.ContainsFunc(entries, func(e *Entry) bool { return e.Err == nil }) {
		return ErrRemoved
	}
	return ErrNotFound
}

// removed reports that something was removed from the archive, as it was read last: when a story was completed from it.
func (l *Ledger) removed() bool {
	c := l.archive.now.Load()
	return c != nil && c.removed > 0
}

// passOver leaves what stands before a job's beginning as it is: the end of a story whose beginning was removed is not
// illegal.
func (l *Ledger) passOver(h *JobHistory) {
	if !l.removed() {
		return
	}
	for i, e := range h.Entries {
		if beginning(e) {
			return
		}
		h.Illegal[i] = false
	}
}

// beginning reports whether a fold of a job may begin with e.
func beginning(e *Entry) bool {
	switch e.Data.(type) {
	case *schemas.Submitted, *schemas.Carried:
		return e.Err == nil
	}
	return false
}

// before are the entries, which ascend, below a sequence.
func before(entries []*Entry, seq schemas.Seq) []*Entry {
	for i, e := range entries {
		if e.Seq >= seq {
			return entries[:i]
		}
	}
	return entries
}

// archivedAt returns the message that stood at seq before it left LEDGER; ErrNotFound if there was none.
func (l *Ledger) archivedAt(ctx context.Context, seq schemas.Seq) (found *Entry, err error) {
	err = l.archivedRange(ctx, seq, seq, "", func(entries []*Entry) error {
		for _, e := range entries {
			if e.Seq == seq {
				found = e
			}
		}
		return nil
	})
	if err == nil && found == nil {
		err = ErrNotFound
	}
	return found, err
}
