package index

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/dartwing/jobledger/internal/where"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// batchMessages is how many messages one transaction holds at most. There are many where the writer is the slower one,
	// and then a page that many jobs share is written once for all of them.
	batchMessages = 32_768
	// batchWait is how long a message waits for its transaction, unless the one before is being written.
	batchWait = 200 * time.Millisecond
	// foldsKept is how many folds are kept in memory beside those of the batches under way, twice that at most; another one
	// is read from its row.
	foldsKept = 16_384
	// lookAtOnce is how many messages' jobs are looked up together.
	lookAtOnce = 32
	// zoneBits: a zone is a stretch of 4,096 sequences.
	zoneBits = 12
)

type jobKey struct {
	org schemas.OrgID
	id  schemas.JobID
}

// entry is one job's fold.
type entry struct {
	job   *ledger.Job
	row   schemas.Seq // where its row stands, or will stand behind the batches under way; 0: it has none
	dirty bool
	again bool  // an earlier life of its id had a row before it
	batch int64 // the last one that it is in: until that is written its row tells an earlier state
	// args and result are what is to be written of them; nil: as they are.
	args, result []byte
}

// lookup finds the rows of jobs, which are different ones, and hands over the folds of those that have one.
type lookup func(ctx context.Context, ks []jobKey, found func(k jobKey, j *ledger.Job, again bool)) error

// fold turns messages into batches. One goroutine owns it; it does no I/O but through lookup.
type fold struct {
	lookup  lookup
	missing []jobKey // of one lookup
	at      schemas.Position
	// young and old hold the folds used last: what is not asked for while young fills up is forgotten with old.
	young, old map[jobKey]*entry
	room       int // how many go into young
	dirty      []*entry
	counts     ledger.Counts
	moved      map[ledger.CountKey]bool
	zones      map[int64]*zone
	names      *names
	rules      map[schemas.TypeName]*where.Rules
	ruled      []schemas.TypeName     // whose rules changed
	messages   int                    // since the last batch, with jobs that left
	removed    *ledger.RemovedSegment // the last that was followed since the last batch; nil: none
	batch      int64                  // number of the batch that is being made; from 1
	written    func() int64           // number of the last batch written
}

func newFold(at schemas.Position, find lookup, written func() int64) *fold {
	return &fold{lookup: find, at: at, young: map[jobKey]*entry{}, room: foldsKept, counts: ledger.Counts{}, moved: map[ledger.CountKey]bool{},
		zones: map[int64]*zone{}, names: newNames(), rules: map[schemas.TypeName]*where.Rules{}, batch: 1, written: written}
}

// applyAll folds messages, in order. On an error, which is lookup's, those before it are folded.
func (f *fold) applyAll(ctx context.Context, es []*ledger.Entry) error {
	for some := range slices.Chunk(es, lookAtOnce) {
		if err := f.fetch(ctx, some); err != nil {
			return fmt.Errorf("index: fold behind %s: %w", f.at.Seq, err)
		}
		for _, e := range some {
			if err := f.apply(ctx, e.Event, e.Err); err != nil {
				return err
			}
		}
	}
	return nil
}

// fetch looks up, together, the jobs of messages that are not in memory: the call of a statement costs more than what it finds.
// There are few messages at a time where little happens, and many where jobs move that waited, or that are new.
func (f *fold) fetch(ctx context.Context, es []*ledger.Entry) error {
	f.missing = f.missing[:0]
	for _, e := range es {
		k := jobKey{e.Org, e.Job}
		if e.Job != "" && e.Seq > f.at.Seq && f.young[k] == nil && f.old[k] == nil && !slices.Contains(f.missing, k) {
			f.missing = append(f.missing, k)
		}
	}
	if len(f.missing) < 2 {
		return nil // apply asks
	}
	rows := make(map[jobKey]*entry, len(f.missing))
	if err := f.lookup(ctx, f.missing, func(k jobKey, j *ledger.Job, again bool) { rows[k] = newEntry(k, j, again) }); err != nil {
		return err
	}
	for _, k := range f.missing {
		ent := rows[k]
		if ent == nil {
			ent = newEntry(k, nil, false)
		}
		f.keep(k, ent)
	}
	return nil
}

// apply folds one message. On an error, which is lookup's, nothing has changed.
func (f *fold) apply(ctx context.Context, e *schemas.Event, bad error) error {
	if e.Seq <= f.at.Seq {
		return nil
	}
	if e.Job != "" {
		ent, err := f.entry(ctx, jobKey{e.Org, e.Job})
		if err != nil {
			return fmt.Errorf("index: fold %s at %s: %w", e.Subject, e.Seq, err)
		}
		f.applyJob(ent, e, bad)
	} else if set, ok := e.Data.(*schemas.TypeSet); ok && bad == nil {
		f.applyType(set)
	}
	f.at = schemas.Position{Seq: e.Seq, ID: e.ID}
	f.messages++
	return nil
}

// applyJob counts by where the row stands before and behind the message, so that the counters are those of the rows: a job
// whose earlier history is removed is counted from its carried on, and an earlier life not beside the one that took its row.
func (f *fold) applyJob(ent *entry, e *schemas.Event, bad error) {
	j := ent.job
	was, stood := j.SubmittedSeq, ledger.StandingOf(j)
	ledger.Counted(j, e, bad)
	if stands := ledger.StandingOf(j); f.counts.Apply(stood, stands) {
		for _, s := range [2]ledger.Standing{stood, stands} {
			if s.State != schemas.StateNone {
				f.moved[s.Key] = true
			}
		}
	}
	if !j.Exists() {
		return // only messages that no fold can read: there is no job to show
	}
	if j.SubmittedSeq != was {
		ent.again = ent.again || was != 0
		ent.args, ent.result = f.payload(j, j.Spec.Args, "args"), f.payload(j, j.Result, "")
	} else if len(j.Result) > 0 {
		ent.result = f.payload(j, j.Result, "")
	}
	thin(j)
	f.zone(j)
	if !ent.dirty {
		ent.dirty = true
		f.dirty = append(f.dirty, ent)
	}
}

// thin drops what no row holds and is large.
func thin(j *ledger.Job) {
	j.Spec.Args, j.Result, j.Checkpoint, j.Late = nil, nil, nil, nil
	if e := j.Error; e != nil && e.Stack != "" { // events are shared: what they point to is replaced, never changed
		c := *e
		c.Stack = ""
		j.Error = &c
	}
}

func (f *fold) entry(ctx context.Context, k jobKey) (*entry, error) {
	if ent := f.young[k]; ent != nil {
		return ent, nil
	}
	ent := f.old[k]
	if ent == nil {
		if err := f.lookup(ctx, []jobKey{k}, func(_ jobKey, j *ledger.Job, again bool) { ent = newEntry(k, j, again) }); err != nil {
			return nil, err
		}
		if ent == nil {
			ent = newEntry(k, nil, false)
		}
	}
	f.keep(k, ent)
	return ent, nil
}

// newEntry is the entry of a job by its row, or of one that has none.
func newEntry(k jobKey, row *ledger.Job, again bool) *entry {
	if row == nil {
		return &entry{job: &ledger.Job{Org: k.org, ID: k.id}}
	}
	return &entry{job: row, row: row.SubmittedSeq, again: again}
}

func (f *fold) keep(k jobKey, ent *entry) {
	if len(f.young) >= f.room {
		f.turn()
	}
	f.young[k] = ent
}

// turn forgets the old folds but those whose rows are not written.
func (f *fold) turn() {
	done := f.written()
	young := make(map[jobKey]*entry, foldsKept)
	for k, ent := range f.old {
		if ent.dirty || ent.batch > done {
			young[k] = ent
		}
	}
	f.old, f.young, f.room = f.young, young, len(young)+foldsKept
}

// zone is what is known of the times of a stretch of sequences; it only ever widens.
type zone struct{ submitted, finished span }

type span struct{ min, max int64 } // in microseconds since 1970; min > max: none

func (s *span) add(t time.Time) {
	if t.IsZero() {
		return
	}
	at := t.UnixMicro()
	s.min, s.max = min(s.min, at), max(s.max, at)
}

func noSpan() span { return span{min: 1<<62 - 1, max: -1 << 62} }

func (f *fold) zone(j *ledger.Job) {
	n := int64(j.SubmittedSeq >> zoneBits)
	z := f.zones[n]
	if z == nil {
		z = &zone{noSpan(), noSpan()}
		f.zones[n] = z
	}
	z.submitted.add(j.SubmittedAt)
	z.finished.add(j.FinishedAt)
}

// changes is one batch: what one transaction writes.
type changes struct {
	number int64
	at     schemas.Position
	rows   []row
	counts map[countKey]ledger.Count
	zones  map[int64]*zone
	names  []named
	rules  []ruled
	// removed is the last removal that is followed with it; nil: that of before.
	removed *ledger.RemovedSegment
}

// countKey is a ledger.CountKey in numbers.
type countKey struct{ org, queue, kind int64 }

// row is what is written of a job.
type row struct {
	gone schemas.Seq // a row of an earlier life, or of a job that was removed, which is deleted
	seq  schemas.Seq // 0: there is none in its place
	org  int64
	idh  int64
	state, kind, queue, priority,
	attempt int64
	reason, class, resolution, finished, group any // int64, or nil for none
	terms                                      []int64
	doc, args, result                          []byte
}

// take makes a batch of all that has changed.
func (f *fold) take() (*changes, error) {
	c := &changes{number: f.batch, at: f.at, counts: make(map[countKey]ledger.Count, len(f.moved)), zones: f.zones, removed: f.removed}
	c.rows = make([]row, 0, len(f.dirty))
	docs := make([]byte, 0, 256*len(f.dirty))
	for _, ent := range f.dirty {
		if ent.dirty, ent.batch = false, f.batch; !ent.job.Exists() {
			if ent.row != 0 {
				c.rows = append(c.rows, row{gone: ent.row})
			}
			ent.row = 0
			continue
		}
		from := len(docs)
		var err error
		if docs, err = appendRow(docs, ent.job, ent.again); err != nil {
			return nil, err
		}
		r := f.row(ent)
		r.doc = docs[from:len(docs):len(docs)]
		c.rows = append(c.rows, r)
		ent.args, ent.result = nil, nil
	}
	for k := range f.moved {
		c.counts[countKey{f.names.of(string(k.Org)), f.names.of(string(k.Queue)), f.names.of(string(k.Type))}] = *f.counts[k]
	}
	for _, t := range f.ruled {
		c.rules = append(c.rules, ruled{t, f.rules[t]})
	}
	c.names = f.names.taken()
	f.dirty, f.messages, f.removed, f.ruled, f.zones = f.dirty[:0], 0, nil, nil, map[int64]*zone{}
	clear(f.moved)
	f.batch++
	return c, nil
}

func (f *fold) row(ent *entry) row {
	j := ent.job
	r := row{seq: j.SubmittedSeq, org: f.names.of(string(j.Org)), idh: idHash(j.Org, j.ID), state: stateNumber(j.State),
		kind: f.names.of(string(j.Spec.Type)), queue: f.names.of(string(j.Spec.Queue)), priority: f.names.of(string(j.Spec.Priority)),
		attempt: int64(j.Attempt), args: ent.args, result: ent.result}
	if r.state == 0 {
		r.state = f.names.of(string(j.State))
	}
	record := ledger.Record{Org: j.Org, ID: j.ID, Type: j.Spec.Type}
	switch reason := ledger.StoredReason(j); {
	case reason != "":
		r.reason, record.Reason = f.names.of(reason), &reason
	}
	if e := j.Error; e != nil {
		r.class = f.names.of(string(e.Class))
		record.Error = &ledger.RecordError{Class: e.Class, Message: e.Message}
	}
	if j.Resolution != "" {
		r.resolution = f.names.of(string(j.Resolution))
	}
	if !j.FinishedAt.IsZero() {
		r.finished = j.FinishedAt.UnixMicro()
	}
	if j.State == schemas.StateDeadLettered {
		r.group = hash("group", "", where.GroupOf(&record).Key())
	}
	if ent.row != r.seq {
		if ent.row != 0 {
			r.gone = ent.row
		}
		r.terms = terms(j)
		r.terms = append(r.terms, posted(f.rules[j.Spec.Type], ent.args)...)
		ent.row = r.seq
	}
	return r
}

// terms are the postings of a job's owner, batch, parents and tags.
func terms(j *ledger.Job) []int64 {
	var out []int64
	if owner := j.Principal(); owner != "" {
		out = append(out, hash(string(where.FieldOwner), "", owner))
	}
	if j.Spec.Batch != "" {
		out = append(out, hash(string(where.FieldBatch), "", j.Spec.Batch))
	}
	for i := range j.Spec.Parents {
		out = append(out, hash(string(where.FieldParent), "", string(j.Spec.Parents[i].ID)))
	}
	for k, v := range j.Spec.Tags {
		out = append(out, hash(string(where.FieldTag), k, v))
	}
	return out
}
