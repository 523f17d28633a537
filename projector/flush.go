package projector

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// put is one document on its way into a bucket. The flush fills in what became of it.
type put struct {
	bucket  string
	key     string
	body    []byte
	seq     schemas.Seq // the document is true at it
	slot    *slot       // owned by the fold; the flush reads rev and known, which the fold leaves alone meanwhile
	job     *jobEntry   // of JOBS
	count   ledger.CountKey
	setting string

	assumed schemas.Seq   // as in jobEntry, when the flush took it
	life    time.Time     // of COUNTS/all: when the bucket that it speaks of was created
	ttl     time.Duration // of JOBS: how long the document stays; 0: for ever
	anew    bool          // what is true at the same sequence and differs does not stay: another version wrote it

	rev   uint64 // revision of the document that stands there now
	found *found // what stood there, if the put was refused
	kept  bool   // and still does: it is not older than ours
	err   error  // not settled: the document is written again
}

// found is what every document says of itself; the event's id stands under one of two names.
type found struct {
	Seq          schemas.Seq     `json:"seq"`
	ID           schemas.EventID `json:"id"`
	EventID      schemas.EventID `json:"event_id"` // of JOBS, where id is the job's
	Generation   int             `json:"generation"`
	SubmittedSeq schemas.Seq     `json:"submitted_seq"`
	CountsBucket time.Time       `json:"counts_bucket"` // of COUNTS/all
}

// batch is all that one flush writes.
type batch struct {
	docs   []*put // of JOBS and CONFIG
	counts []*put
	all    *put // nil while counters, or another leader, are ahead of the fold
	doc    ledger.CountsDocument
	queues map[schemas.QueueName]ledger.Count // at doc
}

// settled reports whether any put was.
func (b *batch) settled() bool {
	return slices.ContainsFunc(slices.Concat(b.docs, b.counts), func(p *put) bool { return p.err == nil })
}

// seal completes the document that says how far the views are written, once all puts stand.
func (b *batch) seal() (err error) {
	for _, p := range b.docs {
		if p.bucket == ledger.BucketJobs {
			b.doc.JobsRevision = max(b.doc.JobsRevision, p.rev)
		}
	}
	b.all.body, err = json.Marshal(&b.doc)
	return err
}

// take hands all changed documents to a flush. From here the fold may change them again; the next flush
// takes those.
func (v *views) take() (*batch, error) {
	b, now := &batch{docs: make([]*put, 0, len(v.dirtyJobs)+len(v.dirtySettings))}, time.Now()
	for _, ent := range v.dirtyJobs {
		if v.ahead(&ent.slot, ent.job.LastSeq) { // what stands there is ahead of this fold: it stays
			ent.dirty = false
			v.rest(ent)
			continue
		}
		ttl := v.ttlOf(ent.job, now)
		if ttl < 0 && ent.slot.known && ent.rev == 0 && ent.assumed == 0 { // it was never written, and would expire at once
			ent.dirty = false
			v.rest(ent)
			continue
		}
		body, err := ledger.Document(ent.job)
		if err != nil {
			return nil, err
		}
		ent.dirty, ent.out = false, true
		b.docs = append(b.docs, &put{bucket: ledger.BucketJobs, key: ledger.JobKey(ent.key.org, ent.key.id),
			body: body, seq: ent.job.LastSeq, anew: v.anew > 0, slot: &ent.slot, job: ent, assumed: ent.assumed, ttl: ttl})
	}
	var held []ledger.CountKey
	for _, k := range v.dirtyCounts {
		s := v.countSlots[k]
		if v.anew > 0 && v.at.Seq < max(v.anew, s.seq) || v.at.Seq < v.countsAt.Seq {
			held = append(held, k) // until the fold has come to where what stands there is true
			continue
		}
		if v.ahead(s, v.at.Seq) {
			s.dirty = false
			continue
		}
		doc := ledger.CountDocument{Org: k.Org, Queue: k.Queue, Type: k.Type, Position: v.at, Count: *v.counts[k], Stats: v.stats[k]}
		body, err := json.Marshal(&doc)
		if err != nil {
			return nil, err
		}
		s.dirty, s.out = false, true
		b.counts = append(b.counts, &put{bucket: ledger.BucketCounts, key: k.String(), body: body, seq: v.at.Seq, anew: v.anew > 0, slot: s, count: k})
	}
	for _, key := range v.dirtySettings {
		t := v.settings[key]
		if v.ahead(&t.slot, t.doc.Seq) {
			t.dirty = false
			continue
		}
		body, err := json.Marshal(t.doc)
		if err != nil {
			return nil, err
		}
		t.dirty, t.out = false, true
		b.docs = append(b.docs, &put{bucket: ledger.BucketConfig, key: key, body: body, seq: t.doc.Seq, anew: v.anew > 0, slot: &t.slot, setting: key})
	}
	v.dirtyJobs, v.dirtyCounts, v.dirtySettings = nil, held, nil
	if v.settled() {
		v.moved = false
		if doc := v.position(); doc.Seq >= v.all.seq { // else another leader is ahead
			b.doc, b.queues = doc, v.byQueue()
			b.all = &put{bucket: ledger.BucketCounts, key: ledger.KeyCountsAll, seq: doc.Seq, life: v.countsBucket, anew: v.anew > 0, slot: &v.all}
		}
	}
	return b, nil
}

// ttlOf is how long the document of a job stays in JOBS from now on: one that is over has the hot window from then, any
// other, open dead letters among them, stays (0). Negative: its time has passed.
func (v *views) ttlOf(j *ledger.Job, now time.Time) time.Duration {
	if v.hot <= 0 || !j.State.Finished() || j.Resolution == schemas.ResolutionOpen {
		return 0
	}
	over := j.FinishedAt
	if j.ResolvedAt.After(over) {
		over = j.ResolvedAt
	}
	if left := over.Add(v.hot).Sub(now); left > 0 {
		return left
	}
	return -1
}

// ahead reports that what stands in a bucket is at least as new as what the fold has at seq.
func (v *views) ahead(s *slot, seq schemas.Seq) bool {
	return s.seq > seq || s.seq == seq && v.anew == 0
}

// position says how far the views are written once everything that was changed is.
func (v *views) position() ledger.CountsDocument {
	return ledger.CountsDocument{
		Position: later(v.countsAt, v.at), CountsBucket: v.countsBucket,
		Jobs: later(v.jobsAt, v.at), JobsBucket: v.jobsBucket, JobsRevision: v.jobsRevision,
		Config: later(v.configAt, v.at), ConfigBucket: v.configBucket,
		DocumentTTLMS: schemas.MillisOf(v.shortest),
		Totals:        v.counts.Total(), Quarantined: v.quarantined, Illegal: v.illegal, Form: ledger.ViewsForm(),
	}
}

// done takes back what a flush came to. It reports the jobs whose assumption of being new must be proved.
func (v *views) done(b *batch) (doubted []*jobEntry) {
	for _, p := range slices.Concat(b.docs, b.counts) {
		p.slot.out = false
		p.slot.settle(p)
		switch {
		case p.err != nil:
			v.again(p)
		case p.job != nil:
			if v.settleJob(p) {
				doubted = append(doubted, p.job)
			}
		}
	}
	if b.all != nil {
		v.all.settle(b.all)
		v.moved = v.moved || b.all.err != nil
		v.jobsRevision = b.doc.JobsRevision
	}
	return doubted
}

func (s *slot) settle(p *put) {
	s.rev, s.known, s.mortal = p.rev, p.err == nil, p.ttl != 0 || p.kept
	if s.known {
		s.seq = p.seq
		if p.kept {
			s.seq = p.found.Seq
		}
	}
}

// doubted reports that the document which stands where a new job's was expected tells of another life.
func (p *put) doubted() bool {
	return p.found != nil && p.assumed > 0 && (p.found.SubmittedSeq != p.assumed || p.found.Generation != 1)
}

// settleJob reports whether the document found in place of a new job's first one is of another life.
func (v *views) settleJob(p *put) bool {
	ent := p.job
	if p.doubted() {
		return true
	}
	ent.assumed = 0
	v.rest(ent)
	return false
}

// rest puts away a job whose document stands. Of a finished job hardly anything follows; if it does, the
// subject is read.
func (v *views) rest(ent *jobEntry) {
	if !ent.dirty && !ent.out && (ent.job.State.Finished() || v.waiting.put(ent)) {
		v.jobs.remove(ent)
	}
}

// again marks a document that was not stored as changed.
func (v *views) again(p *put) {
	v.moved = true
	switch {
	case p.job != nil:
		v.touch(p.job)
	case p.bucket == ledger.BucketCounts:
		v.touchCount(p.count)
	case p.bucket == ledger.BucketConfig:
		if t := v.settings[p.setting]; !t.dirty {
			t.dirty = true
			v.dirtySettings = append(v.dirtySettings, p.setting)
		}
	}
}

func later(a, b schemas.Position) schemas.Position {
	if a.Seq > b.Seq {
		return a
	}
	return b
}
