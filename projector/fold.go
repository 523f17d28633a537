package projector

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// jobsCached is how many folds are kept beside those that are packed; a job outside them costs one read
	// of its subject when it moves. It exceeds what two flushes can hold back.
	jobsCached = 3 * dirtyMax
	// dirtyMax is how many documents may wait for a flush before no more events are taken.
	dirtyMax = 16_384
)

// foldBefore returns the fold of a job's subject up to, and without, the event at seq. Several may be asked for at once.
type foldBefore func(ctx context.Context, k jobKey, seq schemas.Seq) (*ledger.Job, error)

// views is the fold behind all three buckets. It does no I/O but through before. One goroutine owns it.
type views struct {
	before    foldBefore
	submitted submittedAt

	at schemas.Position // last message folded
	// What the buckets covered when this fold began; an event at or below changes the fold, not the view.
	jobsAt, countsAt, configAt schemas.Position
	covered                    map[ledger.CountKey]schemas.Seq // counters that were written ahead of countsAt
	coveredMax                 schemas.Seq
	newest                     schemas.Position // of what stood in any bucket
	// base, if it is not 0, is where this fold began instead of at zero: at a boundary of the archive.
	base schemas.Seq
	// anew, if it is not 0, is newest's sequence: another version wrote what stood there, and it is written anew.
	anew schemas.Seq

	jobsBucket, countsBucket, configBucket time.Time // when the buckets that we write were created
	jobsRevision                           uint64    // above it, documents may be ahead of jobsAt
	// hot is how long documents of finished jobs are kept, 0: for ever; shortest the shortest that they ever were.
	hot, shortest time.Duration

	jobs      *jobCache
	waiting   *packer
	dirtyJobs []*jobEntry
	seen      *seen // nil unless the fold began at zero, or at base
	suspects  map[jobKey]bool
	read      aheadOf // for the entries that are folded now

	counts      ledger.Counts
	queues      ledger.Counts                     // the same by queue alone, of all orgs and types
	stats       map[ledger.CountKey]*ledger.Stats // nil behind ledger.StatsKeysMax
	countSlots  map[ledger.CountKey]*slot
	dirtyCounts []ledger.CountKey
	quarantined int64
	illegal     int64

	settings      map[string]*settingEntry // by key; the latest of each
	dirtySettings []string
	all           slot
	moved         bool // at is above what COUNTS/all says
}

type settingEntry struct {
	slot
	doc *ledger.SettingDocument[any]
}

func newViews(before foldBefore) *views {
	return &views{
		before: before, jobs: newJobCache(jobsCached), waiting: newPacker(), suspects: make(map[jobKey]bool),
		read:   aheadOf{folds: make(map[jobKey]foldAt), submits: make(map[schemas.Seq]*ledger.Entry)},
		counts: make(ledger.Counts), queues: make(ledger.Counts), stats: make(map[ledger.CountKey]*ledger.Stats), countSlots: make(map[ledger.CountKey]*slot),
		covered: make(map[ledger.CountKey]schemas.Seq), settings: make(map[string]*settingEntry),
	}
}

// apply folds one message of the ledger. bad is what Decode said of it, nil for an event. On an error,
// which comes from before, nothing has changed and the message may be applied again.
func (v *views) apply(ctx context.Context, e *schemas.Event, bad error) error {
	if e.Seq <= v.at.Seq {
		return nil
	}
	if e.Job != "" {
		if err := v.applyJob(ctx, e, bad); err != nil {
			return fmt.Errorf("fold %s at %s: %w", e.Subject, e.Seq, err)
		}
	} else if set, ok := e.Data.(schemas.Setting); ok && bad == nil {
		v.applySetting(e, set)
	}
	if bad != nil && e.Seq > v.countsAt.Seq {
		v.quarantined++
	}
	v.at = schemas.Position{Seq: e.Seq, ID: e.ID}
	v.moved = true
	return nil
}

func (v *views) applyJob(ctx context.Context, e *schemas.Event, bad error) error {
	ent, err := v.entry(ctx, e)
	if err != nil {
		return err
	}
	m := ledger.Counted(ent.job, e, bad)
	strip(ent.job)
	if e.Seq > v.countsAt.Seq {
		v.observe(e, &m)
		v.illegal += m.Illegal
	}
	switch {
	case !ent.job.Exists(): // only messages that no fold can read: there is no job to show
		v.jobs.remove(ent)
	case e.Seq > v.jobsAt.Seq:
		v.touch(ent)
	case ent.job.State.Finished():
		v.jobs.remove(ent)
	}
	return nil
}

// entry returns the fold before e. A first submitted of an id nobody knows is taken for what it says it
// is: new. A fold from zero knows that it is; one that began later finds out when the put that creates the
// document is refused (see prove). Everything else that is not cached is read from the ledger.
func (v *views) entry(ctx context.Context, e *schemas.Event) (*jobEntry, error) {
	k := jobKey{e.Org, e.Job}
	if ent := v.jobs.get(k); ent != nil {
		return ent, nil
	}
	if ent := v.waiting.take(k); ent != nil {
		v.jobs.put(ent)
		return ent, nil
	}
	if ent, err := v.thinEntry(ctx, k, e); ent != nil || err != nil {
		if ent != nil {
			v.jobs.put(ent)
		}
		return ent, err
	}
	if isCarried(e) {
		ent := v.carried(k, e)
		v.jobs.put(ent)
		return ent, nil
	}
	ent := &jobEntry{key: k}
	if s, ok := e.Data.(*schemas.Submitted); ok && v.unmet(k, e, s) {
		ent.job = new(ledger.Job)
		ent.known = e.Seq > max(v.jobsAt.Seq, v.anew)
		if v.seen == nil {
			ent.assumed = e.Seq
		}
	} else {
		job, err := v.foldOf(ctx, k, e.Seq)
		if err != nil {
			return nil, err
		}
		strip(job)
		ent.job = job
	}
	v.jobs.put(ent)
	return ent, nil
}

func (v *views) touch(ent *jobEntry) {
	if !ent.dirty {
		ent.dirty = true
		v.dirtyJobs = append(v.dirtyJobs, ent)
	}
}

// count moves a job between counters, but for one that its document already counted at a later sequence.
func (v *views) count(seq schemas.Seq, was, is ledger.Standing) {
	if was == is {
		return
	}
	if seq <= v.covered[was.Key] {
		was = ledger.Standing{}
	}
	if seq <= v.covered[is.Key] {
		is = ledger.Standing{}
	}
	v.counts.Apply(was, is)
	v.queues.Apply(ofQueue(was), ofQueue(is))
	for _, s := range [2]ledger.Standing{was, is} {
		if s.State != schemas.StateNone {
			v.touchCount(s.Key)
		}
	}
}

// observe counts what a message does, and adds it to the statistics of the counter. Those are written with it, and like it
// know what is at or below the sequence of the document.
func (v *views) observe(e *schemas.Event, m *ledger.Move) {
	k := m.Is.Key
	waited, after := int64(0), v.base
	if c := v.counts[k]; c != nil {
		waited, after = c.Waiting(), v.at.Seq // a counter without statistics, as one that was only summed up at a boundary
	}
	v.count(e.Seq, m.Was, m.Is)
	if !m.Observed() || e.Seq <= v.covered[k] {
		return
	}
	s, known := v.stats[k]
	if !known {
		if len(v.stats) < ledger.StatsKeysMax {
			s = &ledger.Stats{After: after}
		}
		v.stats[k] = s
	}
	if s != nil {
		s.Add(e.Time, &m.Sample, waited, v.counts[k].Waiting())
		v.touchCount(k)
	}
}

// forgetStats has the statistics of counters begin again behind what is folded.
func (v *views) forgetStats(keys ...ledger.CountKey) {
	for _, k := range keys {
		if v.stats[k] != nil {
			v.stats[k] = &ledger.Stats{After: v.at.Seq}
			v.touchCount(k)
		}
	}
}

func (v *views) touchCount(k ledger.CountKey) {
	s := v.countSlots[k]
	if s == nil {
		s = &slot{known: true} // every existing counter was read at the start
		v.countSlots[k] = s
	}
	if !s.dirty {
		s.dirty = true
		v.dirtyCounts = append(v.dirtyCounts, k)
	}
}

func (v *views) applySetting(e *schemas.Event, set schemas.Setting) {
	if e.Seq <= v.configAt.Seq {
		return
	}
	key := set.Key()
	t := v.settings[key]
	if t == nil {
		t = new(settingEntry)
		v.settings[key] = t
	}
	t.doc = ledger.SettingOf(e, set)
	if !t.dirty {
		t.dirty = true
		v.dirtySettings = append(v.dirtySettings, key)
	}
}

// writeAnew has a fold that was just opened begin at zero, and replace what stands in the buckets, in place. Nothing
// is deleted and no document goes back: one that is ahead of the fold stays until the fold has come there, and one that
// is true at the same sequence is replaced if it differs. Counters wait until the fold is where the newest of them was.
// We die here: COUNTS/all says still who wrote the views, and the next one begins again.
func (v *views) writeAnew() {
	v.anew, v.coveredMax = v.newest.Seq, v.newest.Seq
	v.jobsAt, v.countsAt, v.configAt = schemas.Position{}, schemas.Position{}, schemas.Position{}
	v.quarantined, v.illegal = 0, 0
	v.counts, v.queues = make(ledger.Counts), make(ledger.Counts)
	clear(v.stats)
	clear(v.covered)
}

// changed is how many documents wait for a flush.
func (v *views) changed() int {
	n := len(v.dirtyJobs) + len(v.dirtySettings)
	if v.at.Seq >= max(v.anew, v.countsAt.Seq) { // else the counters wait for something else
		n += len(v.dirtyCounts)
	}
	return n
}

// settled reports whether the counters are exact at v.at: none was written ahead of it.
func (v *views) settled() bool { return v.at.Seq >= v.coveredMax }

// prove repairs the fold of a job that was taken for new and was not: some writer put a submitted where
// none is legal. It is read in full, and the counters exchange what they believed for what is true.
func (v *views) prove(ctx context.Context, ent *jobEntry) error {
	first := ent.assumed
	was, err := v.before(ctx, ent.key, first)
	if err != nil {
		return err
	}
	delete(v.waiting.thin, was.SubmittedSeq)
	is, err := v.before(ctx, ent.key, ent.job.LastSeq+1)
	if err != nil {
		return err
	}
	strip(is)
	if first <= v.coveredMax {
		return errCountsDoubtful
	}
	after, err := v.before(ctx, ent.key, first+1)
	if err != nil {
		return err
	}
	if after.SubmittedSeq == first { // another life of an id whose earlier one had left LEDGER: it counts as a new job
		was = new(ledger.Job)
	}
	if after.SubmittedSeq != first { // it was not legal there, and the statistics took it, and what followed, for legal
		v.forgetStats(ledger.StandingOf(ent.job).Key, ledger.StandingOf(is).Key)
	}
	v.count(first, ledger.StandingOf(ent.job), ledger.Standing{})
	v.count(first, ledger.StandingOf(was), ledger.StandingOf(is))
	v.illegal += int64(is.Illegal - was.Illegal - ent.job.Illegal)
	ent.job, ent.assumed, ent.known = is, 0, false
	v.touch(ent)
	return nil
}

// errCountsDoubtful: a repair cannot be counted exactly because counters were written ahead; they are
// folded again from zero.
var errCountsDoubtful = errors.New("counters must be folded again")
