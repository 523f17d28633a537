package projector_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/projector"
	"github.com/dartwing/jobledger/schemas"
)

// feed starts a feed that ends with the test.
func feed(t testing.TB, env *ledgertest.Env) *ledger.Feed {
	t.Helper()
	f, err := ledger.NewFeed(ledger.FeedConfig{Ledger: env.NewLedger()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = f.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return f
}

// project runs a projector until stop is called, at the latest at the end of the test.
func project(t testing.TB, env *ledgertest.Env, f *ledger.Feed) (stop func()) {
	t.Helper()
	p, err := projector.New(projector.Config{Ledger: env.NewLedger(), Feed: f, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx, 1) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("projector ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// caughtUp waits until the views are written up to the ledger's end, which it returns.
func caughtUp(t testing.TB, env *ledgertest.Env) schemas.Seq {
	t.Helper()
	end, err := env.Ledger.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := projector.WaitFor(ctx, env.Ledger, end.Seq); err != nil {
		t.Fatal(err)
	}
	return end.Seq
}

// check compares every document with a fold from zero up to the document's own sequence, and the counters
// with one up to theirs.
func check(t testing.TB, env *ledgertest.Env) {
	t.Helper()
	end := caughtUp(t, env)
	want, counts := map[string]string{}, ledger.Counts{}
	jobs := map[string]*ledger.Job{}
	illegal, quarantined := int64(0), int64(0)
	stats := statsBegun(t, env)
	for _, e := range entries(t, env, end) {
		if e.Err != nil {
			quarantined++
		}
		if e.Job == "" {
			continue
		}
		key := ledger.JobKey(e.Org, e.Job)
		j := jobs[key]
		if j == nil {
			j = new(ledger.Job)
			jobs[key] = j
		}
		was, bad := ledger.StandingOf(j), j.Illegal
		m := ledger.Counted(j, e.Event, e.Err)
		waited := waiting(counts, m.Is.Key)
		counts.Apply(was, ledger.StandingOf(j))
		if k := m.Is.Key.String(); m.Observed() && e.Seq > stats[k].After {
			stats[k].Add(e.Time, &m.Sample, waited, waiting(counts, m.Is.Key))
		}
		illegal += int64(j.Illegal - bad)
		if j.Exists() {
			doc, err := ledger.Document(j)
			if err != nil {
				t.Fatal(err)
			}
			want[key] = string(doc)
		}
	}
	checkStats(t, env, stats)
	have := documents(t, env, ledger.BucketJobs)
	if len(have) != len(want) {
		t.Errorf("JOBS holds %d documents, want %d", len(have), len(want))
	}
	for key, doc := range want {
		if have[key] != doc {
			t.Errorf("JOBS/%s is\n%s\nwant\n%s", key, have[key], doc)
		}
	}
	checkCounts(t, env, counts, illegal, quarantined, end)
}

func waiting(counts ledger.Counts, k ledger.CountKey) int64 {
	if c := counts[k]; c != nil {
		return c.Waiting()
	}
	return 0
}

// statsBegun are empty statistics of every counter, that begin where those that are stored do.
func statsBegun(t testing.TB, env *ledgertest.Env) map[string]*ledger.Stats {
	t.Helper()
	begun := map[string]*ledger.Stats{}
	for key, body := range documents(t, env, ledger.BucketCounts) {
		var doc ledger.CountDocument
		if err := json.Unmarshal([]byte(body), &doc); key != ledger.KeyCountsAll && (err != nil || doc.Stats == nil) {
			t.Fatalf("COUNTS/%s: %v without statistics: %s", key, err, body)
		} else if key != ledger.KeyCountsAll {
			begun[key] = &ledger.Stats{After: doc.Stats.After}
		}
	}
	return begun
}

// checkStats compares the statistics that stand with the counters with a fold from zero.
func checkStats(t testing.TB, env *ledgertest.Env, want map[string]*ledger.Stats) {
	t.Helper()
	docs := documents(t, env, ledger.BucketCounts)
	for key, s := range want {
		var doc ledger.CountDocument
		if err := json.Unmarshal([]byte(docs[key]), &doc); err != nil {
			t.Errorf("COUNTS/%s: %v", key, err)
		} else if doc.Stats == nil || !doc.Stats.Equal(s) {
			text, err := json.Marshal(s)
			t.Errorf("the statistics of %s are in\n%s\nwant\n%s %v", key, docs[key], text, err)
		}
	}
}

func checkCounts(t testing.TB, env *ledgertest.Env, want ledger.Counts, illegal, quarantined int64, end schemas.Seq) {
	t.Helper()
	have := documents(t, env, ledger.BucketCounts)
	for k, n := range want {
		var doc ledger.CountDocument
		if err := json.Unmarshal([]byte(have[k.String()]), &doc); err != nil {
			t.Errorf("COUNTS/%s: %v", k, err)
		}
		if doc.Count != *n || doc.Seq > end {
			t.Errorf("COUNTS/%s is %+v at %d, want %+v", k, doc.Count, doc.Seq, *n)
		}
		delete(have, k.String())
	}
	var all ledger.CountsDocument
	if err := json.Unmarshal([]byte(have[ledger.KeyCountsAll]), &all); err != nil {
		t.Errorf("COUNTS/all: %v", err)
	}
	if all.Totals != want.Total() || all.Illegal != illegal || all.Quarantined != quarantined {
		t.Errorf("totals are %+v, illegal %d, quarantined %d; want %+v, %d, %d",
			all.Totals, all.Illegal, all.Quarantined, want.Total(), illegal, quarantined)
	}
	delete(have, ledger.KeyCountsAll)
	for k, doc := range have {
		var left ledger.CountDocument
		if err := json.Unmarshal([]byte(doc), &left); err != nil || left.Count != (ledger.Count{}) {
			t.Errorf("COUNTS/%s is left over: %s", k, doc)
		}
	}
}

// entries reads the ledger up to end.
func entries(t testing.TB, env *ledgertest.Env, end schemas.Seq) []*ledger.Entry {
	t.Helper()
	f := feed(t, env)
	c := f.Subscribe(schemas.Position{})
	defer c.Close()
	var all []*ledger.Entry
	for len(all) == 0 || all[len(all)-1].Seq < end {
		es, err := c.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, es...)
	}
	for all[len(all)-1].Seq > end {
		all = all[:len(all)-1]
	}
	return all
}

// documents reads a whole bucket.
func documents(t testing.TB, env *ledgertest.Env, bucket string) map[string]string {
	t.Helper()
	kv, err := env.Ledger.JetStream().KeyValue(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	w, err := kv.WatchAll(t.Context(), jetstream.IgnoreDeletes())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Stop() }()
	docs := map[string]string{}
	for e := range w.Updates() {
		if e == nil {
			break
		}
		docs[e.Key()] = string(e.Value())
	}
	return docs
}

// revision is the number of puts that a bucket ever took.
func revision(t testing.TB, env *ledgertest.Env, bucket string) uint64 {
	t.Helper()
	s, err := env.Ledger.JetStream().Stream(t.Context(), "KV_"+bucket)
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.LastSeq
}

// do carries out a command on a job and returns it.
func do(t testing.TB, l *ledger.Ledger, id schemas.JobID, c ledger.Command) *ledger.Job {
	t.Helper()
	j, _, err := l.Do(t.Context(), "acme", id, c, ledger.Meta{})
	if err != nil {
		t.Fatalf("job %s: %v", id, err)
	}
	return j
}

func submit(t testing.TB, l *ledger.Ledger, id schemas.JobID) {
	t.Helper()
	_, err := l.Submit(t.Context(), ledger.SubmitRequest{Org: "acme", Type: "echo", ID: id, RegisterUnknown: true,
		Args: json.RawMessage(`{"x": 1}`), Tags: map[string]string{"b": "2", "a": "1"}})
	if err != nil {
		t.Fatal(err)
	}
}

// start takes a submitted or retrying job to running.
func start(t testing.TB, l *ledger.Ledger, id schemas.JobID) *ledger.Job {
	t.Helper()
	p := schemas.DefaultPolicy()
	p.MaxAttempts = 2
	j := do(t, l, id, &ledger.Queue{Policy: p, Now: time.Now().Add(48 * time.Hour)})
	return do(t, l, id, &ledger.Claim{Generation: j.Generation, Submitted: j.SubmittedSeq, Session: "s", Worker: "w"})
}

func end(t testing.TB, l *ledger.Ledger, j *ledger.Job, kind schemas.EventName, err *schemas.JobError) *ledger.Job {
	t.Helper()
	return do(t, l, j.ID, &ledger.Outcome{Fence: j.Fence, Generation: j.Generation, Attempt: j.Attempt, Kind: kind,
		Error: err, Result: result(kind), Duration: 5 * time.Millisecond, Now: time.Now()})
}

func result(kind schemas.EventName) []byte {
	if kind == schemas.EventCompleted {
		return []byte(`{"done": true}`)
	}
	return nil
}

var transient = &schemas.JobError{Class: schemas.ClassTransient, Message: "connection refused", Stack: "a stack"}

// complete runs one new job to its end.
func complete(t testing.TB, l *ledger.Ledger, id schemas.JobID) {
	t.Helper()
	submit(t, l, id)
	end(t, l, start(t, l, id), schemas.EventCompleted, nil)
}

// load completes jobs from several goroutines until stop is called, which returns how many there were.
func load(t testing.TB, env *ledgertest.Env, prefix string) (stop func() int) {
	t.Helper()
	const publishers = 4
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var n [publishers]int
	for i := range publishers {
		l := env.NewLedger()
		wg.Go(func() {
			for ctx.Err() == nil {
				complete(t, l, schemas.JobID(fmt.Sprintf("%s-%d-%d", prefix, i, n[i])))
				n[i]++
			}
		})
	}
	return func() int {
		cancel()
		wg.Wait()
		sum := 0
		for _, m := range n {
			sum += m
		}
		return sum
	}
}

func deleteBuckets(t testing.TB, env *ledgertest.Env, buckets ...string) {
	t.Helper()
	for _, b := range buckets {
		err := env.Ledger.JetStream().DeleteStream(t.Context(), "KV_"+b)
		if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Fatal(err)
		}
	}
}

// fill publishes the whole stories of n jobs, four events each, without waiting in between, as a trusted
// writer may on an otherwise idle ledger. Eight jobs run at the same time.
func fill(t testing.TB, env *ledgertest.Env, prefix string, n int) {
	t.Helper()
	fillBehind(t, env, prefix, n, 8)
}

// fillBehind is fill with so many jobs submitted before the first of them moves.
func fillBehind(t testing.TB, env *ledgertest.Env, prefix string, n, backlog int) {
	t.Helper()
	last, err := env.Ledger.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	next := func(jobs []*ledger.Job, step int) {
		for _, j := range jobs {
			last.Seq++
			publishNext(t, env, j, last.Seq, step)
		}
	}
	for from := 0; from < n; from += backlog {
		jobs := make([]*ledger.Job, min(backlog, n-from))
		for i := range jobs {
			jobs[i] = &ledger.Job{Org: "acme", ID: schemas.JobID(fmt.Sprintf("%s-%d", prefix, from+i))}
		}
		next(jobs, 0)
		for group := range slices.Chunk(jobs, 8) {
			next(group, 1)
			next(group, 2)
			next(group, 3)
		}
	}
	select {
	case <-env.Ledger.JetStream().PublishAsyncComplete():
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

func publishNext(t testing.TB, env *ledgertest.Env, j *ledger.Job, seq schemas.Seq, step int) {
	t.Helper()
	data, err := ledger.Decide(j, []ledger.Command{
		&ledger.Begin{Spec: schemas.Submitted{Type: "echo", Queue: "default", Priority: schemas.PriorityNormal, Args: json.RawMessage(`{"a":"some args"}`)}},
		&ledger.Queue{Policy: schemas.DefaultPolicy(), Now: time.Now().Add(time.Hour)},
		&ledger.Claim{Generation: 1, Submitted: j.SubmittedSeq, Session: "s", Worker: "w"},
		&ledger.Outcome{Fence: j.Fence, Generation: 1, Attempt: 1, Kind: schemas.EventCompleted, Result: []byte(`{"ok":true}`)},
	}[step])
	if err != nil {
		t.Fatal(err)
	}
	e := schemas.NewEvent(schemas.JobSubject(j.Org, j.ID), data)
	m, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	m.Header[schemas.HeaderExpect] = []string{j.LastSeq.String()}
	if _, err := env.Ledger.JetStream().PublishMsgAsync(m, jetstream.WithStallWait(30*time.Second)); err != nil {
		t.Fatal(err)
	}
	e.Seq, e.Time = seq, time.Now()
	ledger.Apply(j, e)
}
