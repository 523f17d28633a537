package gateway_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

func (w *world) explain(id schemas.JobID) *gateway.Explanation {
	w.t.Helper()
	x, err := w.client.Explain(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return x
}

func holds(x *gateway.Explanation) []string {
	names := []string{}
	for i := range x.Holds {
		names = append(names, x.Holds[i].Hold)
	}
	return names
}

// what a job's own events and the workers tell needs no leader: its time, its parents, its retry,
// who runs it, that nobody serves it, how it ended.
func TestExplainWithoutLeader(t *testing.T) {
	w := start(t)
	scheduled := w.submit(ledger.SubmitRequest{Delay: time.Hour})
	child := w.submit(ledger.SubmitRequest{Parents: []schemas.ParentRef{{ID: scheduled}}})
	running := w.start(w.submit(ledger.SubmitRequest{}))
	retrying := w.fail(w.start(w.submit(ledger.SubmitRequest{})), schemas.ClassTransient, "mailbox is full")
	dead := w.bury(ledger.SubmitRequest{}, "no such address")
	for _, c := range []struct {
		id     schemas.JobID
		holds  []string
		reason string
		next   string
	}{
		{scheduled, []string{"not_before", "no_worker"}, "scheduled", "nothing holds it any more"},
		{child, []string{"parents", "no_worker"}, "waiting_on_parent", "nothing holds it any more"},
		{running.ID, []string{}, "", "attempt 1 runs on worker w-1"},
		{retrying.ID, []string{"retry", "no_worker"}, "unserved", "nothing holds it any more"},
		{dead.ID, []string{}, "permanent_error", "job retry " + string(dead.ID)},
	} {
		x := w.explain(c.id)
		reason := ""
		if x.Reason != nil {
			reason = *x.Reason
		}
		if got := holds(x); !slices.Equal(got, c.holds) || reason != c.reason || !strings.Contains(x.Next, c.next) || x.Leader || x.Since == nil {
			t.Errorf("%s: holds %v, reason %q, next %q, leader %t", x.State, got, reason, x.Next, x.Leader)
		}
	}
	x := w.explain(retrying.ID)
	if h := x.Holds[0]; h.Until == nil || h.Until.Sub(retrying.RetryAt).Abs() > time.Minute || !strings.Contains(h.Message, "mailbox is full") || *h.Value != 1 || *h.Limit != 6 || !strings.Contains(*h.Fix, "job retry") {
		t.Errorf("retry: %+v", h)
	}
	w.refused(ledger.CodeNotFound, "globex.explain."+string(dead.ID), "")
	w.refused(ledger.CodeNotFound, "acme.explain.nope", "")
}

// each of the leader's holds comes with the setting it is made of, who set it, when and why, and the command that
// would lift it; the reason is the first of R-229.
func TestExplainNamesTheSetting(t *testing.T) {
	w := start(t)
	ada := ledger.Meta{Actor: schemas.Actor{Type: "user", ID: "ada"}}
	for _, set := range []schemas.Setting{
		&schemas.QueueSet{Settings: schemas.QueueSettings{Name: "bulk", MaxRunningPerOrg: 2}, Reason: "imports"},
		&schemas.HoldSet{Settings: schemas.HoldSettings{Scope: schemas.HoldScope{Type: "echo", Org: "acme"}, On: true}, Reason: "bounces"},
	} {
		if _, err := w.Ledger.Put(t.Context(), ada, set.Place(), func(schemas.Setting) (schemas.Setting, error) { return set, nil }); err != nil {
			t.Fatal(err)
		}
	}
	scope := schemas.HoldScope{Type: "echo", Org: "acme"}
	until := time.Now().Add(time.Minute).UTC()
	blockers := []ledger.Blocker{
		{Kind: ledger.BlockLimit, Scope: schemas.HoldScope{Org: "acme", Queue: "bulk"}, Setting: "queue.bulk", Field: "max_running_per_org", Limit: 2, Used: 2},
		{Kind: ledger.BlockHold, Scope: scope, Setting: "hold." + scope.ID()},
		{Kind: ledger.BlockRate, Scope: schemas.HoldScope{Org: "acme"}, Setting: "org.acme", Field: "start_rate", Rate: &schemas.Rate{Count: 5, PerMS: 60_000}, Until: until},
	}
	leader := w.Connect()
	sub, err := leader.Subscribe(ledger.SubjectExplain, func(m *nats.Msg) {
		body, _ := json.Marshal(ledger.Explanation{Place: ledger.PlaceLane, Ahead: 41, Workers: 1, Slots: 4, Free: 2, Blockers: blockers})
		_ = m.Respond(body)
	})
	if err == nil {
		err = leader.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	x := w.explain(w.submit(ledger.SubmitRequest{}))
	if !x.Leader || *x.Reason != "paused" || x.Place == nil || x.Place.Ahead != 41 || x.Workers != (gateway.ExplainWorkers{Serving: 1, Slots: 4, FreeSlots: 2}) || x.EarliestStart != nil {
		t.Errorf("explanation: %+v", x)
	}
	for i, want := range []struct{ message, by, reason, fix string }{
		{"2 jobs of queue bulk, org acme run or are about to, and its limit is 2", "user:ada", "imports", "jobledger queue edit bulk --max-running-per-org N --reason TEXT"},
		{"org acme, type echo is paused", "user:ada", "bounces", "jobledger queue resume --type echo --org acme --reason TEXT"},
		{"the start rate of 5/1m0s of org acme is used up, until " + until.Format(time.RFC3339), "", "", "jobledger org edit acme --rate N/D --reason TEXT"},
	} {
		h := x.Holds[i]
		if h.Message != want.message || h.Fix == nil || *h.Fix != want.fix || (h.Actor == nil) != (want.by == "") || want.by != "" && (*h.Actor != want.by || *h.Reason != want.reason || h.At == nil) {
			t.Errorf("hold %d: %+v", i, h)
		}
	}
	if h := x.Holds[0]; *h.Value != 2 || *h.Limit != 2 || *h.Setting != "queue.bulk" || *h.Field != "max_running_per_org" {
		t.Errorf("limit: %+v", h)
	}
	blockers = blockers[2:]
	if x := w.explain(w.submit(ledger.SubmitRequest{})); *x.Reason != "limited" || x.EarliestStart == nil || !x.EarliestStart.Equal(until) || !strings.Contains(x.Next, "can start at") {
		t.Errorf("with an end: %+v", x)
	}
	if err := sub.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
}
