package dispatcher_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dartwing/jobledger/dispatcher"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// Two hosts: one leads at a time; when it stops the other goes on in a new epoch, within 5 s (DESIGN D6, C14).
func TestFailOver(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	putType(t, env, "a")
	var leading atomic.Int32
	alone := func(c *dispatcher.Config) {
		c.WhileLeading = append(c.WhileLeading, func(ctx context.Context, _ schemas.Seq) error {
			if leading.Add(1) != 1 {
				t.Error("two hosts lead")
			}
			<-ctx.Done()
			leading.Add(-1)
			return nil
		})
	}
	h1 := startHost(t, env, "s1", alone).leads()
	h2 := startHost(t, env, "s2", alone)
	w := newWorker(t, env, 4, "a")
	w.alive()
	submit(t, env, "a", "one")
	_, one := w.take("a")
	submit(t, env, "a", "two")
	eventually(t, "the second is Queued", func() bool { return stateOf(t, env, "two").State == schemas.StateQueued })
	first := h1.Status().Epoch
	if h2.Status().Leading {
		t.Error("both lead")
	}
	start := time.Now()
	h1.stop()
	h2.leads()
	t.Logf("fail-over took %s: aim 5s", time.Since(start))
	if e := h2.Status().Epoch; e <= first {
		t.Errorf("epoch %d follows %d", e, first)
	}
	// The offer of the first leader was purged; the job is offered again with the new epoch.
	o, two := w.take("a")
	if two.ID != "two" || o.Epoch != h2.Status().Epoch {
		t.Errorf("offer of %s with epoch %d", two.ID, o.Epoch)
	}
	w.complete(one)
	w.complete(two)
}

// WORK and its consumers deleted under a live worker: made again, everything offered again (DESIGN D2, C5).
func TestWorkDeleted(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	putType(t, env, "a")
	h := startHost(t, env, "s1").leads()
	w := newWorker(t, env, 4, "a")
	w.alive()
	for i := range 4 {
		submit(t, env, "a", fmt.Sprint("j", i))
	}
	eventually(t, "offers stand", func() bool { return workMessages(t, env) == 4 })
	if err := env.Ledger.JetStream().DeleteStream(env.Context(), ledger.StreamWork); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		_, j := w.take("a")
		w.complete(j)
	}
	if h.Counters().WorkRecreated.Load() == 0 {
		t.Error("WORK was not made again by the host")
	}
	// A consumer alone.
	if err := env.Ledger.JetStream().DeleteConsumer(env.Context(), ledger.StreamWork, ledger.ConsumerName(schemas.QueueDefault, "a")); err != nil {
		t.Fatal(err)
	}
	submit(t, env, "a", "last")
	_, j := w.take("a")
	w.complete(j)
	// Made anew by somebody else.
	submit(t, env, "a", "again")
	eventually(t, "the offer stands", func() bool { return workMessages(t, env) == 1 })
	if err := env.Ledger.RecreateWork(env.Context()); err != nil {
		t.Fatal(err)
	}
	_, j = w.take("a")
	w.complete(j)
}

// LIVE deleted: made again by the leader, from nothing (DESIGN D2).
func TestLiveDeleted(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	startHost(t, env, "s1").leads()
	js := env.Ledger.JetStream()
	if err := js.DeleteStream(env.Context(), ledger.StreamLive); err != nil {
		t.Fatal(err)
	}
	eventually(t, "LIVE is there again", func() bool {
		kv, err := js.KeyValue(env.Context(), ledger.BucketLive)
		if err == nil {
			_, err = kv.PutString(env.Context(), "worker.w1", "{}")
		}
		return err == nil
	})
}

// LEASE deleted, as a key and as a bucket: dispatch goes on, or resumes in a new epoch, within 5 s (issue 2,
// Must hold).
func TestLeaseDeleted(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	putType(t, env, "a")
	h := startHost(t, env, "s1").leads()
	w := newWorker(t, env, 4, "a")
	w.alive()
	js := env.Ledger.JetStream()
	for i, remove := range []func() error{
		func() error {
			kv, err := js.KeyValue(env.Context(), ledger.BucketLease)
			if err != nil {
				return err
			}
			return kv.Delete(env.Context(), ledger.LeaseKey)
		},
		func() error { return js.DeleteKeyValue(env.Context(), ledger.BucketLease) },
	} {
		before := h.Status().Epoch
		if err := remove(); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if i > 0 {
			eventually(t, "a new epoch", func() bool { return h.Status().Epoch > before })
		}
		submit(t, env, "a", fmt.Sprint("j", i))
		_, j := w.take("a")
		w.complete(j)
		t.Logf("case %d: dispatch resumed after %s: aim 5s", i, time.Since(start))
	}
}

// A single server restarted under a worker that stays: nothing is lost but by cell_restart, dispatch resumes
// (DESIGN D7; issue 2, Must hold).
func TestServerRestart(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	putType(t, env, "a")
	h := startHost(t, env, "s1").leads()
	w := newWorker(t, env, 4, "a")
	w.alive()
	gone := newWorker(t, env, 1, "a")
	submit(t, env, "a", "stays")
	_, stays := w.take("a")
	submit(t, env, "a", "dies")
	_, dies := gone.take("a") // whose worker goes down with the cell
	submit(t, env, "a", "waits")
	eventually(t, "it is Queued", func() bool { return stateOf(t, env, "waits").State == schemas.StateQueued })
	env.Stop()
	env.StartServer()
	start := time.Now()
	_, waits := w.take("a")
	t.Logf("dispatch resumed after %s: aim 5s", time.Since(start))
	eventually(t, "the dead worker's attempt is lost", func() bool {
		j := stateOf(t, env, string(dies.ID))
		return j.State == schemas.StateQueued && j.CellLosses == 1 && j.Used == 0
	})
	if j := stateOf(t, env, string(stays.ID)); j.State != schemas.StateRunning || j.Fence != stays.Fence {
		t.Errorf("the living worker's job is %s, attempt %d", j.State, j.Attempt)
	}
	w.complete(stays)
	w.complete(waits)
	_, again := w.take("a")
	w.complete(again)
	if c := h.Status().Cell; c == env.Cell.ID || c == "" {
		t.Errorf("cell %q after the restart, %q before", c, env.Cell.ID)
	}
}

// An offer of an earlier generation, or an earlier epoch, left in WORK: the new generation's args run
// (DESIGN D7; issue 2, Must hold).
func TestStaleOfferIsReplaced(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	putType(t, env, "a")
	h := startHost(t, env, "s1").leads()
	w := newWorker(t, env, 2, "a")
	w.alive()
	submit(t, env, "a", "j")
	o, j := w.take("a")
	w.complete(j)
	// The first life's offer stands in WORK again, as if its ack had been lost. That ack was not waited for.
	eventually(t, "the first offer is gone", func() bool { return workMessages(t, env) == 0 })
	body, err := o.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := env.Ledger.JetStream().Publish(env.Context(), ledger.OfferSubject(schemas.QueueDefault, "a", "acme", "j"), body); err != nil {
		t.Fatal(err)
	}
	_, _, err = env.Ledger.Do(env.Context(), "acme", "j", &ledger.Begin{Spec: schemas.Submitted{Type: "a", Queue: schemas.QueueDefault,
		Priority: schemas.PriorityNormal, Args: []byte(`{"id":"second life"}`)}}, ledger.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the stale offer was replaced", func() bool { return h.Counters().OffersStale.Load() > 0 })
	o2, j2 := w.take("a")
	if o2.Job.Generation != 2 || string(o2.Job.Spec.Args) != `{"id":"second life"}` || j2.Generation != 2 {
		t.Errorf("generation %d ran with args %s", o2.Job.Generation, o2.Job.Spec.Args)
	}
	w.complete(j2)
}

// An offer behind which no job is Queued is removed by the reconciler.
func TestOrphanOfferIsRemoved(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	putType(t, env, "a")
	startHost(t, env, "s1").leads()
	w := newWorker(t, env, 2, "a")
	w.alive()
	submit(t, env, "a", "j")
	o, j := w.take("a")
	w.complete(j)
	body, err := o.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := env.Ledger.JetStream().Publish(env.Context(), ledger.OfferSubject(schemas.QueueDefault, "a", "acme", "orphan"), body); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the orphan is removed", func() bool { return workMessages(t, env) == 0 })
}

// Every write of the dispatcher: refused, lost on the way, stored with its reply lost. The job goes on, and
// no event is stored twice (DESIGN D3).
func TestFaultsOfQueued(t *testing.T) {
	t.Parallel()
	for _, kind := range []ledgertest.Kind{ledgertest.Refuse, ledgertest.LoseRequest, ledgertest.LoseReply} {
		t.Run(fmt.Sprint(kind), func(t *testing.T) {
			t.Parallel()
			env := ledgertest.Start(t)
			putType(t, env, "a")
			startHost(t, env, "s1", func(c *dispatcher.Config) { c.Ledger = env.Ledger }).leads()
			w := newWorker(t, env, 2, "a")
			w.alive()
			env.Faults.Inject(ledgertest.Fault{Event: schemas.EventQueued, Kind: kind, Times: 2})
			submit(t, env, "a", "j")
			_, j := w.take("a")
			w.complete(j)
			h, err := env.Ledger.History(env.Context(), "acme", "j")
			if err != nil {
				t.Fatal(err)
			}
			if len(h.Entries) != 4 {
				t.Errorf("%d events: submitted, queued, running, completed are wanted", len(h.Entries))
			}
		})
	}
}

// A foreign message and a late_result put before queued: the job goes on (DESIGN D1; issue 2, Must hold).
func TestForeignMessagesBeforeQueued(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	putType(t, env, "a")
	startHost(t, env, "s1").leads()
	submit(t, env, "a", "j")
	if _, err := env.Ledger.JetStream().Publish(env.Context(), "jobs.acme.j", []byte("not ours")); err != nil {
		t.Fatal(err)
	}
	w := newWorker(t, env, 2, "a")
	w.alive()
	_, j := w.take("a")
	w.complete(j)
}

// What runs while leading ends the host with its error.
func TestWhileLeadingError(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	feed, err := ledger.NewFeed(ledger.FeedConfig{Ledger: env.NewLedger()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- feed.Run(ctx) }()
	defer func() { cancel(); <-done }()
	broken := errors.New("broken view")
	cfg := dispatcher.Config{Ledger: env.NewLedger(), Feed: feed, Server: "s1", Logger: nop, Times: shortTimes(),
		WhileLeading: []func(context.Context, schemas.Seq) error{func(context.Context, schemas.Seq) error { return broken }}}
	h, err := dispatcher.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Run(ctx); !errors.Is(err, broken) {
		t.Errorf("Run returned %v", err)
	}
}

// A lease that another program put there, without an end of its own, is nobody's after twice its time.
func TestForeignLease(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	h := startHost(t, env, "s1").leads()
	before := h.Status().Epoch
	kv, err := env.Ledger.JetStream().KeyValue(env.Context(), ledger.BucketLease)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kv.Put(env.Context(), ledger.LeaseKey, []byte("not a lease")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "leadership ends", func() bool { return !h.Status().Leading })
	eventually(t, "a new epoch", func() bool { return h.Status().Epoch > before })
}

// A raw duplicate, which passed no door, is canceled before it is queued (DESIGN D4, R-06).
func TestRawDuplicate(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	putType(t, env, "a")
	h := startHost(t, env, "s1").leads()
	w := newWorker(t, env, 4, "a")
	w.alive()
	for _, id := range []schemas.JobID{"first", "second"} {
		_, _, err := env.Ledger.Do(env.Context(), "acme", id, &ledger.Begin{Spec: schemas.Submitted{Type: "a", Queue: schemas.QueueDefault,
			Priority: schemas.PriorityNormal, Key: "k", Dedup: schemas.DedupStrict, WindowMS: schemas.MillisOf(time.Minute), Args: []byte(`{}`)}}, ledger.Meta{})
		if err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the second is canceled", func() bool { return stateOf(t, env, "second").State == schemas.StateCanceled })
	if of := stateOf(t, env, "second").DuplicateOf; of == nil || *of != (schemas.JobRef{ID: "first", Generation: 1}) {
		t.Errorf("it stands for %+v", of)
	}
	_, j := w.take("a")
	if j.ID != "first" || h.Counters().Duplicates.Load() != 1 {
		t.Errorf("job %s ran, %d duplicates", j.ID, h.Counters().Duplicates.Load())
	}
	w.complete(j)
}

// A beat that was heard before this host led is answered when it does: a worker that starts together with its
// server does not wait for its next beat.
func TestBeatBeforeTheLeader(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	putType(t, env, "a")
	h1 := startHost(t, env, "s1").leads()
	h2 := startHost(t, env, "s2")
	eventually(t, "the standby folds", func() bool { return h2.Status().Position > 0 })
	w := newWorker(t, env, 1, "a")
	h1.stop()
	if !w.beat() { // once, while nobody leads as a rule
		t.Error("a beat without a leader was not answered by the next one")
	}
}

// Three replicas, the node that holds WORK stops: WORK is made again elsewhere and dispatch resumes.
func TestWorkNodeStops(t *testing.T) {
	if testing.Short() {
		t.Skip("a cluster takes seconds")
	}
	env := ledgertest.StartCluster(t)
	putType(t, env, "a")
	startHost(t, env, "s1").leads()
	startHost(t, env, "s2")
	w := newWorker(t, env, 4, "a")
	w.alive()
	submit(t, env, "a", "before")
	_, j := w.take("a")
	s, err := env.Ledger.JetStream().Stream(env.Context(), ledger.StreamWork)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		submit(t, env, "a", fmt.Sprint("stands", i))
	}
	eventually(t, "offers stand", func() bool { return workMessages(t, env) == 2 })
	env.Cluster.Stop(env.Cluster.ByName(s.CachedInfo().Cluster.Leader))
	start := time.Now()
	for range 2 {
		_, next := w.take("a")
		w.complete(next)
	}
	t.Logf("dispatch resumed after %s", time.Since(start))
	w.complete(j)
}
