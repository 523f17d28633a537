package ledger_test

import (
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// beginQuickly submits a job of org acme, one event.
func beginQuickly(t testing.TB, l *ledger.Ledger, id schemas.JobID) *ledger.Job {
	return moveOne(t, l, &ledger.Job{Org: "acme", ID: id}, &ledger.Begin{Spec: schemas.Submitted{Type: "t", Queue: "default",
		Priority: schemas.PriorityNormal, Args: []byte(`{"to":"somebody@example.com","n":12345}`)}})
}

// runQuickly queues, runs and completes it, three events.
func runQuickly(t testing.TB, l *ledger.Ledger, j *ledger.Job) {
	j = moveOne(t, l, j, &ledger.Queue{Policy: schemas.DefaultPolicy(), Now: time.Now()})
	j = moveOne(t, l, j, &ledger.Claim{Generation: 1, Submitted: j.SubmittedSeq, Session: "01938d4a-0000-7000-8000-0000000000aa", Worker: "worker-1"})
	moveOne(t, l, j, &ledger.Outcome{Kind: schemas.EventCompleted, Fence: j.Fence, Generation: 1, Attempt: 1, Now: time.Now(), Result: []byte(`{"ok":true}`)})
}

func moveOne(t testing.TB, l *ledger.Ledger, j *ledger.Job, cmd ledger.Command) *ledger.Job {
	t.Helper()
	j, _, err := l.DoFrom(t.Context(), j, cmd, ledger.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	return j
}
