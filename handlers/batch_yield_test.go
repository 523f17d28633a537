package handlers_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// A batch that has run for long hands itself back, consumes no attempt, and is carried before anybody claims it again: the
// archive's boundary may pass its beginning (R-25, R-213, R-230, DESIGN D13).
func TestBatchYieldIsCarried(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	l := env.Ledger
	if _, err := l.PutType(t.Context(), schemas.TypeSettings{Name: "fax"}, ledger.Meta{}, ""); err != nil {
		t.Fatal(err)
	}
	spec := ledger.BatchSpec{Each: ledger.BatchItem{Type: "fax"}, Items: make([]ledger.BatchItem, 3)}
	args, err := spec.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.SubmitBatch(t.Context(), ledger.SubmitRequest{Org: org, ID: "faxes", Args: args}); err != nil {
		t.Fatal(err)
	}
	ld := newLeader(t, env)
	runBatches(t, env, func(c *handlers.BatchesConfig) { c.RunMax = 50 * time.Millisecond })
	j, _, err := l.Do(t.Context(), org, "faxes", &ledger.Queue{Policy: schemas.DefaultPolicy(), Epoch: 10, Now: time.Now()}, ledger.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	ld.offer(j, 10)
	told := []schemas.EventName{schemas.EventReleased, schemas.EventCarried}
	for limit := time.Now().Add(patience); ; {
		got := names(t, env, "faxes")
		if n := len(got); n > 2 && slices.Equal(got[n-2:], told) {
			break
		}
		if time.Now().After(limit) {
			t.Fatalf("the batch's events are %v", got)
		}
	}
	switch j := ld.fold("faxes"); {
	case j.State != schemas.StateQueued, j.Used != 0, j.Attempt != 1, len(j.Checkpoint) == 0:
		t.Errorf("the batch is %s, attempt %d, %d used, checkpoint %s", j.State, j.Attempt, j.Used, j.Checkpoint)
	}
}

// A batch that is canceled in the moment in which it hands itself back is left as it is: nothing is carried behind its end.
func TestBatchYieldIsCanceled(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	l := env.Ledger
	if _, err := l.PutType(t.Context(), schemas.TypeSettings{Name: "fax"}, ledger.Meta{}, ""); err != nil {
		t.Fatal(err)
	}
	spec := ledger.BatchSpec{Each: ledger.BatchItem{Type: "fax"}, Items: make([]ledger.BatchItem, 3)}
	args, err := spec.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.SubmitBatch(t.Context(), ledger.SubmitRequest{Org: org, ID: "faxes", Args: args}); err != nil {
		t.Fatal(err)
	}
	canceled := make(chan struct{})
	own, err := ledger.New(ledger.Config{Conn: env.Connect(), Logger: zap.NewNop(), Intercept: func(next ledger.PublishFunc) ledger.PublishFunc {
		return func(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
			reply, err := next(ctx, m)
			if err == nil && strings.HasSuffix(m.Header.Get(schemas.HeaderType), "."+string(schemas.EventReleased)) {
				if _, _, err := l.Do(context.Background(), org, "faxes", &ledger.Cancel{Reason: "wrong list"}, ledger.Meta{}); err != nil {
					t.Error(err)
				}
				close(canceled)
			}
			return reply, err
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	ld := newLeader(t, env)
	t.Cleanup(func() { // behind the end of the worker, which waits for what a yield does
		if got := events(t, env, schemas.JobSubject(org, "faxes").String())["faxes"]; got[len(got)-1].Name() != schemas.EventCanceled {
			t.Errorf("the batch ends with %s", got[len(got)-1].Name())
		}
	})
	runBatches(t, env, func(c *handlers.BatchesConfig) { c.Ledger, c.RunMax = own, 50*time.Millisecond })
	j, _, err := l.Do(t.Context(), org, "faxes", &ledger.Queue{Policy: schemas.DefaultPolicy(), Epoch: 10, Now: time.Now()}, ledger.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	ld.offer(j, 10)
	wait(t, "canceled", canceled)
}
