package ledger_test

import (
	"testing"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// TestClosedDoor shows together: see closedDoor, which TestReplicated runs on a cluster.
func TestClosedDoor(t *testing.T) {
	t.Parallel()
	env, _ := ledgertest.Cell(t)
	putSetting(t, env.Ledger, &schemas.TypeSet{Settings: schemas.TypeSettings{Name: "echo"}})
	closedDoor(t, env)
}

// closedDoor submits at a door that takes nothing new: work that stands in the stream's window already is answered with
// its job, other work is refused, and asking leaves nothing behind, neither in the stream nor in its window.
func closedDoor(t *testing.T, env *ledgertest.Env) {
	const narrow = schemas.QueueName("narrow")
	l := env.NewLedger()
	limit := func(n int) {
		putSetting(t, l, &schemas.QueueSet{Settings: schemas.QueueSettings{Name: narrow, MaxWaitingPerOrg: n}})
	}
	ask := func(args, key string) ledger.SubmitRequest {
		r := request("echo", args)
		r.Queue, r.Key = narrow, key
		return r
	}
	limit(2)
	same, keyed := ask(`{"door":1}`, ""), ask(`{"door":2}`, "k")
	first, second := submit(t, l, same), submit(t, l, keyed)
	before := len(messages(t, l, "jobs.>"))
	for name, c := range map[string]struct {
		r    ledger.SubmitRequest
		want ledger.Receipt
	}{"content": {same, first}, "key": {keyed, second}} {
		if got, err := l.Submit(t.Context(), c.r); err != nil || !got.Duplicate || got.ID != c.want.ID || got.Seq != c.want.Seq {
			t.Errorf("%s: %+v %v, want %+v", name, got, err, c.want)
		}
	}
	_, err := l.Submit(t.Context(), ask(`{"door":3}`, "k"))
	wantCode(t, err, ledger.CodeIDConflict, "key")
	other := ask(`{"door":4}`, "")
	for i := range 3 {
		_, err := l.Submit(t.Context(), other)
		if e := wantCode(t, err, ledger.CodeQueueFull, ""); e.Details["limit"] != 2 {
			t.Errorf("try %d: %v", i, e.Details)
		}
	}
	if after := len(messages(t, l, "jobs.>")); after != before {
		t.Errorf("%d messages were stored at a closed door", after-before)
	}
	// What was canceled does not block: its work is new, and refused.
	(&actor{t: t, l: l, id: first.ID}).do(&ledger.Cancel{})
	limit(1)
	_, err = l.Submit(t.Context(), same)
	wantCode(t, err, ledger.CodeQueueFull, "")
	limit(10)
	for i, r := range []ledger.SubmitRequest{other, same} {
		if got, err := l.Submit(t.Context(), r); err != nil || got.Duplicate {
			t.Errorf("request %d at the open door: %+v %v", i, got, err)
		}
	}
	if again, err := l.Submit(t.Context(), same); err != nil || !again.Duplicate || again.ID == first.ID {
		t.Errorf("the job that followed a canceled one: %+v %v", again, err)
	}
	limit(1)
	if again, err := l.Submit(t.Context(), same); err != nil || !again.Duplicate || again.ID == first.ID {
		t.Errorf("the job that followed a canceled one, at the closed door: %+v %v", again, err)
	}
}
