package handlers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// TestWorkerFaults is the worker's fault table (STYLE 21): each of its writes refused, lost on the way, or
// stored with its reply lost; in each case the job is started once and ends once (STYLE 7, asynq:processor.go:284).
func TestWorkerFaults(t *testing.T) {
	t.Parallel()
	for _, event := range []schemas.EventName{schemas.EventRunning, schemas.EventCompleted} {
		for name, kind := range map[string]ledgertest.Kind{"refused": ledgertest.Refuse, "request lost": ledgertest.LoseRequest, "reply lost": ledgertest.LoseReply} {
			t.Run(fmt.Sprintf("%s %s", event, name), func(t *testing.T) {
				t.Parallel()
				env := ledgertest.Start(t)
				ld := newLeader(t, env)
				var st starts
				_, reports, _ := ld.worker(serves("fault", handlers.HandlerFunc(func(_ context.Context, a *handlers.Attempt) (json.RawMessage, error) {
					st.add(a)
					return a.Args, nil
				})))
				env.Faults.Inject(ledgertest.Fault{Event: event, Kind: kind, Times: 3})
				j := ld.give(spec{typ: "fault", args: `1`})
				if r := next(t, reports); r.Outcome != schemas.EventCompleted {
					t.Errorf("report %+v", r)
				}
				if env.Faults.Hits() == 0 {
					t.Error("no fault was met")
				}
				st.check(t, events(t, env, "jobs.>"))
				if got := names(t, env, j.ID); len(got) != 4 {
					t.Errorf("events %v", got)
				}
			})
		}
	}
}

// TestWorkerLateClaim shows DESIGN D7: a claim that took too long to settle is not started but handed back.
func TestWorkerLateClaim(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	var st starts
	w, err := handlers.New(handlers.Config{Ledger: env.Ledger, Logger: zap.NewNop(), Serves: serves("late", handlers.HandlerFunc(
		func(_ context.Context, a *handlers.Attempt) (json.RawMessage, error) {
			st.add(a)
			return nil, nil
		})).Serves})
	if err != nil {
		t.Fatal(err)
	}
	w.Hasten(20*time.Millisecond, 0, 1) // every claim is late
	ld.start(w)
	released := make(chan struct{})
	env.Faults.Inject(ledgertest.Fault{Event: schemas.EventReleased, After: func(*nats.Msg) { close(released) }})
	j := ld.give(spec{typ: "late", args: `{}`})
	wait(t, "released", released)
	got := ld.fold(j.ID)
	if got.State != schemas.StateQueued || got.Used != 0 || got.Attempt != 1 || len(st.n) != 0 {
		t.Errorf("job is %s, used %d, starts %v", got.State, got.Used, st.n)
	}
	if e := history(t, env, j.ID); e[len(e)-1].Data.(*schemas.Released).Cause != "late_claim" {
		t.Errorf("last event %+v", e[len(e)-1].Data)
	}
}

// TestWorkerCutOff shows DESIGN D7: nothing is pulled before the first beat is answered, nor when beats are no
// longer answered; attempts that run go on, but for those of exclusive types, which are handed back.
func TestWorkerCutOff(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	ld.set(func(ld *leader) { ld.mute = true })
	plain, exclusive := newHeld(), newHeld()
	exclusive.heeds = true
	cfg := serves("plain", plain)
	cfg.Serves = append(cfg.Serves, handlers.Registration{Type: "exclusive", Handler: exclusive, Exclusive: true})
	cfg.Ledger, cfg.Logger = env.Ledger, zap.NewNop()
	reports := make(chan handlers.Report, 10)
	cfg.Report = func(r handlers.Report) { reports <- r }
	w, err := handlers.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.Hasten(20*time.Millisecond, 300*time.Millisecond, 0)
	ld.start(w)
	first, second := ld.give(spec{typ: "plain", args: `{}`}), ld.give(spec{typ: "exclusive", args: `{}`})
	awaitBeats := func(what string, n int) {
		ld.await(what, func(*ledger.Beat) bool { n--; return n < 0 })
	}
	awaitBeats("unanswered beats", 5)
	if s := ld.fold(first.ID).State; s != schemas.StateQueued {
		t.Errorf("before the first answer the job is %s", s)
	}
	ld.set(func(ld *leader) { ld.mute = false })
	plain.await(t)
	exclusive.await(t)
	ld.set(func(ld *leader) { ld.mute = true })
	if r := next(t, reports); r.Outcome != schemas.EventReleased || r.ID != second.ID {
		t.Errorf("report %+v", r)
	}
	third := ld.give(spec{typ: "plain", args: `{}`})
	awaitBeats("unanswered beats", 10)
	if s := ld.fold(third.ID).State; s != schemas.StateQueued || plain.now.Load() != 1 {
		t.Errorf("while cut off the job is %s, %d handlers run", s, plain.now.Load())
	}
	ld.set(func(ld *leader) { ld.mute = false })
	plain.await(t)
	close(plain.free)
	for range 2 {
		if r := next(t, reports); r.Outcome != schemas.EventCompleted {
			t.Errorf("report %+v", r)
		}
	}
}

// TestWorkerThatCannotStop shows DESIGN D7: when no leader answers and a handler under a limit of one does not return,
// Run ends, so that the process does before the leader gives the job to somebody else.
func TestWorkerThatCannotStop(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	h := newHeld()
	defer close(h.free)
	cfg := serves("alone", h)
	cfg.Ledger, cfg.Logger = env.Ledger, zap.NewNop()
	w, err := handlers.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.Hasten(20*time.Millisecond, 300*time.Millisecond, 0)
	w.StuckAfter(200 * time.Millisecond)
	done := make(chan error, 1)
	go func() { done <- w.Run(context.Background()) }()
	ld.set(func(ld *leader) { ld.alone = true })
	ld.give(spec{typ: "alone", args: `{}`})
	h.await(t)
	ld.set(func(ld *leader) { ld.mute = true })
	select {
	case err := <-done:
		if !errors.Is(err, handlers.ErrStuck) {
			t.Errorf("Run returned %v", err)
		}
	case <-time.After(patience):
		t.Error("Run goes on")
	}
}

// TestWorkerNewCell shows DESIGN D6: a changed cell makes a worker forget the epoch it knew.
func TestWorkerNewCell(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	ld.set(func(ld *leader) { ld.answer.Epoch = 1000 })
	_, reports, _ := ld.worker(serves("cell", echo))
	ld.await("first beat", func(*ledger.Beat) bool { return true })
	ld.give(spec{typ: "cell", args: `{}`}) // epoch 10
	awaitEmptyWork(t, env)
	env.Restart()
	ld.set(func(ld *leader) { ld.answer.Cell, ld.answer.Epoch = env.Cell.ID, 10 })
	j := ld.give(spec{typ: "cell", args: `{}`})
	if r := next(t, reports); r.ID != j.ID || r.Outcome != schemas.EventCompleted {
		t.Errorf("report %+v", r)
	}
}

// TestWorkerResumes shows Must hold: dispatch goes on within 5 s when a consumer, WORK, or the server's memory is
// gone under a worker that stays.
func TestWorkerResumes(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(t *testing.T, ld *leader){
		"consumer deleted": func(t *testing.T, ld *leader) {
			if err := ld.env.Ledger.JetStream().DeleteConsumer(context.Background(), ledger.StreamWork, ledger.ConsumerName(queue, "resume")); err != nil {
				t.Error(err)
			}
		},
		"WORK made anew": func(t *testing.T, ld *leader) {
			if err := ld.env.Ledger.RecreateWork(context.Background()); err != nil {
				t.Error(err)
			}
		},
		"server restarted": func(_ *testing.T, ld *leader) {
			ld.env.Restart()
			ld.set(func(ld *leader) { ld.answer.Cell = ld.env.Cell.ID })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := ledgertest.Start(t)
			ld := newLeader(t, env)
			h := newHeld()
			_, reports, _ := ld.worker(serves("resume", h))
			before := ld.give(spec{typ: "resume", args: `{}`})
			h.await(t)
			damage(t, ld)
			began := time.Now()
			after := ld.give(spec{typ: "resume", args: `{}`})
			if a := h.await(t); a.ID != after.ID {
				t.Errorf("job %s began", a.ID)
			}
			t.Logf("resumed after %s: aim 5s", time.Since(began))
			close(h.free)
			for range 2 {
				if r := next(t, reports); r.Outcome != schemas.EventCompleted {
					t.Errorf("report %+v", r)
				}
			}
			if got := ld.fold(before.ID); got.State != schemas.StateCompleted || got.Attempt != 1 {
				t.Errorf("the job that ran through it is %s after %d attempts", got.State, got.Attempt)
			}
		})
	}
}

// TestWorkerDeliveries shows Must hold: no nak loop. Offers are delivered about as often as there are jobs, with
// two workers of disjoint types in one queue, and with one worker whose types are more than its slots.
func TestWorkerDeliveries(t *testing.T) {
	t.Parallel()
	const jobs = 150
	for name, split := range map[string][][]schemas.TypeName{
		"two workers":          {{"a"}, {"b"}},
		"one worker, one slot": {{"a", "b", "c"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := ledgertest.Start(t)
			ld := newLeader(t, env)
			began, slots := time.Now(), 0
			var all []schemas.TypeName
			for _, types := range split {
				cfg := handlers.Config{Slots: 4}
				if len(types) > 1 {
					cfg.Slots = 1
				}
				slots += cfg.Slots
				for _, typ := range types {
					cfg.Serves = append(cfg.Serves, handlers.Registration{Type: typ, Handler: echo})
					all = append(all, typ)
				}
				_, reports, _ := ld.worker(cfg)
				t.Cleanup(func() {
					if n := len(reports); n != 0 {
						t.Errorf("%d more attempts than jobs", n)
					}
				})
				defer func() {
					for range jobs * len(types) {
						next(t, reports)
					}
					delivered := uint64(0)
					for _, typ := range all {
						c, err := env.Ledger.JetStream().Consumer(context.Background(), ledger.StreamWork, ledger.ConsumerName(queue, typ))
						if err != nil {
							t.Fatal(err)
						}
						delivered += c.CachedInfo().Delivered.Consumer
					}
					limit := uint64(jobs*len(all)*11) / 10
					if len(types) > 1 { // at most one surplus each time a type that had nothing waiting gets work
						limit = uint64(jobs*len(all)*3) / 2
					}
					// Where the machine stands still what is out comes again: once in each such time.
					limit += uint64(time.Since(began)/ledger.AckWait) * uint64(slots)
					if delivered > limit {
						t.Errorf("%d deliveries, at most %d expected", delivered, limit)
					}
					t.Logf("%d deliveries for up to %d jobs", delivered, jobs*len(all))
				}()
			}
			for range jobs {
				for _, typ := range all {
					ld.give(spec{typ: typ, args: `{}`})
				}
			}
		})
	}
}

// TestWorkerClock shows that a worker's wrong clock decides nothing: whether a retry would come behind the job's
// deadline is judged by the stream's clock (R-11, C36).
func TestWorkerClock(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	for _, c := range []struct {
		name     string
		ahead    time.Duration // the stream's clock before the worker's
		deadline time.Duration // of the job, from now by the stream's clock
		want     schemas.State
	}{
		{"fast", -10 * time.Minute, 5 * time.Minute, schemas.StateRetrying},
		{"slow", 10 * time.Minute, 2 * time.Second, schemas.StateDeadLettered},
		{"right", 0, 5 * time.Minute, schemas.StateRetrying},
	} {
		now := time.Now().Add(c.ahead)
		ld.set(func(ld *leader) { ld.answer.Now = now })
		typ := typeOf(c.name)
		_, reports, stop := ld.worker(serves(typ, handlers.HandlerFunc(func(context.Context, *handlers.Attempt) (json.RawMessage, error) {
			return nil, handlers.Transient(errors.New("busy"))
		})))
		deadline := now.Add(c.deadline)
		id := schemas.NewJobID()
		j, _, err := ld.l.Do(t.Context(), org, id, &ledger.Begin{Spec: schemas.Submitted{Type: typ, Queue: queue,
			Priority: schemas.PriorityNormal, Deadline: &deadline}}, ledger.Meta{})
		if err == nil {
			j, _, err = ld.l.DoFrom(t.Context(), j, &ledger.Queue{Policy: schemas.DefaultPolicy(), Epoch: 10, Now: now}, ledger.Meta{})
		}
		if err != nil {
			t.Fatal(err)
		}
		ld.offer(j, 10)
		next(t, reports)
		if after := ld.fold(id); after.State != c.want {
			t.Errorf("a worker whose clock is %s: the job is %s (%s)", c.name, after.State, after.DeadReason)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
}
