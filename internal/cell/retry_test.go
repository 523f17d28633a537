package cell_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// an operator's retry runs. A job that waits for its retry runs now; a dead letter
// starts again with a fresh budget, spends all of it, and keeps the numbering of its attempts; a canceled job
// starts again too. Nothing that was told before is told otherwise after (C44).
func TestRetryRuns(t *testing.T) {
	t.Parallel()
	env, _ := ledgertest.Cell(t)
	s := newSystem(t, env)
	mended := make(chan struct{})
	s.worker("w", "flaky", 4, func(_ context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		select {
		case <-mended:
			return a.Args, nil
		default:
			return nil, handlers.Transient(errors.New("receiver is down"))
		}
	})
	two, far := 2, schemas.Backoff{ListMS: []schemas.Millis{schemas.MillisOf(time.Hour)}}
	at := schemas.Backoff{ListMS: []schemas.Millis{1000}}
	for id, o := range map[schemas.JobID]schemas.Override{"waits": {Backoff: &far}, "dead": {MaxAttempts: &two, Backoff: &at}} {
		s.submitOne(ledger.SubmitRequest{Org: acme, Type: "flaky", ID: id, Override: &o, RegisterUnknown: true})
	}
	s.submitOne(ledger.SubmitRequest{Org: acme, Type: "flaky", ID: "canceled", Delay: 2 * time.Second, RegisterUnknown: true})
	c := env.Client(acme)
	if _, err := c.Cancel(t.Context(), "canceled", ""); err != nil {
		t.Fatal(err)
	}
	state := func(id schemas.JobID, want schemas.State, attempt int) {
		t.Helper()
		s.await(string(id)+" "+string(want), func() bool {
			j := s.jobs[id]
			return j != nil && j.State == want && j.Attempt == attempt
		})
	}
	state("waits", schemas.StateRetrying, 1)
	state("dead", schemas.StateDeadLettered, 2)
	retry := func(id schemas.JobID) {
		t.Helper()
		if _, err := c.Retry(t.Context(), id, gateway.RetryRequest{Reason: "try again"}); err != nil {
			t.Fatal(err)
		}
	}
	retry("dead")
	state("dead", schemas.StateDeadLettered, 4) // both attempts of the fresh budget
	if j := s.jobs["dead"]; j.Used != 2 || j.DeadReason != schemas.DeadRetriesExhausted {
		t.Errorf("after the fresh budget: %d used, %s", j.Used, j.DeadReason)
	}
	close(mended)
	began := time.Now()
	retry("waits")
	state("waits", schemas.StateCompleted, 2)
	t.Logf("a job an hour from its retry completed %s after `job retry`", time.Since(began).Round(time.Millisecond))
	retry("dead")
	state("dead", schemas.StateCompleted, 5)
	retry("canceled")
	state("canceled", schemas.StateCompleted, 1)
	h, err := c.History(t.Context(), "dead")
	if err != nil || len(h) != 18 {
		t.Errorf("the history has %d events, want 18: %v", len(h), err)
	}
	s.check([]schemas.JobID{"waits", "dead", "canceled"})
}
