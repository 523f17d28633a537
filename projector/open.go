package projector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	// createTimeout bounds the creation and deletion of one bucket; on a cluster a leader is elected first.
	createTimeout = 5 * time.Second
	// createPause lies between the news of a deletion and the creation of a bucket of the same name.
	createPause = 250 * time.Millisecond
	// loadTimeout bounds the reading of one bucket's documents at the start: all counters, and what of JOBS
	// may be ahead. A million of them take a few seconds.
	loadTimeout = time.Minute
	// loadSilence is how long a bucket that is being read may say nothing before it is read on from another
	// consumer: its server may have died. The client's default is half a minute, in which views stand still.
	loadSilence = 2 * time.Second
)

// open reads how far the views are written and returns a fold that begins there. Buckets that are gone are
// created; a view whose position cannot be trusted begins at zero.
func (p *Projector) open(ctx context.Context) (*views, error) {
	v := newViews(func(ctx context.Context, k jobKey, seq schemas.Seq) (*ledger.Job, error) {
		return p.cfg.Ledger.FoldBefore(ctx, k.org, k.id, seq)
	})
	v.submitted, v.suspects = p.cfg.Ledger.EventsAt, p.suspects
	jobs, err := p.ensure(ctx, ledger.BucketJobs)
	if err != nil {
		return nil, err
	}
	counts, err := p.ensure(ctx, ledger.BucketCounts)
	if err != nil {
		return nil, err
	}
	config, err := p.ensure(ctx, ledger.BucketConfig)
	if err != nil {
		return nil, err
	}
	doc, rev, err := p.w.stored(ctx)
	if err != nil {
		return nil, err
	}
	jobsInfo, configInfo := jobs.CachedInfo(), config.CachedInfo()
	v.jobsBucket, v.countsBucket, v.configBucket = jobsInfo.Created.UTC(), counts.CachedInfo().Created.UTC(), configInfo.Created.UTC()
	v.all = slot{rev: rev, known: true}
	if v.hot, err = p.hotWindow(ctx, jobsInfo); err != nil {
		return nil, err
	}
	v.shortest = v.hot
	if doc != nil && !doc.CountsBucket.IsZero() && !doc.CountsBucket.Equal(v.countsBucket) {
		doc = nil // a leader of the bucket before this one has written it
	}
	if doc != nil {
		v.all.seq = doc.Seq
	} else {
		// Nothing says what the documents are worth. Whatever a lost COUNTS leaves behind is thrown away,
		// so that no document of a job that the ledger does not hold survives (DESIGN D2).
		if err := p.emptied(ctx, jobsInfo, counts.CachedInfo(), configInfo); err != nil {
			return nil, err
		}
		return v, p.begin(ctx, v, false)
	}
	v.countsAt = doc.Position
	v.quarantined, v.illegal = doc.Quarantined, doc.Illegal
	if doc.JobsBucket.Equal(v.jobsBucket) {
		if kept := v.expired(doc); doc.Jobs.Seq >= doc.Seq && int64(jobsInfo.State.Msgs) < kept {
			return v, p.mismatch(ctx, "documents of JOBS are missing")
		}
		v.jobsAt, v.jobsRevision = doc.Jobs, doc.JobsRevision
	}
	if doc.ConfigBucket.Equal(v.configBucket) {
		v.configAt = doc.Config
	}
	if err := p.load(ctx, v, jobs, counts, config); err != nil {
		return nil, err
	}
	anew := doc.Form != ledger.ViewsForm()
	if anew {
		p.log.Info("another version wrote the views: they are written anew, in place", zap.Uint64("up_to_seq", uint64(v.newest.Seq)))
		v.writeAnew()
	}
	return v, p.begin(ctx, v, anew)
}

// expired notes for how long documents of jobs that are over were kept, and returns how many documents there are at least.
func (v *views) expired(doc *ledger.CountsDocument) (kept int64) {
	was := doc.DocumentTTLMS.Duration()
	if was == 0 {
		return doc.Totals.Total()
	}
	if v.shortest = was; v.hot > 0 {
		v.shortest = min(was, v.hot)
	}
	return doc.Totals.Unfinished() + doc.Totals.DeadLettersOpen
}

// errReopen: the buckets were changed by open itself; read them again.
var errReopen = errors.New("views begin anew")

// ensure returns a bucket's stream, and creates it if it is missing. One that was deleted a moment ago is
// still on its way out when the news of it comes: created too early, its successor finds the old files,
// loses them beneath it, and answers no put. Hence the pause, and the look at what was created.
func (p *Projector) ensure(ctx context.Context, bucket string) (jetstream.Stream, error) {
	s, err := p.w.stream(ctx, bucket)
	if err == nil {
		return s, nil
	}
	if !lost(err) {
		return nil, fmt.Errorf("bucket %s: %w", bucket, err)
	}
	wait(ctx, createPause)
	create, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	if err := p.cfg.Ledger.EnsureBucket(create, bucket); err != nil {
		return nil, err
	}
	if s, err = p.w.stream(ctx, bucket); err != nil {
		return nil, fmt.Errorf("bucket %s: %w", bucket, err)
	}
	if !unused(s.CachedInfo()) {
		return nil, errors.Join(fmt.Errorf("bucket %s was created upon its predecessor's files", bucket), deleteBucket(ctx, p.w.js, bucket))
	}
	return s, nil
}

// unused reports that a bucket never took a document: nothing stands above the revision at which it begins, which is
// the time of its creation, or 1 in a bucket that an older version created. One that was created upon the files of
// its predecessor is not unused: the engine removes what they hold, for it lies below where the new bucket begins,
// and still says when the last of it was written.
func unused(info *jetstream.StreamInfo) bool {
	return info.State.Msgs == 0 && info.State.LastSeq < max(info.Config.FirstSeq, 1) && info.State.LastTime.Unix() <= 0
}

// stored reads COUNTS/all; nil if there is none.
func (w *writer) stored(ctx context.Context) (*ledger.CountsDocument, uint64, error) {
	ask := &put{bucket: ledger.BucketCounts, key: ledger.KeyCountsAll}
	there, err := w.read(ctx, ask)
	if err != nil || there == nil {
		return nil, 0, err
	}
	var doc ledger.CountsDocument
	if there.found == nil || json.Unmarshal(there.body, &doc) != nil {
		return nil, there.rev, nil
	}
	return &doc, there.rev, nil
}

// emptied makes sure that a fold from zero meets empty buckets.
func (p *Projector) emptied(ctx context.Context, infos ...*jetstream.StreamInfo) error {
	for _, info := range infos {
		if !unused(info) {
			return p.mismatch(ctx, "COUNTS says nothing about what is there")
		}
	}
	return nil
}

// mismatch deletes all three buckets; the caller opens them again, empty. We die here: the next one finds
// what is left of them without a position, and deletes it too.
func (p *Projector) mismatch(ctx context.Context, why string) error {
	p.log.Warn("views are thrown away and folded from zero", zap.String("reason", why))
	// COUNTS first: it holds the position, without which the others are worth nothing.
	for _, bucket := range []string{ledger.BucketCounts, ledger.BucketJobs, ledger.BucketConfig} {
		if err := deleteBucket(ctx, p.w.js, bucket); err != nil {
			return err
		}
	}
	return errReopen
}

func deleteBucket(ctx context.Context, js jetstream.JetStream, bucket string) error {
	ctx, cancel := context.WithTimeout(ctx, createTimeout)
	defer cancel()
	err := js.DeleteStream(ctx, streamPrefix+bucket)
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("delete bucket %s: %w", bucket, err)
	}
	return nil
}

// load reads the counters and checks that everything written belongs to this ledger: the latest position
// that any document bears must be an event that the ledger still holds under that id. An earlier one then
// is too, for the ledger only grows.
func (p *Projector) load(ctx context.Context, v *views, jobs, counts, config jetstream.Stream) error {
	latest := later(later(v.jobsAt, v.countsAt), v.configAt)
	err := p.w.each(ctx, counts, 1, func(key string, rev uint64, body []byte) {
		var doc ledger.CountDocument
		if key == ledger.KeyCountsAll || json.Unmarshal(body, &doc) != nil {
			return
		}
		k := ledger.CountKey{Org: doc.Org, Queue: doc.Queue, Type: doc.Type}
		n := doc.Count
		v.counts[k], v.countSlots[k] = &n, &slot{rev: rev, seq: doc.Seq, known: true}
		v.addQueue(k, n)
		if doc.Stats != nil {
			v.stats[k] = doc.Stats
		}
		latest = later(latest, doc.Position)
		if doc.Seq > v.countsAt.Seq {
			v.covered[k], v.coveredMax = doc.Seq, max(v.coveredMax, doc.Seq)
		}
	})
	if err != nil {
		return err
	}
	note := func(_ string, _ uint64, body []byte) {
		var f found
		if json.Unmarshal(body, &f) == nil {
			latest = later(latest, f.position())
		}
	}
	if v.jobsAt.Seq > 0 {
		if err := p.w.each(ctx, jobs, v.jobsRevision+1, note); err != nil {
			return err
		}
	}
	if err := p.w.each(ctx, config, 1, note); err != nil {
		return err
	}
	if v.newest = latest; latest.Seq == 0 {
		return nil
	}
	there, err := p.cfg.Ledger.EventAt(ctx, latest.Seq)
	switch {
	case err == nil && there.ID == latest.ID:
		return nil
	case err != nil && !errors.Is(err, ledger.ErrNotFound):
		return err
	}
	return p.mismatch(ctx, "the ledger does not hold the event they were written at")
}

// each hands over every document of a bucket from revision rev on, one that is written meanwhile once more. An
// older leader may still write: what it replaces is gone from where the reader has yet to come, and stands behind
// the end that was known, so the reader goes on until nothing stands behind what it has read.
func (w *writer) each(ctx context.Context, s jetstream.Stream, rev uint64, take func(key string, rev uint64, body []byte)) error {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	// A request that met a restart is never answered: it must not cost the time that a long read may take.
	ask, stopAsking := context.WithTimeout(ctx, putTimeout)
	defer stopAsking()
	info, err := s.Info(ask)
	if err != nil {
		return err
	}
	last := info.State.LastSeq
	if info.State.Msgs == 0 || last < rev {
		return nil
	}
	// One attempt at another consumer: the client knows no end of them, nor our context, and a bucket that was
	// deleted would hold this server for ever, past its leadership. The views are opened again instead.
	c, err := s.OrderedConsumer(ask, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: rev, MaxResetAttempts: 1})
	if err != nil {
		return err
	}
	it, err := c.Messages(jetstream.PullExpiry(2*loadSilence), jetstream.PullHeartbeat(loadSilence/2))
	if err != nil {
		return err
	}
	defer it.Stop()
	prefix := subjectPrefix + strings.TrimPrefix(info.Config.Name, streamPrefix) + "."
	for {
		m, err := it.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		if m.Headers().Get(headerKVOperation) == "" {
			take(strings.TrimPrefix(m.Subject(), prefix), meta.Sequence.Stream, m.Data())
		}
		if meta.NumPending > 0 && meta.Sequence.Stream < last {
			continue
		}
		// The number pending comes late behind a write that replaces a document.
		more, err := w.more(ctx, info.Config.Name, meta.Sequence.Stream)
		if err != nil || !more {
			return err
		}
	}
}

// more asks the bucket's leader whether anything stands behind a revision.
func (w *writer) more(ctx context.Context, stream string, rev uint64) (bool, error) {
	m, err := w.ask(ctx, subjectMessageGet+strings.TrimPrefix(stream, streamPrefix), map[string]any{"seq": rev + 1, "next_by_subj": ">"})
	if err != nil {
		return false, fmt.Errorf("bucket %s: %w", stream, err)
	}
	return m != nil, nil
}

func (f *found) position() schemas.Position {
	if f.EventID != "" {
		return schemas.Position{Seq: f.Seq, ID: f.EventID}
	}
	return schemas.Position{Seq: f.Seq, ID: f.ID}
}

func earliest(first schemas.Position, others ...schemas.Position) schemas.Position {
	for _, o := range others {
		if o.Seq < first.Seq {
			first = o
		}
	}
	return first
}
