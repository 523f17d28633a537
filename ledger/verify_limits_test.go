package ledger_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// limitEnv is a ledger whose events are written by hand, so that limits can be broken.
type limitEnv struct {
	*ledgertest.Env
	t     *testing.T
	epoch schemas.Seq
}

func (w *limitEnv) set(set schemas.Setting) {
	w.t.Helper()
	_, err := w.Ledger.Put(w.t.Context(), ledger.Meta{}, set.Place(), func(schemas.Setting) (schemas.Setting, error) { return set, nil })
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *limitEnv) leader() {
	w.t.Helper()
	e := schemas.NewEvent(ledger.ControlLeader, &schemas.LeaderElected{Server: "s", Cell: "c"})
	if err := w.Ledger.Append(w.t.Context(), e, w.epoch); err != nil {
		w.t.Fatal(err)
	}
	w.epoch = e.Seq
}

// start takes a new job to running; epoch is that of the leader that queues it.
func (w *limitEnv) start(id string, epoch schemas.Seq) schemas.Fence {
	w.t.Helper()
	org, job := schemas.OrgID("acme"), schemas.JobID(id)
	step(w.t, w.Ledger, org, job, &ledger.Begin{Spec: schemas.Submitted{Type: "echo", Queue: "bulk", Resource: "line", Priority: schemas.PriorityNormal}})
	step(w.t, w.Ledger, org, job, &ledger.Queue{Policy: schemas.DefaultPolicy(), Epoch: epoch, Now: time.Now().Add(time.Hour)})
	j, err := w.Ledger.Fold(w.t.Context(), org, job)
	if err != nil {
		w.t.Fatal(err)
	}
	e := step(w.t, w.Ledger, org, job, &ledger.Claim{Generation: j.Generation, Submitted: j.SubmittedSeq, Session: schemas.NewSessionID(), Worker: "w-1"})
	return schemas.Fence{Seq: e.Seq, ID: e.ID}
}

func (w *limitEnv) end(id string, fence schemas.Fence) {
	w.t.Helper()
	endOne(w.t, w.Ledger, "acme", schemas.JobID(id), fence, ledger.Outcome{Kind: schemas.EventCompleted})
}

// want checks how many starts were over a limit, and what the first of them says.
func (w *limitEnv) want(n int, says string) {
	w.t.Helper()
	v := verify(w.t, w.Env, ledger.VerifyConfig{Limits: true})
	wantProblems(w.t, v, map[string]int{ledger.ProblemLimit: n})
	if n > 0 && !strings.Contains(v.Examples[0].Message, says) {
		w.t.Errorf("it says %q, want %q", v.Examples[0].Message, says)
	}
}

// the checker counts by the events alone how many jobs ran at once, under each kind of limit.
func TestVerifyLimits(t *testing.T) {
	t.Parallel()
	two := 2
	for name, tt := range map[string]struct {
		set  schemas.Setting
		says string
	}{
		"org":          {&schemas.OrgSet{Settings: schemas.OrgSettings{Name: "acme", MaxRunning: &two}}, "limit of 2 of org acme"},
		"queue":        {&schemas.QueueSet{Settings: schemas.QueueSettings{Name: "bulk", MaxRunning: 2}}, "limit of 2 of queue bulk"},
		"queue, org":   {&schemas.QueueSet{Settings: schemas.QueueSettings{Name: "bulk", MaxRunningPerOrg: 2}}, "queue bulk for org acme"},
		"type":         {&schemas.TypeSet{Settings: schemas.TypeSettings{Name: "echo", MaxRunning: 2}}, "limit of 2 of type echo"},
		"type, org":    {&schemas.TypeSet{Settings: schemas.TypeSettings{Name: "echo", MaxRunningPerOrg: 2}}, "type echo for org acme"},
		"resource":     {&schemas.ResourceSet{Settings: schemas.ResourceSettings{Name: "line", MaxRunning: 2}}, "limit of 2 of resource line"},
		"own resource": {&schemas.ResourceSet{Settings: schemas.ResourceSettings{Name: "line", PerOrg: true, MaxRunning: 2}}, "resource line for org acme"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &limitEnv{Env: ledgertest.Start(t), t: t}
			w.set(tt.set)
			first := w.start("1", 0)
			w.start("2", 0)
			w.end("1", first)
			w.start("3", 0)
			w.want(0, "")
			w.start("4", 0)
			w.want(1, tt.says)
		})
	}
}

// An org that was never set has the default limit.
func TestVerifyDefaultLimit(t *testing.T) {
	t.Parallel()
	w := &limitEnv{Env: ledgertest.Start(t), t: t}
	for i := range schemas.OrgRunningDefault {
		w.start(fmt.Sprint(i), 0)
	}
	w.want(0, "")
	w.start("one-more", 0)
	w.want(1, "limit of 100 of org acme")
}

// A limit that was lowered stops nobody who was let in before; one that was raised holds at once.
func TestVerifyChangedLimit(t *testing.T) {
	t.Parallel()
	w := &limitEnv{Env: ledgertest.Start(t), t: t}
	limit := func(n int) {
		w.set(&schemas.TypeSet{Settings: schemas.TypeSettings{Name: "echo", MaxRunning: n}})
	}
	limit(2)
	step(t, w.Ledger, "acme", "early", &ledger.Begin{Spec: schemas.Submitted{Type: "echo", Queue: "bulk", Priority: schemas.PriorityNormal}})
	queued := step(t, w.Ledger, "acme", "early", &ledger.Queue{Policy: schemas.DefaultPolicy(), Now: time.Now().Add(time.Hour)})
	w.start("1", 0)
	limit(1)
	j, err := w.Ledger.Fold(t.Context(), "acme", "early")
	if err != nil || j.LastSeq != queued.Seq {
		t.Fatalf("%+v: %v", j, err)
	}
	step(t, w.Ledger, "acme", "early", &ledger.Claim{Generation: 1, Submitted: j.SubmittedSeq, Session: schemas.NewSessionID(), Worker: "w-1"})
	w.want(0, "")
	limit(3)
	w.start("3", 0)
	w.want(0, "")
	w.start("4", 0)
	w.want(1, "limit of 3 of type echo")
}

// DESIGN D6: between two epochs a limit may be overshot by what the former leader lets in, but a limit of one never.
func TestVerifyLimitsBetweenEpochs(t *testing.T) {
	t.Parallel()
	w := &limitEnv{Env: ledgertest.Start(t), t: t}
	w.set(&schemas.TypeSet{Settings: schemas.TypeSettings{Name: "echo", MaxRunning: 2}})
	w.leader()
	former := w.epoch
	w.start("1", former)
	w.leader()
	w.start("2", w.epoch)
	w.start("late", former)
	w.want(0, "")
	w.start("3", w.epoch)
	w.want(1, "limit of 2 of type echo")

	one := &limitEnv{Env: ledgertest.Start(t), t: t}
	one.set(&schemas.ResourceSet{Settings: schemas.ResourceSettings{Name: "line", MaxRunning: 1}})
	one.leader()
	former = one.epoch
	one.leader()
	one.start("1", one.epoch)
	one.start("late", former)
	one.want(1, "2 jobs run under the limit of 1 of resource line")
	if _, err := ledger.Verify(t.Context(), ledger.VerifyConfig{Ledger: one.Ledger, Org: "acme", Limits: true}); err == nil {
		t.Error("limits of one org were counted although they are shared")
	}
}
