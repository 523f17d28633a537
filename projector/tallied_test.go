package projector_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/projector"
	"github.com/dartwing/jobledger/schemas"
)

// hot runs a projector with a hot window until the test ends; what it logs is returned.
func hot(t *testing.T, env *ledgertest.Env, window time.Duration, options ...zap.Option) *observer.ObservedLogs {
	t.Helper()
	logs, _ := hotUntil(t, env, window, options...)
	return logs
}

// hotUntil runs one until stop is called, at the latest at the end of the test.
func hotUntil(t *testing.T, env *ledgertest.Env, window time.Duration, options ...zap.Option) (logs *observer.ObservedLogs, stop func()) {
	t.Helper()
	core, logs := observer.New(zapcore.InfoLevel)
	p, err := projector.New(projector.Config{Ledger: env.NewLedger(), Feed: feed(t, env), Logger: zap.New(core, options...),
		HotWindow: func(context.Context) (time.Duration, error) { return window, nil }})
	if err != nil {
		t.Fatal(err)
	}
	projector.NoSlack(p)
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
	return logs, stop
}

// archive moves all that is stored by now and may leave.
func archive(t *testing.T, env *ledgertest.Env, events int) {
	t.Helper()
	a, err := ledger.NewArchiver(ledger.ArchiverConfig{Ledger: env.NewLedger(), Logger: zap.NewNop(), Durable: -1, Window: time.Nanosecond, SegmentEvents: events})
	if err == nil {
		_, err = a.Look(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// counted is what COUNTS says now, and the totals.
func counted(t *testing.T, env *ledgertest.Env) (ledger.Counts, ledger.CountsDocument) {
	t.Helper()
	caughtUp(t, env)
	kv, err := env.Ledger.JetStream().KeyValue(t.Context(), ledger.BucketCounts)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := kv.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	counts := make(ledger.Counts)
	var all ledger.CountsDocument
	for _, key := range keys {
		e, err := kv.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		var doc ledger.CountDocument
		to := any(&doc)
		if key == ledger.KeyCountsAll {
			to = &all
		}
		if err := json.Unmarshal(e.Value(), to); err != nil {
			t.Fatal(err)
		}
		if key != ledger.KeyCountsAll {
			n := doc.Count
			counts[ledger.CountKey{Org: doc.Org, Queue: doc.Queue, Type: doc.Type}] = &n
		}
	}
	return counts, all
}

// sameCounts compares what COUNTS says with a fold of all events.
func sameCounts(t *testing.T, what string, env *ledgertest.Env, want *ledger.Tally) {
	t.Helper()
	got, all := counted(t, env)
	for k, n := range want.Counts {
		if got[k] == nil || *got[k] != *n {
			t.Fatalf("%s: counter %s is %+v, want %+v", what, k, got[k], n)
		}
	}
	if len(got) != len(want.Counts) || all.Totals != want.Counts.Total() || all.Quarantined != want.Quarantined || all.Illegal != want.Illegal {
		t.Fatalf("%s: %d counters and %+v, want %d and %+v", what, len(got), all, len(want.Counts), want)
	}
}

// With a hot window the views are folded anew from the tallies of the archive and what is behind it, and say what a fold
// of every event says, also when what is in the archive is gone.
func TestRebuildFromTallies(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	logs := hot(t, env, time.Millisecond)
	over(t, env)
	w := ledgertest.NewWalk(env, t, rand.Uint64())
	archive(t, env, 30)
	walk := func(steps int) {
		for range steps {
			w.Step()
		}
		w.Rest()
	}
	for range 3 {
		walk(50)
		archive(t, env, 30)
	}
	walk(30)
	all := tallyOf(t, env)
	sameCounts(t, "live", env, all)
	for _, view := range []projector.View{projector.ViewCounts, projector.ViewJobs, projector.ViewConfig, projector.ViewAll} {
		before := logs.FilterMessage("views begin with the tallies of the archive").Len()
		if _, err := projector.Rebuild(t.Context(), env.Ledger, view); err != nil {
			t.Fatal(err)
		}
		sameCounts(t, "after a rebuild of "+string(view), env, all)
		if logs.FilterMessage("views begin with the tallies of the archive").Len() == before {
			t.Errorf("a rebuild of %s did not begin with the tallies", view)
		}
	}
	remove(t, env)
	for _, view := range []projector.View{projector.ViewCounts, projector.ViewJobs} {
		if _, err := projector.Rebuild(t.Context(), env.Ledger, view); err != nil {
			t.Fatal(err)
		}
		sameCounts(t, "with segments removed, after a rebuild of "+string(view), env, all)
	}
}

// A counter that the tallies know, and of which nothing was observed since, has statistics as soon as something is, also behind
// a restart; they begin there, and the checker finds them so.
func TestStatisticsOfAQuietCounter(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	for i := range 3 {
		complete(t, env.Ledger, schemas.JobID(fmt.Sprintf("old-%d", i)))
	}
	archive(t, env, 30)
	counter := func() (doc ledger.CountDocument) {
		caughtUp(t, env)
		entry, err := bucket(t, env, ledger.BucketCounts).Get(t.Context(), "acme.default.echo")
		if err == nil {
			err = json.Unmarshal(entry.Value(), &doc)
		}
		if err != nil {
			t.Fatal(err)
		}
		return doc
	}
	logs, stop := hotUntil(t, env, time.Millisecond)
	old := counter()
	if logs.FilterMessage("views begin with the tallies of the archive").Len() != 1 || old.Completed != 3 || old.Stats != nil {
		t.Fatalf("the views do not begin with a quiet counter: %+v", old)
	}
	for i := range 2 { // behind the second restart its statistics are there
		stop()
		_, stop = hotUntil(t, env, time.Millisecond)
		complete(t, env.Ledger, schemas.JobID(fmt.Sprintf("new-%d", i)))
	}
	now := counter()
	if now.Completed != 5 || now.Stats == nil || now.Stats.After < old.Seq || len(now.Stats.Days) == 0 || now.Stats.Days[0].Completed == 0 {
		t.Errorf("then it is %+v, with %+v", now, now.Stats)
	}
}

// The middle of a job's story may be the first to go, where other jobs keep what is before and behind it: the checker does not
// miss the document of a job of which it cannot know any more that it is over.
func TestMiddleRemoved(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	hot(t, env, time.Millisecond)
	// What is stored last does not leave with the others: settings go a way of their own.
	mark := func(name schemas.TypeName) {
		if _, err := env.Ledger.PutType(t.Context(), schemas.TypeSettings{Name: name}, ledger.Meta{}, ""); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []schemas.JobID{"holed", "before"} {
		submit(t, env.Ledger, id)
		do(t, env.Ledger, id, &ledger.Cancel{})
	}
	mark("one")
	archive(t, env, 0)
	do(t, env.Ledger, "holed", &ledger.Retry{Reason: "again", Now: time.Now()})
	j := start(t, env.Ledger, "holed")
	end(t, env.Ledger, j, schemas.EventCompleted, nil)
	submit(t, env.Ledger, "behind")
	do(t, env.Ledger, "behind", &ledger.Cancel{})
	mark("two")
	archive(t, env, 6) // a segment ends with queued, behind settings; the next holds running, completed and the other job
	for _, id := range []schemas.JobID{"before", "behind"} {
		do(t, env.Ledger, id, &ledger.Retry{Reason: "lives on", Now: time.Now()})
	}
	remove(t, env)
	h, err := env.NewLedger().History(t.Context(), "acme", "holed")
	if err != nil {
		t.Fatal(err)
	}
	var left []schemas.EventName
	for _, e := range h.Entries {
		left = append(left, e.Name())
	}
	if !slices.Equal(left, []schemas.EventName{schemas.EventSubmitted, schemas.EventCanceled, schemas.EventRunning, schemas.EventCompleted}) {
		t.Fatalf("of the story there is left %v", left)
	}
	if _, err := projector.Rebuild(t.Context(), env.Ledger, projector.ViewJobs); err != nil {
		t.Fatal(err)
	}
	caughtUp(t, env)
}

// Without a hot window JOBS holds every job that there still is; COUNTS counts those that were removed, too, and who opens
// the views does not miss their documents.
func TestRebuildWithoutWindow(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	hot(t, env, 0)
	over(t, env)
	w := ledgertest.NewWalk(env, t, rand.Uint64())
	archive(t, env, 30)
	for range 60 {
		w.Step()
	}
	w.Rest()
	archive(t, env, 30)
	all := tallyOf(t, env)
	remove(t, env)
	if _, err := projector.Rebuild(t.Context(), env.Ledger, projector.ViewAll); err != nil {
		t.Fatal(err)
	}
	sameCounts(t, "after a rebuild", env, all)
	opened := make(chan struct{}, 1)
	logs := hot(t, env, 0, zap.Hooks(func(e zapcore.Entry) error {
		if e.Message == "views are read" {
			select {
			case opened <- struct{}{}:
			default:
			}
		}
		return nil
	}))
	<-opened
	if n := logs.FilterMessage("views are thrown away and folded from zero").Len(); n > 0 {
		t.Errorf("who opens the views throws them away")
	}
}

// over leaves a job that is over and that no walk begins again: archived before a walk has begun, its segment can be removed
// for sure. Those of a walk need not: there is chance that each holds a job which lives on.
func over(t *testing.T, env *ledgertest.Env) {
	t.Helper()
	submit(t, env.Ledger, "over")
	do(t, env.Ledger, "over", &ledger.Cancel{Reason: "done with"})
}

// remove takes all out of the archive whose time is over in three years.
func remove(t *testing.T, env *ledgertest.Env) {
	t.Helper()
	r, err := ledger.NewRemover(ledger.RemoverConfig{Ledger: env.NewLedger(), Logger: zap.NewNop(), Wait: -1,
		Now: func() time.Time { return time.Now().Add(3 * 365 * 24 * time.Hour) }})
	if err != nil {
		t.Fatal(err)
	}
	if plan, err := r.Look(t.Context()); err != nil || plan.Segments == 0 {
		t.Fatalf("removed %+v, %v", plan, err)
	}
}

// tallyOf counts every event from the first on.
func tallyOf(t *testing.T, env *ledgertest.Env) *ledger.Tally {
	t.Helper()
	sum, jobs := new(ledger.Tally), map[string]*ledger.Job{}
	end, err := env.Ledger.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := feed(t, env).SubscribeHistory(schemas.Position{})
	defer c.Close()
	for at := schemas.Seq(0); at < end.Seq; {
		es, err := c.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range es {
			at = e.Seq
			count(sum, jobs, e)
		}
	}
	return sum
}

// count counts an event upon those before it.
func count(sum *ledger.Tally, jobs map[string]*ledger.Job, e *ledger.Entry) {
	m := ledger.Move{}
	if e.Job != "" {
		key := ledger.JobKey(e.Org, e.Job)
		if jobs[key] == nil {
			jobs[key] = new(ledger.Job)
		}
		m = ledger.Counted(jobs[key], e.Event, e.Err)
	} else if e.Err != nil {
		m.Quarantined = 1
	}
	sum.Count(m)
}
