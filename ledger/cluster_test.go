package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// TestReplicated runs what differs on three replicas (ENGINE 1, 12): the order of checks behind a lost reply,
// races through different servers, a stopped leader, and the stopped server of WORK.
func TestReplicated(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a cluster takes seconds to elect its leaders")
	}
	env := ledgertest.StartCluster(t)
	if s, err := env.Ledger.JetStream().Stream(t.Context(), ledger.StreamLedger); err != nil || s.CachedInfo().Config.Replicas != 3 {
		t.Fatalf("LEDGER has not 3 replicas: %v", err)
	}
	for _, s := range []schemas.TypeSettings{{Name: "echo"}, {Name: "flight", Dedup: schemas.DedupInFlight}} {
		if _, err := env.Ledger.PutType(t.Context(), s, ledger.Meta{}, ""); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("message id is checked first", func(t *testing.T) { replicatedLostReply(t, env) })
	t.Run("closed door", func(t *testing.T) { closedDoor(t, env) })
	t.Run("fault table", func(t *testing.T) { replicatedFaults(t, env) })
	t.Run("races", func(t *testing.T) { replicatedRaces(t, env) })
	t.Run("buckets", func(t *testing.T) { replicatedBuckets(t, env) })
	t.Run("payloads", func(t *testing.T) { replicatedPayloads(t, env) })
	t.Run("archive", func(t *testing.T) { replicatedArchive(t, env) })
	t.Run("stopped leader", func(t *testing.T) { replicatedLeader(t, env) })
	t.Run("stopped server of WORK", func(t *testing.T) { replicatedWork(t, env) })
}

// A submitted event stored with its reply lost: the retry is answered duplicate:true, with the sequence of
// our own event. Another event under the same message id is a refusal that names the first.
func replicatedLostReply(t *testing.T, env *ledgertest.Env) {
	e := newSubmitted(schemas.NewJobID())
	e.MsgID = "scenes:same"
	env.Faults.Inject(ledgertest.Fault{Event: schemas.EventSubmitted, Kind: ledgertest.LoseReply})
	if err := env.Ledger.Append(t.Context(), e, 0); err != nil || e.Seq == 0 {
		t.Fatalf("append with a lost reply: %v", err)
	}
	other := newSubmitted(schemas.NewJobID())
	other.MsgID = e.MsgID
	var refused *ledger.RefusedError
	if err := env.Ledger.Append(t.Context(), other, 0); !errors.As(err, &refused) || !refused.Duplicate || refused.At != e.Seq || refused.ID != e.ID {
		t.Errorf("another event under its message id: %v, want refused as a duplicate of %d", err, e.Seq)
	}
}

func replicatedFaults(t *testing.T, env *ledgertest.Env) {
	for _, s := range scenes() {
		for _, kind := range []ledgertest.Kind{ledgertest.LoseRequest, ledgertest.LoseReply} {
			a := s.play(t, env.Ledger)
			env.Faults.Inject(ledgertest.Fault{Event: s.event, Kind: kind})
			j, e, err := a.l.Do(t.Context(), sceneOrg, a.id, s.cmd(a.fold()), ledger.Meta{})
			if err != nil {
				t.Fatalf("%s: %v", s.event, err)
			}
			s.check(t, a, j, e, 0)
		}
	}
}

func replicatedRaces(t *testing.T, env *ledgertest.Env) {
	ledgers := []*ledger.Ledger{env.Ledger}
	for i := range env.Cluster.Len() {
		nc, err := env.Cluster.Server(i).ConnectInProcess()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		ledgers = append(ledgers, ledgerOn(t, nc))
	}
	own := request("echo", `{"n":"own"}`)
	own.ID = "raced"
	for _, r := range []ledger.SubmitRequest{request("echo", `{"n":"content"}`), request("flight", `{"n":1}`), own} {
		env.Faults.Inject(ledgertest.Fault{Event: schemas.EventSubmitted, Kind: ledgertest.LoseReply, Times: 3})
		won := race(t, ledgers, 16, r)
		env.Faults.Clear()
		if r.ID != "" {
			continue
		}
		finish(t, env.Ledger, won.ID, schemas.StateCanceled)
		race(t, ledgers, 16, r)
	}
}

// The leader of LEDGER is stopped between an append and its reply: the event is stored once, or not and then
// by the retry.
func replicatedLeader(t *testing.T, env *ledgertest.Env) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := env.Ledger.JetStream().Stream(ctx, ledger.StreamLedger)
	if err != nil {
		t.Fatal(err)
	}
	leader := env.Cluster.ByName(s.CachedInfo().Cluster.Leader)
	a := (&scene{before: []func(*actor){toSubmitted, toQueued, toRunning}}).play(t, env.Ledger)
	j := a.fold()
	env.Cluster.Stop(leader)
	after, e, err := env.Ledger.DoFrom(ctx, j, ending(schemas.EventCompleted, "")(j), ledger.Meta{})
	if err != nil || e == nil || after.State != schemas.StateCompleted {
		t.Errorf("outcome without the leader: %v (%v)", e, err)
	}
	if n := count(t, a, schemas.EventCompleted, e.ID); n != 1 {
		t.Errorf("it stands %d times in the ledger", n)
	}
	restart(t, env, leader)
}

// The server that leads ARGS is stopped before each write of an upload in turn, and comes back behind the submit:
// one job with its args, and one object.
func replicatedPayloads(t *testing.T, env *ledgertest.Env) {
	for skip := range 5 {
		want := argsOf(overInline, fmt.Sprint("replicated", skip))
		stopped := -1
		env.Faults.Inject(ledgertest.Fault{Upload: true, Skip: skip, Before: func(*nats.Msg) {
			s, err := env.Ledger.JetStream().Stream(t.Context(), "OBJ_"+ledger.StoreArgs)
			if err != nil {
				t.Error(err)
				return
			}
			stopped = env.Cluster.ByName(s.CachedInfo().Cluster.Leader)
			env.Cluster.Stop(stopped)
		}})
		got := submit(t, env.Ledger, request("echo", want))
		wantArgs(t, env, sceneOrg, got.ID, want)
		restart(t, env, stopped)
	}
	if got := collect(t, env); got.Judged != 5 || got.Removed != 0 {
		t.Errorf("collected %+v, want five objects that stay", got)
	}
}

// The server that holds WORK is stopped: nothing but delete and create helps, and Provision does not hang.
func replicatedWork(t *testing.T, env *ledgertest.Env) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := env.Ledger.RecreateWork(ctx); err != nil {
		t.Fatal(err)
	}
	s, err := env.Ledger.JetStream().Stream(ctx, ledger.StreamWork)
	if err != nil {
		t.Fatal(err)
	}
	holder := env.Cluster.ByName(s.CachedInfo().Cluster.Leader)
	env.Cluster.Stop(holder)
	defer restart(t, env, holder)
	if err := env.Ledger.RecreateWork(ctx); err != nil {
		t.Fatalf("recreate WORK: %v", err)
	}
	if _, err := env.Ledger.EnsureConsumer(ctx, "q", "t"); err != nil {
		t.Fatalf("consumer on the new WORK: %v", err)
	}
	if _, err := env.Ledger.JetStream().Publish(ctx, ledger.OfferSubject("q", "t", "acme", "j"), []byte("offer"), jetstream.WithRetryAttempts(20)); err != nil {
		t.Errorf("offer on the new WORK: %v", err)
	}
	if _, err := ledger.Provision(ctx, env.Ledger, ledger.ProvisionConfig{}); err != nil {
		t.Errorf("provision with a server down: %v", err)
	}
}

func restart(t *testing.T, env *ledgertest.Env, member int) {
	if err := env.Cluster.Restart(member); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := env.Cluster.Server(member).WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
}
