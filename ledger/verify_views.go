package ledger

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/schemas"
)

// views are the KV documents as they were before the fold began, and the fold's own counters to compare
// them with. A view that is not there is nil.
type views struct {
	seed     maphash.Seed
	jobs     map[string]document // by JobKey; taken out when compared
	settings map[string]document // of CONFIG, by key
	counts   []countMark         // by their sequence
	next     int                 // counts before it are compared
	all      *CountsDocument
	// covered is the position up to which JOBS holds every job's document, or a later one: zero if it
	// claims nothing, or was created anew while it was read.
	covered schemas.Seq
	created [3]time.Time // of viewBuckets when they were read

	folded      Counts
	lastMoved   map[CountKey]schemas.Seq // last event at or below all.Seq that moved a job of the key
	stats       map[CountKey]*Stats      // of the counters that have any
	quarantined int64
	illegal     int64
}

// document is what a KV document claims: its content at its own sequence.
type document struct {
	at   schemas.Position
	hash uint64
}

type countMark struct {
	key string
	CountDocument
}

// viewBuckets are the buckets that hold views.
var viewBuckets = []string{BucketJobs, BucketCounts, BucketConfig}

// viewsReadMax is how often the views are read again because somebody rebuilt them meanwhile.
const viewsReadMax = 5

// read takes the views as they are, all from the same life of their buckets.
func (w *views) read(ctx context.Context, l *Ledger, org schemas.OrgID) error {
	for try := range viewsReadMax {
		before, err := l.bucketsCreated(ctx)
		if err != nil {
			return err
		}
		err = w.readOnce(ctx, l, org, before)
		if err != nil && !errors.Is(err, ErrViewsMove) {
			return err
		}
		after, failed := l.bucketsCreated(ctx)
		if failed != nil {
			return failed
		}
		if err == nil && before == after {
			w.created = after
			return nil
		}
		if !pause(ctx, try) {
			return ctx.Err()
		}
	}
	return ErrViewsMove
}

// ErrViewsMove: Verify could not read the views because somebody deletes and rebuilds them over and over;
// try again when that is done.
var ErrViewsMove = errors.New("the views are being deleted and rebuilt")

// readOnce takes the documents in an order that makes them comparable: first how far the views say they are
// complete, then the documents, which can only be ahead of that.
func (w *views) readOnce(ctx context.Context, l *Ledger, org schemas.OrgID, created [3]time.Time) error {
	*w = views{seed: maphash.MakeSeed(), folded: make(Counts), lastMoved: make(map[CountKey]schemas.Seq), stats: make(map[CountKey]*Stats)}
	all, err := l.countsDocument(ctx)
	if err != nil {
		return err
	}
	prefix, jobs, settings := string(org)+".", make(map[string]document), make(map[string]document)
	if all != nil && all.Form != ViewsForm() {
		return nil // another version leads: what its views should be is not ours to say
	}
	if all != nil && !all.CountsBucket.IsZero() && !all.CountsBucket.Equal(created[1]) {
		return moved(BucketCounts, errors.New("it is being folded anew, and a leader of the earlier one has spoken for it"))
	}
	err = l.eachDocument(ctx, BucketJobs, func(key string, value []byte) error {
		if org == "" || strings.HasPrefix(key, prefix) {
			jobs[key] = w.documentOf(BucketJobs, value)
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = l.eachDocument(ctx, BucketConfig, func(key string, value []byte) error {
		if org == "" {
			settings[key] = w.documentOf(BucketConfig, value)
		}
		return nil
	})
	if err != nil || all == nil && len(jobs) == 0 {
		return err // without either no views were ever written
	}
	w.all, w.jobs, w.settings = all, jobs, settings
	if all == nil {
		return nil
	}
	if all.JobsBucket.Equal(created[0]) {
		w.covered = all.Jobs.Seq
	}
	return w.readCounts(ctx, l, prefix, org == "")
}

// documentOf notes what a document claims. One that is no JSON has no sequence and so belongs to no event.
// Whether all of it is as it should be is told by its hash.
func (w *views) documentOf(bucket string, value []byte) document {
	var claims struct {
		Seq     schemas.Seq     `json:"seq"`
		ID      schemas.EventID `json:"id"`       // of a setting: its event
		EventID schemas.EventID `json:"event_id"` // of a job's last event
	}
	_ = json.Unmarshal(value, &claims)
	at := schemas.Position{Seq: claims.Seq, ID: claims.ID}
	if bucket == BucketJobs {
		at.ID = claims.EventID
	}
	return document{at: at, hash: maphash.Bytes(w.seed, value)}
}

func (w *views) readCounts(ctx context.Context, l *Ledger, prefix string, all bool) error {
	w.counts = []countMark{}
	err := l.eachDocument(ctx, BucketCounts, func(key string, value []byte) error {
		if key == KeyCountsAll || !all && !strings.HasPrefix(key, prefix) {
			return nil
		}
		m := countMark{key: key}
		if json.Unmarshal(value, &m.CountDocument) != nil {
			m.CountDocument = CountDocument{} // true at no sequence
		}
		w.counts = append(w.counts, m)
		if m.Stats != nil {
			w.stats[CountKey{Org: m.Org, Queue: m.Queue, Type: m.Type}] = &Stats{After: m.Stats.After}
		}
		return nil
	})
	slices.SortFunc(w.counts, func(a, b countMark) int { return cmp.Compare(a.Seq, b.Seq) })
	return err
}

// compareJob compares the job's document when the fold is at its sequence.
func (w *views) compareJob(v *verifier, key string, vj *verifiedJob, e *Entry) error {
	if e.Seq <= w.covered && vj.job.Exists() {
		vj.covered = e.Seq
	}
	doc, ok := w.jobs[key]
	if !ok || doc.at.Seq != e.Seq {
		return nil
	}
	delete(w.jobs, key)
	vj.document = e.Seq
	want, err := Document(vj.job)
	if err != nil {
		return fmt.Errorf("document of %s: %w", key, err)
	}
	if doc.at.ID != e.ID || maphash.Bytes(w.seed, want) != doc.hash {
		v.problem(ProblemView, e.Seq, e.Org, e.Job, "the document in %s is not what the ledger says at this sequence", BucketJobs)
	}
	return nil
}

// moved counts a job's step.
func (w *views) moved(e *Entry, m Move) {
	w.illegal += m.Illegal
	if s := w.stats[m.Is.Key]; s != nil && e.Seq > s.After && m.Observed() {
		before := w.folded.of(m.Is.Key)
		after := Counts{m.Is.Key: &before}
		waited := before.Waiting()
		after.Apply(m.Was, m.Is)
		s.Add(e.Time, &m.Sample, waited, before.Waiting())
	}
	if !w.folded.Apply(m.Was, m.Is) || w.all == nil || e.Seq > w.all.Seq {
		return
	}
	for _, s := range []Standing{m.Was, m.Is} {
		if s.State != schemas.StateNone {
			w.lastMoved[s.Key] = e.Seq
		}
	}
}

// passed compares what is true at e's sequence and belongs to no job: settings, totals.
func (w *views) passed(v *verifier, e *Entry) error {
	if e.Err != nil {
		w.quarantined++
	}
	if set, ok := e.Data.(schemas.Setting); ok {
		if err := w.compareSetting(v, e, set); err != nil {
			return err
		}
	}
	w.compareCounts(v, e)
	unknown := v.tallies.adrift || v.tallies.deferred(e.Seq) || len(v.tallies.unknown) > 0
	if w.all != nil && e.Seq == w.all.Seq && v.cfg.Org == "" && !unknown {
		got := CountsDocument{Totals: w.folded.Total(), Quarantined: w.quarantined, Illegal: w.illegal}
		if got.Totals != w.all.Totals || got.Quarantined != w.all.Quarantined || got.Illegal != w.all.Illegal || e.ID != w.all.ID {
			v.problem(ProblemCount, e.Seq, "", "", "the totals in %s are %+v with %d quarantined and %d illegal, the ledger has %+v with %d and %d",
				BucketCounts, w.all.Totals, w.all.Quarantined, w.all.Illegal, got.Totals, got.Quarantined, got.Illegal)
		}
	}
	return nil
}

// compareCounts compares the counters that are exact at e's sequence.
func (w *views) compareCounts(v *verifier, e *Entry) {
	for ; w.next < len(w.counts) && w.counts[w.next].Seq <= e.Seq; w.next++ {
		m := &w.counts[w.next]
		if v.tallies.deferred(m.Seq) {
			return
		}
		if m.Seq < v.verdict.FirstSeq || v.tallies.adrift {
			continue // what it is true at has left the ledger
		}
		k := CountKey{Org: m.Org, Queue: m.Queue, Type: m.Type}
		if m.Seq < e.Seq || m.ID != e.ID || m.key != k.String() {
			v.problem(ProblemCount, m.Seq, m.Org, "", "the counter %s names no event of the ledger", m.key)
			continue
		}
		if want := w.folded[k]; !v.tallies.unknown[k] && (want == nil || *want != m.Count) {
			v.problem(ProblemCount, m.Seq, m.Org, "", "the counter %s is %+v, the ledger has %+v at this sequence", m.key, m.Count, want)
		}
		w.compareStats(v, m, k)
	}
}

// compareStats compares the statistics that stand with a counter. Where segments were removed, what they hold is not known.
func (w *views) compareStats(v *verifier, m *countMark, k CountKey) {
	want := w.stats[k]
	if m.Stats == nil || want == nil || len(v.tallies.holes) > 0 || v.tallies.unknown[k] {
		return
	}
	if !m.Stats.Equal(want) {
		v.problem(ProblemCount, m.Seq, m.Org, "", "the statistics of the counter %s are not what the ledger says at this sequence", m.key)
	}
}

// checkViews compares what documents there are with what there should be, at the fold's end.
func (v *verifier) checkViews(ctx context.Context) error {
	w := &v.views
	// What a document is true at may have left the ledger for the archive; one without a sequence is no document.
	standing := func(seq schemas.Seq) bool { return seq == 0 || seq >= v.verdict.FirstSeq && !v.tallies.gone(seq) }
	for key, doc := range w.jobs {
		if standing(doc.at.Seq) {
			org, id, _ := strings.Cut(key, ".")
			v.problem(ProblemView, doc.at.Seq, schemas.OrgID(org), schemas.JobID(id), "the document in %s is of a message that this job does not have", BucketJobs)
		}
	}
	for key, doc := range w.settings {
		if standing(doc.at.Seq) {
			v.problem(ProblemView, doc.at.Seq, "", "", "the document %s in %s is of a message that is no such setting", key, BucketConfig)
		}
	}
	for _, m := range w.counts[w.next:] {
		v.problem(ProblemCount, m.Seq, m.Org, "", "the counter %s is of a message that is not there", m.key)
	}
	for key, vj := range v.jobs {
		_, reported := w.jobs[key]
		if reported || !vj.behind(w) {
			continue
		}
		behind, err := w.behind(ctx, v.l, BucketJobs, key, vj.covered)
		if err != nil {
			return err
		}
		if behind {
			v.problem(ProblemView, vj.covered, vj.job.Org, vj.job.ID, "the document in %s is at sequence %d, and should be at %d or later", BucketJobs, vj.document, vj.covered)
		}
	}
	at := make(map[CountKey]schemas.Seq, len(w.counts))
	for _, m := range w.counts {
		at[CountKey{Org: m.Org, Queue: m.Queue, Type: m.Type}] = m.Seq
	}
	for k, moved := range w.lastMoved {
		if at[k] >= moved || at[k] == 0 && w.folded.of(k) == (Count{}) {
			continue // one that is made anew from tallies leaves out what they sum up to nothing
		}
		behind, err := w.behind(ctx, v.l, BucketCounts, k.String(), moved)
		if err != nil {
			return err
		}
		if behind {
			v.problem(ProblemCount, moved, k.Org, "", "the counter %s is at sequence %d, and should be at %d or later", k, at[k], moved)
		}
	}
	return nil
}

// behind reads a document again that was missing, or seemed to stay behind: one that is written while all are
// read may be passed over. Of a bucket that was created anew meanwhile nothing can be said.
func (w *views) behind(ctx context.Context, l *Ledger, bucket, key string, seq schemas.Seq) (bool, error) {
	entry, err := l.value(ctx, bucket, key)
	if err == nil && w.documentOf(bucket, entry.Value()).at.Seq >= seq {
		return false, nil
	}
	if err != nil && !errors.Is(err, jetstream.ErrKeyNotFound) && !errors.Is(err, jetstream.ErrBucketNotFound) {
		return false, err
	}
	created, err := l.bucketsCreated(ctx)
	return err == nil && created == w.created, err
}

func (w *views) compareSetting(v *verifier, e *Entry, set schemas.Setting) error {
	key := set.Key()
	doc, ok := w.settings[key]
	if !ok || doc.at.Seq != e.Seq {
		return nil
	}
	delete(w.settings, key)
	want, err := json.Marshal(SettingOf(e.Event, set))
	if err != nil {
		return fmt.Errorf("document of %s: %w", key, err)
	}
	if doc.at.ID != e.ID || maphash.Bytes(w.seed, want) != doc.hash {
		v.problem(ProblemView, e.Seq, "", "", "the document %s in %s is not what the ledger says at this sequence", key, BucketConfig)
	}
	return nil
}

// countsDocument reads COUNTS/all; nil if it is not there.
func (l *Ledger) countsDocument(ctx context.Context) (*CountsDocument, error) {
	entry, err := l.value(ctx, BucketCounts, KeyCountsAll)
	if errors.Is(err, jetstream.ErrBucketNotFound) || errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all := new(CountsDocument)
	if err := json.Unmarshal(entry.Value(), all); err != nil {
		return nil, fmt.Errorf("%s in bucket %s: %w", KeyCountsAll, BucketCounts, err)
	}
	return all, nil
}

// bucketsCreated is when each of viewBuckets was created; zero for one that is not there.
func (l *Ledger) bucketsCreated(ctx context.Context) (created [3]time.Time, err error) {
	for i, bucket := range viewBuckets {
		s, err := l.stream(ctx, "KV_"+bucket)
		switch {
		case err == nil:
			created[i] = s.CachedInfo().Created
		case !errors.Is(err, jetstream.ErrStreamNotFound):
			return created, err
		}
	}
	return created, nil
}

// eachDocument calls fn for the current value of every key; for none if the bucket is not there.
func (l *Ledger) eachDocument(ctx context.Context, bucket string, fn func(key string, value []byte) error) error {
	var kv jetstream.KeyValue
	err := l.asking(ctx, func(ctx context.Context) (err error) {
		kv, err = l.js.KeyValue(ctx, bucket)
		return err
	})
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("bucket %s: %w", bucket, err)
	}
	watch, err := kv.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return moved(bucket, err)
	}
	defer func() {
		_ = watch.Stop()            // fails only when it has ended
		for range watch.Updates() { // else its goroutine would wait for ever to hand out one more
		}
	}()
	patience := time.NewTimer(RequestTimeout)
	defer patience.Stop()
	for {
		select {
		case entry, ok := <-watch.Updates():
			if !ok {
				return moved(bucket, errors.New("the watch ended"))
			}
			if entry == nil {
				return nil
			}
			if err := fn(entry.Key(), entry.Value()); err != nil {
				return err
			}
			patience.Reset(RequestTimeout)
		case <-patience.C: // a watch of a bucket that was deleted waits in silence
			return moved(bucket, errors.New("the watch is silent"))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// moved is a failure to read a bucket that may have been deleted meanwhile.
func moved(bucket string, err error) error {
	return fmt.Errorf("%w: bucket %s: %w", ErrViewsMove, bucket, err)
}
