package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// A fold that begins at zero reads the whole ledger once, in order, first from the stream and then from the
// ring; one that begins at a position reads what follows it (DESIGN D8).
func TestFeedHandsOutEveryEventOnce(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	fill(t, env, "acme", 500)
	middle, err := env.Ledger.EventAt(t.Context(), 1000)
	if err != nil {
		t.Fatal(err)
	}
	f := startFeed(t, ledger.FeedConfig{Ledger: env.Ledger})
	whole, half := f.Subscribe(schemas.Position{}), f.Subscribe(middle.Position())
	defer whole.Close()
	defer half.Close()
	before := end(t, env.Ledger)
	a, b := read(t, whole, before), read(t, half, before)
	fill(t, env, "acme", 500)
	after := end(t, env.Ledger)
	checkWhole(t, append(a, read(t, whole, after)...), 1, after)
	checkWhole(t, append(b, read(t, half, after)...), 1001, after)
}

// The feed goes on over restarts of the server within seconds, without gap or repetition, and cursors
// behind the ring do too (issue: R1 server restarted, dispatch resumes within 5 s).
func TestFeedGoesOnOverRestarts(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	fill(t, env, "acme", 200)
	f := startFeed(t, ledger.FeedConfig{Ledger: env.NewLedger(), Capacity: 64})
	live, slow := f.Subscribe(schemas.Position{}), f.Subscribe(schemas.Position{})
	defer live.Close()
	defer slow.Close()
	var all, late []*ledger.Entry
	all = append(all, read(t, live, end(t, env.Ledger))...)
	first, err := slow.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	late = append(late, first...)
	for range 3 {
		env.Restart()
		fill(t, env, "acme", 100)
		last := end(t, env.Ledger)
		start := time.Now()
		all = append(all, read(t, live, last)...)
		t.Logf("the feed resumed %s after the restart: aim 5s", time.Since(start))
	}
	last := end(t, env.Ledger)
	late = append(late, read(t, slow, last)...)
	checkWhole(t, all, 1, last)
	checkWhole(t, late, 1, last)
}

// Somebody deletes every consumer of the ledger, as a clean-up by hand might: the feed notices the silence and
// goes on where it was within 5 s.
func TestFeedConsumerDeleted(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	f := startFeed(t, ledger.FeedConfig{Ledger: env.NewLedger()})
	c := f.Subscribe(schemas.Position{})
	defer c.Close()
	all := read(t, c, end(t, env.Ledger))
	completeOne(t, env.Ledger, "acme", "before")
	all = append(all, read(t, c, end(t, env.Ledger))...)
	s, err := env.Ledger.JetStream().Stream(t.Context(), ledger.StreamLedger)
	if err != nil {
		t.Fatal(err)
	}
	deleted := 0
	names := s.ConsumerNames(t.Context())
	for name := range names.Name() {
		if err := s.DeleteConsumer(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		deleted++
	}
	if names.Err() != nil || deleted == 0 {
		t.Fatalf("deleted %d consumers: %v", deleted, names.Err())
	}
	completeOne(t, env.Ledger, "acme", "after")
	start := time.Now()
	all = append(all, read(t, c, end(t, env.Ledger))...)
	t.Logf("the feed resumed after %s: aim 5s", time.Since(start))
	checkWhole(t, all, 1, end(t, env.Ledger))
}

// The server says that a consumer has ended, and nothing else waits: the feed opens another one and goes on.
func TestFeedConsumerEnds(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	f := startFeed(t, ledger.FeedConfig{Ledger: env.NewLedger()})
	c := f.Subscribe(schemas.Position{})
	defer c.Close()
	all := read(t, c, end(t, env.Ledger))
	for i := range 3 {
		s, err := env.Ledger.JetStream().Stream(t.Context(), ledger.StreamLedger)
		if err != nil {
			t.Fatal(err)
		}
		told := 0
		for info := range s.ListConsumers(t.Context()).Info() {
			ended := &nats.Msg{Subject: info.Config.DeliverSubject, Header: nats.Header{"Status": {"409"}}}
			if err := env.Ledger.Conn().PublishMsg(ended); err != nil {
				t.Fatal(err)
			}
			told++
		}
		if told == 0 {
			t.Fatal("the feed has no consumer")
		}
		completeOne(t, env.Ledger, "acme", schemas.JobID(fmt.Sprintf("job-%d", i)))
		all = append(all, read(t, c, end(t, env.Ledger))...)
	}
	checkWhole(t, all, 1, end(t, env.Ledger))
}

// A foreign message and an event of a newer version are delivered as what they are, counted, and stop
// neither the feed nor its folds; catching up counts them too, so that whoever waits for a sequence gets
// there (STYLE 7, rita:eventstore.go:615; DESIGN D8).
func TestFeedQuarantines(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	env.SkipVerify()
	l := env.Ledger
	f := startFeed(t, ledger.FeedConfig{Ledger: l})
	c := f.Subscribe(schemas.Position{})
	defer c.Close()
	read(t, c, end(t, l)) // the feed is at the end: it meets what follows
	base := end(t, l)

	completeOne(t, l, "acme", "one")
	foreign := publishRaw(t, l, "jobs.acme.two", nil, "hello")
	newer := publishUndecodable(t, l, "acme", "three")
	deep := publishRaw(t, l, "control.x", nats.Header{"Status": {"100"}, schemas.HeaderID: {"x"}}, "{}")
	last := submitOne(t, l, "acme", "four").Seq

	if err := f.WaitFor(t.Context(), last); err != nil {
		t.Fatal(err)
	}
	fresh := f.Subscribe(schemas.Position{})
	defer fresh.Close()
	for name, entries := range map[string][]*ledger.Entry{"live": read(t, c, last), "from zero": read(t, fresh, last)[base:]} {
		checkWhole(t, entries, base+1, last)
		for _, e := range entries {
			var want error
			switch e.Seq {
			case foreign, deep:
				want = schemas.ErrForeign
			case newer:
				want = schemas.ErrUndecodable
			}
			if !errors.Is(e.Err, want) || e.Err == nil && e.Data == nil {
				t.Errorf("%s: entry %d has error %v and data %v, want error %v", name, e.Seq, e.Err, e.Data, want)
			}
		}
	}
	if got := f.Quarantined(); got != 3 {
		t.Errorf("quarantined %d messages, want 3", got)
	}
	if j, err := l.Fold(t.Context(), "acme", "two"); !errors.Is(err, ledger.ErrNotFound) || j.LastSeq != foreign {
		t.Errorf("a subject with a foreign message folds to %+v, %v; want not found, to expect %d", j, err, foreign)
	}
	if j, err := l.Fold(t.Context(), "acme", "three"); err != nil || !j.Unreadable {
		t.Errorf("a job with an event of a newer version folds to %+v, %v; want unreadable", j, err)
	}
	// The wait ends with its context.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.WaitFor(ctx, last+1); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for what is not there ended with %v", err)
	}
	if _, err := c.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("next with an ended context ended with %v", err)
	}
}

// A cursor further behind than the ring holds neither delays the others nor misses anything.
func TestFeedSlowCursor(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	f := startFeed(t, ledger.FeedConfig{Ledger: env.Ledger, Capacity: 32})
	slow, quick := f.Subscribe(schemas.Position{}), f.Subscribe(schemas.Position{})
	defer slow.Close()
	defer quick.Close()
	var all, late []*ledger.Entry
	for range 10 {
		fill(t, env, "acme", 100)
		all = append(all, read(t, quick, end(t, env.Ledger))...)
		some, err := slow.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		late = append(late, some[:1]...) // a fold that takes one event while 400 arrive
		slow.Close()
		slow = f.Subscribe(some[0].Position())
	}
	last := end(t, env.Ledger)
	late = append(late, read(t, slow, last)...)
	slow.Close()
	checkWhole(t, all, 1, last)
	checkWhole(t, late, 1, last)
}

// Cursors come and go under load, with their positions, and each sees everything once (STYLE 7,
// wtf:inmem/event.go).
func TestFeedSubscribeStress(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	f := startFeed(t, ledger.FeedConfig{Ledger: env.Ledger, Capacity: 128})
	const jobs, folds = 400, 6
	last := end(t, env.Ledger) + 4*jobs
	var wg sync.WaitGroup
	for i := range folds {
		wg.Go(func() {
			var all []*ledger.Entry
			pos := schemas.Position{}
			for pos.Seq < last {
				c := f.Subscribe(pos)
				for range 1 + i {
					entries, err := c.Next(t.Context())
					if err != nil {
						t.Error(err)
						return
					}
					all, pos = append(all, entries...), c.Position()
					if pos.Seq >= last {
						break
					}
				}
				c.Close()
			}
			if len(all) != int(last) || !slices.IsSortedFunc(all, func(a, b *ledger.Entry) int { return int(a.Seq) - int(b.Seq) }) {
				t.Errorf("fold %d read %d entries, want %d in order", i, len(all), last)
			}
		})
	}
	fill(t, env, "acme", jobs)
	wg.Wait()
}

// When the server comes back with older data, sequences are given out again: who holds a position beyond is
// told to start anew, who holds an older one reads on (DESIGN D2).
func TestFeedPositionExpires(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	env := ledgertest.Start(t, ledgertest.WithStoreDir(data))
	env.SkipVerify()
	completeOne(t, env.Ledger, "acme", "kept")
	old := end(t, env.Ledger)
	env.Stop()
	if err := os.CopyFS(filepath.Join(dir, "copy"), os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	env.StartServer()

	f := startFeed(t, ledger.FeedConfig{Ledger: env.NewLedger()})
	ahead, behind := f.Subscribe(schemas.Position{}), f.Subscribe(schemas.Position{})
	defer ahead.Close()
	defer behind.Close()
	read(t, behind, old)
	completeOne(t, env.Ledger, "acme", "gone")
	read(t, ahead, end(t, env.Ledger))

	env.Stop()
	if err := errors.Join(os.RemoveAll(data), os.CopyFS(data, os.DirFS(filepath.Join(dir, "copy")))); err != nil {
		t.Fatal(err)
	}
	env.StartServer()
	// Other events take the sequences of those that are gone, and more.
	for i := range 3 {
		completeOne(t, env.Ledger, "acme", schemas.JobID(fmt.Sprint("other", i)))
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if entries, err := ahead.Next(ctx); !errors.Is(err, ledger.ErrPositionExpired) {
		t.Fatalf("behind an event that is gone came %d entries, %v; want %v", len(entries), err, ledger.ErrPositionExpired)
	}
	if _, err := ahead.Next(ctx); !errors.Is(err, ledger.ErrPositionExpired) {
		t.Errorf("an expired cursor answers %v the second time", err)
	}
	last := end(t, env.Ledger)
	if err := f.WaitFor(ctx, last); err != nil { // until then the ring holds what it has read before
		t.Fatal(err)
	}
	for _, e := range read(t, behind, last) {
		if e.Job == "gone" {
			t.Errorf("entry %d is of a job that is no longer in the ledger", e.Seq)
		}
	}
	again := f.Subscribe(schemas.Position{})
	defer again.Close()
	checkWhole(t, read(t, again, last), 1, last)
}

// A position beyond the end of an older copy expires also while nothing is appended.
func TestFeedPositionBeyondTheEnd(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	f := startFeed(t, ledger.FeedConfig{Ledger: env.Ledger})
	for _, pos := range []schemas.Position{
		{Seq: end(t, env.Ledger) + 1, ID: schemas.NewEventID()},
		{Seq: end(t, env.Ledger) + 1000, ID: schemas.NewEventID()},
		{Seq: end(t, env.Ledger), ID: schemas.NewEventID()},
	} {
		c := f.Subscribe(pos)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		if _, err := c.Next(ctx); !errors.Is(err, ledger.ErrPositionExpired) {
			t.Errorf("next behind %v, of a ledger that ends at %v: %v", pos, f.Last(), err)
		}
		cancel()
		c.Close()
	}
}

// Run ends with its context or with its connection, also before the server ever answered.
func TestFeedRunEnds(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	run := func(l *ledger.Ledger, stop func(f *ledger.Feed, cancel func())) error {
		f, err := ledger.NewFeed(ledger.FeedConfig{Ledger: l})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- f.Run(ctx) }()
		stop(f, cancel)
		select {
		case err := <-done:
			return err
		case <-time.After(time.Minute):
			t.Fatal("Run did not end")
			return nil
		}
	}
	reached := func(f *ledger.Feed) {
		if err := f.WaitFor(t.Context(), 1); err != nil {
			t.Error(err)
		}
	}
	if err := run(env.NewLedger(), func(f *ledger.Feed, cancel func()) { reached(f); cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	closing := env.NewLedger()
	if err := run(closing, func(f *ledger.Feed, _ func()) { reached(f); closing.Conn().Close() }); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("connection closed: %v", err)
	}
	away := env.NewLedger()
	env.Stop()
	if err := run(away, func(_ *ledger.Feed, cancel func()) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled without a server: %v", err)
	}
	env.StartServer()
	if _, err := ledger.NewFeed(ledger.FeedConfig{}); err == nil {
		t.Error("a feed without a ledger was made")
	}
}
