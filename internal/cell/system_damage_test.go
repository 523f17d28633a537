package cell_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

var full = flag.Bool("full", false, "system tests: 10,000 jobs in flight, some longer than three leases, in each case of damage by itself")

var (
	smallLoad = load{inFlight: 200, slots: 8, doomed: 4, short: 200 * time.Millisecond, long: 4, leases: 1.2, lease: ledger.BeatEvery + 2*time.Second}
	fullLoad  = load{inFlight: 10_000, slots: 200, doomed: 50, short: time.Second, long: 50, leases: 3.1, lease: 2 * ledger.BeatEvery}
)

// waiting are the args of the job that nobody serves.
const waiting = `{}`

// damage is done to the engine under live workers.
type damage struct {
	name string
	do   func(*system, *flood) error
	// start: it is a start of the cell, which may cost attempts and says so.
	start bool
	// longLease: the full run has the lease of the design here.
	longLease bool
}

// remove deletes streams.
func remove(names ...string) func(*system, *flood) error {
	return func(s *system, _ *flood) error {
		for _, name := range names {
			err := insist(func(ctx context.Context) error { return s.env.Ledger.JetStream().DeleteStream(ctx, name) })
			if err != nil {
				return fmt.Errorf("delete %s: %w", name, err)
			}
		}
		return nil
	}
}

func removeConsumers(s *system, _ *flood) error {
	for _, typ := range []schemas.TypeName{"red", "blue"} {
		name := ledger.ConsumerName(schemas.QueueDefault, typ)
		err := insist(func(ctx context.Context) error {
			return s.env.Ledger.JetStream().DeleteConsumer(ctx, ledger.StreamWork, name)
		})
		if err != nil {
			return fmt.Errorf("delete consumer %s: %w", name, err)
		}
	}
	return nil
}

// insist deletes until it is so: what meets an election is never answered, and what is not there, or not yet
// back since the last time, is as good.
func insist(remove func(context.Context) error) error {
	for limit := time.Now().Add(patience); ; {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		err := remove(ctx)
		cancel()
		switch {
		case err == nil, errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, jetstream.ErrConsumerNotFound):
			return nil
		case time.Now().After(limit):
			return err
		}
	}
}

// restart stops the server, or all of the cluster, until submits have failed, and starts it.
func restart(s *system, f *flood) error {
	s.env.Stop()
	f.stuck()
	s.env.StartServer()
	s.env.Provision()
	return nil
}

// stopLeader stops the member that leads a stream; jobs have to start without it, before it comes back.
func stopLeader(stream string) func(*system, *flood) error {
	return func(s *system, _ *flood) error {
		start := s.env.StopMember(s.env.Leader(stream))
		s.awaitResumed("with a member stopped")
		start()
		return nil
	}
}

// damages are what a place can suffer.
func damages(place place) []damage {
	out := []damage{
		{name: "work", do: remove(ledger.StreamWork)},
		{name: "consumers", do: removeConsumers},
		{name: "views", do: remove("KV_"+ledger.BucketJobs, "KV_"+ledger.BucketCounts)},
		{name: "lease", do: remove("KV_" + ledger.BucketLease), start: true},
		{name: "all of them", start: true, do: remove(ledger.StreamWork, "KV_"+ledger.BucketJobs, "KV_"+ledger.BucketCounts, "KV_"+ledger.BucketLease)},
		{name: "restart", do: restart, start: true, longLease: true},
	}
	if place.cluster {
		out = append(out,
			damage{name: "member with work stopped", do: stopLeader(ledger.StreamWork), longLease: true},
			damage{name: "member with ledger stopped", do: stopLeader(ledger.StreamLedger)})
	}
	return out
}

// Everything but the ledger may go at any moment, under live workers and submitters with jobs in flight:
// nothing is lost or there twice, all finish (D2, C5). Only a start of the cell may cost attempts, and says so.
// A worker that is killed then takes exactly its own attempts with it.
//
// The small run does one damage after the other to one system; the full run, with -full, each to its own.
func TestSystemDamage(t *testing.T) {
	t.Parallel()
	everywhere(t, func(t *testing.T, place place) {
		all := damages(place)
		if !*full {
			suffer(t, place.open(t), smallLoad, all...)
			return
		}
		for _, d := range all {
			t.Run(d.name, func(t *testing.T) {
				t.Parallel()
				l := fullLoad
				if d.longLease {
					l.lease = ledger.Lease
				}
				suffer(t, place.open(t), l, d)
			})
		}
	})
}

// suffer keeps a system under load, does the damage, kills a worker and looks for what is wrong then.
func suffer(t *testing.T, env *ledgertest.Env, l load, damages ...damage) {
	env.RunServer(func(c *cell.Config) { c.Times.Core.Lease = l.lease })
	s := newSystem(t, env)
	f := s.newFlood(l)
	f.awaitFull()
	hurry := make(chan struct{})
	s.worker("red", "red", l.slots, told(hurry))
	s.worker("blue", "blue", l.slots, told(hurry))
	v := s.victim("red", l.doomed, told(hurry))
	s.awaitStarts(2 * (2*l.slots + l.doomed))
	mayLose := false
	for _, d := range damages {
		s.mu.Lock()
		n, _ := f.unfinished()
		s.mu.Unlock()
		t.Logf("figures: %s, with %d jobs in flight", d.name, n)
		began := time.Now()
		if err := d.do(s, f); err != nil {
			t.Fatal(err)
		}
		s.awaitResumed(fmt.Sprintf("%s after it began", time.Since(began).Round(time.Millisecond)))
		mayLose = mayLose || d.start
	}
	killed := v.kill(l.lease)
	more := s.submit("green", 1, func(r *ledger.SubmitRequest) { r.Args = json.RawMessage(waiting) }) // nobody serves it: it waits, and must do no harm
	ids := f.end()
	close(hurry)
	s.awaitFinished(ids)
	if state := s.states()[schemas.StateSubmitted]; state != len(more) {
		t.Errorf("%d jobs are submitted, want the one that nobody serves", state)
	}
	s.awaitViews()
	s.verify()
	told := s.check(ids)
	s.completed(ids)
	f.once(told)
	s.losses(told, v, killed, mayLose)
}

// losses checks that the victim's attempts were lost once it was killed, and before that none but by a start of
// the cell.
func (s *system) losses(told *story, v *victim, killed schemas.Seq, mayLose bool) {
	s.t.Helper()
	its, before := 0, 0
	for k, e := range told.lost {
		switch {
		case e.Seq > killed && told.worker[k] == v.name && (cause(e) == schemas.LossWorkerGone || mayLose):
			its++ // of one that was not heard since the cell started nobody knows what it died of
		case e.Seq < killed && mayLose && cause(e) == schemas.LossCellRestart:
			before++
		default:
			s.t.Errorf("attempt %v of worker %s was lost at %d (the worker was killed at %d): %s", k, told.worker[k], e.Seq, killed, cause(e))
		}
	}
	if its != v.slots {
		s.t.Errorf("%d attempts of the killed worker were lost, want %d", its, v.slots)
	}
	s.t.Logf("figures: %d attempts lost by a start of the cell, %d by the killed worker, all its own", before, its)
}

// awaitResumed waits until more jobs start than could have been on their way.
func (s *system) awaitResumed(when string) {
	s.t.Helper()
	const some = 50
	began := time.Now()
	s.awaitStarts(s.startsBegun() + some)
	s.t.Logf("figures: %s: %d starts in %s: aim, 5s", when, some, time.Since(began).Round(time.Millisecond))
}

// victim is a worker to be killed while all its slots are busy.
type victim struct {
	s     *system
	name  string
	slots int
	cut   func()
	hold  chan struct{} // closed when attempts are to be held
	held  int
}

func (s *system) victim(typ schemas.TypeName, slots int, until handlers.HandlerFunc) *victim {
	v := &victim{s: s, name: "doomed", slots: slots, hold: make(chan struct{})}
	v.cut = s.worker(v.name, typ, slots, func(ctx context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		select {
		case <-v.hold:
		default:
			return until(ctx, a)
		}
		s.mu.Lock()
		v.held++
		s.notify()
		s.mu.Unlock()
		<-ctx.Done()
		return nil, ctx.Err()
	})
	return v
}

// kill returns, once its attempts are lost, the sequence after which that happened.
func (v *victim) kill(lease time.Duration) (after schemas.Seq) {
	v.s.t.Helper()
	close(v.hold)
	v.s.await("the victim's slots to be busy", func() bool { return v.held == v.slots })
	v.s.mu.Lock()
	after = v.s.entries[len(v.s.entries)-1].Seq
	v.s.mu.Unlock()
	v.cut()
	began := time.Now()
	v.s.await("its attempts to be lost", func() bool {
		n := 0
		for i := len(v.s.entries) - 1; i >= 0 && v.s.entries[i].Seq > after; i-- {
			if _, ok := v.s.entries[i].Data.(*schemas.Lost); ok {
				n++
			}
		}
		return n >= v.slots
	})
	v.s.t.Logf("figures: the attempts were lost %s after the worker was killed: aim, the lease of %s and 5s", time.Since(began).Round(time.Millisecond), lease)
	return after
}

// awaitViews waits until the views have come to the ledger's end: on a busy machine that is later than
// `log verify` is patient.
func (s *system) awaitViews() {
	s.t.Helper()
	began := time.Now()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		end, err := s.env.Ledger.End(ctx)
		var all ledger.CountsDocument
		if err == nil {
			var kv jetstream.KeyValue
			if kv, err = s.env.Ledger.JetStream().KeyValue(ctx, ledger.BucketCounts); err == nil {
				var entry jetstream.KeyValueEntry
				if entry, err = kv.Get(ctx, ledger.KeyCountsAll); err == nil {
					err = json.Unmarshal(entry.Value(), &all)
				}
			}
		}
		cancel()
		if err == nil && all.Seq >= end.Seq && all.Jobs.Seq >= end.Seq {
			s.t.Logf("figures: the views came to the end %s after the last job", time.Since(began).Round(time.Millisecond))
			return
		}
		if time.Since(began) > patience {
			s.t.Errorf("the views have come to %d, the ledger is at %d: %v", all.Seq, end.Seq, err)
			return
		}
		_ = rest(context.Background(), 50*time.Millisecond)
	}
}

// verify is `log verify` beside the running system: the views equal a fold from zero.
func (s *system) verify() {
	s.t.Helper()
	v, err := ledger.Verify(s.t.Context(), ledger.VerifyConfig{Ledger: s.env.NewLedger(), Full: true})
	if err != nil {
		s.t.Errorf("verify: %v", err)
		return
	}
	text, err := json.Marshal(v)
	if !v.OK || v.Problems.View == nil || v.Problems.Count == nil || v.Problems.Offer == nil {
		s.t.Errorf("verify beside the running system: %s, %v", text, err)
	}
}
