package ledger

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// verifyHeld is how many jobs are held before finished ones are let go.
const verifyHeld = 250_000

// archive looks at what is in ARCHIVE as a whole; its messages are checked when they are folded. False if its catalogue
// cannot be read.
func (v *verifier) archive(ctx context.Context) (intact bool, err error) {
	c, err := v.l.archive.refresh(ctx)
	if errors.Is(err, errChain) {
		v.problem(ProblemArchive, 0, "", "", "%v", err)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	v.verdict.Archive, v.removed = c.state(), c.removed > 0
	v.beginTallies(c)
	first := v.verdict.FirstSeq // of LEDGER
	through := v.verdict.Archive.Through.Seq
	if through == 0 {
		return true, nil
	}
	if first > through+1 && first <= v.verdict.LastSeq {
		v.problem(ProblemArchive, through, "", "", "ARCHIVE ends at sequence %d, and LEDGER begins at %d", through, first)
	}
	if v.verdict.Archive.First > 0 {
		v.verdict.FirstSeq = min(first, v.verdict.Archive.First)
	}
	if v.cfg.begins != nil {
		v.cfg.begins()
	}
	return true, v.copies(ctx, first, through)
}

// copies compares what stands in LEDGER still with what ARCHIVE says of it.
func (v *verifier) copies(ctx context.Context, first, through schemas.Seq) error {
	if first > through || first == 0 {
		return nil
	}
	cold, err := v.l.readCold(ctx, first-1)
	if err != nil || cold == nil {
		return err
	}
	defer cold.close()
	t := v.l.newTail(schemas.Position{}, "")
	defer t.close()
	t.start, t.until, t.holes, t.pace = first, through, true, v.pace // what is read of ARCHIVE keeps step with it
	var archived []*Entry
	for {
		hot, err := t.next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, e := range hot {
			for len(archived) == 0 || archived[0].Seq < e.Seq {
				if len(archived) > 0 {
					archived = archived[1:]
					continue
				}
				if archived, err = cold.next(ctx); err != nil && !errors.Is(err, io.EOF) {
					return v.damaged(err)
				}
				if err != nil {
					break
				}
			}
			if len(archived) == 0 || archived[0].Seq != e.Seq || !sameMessage(archived[0], e) {
				v.problem(ProblemArchive, e.Seq, e.Org, e.Job, "ARCHIVE does not hold this message as LEDGER does")
			}
		}
	}
}

// damaged swallows a damage, which is found again, and counted, when it is folded.
func (v *verifier) damaged(err error) error {
	var damage *damageError
	if errors.As(err, &damage) {
		return nil
	}
	return err
}

func sameMessage(a, b *Entry) bool {
	return a.RawSubject == b.RawSubject && a.ID == b.ID && a.Time.Equal(b.Time) && bytes.Equal(a.Body, b.Body) && (a.Err == nil) == (b.Err == nil)
}

// checkCarried holds a carried event to the state folded so far. Args are compared as they were submitted; the result and
// the checkpoint are not held here.
func (v *verifier) checkCarried(vj *verifiedJob, e *Entry) {
	c, ok := e.Data.(*schemas.Carried)
	if !ok || e.Err != nil || !vj.job.Exists() || vj.job.Unreadable {
		return
	}
	if !v.holds(vj, e, c) {
		v.problem(ProblemCarried, e.Seq, e.Org, e.Job, "it does not hold the state of the job at this sequence")
	}
}

// holds reports that a carried event holds the state folded so far.
func (v *verifier) holds(vj *verifiedJob, e *Entry, c *schemas.Carried) bool {
	said := c.Job
	said.Org, said.ID = e.Org, e.Job
	a, errA := json.Marshal(sinceBegun(&said))
	b, errB := json.Marshal(sinceBegun(vj.job))
	return errA == nil && errB == nil && bytes.Equal(a, b) && (vj.args == 0 || vj.args == hashOf(c.Args))
}

// sinceBegun is what of a job every fold of it agrees on that begins with its latest submitted, or with an event behind it:
// without what is known of its earlier lives, which LEDGER need not tell (DESIGN D13), and without what no view shows.
func sinceBegun(job *Job) *Job {
	j := *job
	if j.LastFence.Seq < j.SubmittedSeq {
		j.LastFence, j.LastOutcome = schemas.Fence{}, ""
	}
	j.Late = slices.DeleteFunc(slices.Clone(j.Late), func(fence schemas.Seq) bool { return fence < j.SubmittedSeq })
	j.Illegal = 0
	slim(&j)
	return &j
}

// slim drops what no view shows, and keeps what tells the args.
func (vj *verifiedJob) slim(e *Entry) {
	if _, ok := e.Data.(*schemas.Submitted); ok && vj.job.SubmittedSeq == e.Seq {
		vj.args = hashOf(vj.job.Spec.Args)
	}
	slim(vj.job)
}

// recall is the fold of a job that was let go, up to e; nil if e is its first message.
func (v *verifier) recall(ctx context.Context, e *Entry) (*verifiedJob, error) {
	if v.evicted == 0 {
		return nil, nil
	}
	if s, ok := e.Data.(*schemas.Submitted); ok && e.Err == nil && s.Generation == 1 {
		if _, made := timed(e.Job); made {
			return nil, nil // an id that is drawn, and used once
		}
	}
	return v.refold(ctx, e.Org, e.Job, e.Seq)
}

// refold is what is held of a job at a sequence, folded from its own messages; nil if it has none before.
func (v *verifier) refold(ctx context.Context, org schemas.OrgID, id schemas.JobID, seq schemas.Seq) (*verifiedJob, error) {
	if v.evicted == 0 {
		return nil, nil
	}
	s, err := v.l.wholeStory(ctx, org, id)
	if err != nil {
		return nil, err
	}
	vj := &verifiedJob{job: &Job{Org: org, ID: id}}
	for _, e := range before(s.entries, seq) {
		was, generation := vj.job.State, vj.job.Generation
		e.ApplyTo(vj.job)
		vj.noteEnd(was, generation)
		vj.slim(e)
	}
	if vj.job.LastSeq == 0 {
		return nil, nil
	}
	vj.open = vj.job.Fence
	vj.document = vj.job.LastSeq // it was compared before it was let go
	return vj, nil
}

// evict lets finished jobs go when many are held: those whose documents were compared, or have expired.
func (v *verifier) evict(context.Context) error {
	held := cmp.Or(v.cfg.held, verifyHeld)
	if v.evictAt == 0 {
		v.evictAt = held
	}
	if len(v.jobs) < v.evictAt {
		return nil
	}
	for key, vj := range v.jobs {
		_, awaited := v.views.jobs[key]
		if vj.job.State.Finished() && vj.job.Resolution != schemas.ResolutionOpen && !awaited && !vj.behind(&v.views) {
			if err := v.indexes.settle(vj, 1); err != nil {
				return err
			}
			delete(v.jobs, key)
			v.evicted++
		}
	}
	v.evictAt = max(held, 2*len(v.jobs))
	return nil
}

// behind reports that the job's document is missing, or older than JOBS claims it to be.
func (vj *verifiedJob) behind(w *views) bool {
	gone := vj.document == 0 && w.expired(vj.job)
	return vj.covered > vj.document && !gone
}

// expired reports that the document of a finished job may have left JOBS with the hot window. Of a job that was forgotten,
// since messages in the middle of its story were removed, nobody knows whether it is over.
func (w *views) expired(j *Job) bool {
	if w.all == nil || w.all.DocumentTTLMS == 0 {
		return false
	}
	if !j.Exists() {
		return true
	}
	if !j.State.Finished() || j.Resolution == schemas.ResolutionOpen {
		return false
	}
	return time.Since(j.FinishedAt) > w.all.DocumentTTLMS.Duration()-time.Minute // clocks differ
}
