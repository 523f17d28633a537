package ledger_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// A replica may show an event before the stream's leader has applied it. An append behind that event is
// answered "in flight", and the leader's get finds nothing: the expected message is not gone, and the append is
// sent again until the leader has it (DESIGN D3).
func TestExpectedMessageIsNotAppliedYet(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ctx := env.Context()
	submitted := newSubmitted(schemas.NewJobID())
	expect := end(t, env.Ledger) + 1 // where it will be
	tries := 0
	l := withPublish(t, env, func(next ledger.PublishFunc) ledger.PublishFunc {
		return func(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
			if tries++; tries < 3 {
				return &nats.Msg{Data: []byte(`{"error":{"code":400,"err_code":10164,"description":"wrong last sequence"}}`)}, nil
			}
			if tries == 3 {
				if err := env.Ledger.Append(ctx, submitted, 0); err != nil || submitted.Seq != expect {
					t.Errorf("the submitted event is at %d, want %d: %v", submitted.Seq, expect, err)
				}
			}
			return next(ctx, m)
		}
	})
	job := &ledger.Job{Org: sceneOrg, ID: submitted.Job}
	stored := *submitted
	stored.Seq, stored.Time = expect, time.Now()
	if !ledger.Apply(job, &stored) {
		t.Fatal("a submitted event is illegal")
	}
	after, e, err := l.DoFrom(ctx, job, &ledger.Queue{Policy: schemas.DefaultPolicy(), Epoch: 1, Now: time.Now()}, ledger.Meta{})
	if err != nil || e == nil || after.State != schemas.StateQueued || tries != 3 {
		t.Errorf("queued behind it: %v after %d tries: %v", after, tries, err)
	}
}

// Who has seen an event of a job gets a fold that holds it, and an event that is only about to be applied is
// waited for; what the leader has passed without it is not there (DESIGN D3).
func TestReadsWaitForTheLeader(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a cluster takes seconds to elect its leaders")
	}
	env := ledgertest.StartCluster(t)
	reader := env.NewLedger()
	for name, read := range map[string]func(ctx context.Context, id schemas.JobID, seen schemas.Seq) error{
		"fold": func(ctx context.Context, id schemas.JobID, seen schemas.Seq) error {
			_, err := reader.FoldSince(ctx, sceneOrg, id, seen)
			return err
		},
		"event": func(ctx context.Context, _ schemas.JobID, seen schemas.Seq) error {
			_, err := reader.EventAt(ctx, seen)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := env.Context()
			submitted := newSubmitted(schemas.NewJobID())
			seen := end(t, env.Ledger) + 1 // where it will be
			asked, err := env.Connect().SubscribeSync("$JS.API.STREAM.MSG.GET." + ledger.StreamLedger)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- read(ctx, submitted.Job, seen) }()
			for range 3 { // for the event, where the leader stands, and that again: it was not found
				if _, err := asked.NextMsg(time.Minute); err != nil {
					t.Fatal(err)
				}
			}
			if err := env.Ledger.Append(ctx, submitted, 0); err != nil || submitted.Seq != seen {
				t.Fatalf("the event is at %d, want %d: %v", submitted.Seq, seen, err)
			}
			if err := <-done; err != nil {
				t.Errorf("an event that was stored while its reader waited: %v", err)
			}
			if err := read(ctx, schemas.NewJobID(), seen); name == "fold" && !errors.Is(err, ledger.ErrNotFound) {
				t.Errorf("a job that is not there: %v, want not found", err)
			}
		})
	}
}
