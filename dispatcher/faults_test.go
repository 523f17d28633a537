package dispatcher_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/dispatcher"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// faultRow is one write of the dispatcher and what it is to end in.
type faultRow struct {
	name  string
	event schemas.EventName
	// begin brings the job "j" to where the leader will write the event.
	begin func(t *testing.T, env *ledgertest.Env, w *fakeWorker)
	// ended reports that the write had its effect.
	ended func(j *ledger.Job) bool
}

func faultRows() []faultRow {
	claim := func(t *testing.T, env *ledgertest.Env, w *fakeWorker) *ledger.Job {
		submit(t, env, "a", "j")
		_, j := w.take("a")
		return j
	}
	return []faultRow{
		{"queued", schemas.EventQueued, func(t *testing.T, env *ledgertest.Env, _ *fakeWorker) { submit(t, env, "a", "j") },
			func(j *ledger.Job) bool { return j.State == schemas.StateQueued }},
		{"lost", schemas.EventLost, func(t *testing.T, env *ledgertest.Env, w *fakeWorker) {
			claim(t, env, w)
			w.mu.Lock()
			clear(w.names) // it goes on beating, but names its attempt no more
			w.mu.Unlock()
		}, func(j *ledger.Job) bool { return j.Losses == 1 && j.State == schemas.StateQueued }},
		{"canceled", schemas.EventCanceled, func(t *testing.T, env *ledgertest.Env, w *fakeWorker) {
			j := claim(t, env, w)
			if _, _, err := env.NewLedger().Do(env.Context(), j.Org, j.ID, &ledger.Cancel{Reason: "enough"}, ledger.Meta{}); err != nil {
				t.Fatal(err)
			}
		}, func(j *ledger.Job) bool { return j.State == schemas.StateCanceled && j.CancelForced }},
		{"expired", schemas.EventDeadLettered, func(t *testing.T, env *ledgertest.Env, _ *fakeWorker) {
			if _, err := env.NewLedger().Submit(env.Context(), ledger.SubmitRequest{Org: "acme", Type: "a", ID: "j", DeadlineIn: 200 * time.Millisecond}); err != nil {
				t.Fatal(err)
			}
		}, func(j *ledger.Job) bool { return j.DeadReason == schemas.DeadExpired }},
		{"org deleted while waiting", schemas.EventDeadLettered, func(t *testing.T, env *ledgertest.Env, _ *fakeWorker) {
			if _, err := env.NewLedger().Submit(env.Context(), ledger.SubmitRequest{Org: "acme", Type: "a", ID: "j", Delay: time.Hour}); err != nil {
				t.Fatal(err)
			}
			deleteOrg(t, env)
		}, func(j *ledger.Job) bool { return j.DeadReason == schemas.DeadOrgDeleted }},
		{"org deleted while running", schemas.EventDeadLettered, func(t *testing.T, env *ledgertest.Env, w *fakeWorker) {
			claim(t, env, w)
			deleteOrg(t, env)
		}, func(j *ledger.Job) bool { return j.DeadReason == schemas.DeadOrgDeleted && j.Attempt == 1 }},
	}
}

func deleteOrg(t *testing.T, env *ledgertest.Env) {
	t.Helper()
	if _, err := env.NewLedger().DeleteOrg(env.Context(), "acme", ledger.Meta{}, "gone"); err != nil {
		t.Fatal(err)
	}
}

// Each write of the dispatcher is refused, lost on its way, or stored with its reply lost, also twice in a row
// and with a restart of the server in between: it has its effect once, and the job goes on (DESIGN D3).
func TestFaultTable(t *testing.T) {
	t.Parallel()
	kinds := map[string]ledgertest.Kind{"refused": ledgertest.Refuse, "request lost": ledgertest.LoseRequest, "reply lost": ledgertest.LoseReply}
	for _, row := range faultRows() {
		for name, kind := range kinds {
			for _, restart := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/restart=%t", row.name, name, restart), func(t *testing.T) {
					t.Parallel()
					playFault(t, row, kind, restart)
				})
			}
		}
	}
}

func playFault(t *testing.T, row faultRow, kind ledgertest.Kind, restart bool) {
	env := ledgertest.Start(t)
	grace := schemas.Millis(100)
	if _, err := env.Ledger.PutType(env.Context(), schemas.TypeSettings{Name: "a", GraceMS: &grace}, ledger.Meta{}, ""); err != nil {
		t.Fatal(err)
	}
	startHost(t, env, "s1", func(c *dispatcher.Config) { c.Ledger = env.Ledger }).leads()
	w := newWorker(t, env, 2, "a")
	w.alive()
	happened := make(chan struct{}, 2)
	env.Faults.Inject(ledgertest.Fault{Event: row.event, Kind: kind, Times: 2, After: func(*nats.Msg) { happened <- struct{}{} }})
	row.begin(t, env, w)
	select {
	case <-happened:
	case <-time.After(patience):
		t.Fatal("the write was not tried")
	}
	if restart {
		env.Stop()
		env.StartServer()
	}
	eventually(t, "the write has its effect", func() bool {
		j, err := env.NewLedger().Fold(env.Context(), "acme", "j")
		return err == nil && row.ended(j)
	})
	h, err := env.NewLedger().History(env.Context(), "acme", "j")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range h.Entries {
		if e.Err == nil && e.Name() == row.event {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%s is stored %d times", row.event, n)
	}
}

// The reply to queued is lost, and then somebody cancels the job: the leader finds its own event beneath, and
// no offer stays.
func TestQueuedThenCanceledBehindALostReply(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	putType(t, env, "a")
	startHost(t, env, "s1", func(c *dispatcher.Config) { c.Ledger = env.Ledger }).leads()
	newWorker(t, env, 2, "a").alive()
	other := env.NewLedger()
	env.Faults.Inject(ledgertest.Fault{Event: schemas.EventQueued, Kind: ledgertest.LoseReply, After: func(*nats.Msg) {
		if _, _, err := other.Do(env.Context(), "acme", "j", &ledger.Cancel{Reason: "enough"}, ledger.Meta{}); err != nil {
			t.Error(err)
		}
	}})
	submit(t, env, "a", "j")
	eventually(t, "the fault", func() bool { return env.Faults.Hits() == 1 })
	eventually(t, "the job is canceled and no offer stands", func() bool {
		return stateOf(t, env, "j").State == schemas.StateCanceled && workMessages(t, env) == 0
	})
}

// The job's events are gone before queued, as after a purge: the decision is dropped, others go on.
func TestQueuedOfAPurgedJob(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	env.SkipVerify() // the purge is a damage
	putType(t, env, "a")
	h := startHost(t, env, "s1", func(c *dispatcher.Config) { c.Ledger = env.Ledger }).leads()
	w := newWorker(t, env, 2, "a")
	w.alive()
	env.Faults.Inject(ledgertest.Fault{Event: schemas.EventQueued, Kind: ledgertest.Pass, Before: func(*nats.Msg) {
		s, err := env.NewLedger().JetStream().Stream(env.Context(), ledger.StreamLedger)
		if err == nil {
			err = s.Purge(env.Context(), jetstream.WithPurgeSubject("jobs.acme.gone"))
		}
		if err != nil {
			t.Error(err)
		}
	}})
	submit(t, env, "a", "gone")
	eventually(t, "the decision is dropped", func() bool { return h.Status().Core.Refused > 0 && h.Status().Core.InFlight == 0 })
	submit(t, env, "a", "next")
	_, j := w.take("a")
	w.complete(j)
	eventually(t, "nothing is left", func() bool { s := h.Status().Core; return s.Queued+s.Running+s.Waiting == 0 })
}
