package ledger

import (
	"context"
	"errors"
	"slices"
	"sort"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

// The tallies of the archive are held to the messages: where all segments of a commit are there, what its messages do to
// the counts is counted anew. Where some were removed, the tally stands in for them, and the counts go on from it; jobs
// of which messages are gone are judged from the next one on that holds their whole state (DESIGN D13).

// talliesVerified is how far a run of Verify is with the commits of the archive.
type talliesVerified struct {
	commits []committed          // those that the fold has yet to pass; all of them in the run
	whole   map[schemas.Seq]bool // by the end of a commit: all of its segments are there
	holes   []span               // ascending; the stretches of which segments are gone
	goneAt  time.Time            // the latest time that one of them ends with
	read    tallies
	step    Tally             // of the commit that is folded now
	unknown map[CountKey]bool // counters of jobs in it whose standing before is not known
	adrift  bool              // a commit without a tally lost segments: the counts cannot be known
}

func (v *verifier) beginTallies(c *catalog) {
	t := talliesVerified{commits: c.commits, whole: make(map[schemas.Seq]bool), read: tallies{l: v.l}, unknown: make(map[CountKey]bool)}
	present := make(map[schemas.Seq]int)
	for _, k := range c.chunks {
		present[k.through] = len(k.segments)
		for _, s := range k.segments {
			if len(c.gone[s.ID]) > 0 {
				present[k.through] = -1 // not all that it holds is shown
			}
		}
	}
	for i := range c.commits {
		k := &c.commits[i]
		if k.through.Seq > v.verdict.LastSeq { // it was made since
			t.commits = c.commits[:i]
			break
		}
		t.whole[k.through.Seq] = present[k.through.Seq] == k.segments
		if !t.whole[k.through.Seq] {
			t.holes = append(t.holes, span{k.from + 1, k.through.Seq})
			t.goneAt = later(t.goneAt, k.throughAt)
		}
	}
	v.tallies = t
}

// lost reports whether messages may be gone that stood between two sequences.
func (t *talliesVerified) lost(behind, before schemas.Seq) bool {
	i := sort.Search(len(t.holes), func(i int) bool { return t.holes[i].to > behind })
	return i < len(t.holes) && t.holes[i].from < before
}

// counted notes what a message does to the counts.
func (t *talliesVerified) counted(m Move) {
	if len(t.commits) > 0 {
		t.step.Count(m)
	}
}

// unsure notes that it is not known where the job of an event stood before.
func (t *talliesVerified) unsure(e *Entry) {
	switch d := e.Data.(type) {
	case *schemas.Submitted:
		t.unknown[CountKey{Org: e.Org, Queue: d.Queue, Type: d.Type}] = true
	case schemas.JobData:
		h := d.Common()
		t.unknown[CountKey{Org: e.Org, Queue: h.Queue, Type: h.Type}] = true
	}
}

// orphaned judges an event of a job of which messages may have been removed before it, until one holds its whole state. True:
// the event tells nothing without them, and is passed over. The job is forgotten where what is known of it cannot be what
// it was before the event.
func (v *verifier) orphaned(vj *verifiedJob, e *Entry) bool {
	behind := vj.job.LastSeq
	if !vj.job.Exists() {
		behind = 0
	}
	if vj.doubtful = vj.doubtful || v.tallies.lost(behind, e.Seq); !vj.doubtful || e.Err != nil {
		return false
	}
	if c, ok := e.Data.(*schemas.Carried); ok {
		if vj.job.Exists() && !v.holds(vj, e, c) {
			v.forget(vj, e)
		}
		vj.doubtful = false
		return false
	}
	s, submitted := e.Data.(*schemas.Submitted)
	if submitted && s.Generation == 1 && (e.First || s.From == schemas.StateNone && v.tallies.drawnBehind(e.Job)) {
		vj.doubtful = false
		return false
	}
	v.tallies.unsure(e)
	if key := JobKey(e.Org, e.Job); v.views.jobs[key].at.Seq == e.Seq {
		delete(v.views.jobs, key) // what it should say is not known
		vj.document = e.Seq
	}
	if vj.job.Exists() {
		if Apply(clone(vj.job), e.Event) && fromState(e.Data) == vj.job.State {
			return false
		}
		v.forget(vj, e)
	}
	if submitted {
		return false
	}
	vj.job.LastSeq = e.Seq
	return true
}

// drawnBehind reports that an id says by itself that it was drawn when all that is gone stood in the ledger already: so no
// job of that id is gone.
func (t *talliesVerified) drawnBehind(id schemas.JobID) bool {
	made, ok := timed(id)
	return ok && time.UnixMilli(made).After(t.goneAt.Add(drawnWithin))
}

// forget makes a job one of which nothing is known.
func (v *verifier) forget(vj *verifiedJob, e *Entry) {
	*vj = verifiedJob{job: &Job{Org: e.Org, ID: e.Job}, covered: vj.covered, document: vj.document, doubtful: true}
}

// fromState is where an event says that its job stood before.
func fromState(data schemas.Data) schemas.State {
	switch d := data.(type) {
	case *schemas.Submitted:
		return d.From
	case schemas.JobData:
		return d.Common().From
	}
	return schemas.StateNone
}

// passCommits closes the commits that end before a sequence.
func (v *verifier) passCommits(ctx context.Context, seq schemas.Seq) error {
	t := &v.tallies
	for len(t.commits) > 0 && t.commits[0].through.Seq < seq {
		if err := v.passCommit(ctx, &t.commits[0]); err != nil {
			return err
		}
		t.commits = t.commits[1:]
		t.step = Tally{}
		clear(t.unknown)
	}
	return nil
}

// passCommit holds the tally of a commit to what its messages did, or has it stand for them.
func (v *verifier) passCommit(ctx context.Context, k *committed) error {
	t := &v.tallies
	whole := t.whole[k.through.Seq]
	if k.tally == nil {
		if !whole {
			v.problem(ProblemArchive, k.through.Seq, "", "", "segments of the commit from %d to %d were removed, and it has no tally: their jobs are not counted",
				k.from, k.through.Seq)
			t.adrift = true
		}
		return nil
	}
	tally, err := t.read.of(ctx, k)
	var damaged *tallyError
	if errors.As(err, &damaged) {
		v.problem(ProblemArchive, k.through.Seq, "", "", "%v", damaged)
		t.adrift = t.adrift || !whole
		return nil
	}
	if err != nil {
		return err
	}
	if whole {
		v.compareTally(k, tally)
	}
	if !whole || len(t.unknown) > 0 {
		v.views.replace(&t.step, tally, v.cfg.Org)
	}
	if len(t.holes) > 0 {
		v.views.passHole(v, k.through.Seq)
	}
	return nil
}

// compareTally compares what was counted with what is stored.
func (v *verifier) compareTally(k *committed, stored *Tally) {
	t := &v.tallies
	if key, differ := t.step.differs(stored, v.cfg.Org, t.unknown); differ {
		v.problem(ProblemArchive, k.through.Seq, key.Org, "", "the tally of the commit from %d to %d moves the counter %s by %+v, its messages by %+v",
			k.from, k.through.Seq, key, stored.Counts.of(key), t.step.Counts.of(key))
		return
	}
	if v.cfg.Org == "" && (t.step.Quarantined != stored.Quarantined || len(t.unknown) == 0 && t.step.Illegal != stored.Illegal) {
		v.problem(ProblemArchive, k.through.Seq, "", "", "the tally of the commit from %d to %d counts %d quarantined messages and %d illegal events, there are %d and %d",
			k.from, k.through.Seq, stored.Quarantined, stored.Illegal, t.step.Quarantined, t.step.Illegal)
	}
}

func (c Counts) of(k CountKey) Count {
	if n := c[k]; n != nil {
		return *n
	}
	return Count{}
}

// replace takes back what the messages that are left of a commit did, and does what all of them did.
func (w *views) replace(left, all *Tally, org schemas.OrgID) {
	for k, n := range left.Counts {
		w.folded.at(k).take(*n)
	}
	for k, n := range all.Counts {
		if org == "" || k.Org == org {
			w.folded.at(k).Add(*n)
		}
	}
	w.quarantined += all.Quarantined - left.Quarantined
	w.illegal += all.Illegal - left.Illegal
}

// take takes o from c.
func (c *Count) take(o Count) {
	for _, s := range schemas.States() {
		*c.state(s) -= o.Of(s)
	}
	c.DeadLettersOpen -= o.DeadLettersOpen
	c.Deferred -= o.Deferred
}

// passHole compares the counters that are true at or before the end of a commit: where segments were removed, what they
// are true at may be gone. One that no later event moved is still what it was; else COUNTS, which is further on, says so.
func (w *views) passHole(v *verifier, through schemas.Seq) {
	for ; w.next < len(w.counts) && w.counts[w.next].Seq <= through; w.next++ {
		m := &w.counts[w.next]
		k := CountKey{Org: m.Org, Queue: m.Queue, Type: m.Type}
		if m.key != k.String() {
			v.problem(ProblemCount, m.Seq, m.Org, "", "the counter %s names no event of the ledger", m.key)
			continue
		}
		if w.all == nil || w.all.Seq < through || v.tallies.adrift || v.tallies.unknown[k] {
			continue
		}
		if want := w.folded.of(k); want != m.Count {
			v.problem(ProblemCount, m.Seq, m.Org, "", "the counter %s is %+v, the ledger has %+v at the end of the commit that it is true in", m.key, m.Count, want)
		}
	}
}

// deferred reports that what is true at a sequence is compared at the end of its commit.
func (t *talliesVerified) deferred(seq schemas.Seq) bool {
	return len(t.holes) > 0 && len(t.commits) > 0 && seq <= t.commits[len(t.commits)-1].through.Seq
}

// gone reports that a message stood in a stretch of which segments are gone.
func (t *talliesVerified) gone(seq schemas.Seq) bool {
	return slices.ContainsFunc(t.holes, func(h span) bool { return h.from <= seq && seq <= h.to })
}

// outside are the stretches from a sequence up to, and without, another one in which no segment is gone.
func (t *talliesVerified) outside(from, next schemas.Seq) (out []span) {
	for _, h := range t.holes {
		if h.to < from {
			continue
		}
		if h.from >= next {
			break
		}
		if h.from > from {
			out = append(out, span{from, h.from - 1})
		}
		from = h.to + 1
	}
	if from < next {
		out = append(out, span{from, next - 1})
	}
	return out
}
