package ledger_test

import (
	"errors"
	"flag"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// Jobs of every kind leave, and are what they were; unfinished ones stay as carried, settings as told again (R-230, D13).
func TestArchiverMoves(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, 4)
	end := c.end0()
	moved := c.leave(c.archiver(small(50)))
	if unfinished := 4 * 8; moved.Events != int(end.Seq) || moved.Carried != unfinished || moved.Segments < 2 {
		t.Errorf("moved %+v, want %d events, %d carried", moved, end.Seq, unfinished)
	}
	c.check(c.Ledger)
	c.check(c.NewLedger())
	c.hotBegins()
	if s, err := c.NewLedger().Type(t.Context(), "single"); err != nil || s.Dedup != schemas.DedupSingleton {
		t.Errorf("the type is %+v, %v", s, err)
	}
	set, err := c.Ledger.Setting(t.Context(), ledger.KindType, "t")
	if err != nil || set.Actor.String() != "user:ada" || set.Meant == nil || set.Seq <= end.Seq || set.CausationID == "" {
		t.Errorf("told again: %+v, %v", set, err)
	}
	// What is finished and archived takes commands, and what comes of them stands on carried.
	j := c.do("canceled-0", &ledger.Retry{Reason: "after all", Now: time.Now()})
	if h, err := c.Ledger.History(t.Context(), "acme", "canceled-0"); err != nil || j.State != schemas.StateSubmitted ||
		!strings.HasSuffix(names(h), "canceled carried retried") {
		t.Errorf("%v is %s: %s", err, j.State, names(h))
	}
	if _, _, err := c.Ledger.Do(t.Context(), "acme", "done-0", &ledger.Cancel{}, ledger.Meta{}); ledger.AsError(err).Code != ledger.CodeInvalidState {
		t.Errorf("cancel of an archived completed job: %v", err)
	}
	c.end("canceled-0", schemas.EventCompleted, nil)
	c.remember("canceled-0")
	c.kinds["canceled-0"] = "done"
	c.leave(c.archiver())
	c.check(c.NewLedger())
}

func names(h *ledger.JobHistory) string {
	if h == nil {
		return ""
	}
	var s []string
	for _, e := range h.Entries {
		s = append(s, string(e.Name()))
	}
	return strings.Join(s, " ")
}

// errStopped is a process that dies.
var errStopped = errors.New("stopped here")

// Whatever step the archiver dies at, the next one finds a state from which it goes on: nothing is lost, nothing is
// doubled in the one history, no job is carried twice.
func TestArchiverStoppedAnywhere(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, 3)
	end := c.end0()
	cut, carried, settings := c.cutAt(end), 0, 0
	for stop := 0; ; stop++ {
		if stop > 500 {
			t.Fatal("it never comes to its end")
		}
		a, steps := c.archiver(small(30)), 0
		var mu sync.Mutex
		a.At(func(string) error {
			mu.Lock()
			defer mu.Unlock()
			if steps++; steps > 1+stop%3 {
				return errStopped
			}
			return nil
		})
		moved, err := a.LookBefore(t.Context(), cut)
		if err != nil && !errors.Is(err, errStopped) {
			t.Fatal(err)
		}
		carried, settings = carried+moved.Carried, settings+moved.Settings
		if stop%5 == 0 || err == nil {
			c.check(c.NewLedger())
		}
		if err == nil {
			break
		}
	}
	c.hotBegins()
	if carried != 3*8 || settings != 3 { // two types, the start of the cell
		t.Errorf("%d carried, %d told again", carried, settings)
	}
	state, err := c.Ledger.Archived(t.Context())
	if err != nil || state.Through.Seq != end.Seq {
		t.Errorf("%+v, %v, want all up to %d", state, err, end.Seq)
	}
	talliesAgree(t, c.Ledger, oneHistory(t, c.Ledger))
}

// Each write of a look is refused, or stored while its answer is lost, and the server restarts behind it (STYLE 21).
func TestArchiverFaultTable(t *testing.T) {
	t.Parallel()
	for _, write := range []ledgertest.Fault{{Event: schemas.EventCarried}, {Event: schemas.EventTypeSet}, {Event: schemas.EventCellStarted},
		{Archive: "archive.page."}, {Archive: "archive.index"}, {Archive: "catalog.filter"}, {Archive: "catalog.tally"}, {Archive: "catalog.record"}} {
		for kind, name := range map[ledgertest.Kind]string{ledgertest.Refuse: "refused", ledgertest.LoseRequest: "lost", ledgertest.LoseReply: "reply lost"} {
			t.Run(string(write.Event)+write.Archive+" "+name, func(t *testing.T) {
				c := newCrowd(t, 1)
				end := c.end0()
				cut := c.cutAt(end)
				fault := write
				fault.Kind = kind
				c.Faults.Inject(fault)
				moved, err := c.archiver().LookBefore(t.Context(), cut)
				if err != nil || moved.Carried != 8 {
					t.Fatalf("%+v, %v", moved, err)
				}
				if c.Faults.Hits() == 0 {
					t.Fatal("the fault did not happen")
				}
				c.Restart()
				c.check(c.NewLedger())
				c.hotBegins()
				talliesAgree(t, c.NewLedger(), oneHistory(t, c.NewLedger()))
			})
		}
	}
}

// A leader that was deposed wakes up and archives beside the new one: the catalogue takes one of them (DESIGN D6, D13).
func TestTwoArchivers(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, 4)
	end := c.end0()
	cut := c.cutAt(end)
	var wg sync.WaitGroup
	for range 2 {
		a := c.archiver(small(25), func(cfg *ledger.ArchiverConfig) { cfg.Ledger = c.NewLedger() })
		wg.Go(func() {
			for {
				_, err := a.LookBefore(t.Context(), cut)
				if errors.Is(err, ledger.ErrRefused) {
					continue
				}
				if err != nil {
					t.Error(err)
				}
				return
			}
		})
	}
	wg.Wait()
	c.check(c.NewLedger())
	c.hotBegins()
	if state, err := c.Ledger.Archived(t.Context()); err != nil || state.Through.Seq != end.Seq || state.Events != int64(end.Seq) {
		t.Errorf("%+v, %v, want %d events", state, err, end.Seq)
	}
	talliesAgree(t, c.Ledger, oneHistory(t, c.Ledger))
}

// A running job, and nothing else, holds the boundary; it goes on with the outcome (DESIGN D13).
func TestRunningHoldsTheBoundary(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, 1)
	id := c.make("waiting", 7)
	j := c.start(id)
	c.make("waiting", 8)
	a := c.archiver()
	c.leave(a)
	held := a.Held()
	if held == nil || held.Seq != j.SubmittedSeq || held.Subject != "jobs.acme.waiting-7" || !held.Since.Equal(j.SubmittedAt) {
		t.Fatalf("held by %+v, want %s at %d", held, id, j.SubmittedSeq)
	}
	if state, err := c.Ledger.Archived(t.Context()); err != nil || state.Through.Seq != j.SubmittedSeq-1 {
		t.Errorf("%+v, %v, want all before %d", state, err, j.SubmittedSeq)
	}
	// As long as it does, a look reads little more than that.
	for i := range 100 {
		c.make("canceled", 100+i)
	}
	before := c.Ledger.Conn().Stats().OutMsgs
	if c.leave(a); a.Held() == nil || a.Held().Seq != j.SubmittedSeq {
		t.Errorf("held by %+v", a.Held())
	}
	if asked := c.Ledger.Conn().Stats().OutMsgs - before; asked > 50 {
		t.Errorf("a look at a boundary that is held sent %d messages", asked)
	}
	c.do(id, &ledger.Outcome{Kind: schemas.EventCompleted, Fence: j.Fence, Generation: 1, Attempt: 1, Now: time.Now()})
	end := c.end0()
	c.leave(a)
	if state, err := c.Ledger.Archived(t.Context()); err != nil || state.Through.Seq < end.Seq || a.Held() != nil {
		t.Errorf("%+v, %v, held by %+v", state, err, a.Held())
	}
	c.check(c.NewLedger())
}

// A job is retried while its events leave, before and behind the commit and the purge: it runs once more.
func TestRetriedRacesLeaving(t *testing.T) {
	t.Parallel()
	for _, step := range []string{"commit", "purge"} {
		t.Run(step, func(t *testing.T) {
			c := newCrowd(t, 1)
			// The retry was decided on a fold of before.
			stale, err := c.Ledger.Fold(t.Context(), "acme", "canceled-0")
			if err != nil {
				t.Fatal(err)
			}
			a, done := c.archiver(), false
			a.At(func(at string) error {
				if at == step && !done {
					done = true
					if _, _, err := c.NewLedger().DoFrom(t.Context(), stale, &ledger.Retry{Reason: "race", Now: time.Now()}, ledger.Meta{}); err != nil {
						t.Error(err)
					}
				}
				return nil
			})
			c.leave(a)
			a.At(nil)
			j, err := c.NewLedger().Fold(t.Context(), "acme", "canceled-0")
			if err != nil || j.State != schemas.StateSubmitted {
				t.Fatalf("%+v, %v", j, err)
			}
			c.end("canceled-0", schemas.EventCompleted, nil)
			c.remember("canceled-0")
			c.leave(a)
			c.check(c.NewLedger())
		})
	}
}

var carriedJobs = flag.Int("carried", 200, "how many unfinished jobs TestCarriedTenTimes carries; 10000 take about two minutes")

// Unfinished jobs of every kind are carried ten times over and are what they were: identity, attempts, budget, times,
// parents, fences, resolution. In the end each can still be finished, and all its events are one story.
func TestCarriedTenTimes(t *testing.T) {
	t.Parallel()
	const unfinished, rounds = 8, 10 // unfinished: of the kinds
	c := newCrowd(t, max(1, *carriedJobs/unfinished))
	for round := range rounds {
		moved := c.leave(c.archiver())
		if want := unfinished * (*carriedJobs / unfinished); moved.Carried != want || moved.Settings != 3 {
			t.Fatalf("round %d: moved %+v, want %d carried", round, moved, want)
		}
		state, err := c.Ledger.Archived(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if s, err := c.Ledger.JetStream().Stream(t.Context(), ledger.StreamLedger); err != nil || s.CachedInfo().State.FirstSeq != uint64(state.Through.Seq)+1 {
			t.Fatalf("round %d: LEDGER begins at %+v, the archive ends at %d: %v", round, s.CachedInfo().State, state.Through.Seq, err)
		}
	}
	c.check(c.NewLedger())
	c.hotBegins()
	c.asksLittle(rounds)
	// An id that lives by generations goes on where it was; what waits is finished.
	for id, kind := range c.kinds {
		switch j := c.jobs[id]; {
		case kind == "dead":
			c.do(id, &ledger.Resolve{Note: "at last"})
		case kind == "singleton":
			r, err := c.Ledger.Submit(t.Context(), ledger.SubmitRequest{Org: "acme", Type: "single", Key: j.Spec.Key, Args: j.Spec.Args})
			if err != nil || !r.Duplicate || r.ID != id || r.Seq != j.SubmittedSeq {
				t.Errorf("submitted again: %+v, %v, want %s", r, err, id)
			}
		case kind == "waiting", kind == "retrying", kind == "again":
			at := time.Now().Add(2 * time.Hour)
			j := c.do(id, &ledger.Queue{Policy: schemas.DefaultPolicy(), Now: at})
			j = c.do(id, &ledger.Claim{Generation: j.Generation, Submitted: j.SubmittedSeq, Session: "s", Worker: "w"})
			c.do(id, &ledger.Outcome{Kind: schemas.EventCompleted, Fence: j.Fence, Generation: j.Generation, Attempt: j.Attempt, Now: at})
		}
	}
	c.leave(c.archiver())
	state, err := c.Ledger.Archived(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d jobs, %d of them unfinished: %d segments, %d events, %d bytes in the archive, which ends at %d", len(c.jobs),
		len(c.jobs)*unfinished/len(kindsOfJobs), state.Segments, state.Events, state.Bytes, state.Through.Seq)
}

// asksLittle checks that to read a job's history takes a request for each time that it left and a few more, however many
// jobs there are.
func (c *crowd) asksLittle(left int) {
	c.t.Helper()
	state, err := c.Ledger.Archived(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	const jobs, around = 30, 4 // around: what LEDGER holds, the newest record, a story that goes on in the next page
	ids, before := c.inOrder(), c.Ledger.Conn().Stats().OutMsgs
	for i := range jobs {
		c.checkHistory(c.Ledger, ids[i*len(ids)/jobs])
	}
	once := 3 * state.Segments // indexes and filters
	if asked := c.Ledger.Conn().Stats().OutMsgs - before; asked > uint64(jobs*(left+around)+once) {
		c.t.Errorf("%d histories of jobs that left %d times sent %d messages", jobs, left, asked)
	}
}

// The payloads of jobs that left, and of those that were carried, stay: the archive names them (DESIGN D13, R-315).
func TestCollectorKnowsTheArchive(t *testing.T) {
	t.Parallel()
	env := submitEnv(t)
	c := &crowd{Env: env, t: t}
	args := map[schemas.JobID]string{}
	for _, id := range []schemas.JobID{"done", "open"} {
		r := request("echo", argsOf(overInline, string(id)))
		r.ID = id
		args[id] = string(r.Args)
		submit(t, env.Ledger, r)
	}
	org := request("echo", "{}").Org
	if _, _, err := env.Ledger.Do(t.Context(), org, "done", &ledger.Cancel{}, ledger.Meta{}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		c.leave(c.archiver())
		if got := collect(t, env); got.Judged != 2 || got.Removed != 0 {
			t.Fatalf("collected %+v", got)
		}
	}
	for id, want := range args {
		wantArgs(t, env, org, id, want)
	}
}
