package handlers_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// runBatches runs what a server has for batches, without a server.
func runBatches(t *testing.T, env *ledgertest.Env, change ...func(*handlers.BatchesConfig)) {
	t.Helper()
	feed, err := ledger.NewFeed(ledger.FeedConfig{Ledger: env.NewLedger()})
	if err != nil {
		t.Fatal(err)
	}
	cfg := handlers.BatchesConfig{Ledger: env.NewLedger(), Feed: feed, Name: "server", Logger: zap.NewNop()}
	for _, f := range change {
		f(&cfg)
	}
	b, err := handlers.NewBatches(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	fed, ran := make(chan error, 1), make(chan error, 1)
	go func() { fed <- feed.Run(ctx) }()
	go func() { ran <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ran; err != nil {
			t.Errorf("batches ended with %v", err)
		}
		<-fed
	})
	if err := feed.WaitFor(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
}

// The items of a batch that is canceled while no handler has it are canceled by the servers that see it: those that
// an earlier attempt has submitted, behind its last checkpoint too. One whose org was deleted, and which can have no
// callback any more, does not keep the others waiting.
func TestCanceledBatchIsSwept(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ctx := env.Context()
	l := env.Ledger
	if _, err := l.PutType(ctx, schemas.TypeSettings{Name: "fax"}, ledger.Meta{}, ""); err != nil {
		t.Fatal(err)
	}
	spec := ledger.BatchSpec{Each: ledger.BatchItem{Type: "fax"}}
	for i := range 100 {
		spec.Items = append(spec.Items, ledger.BatchItem{Args: fmt.Appendf(nil, "%d", i)})
	}
	args, err := spec.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.SubmitBatch(ctx, ledger.SubmitRequest{Org: org, ID: "faxes", Args: args}); err != nil {
		t.Fatal(err)
	}
	gone := spec
	gone.Then = &ledger.BatchItem{Type: "fax"}
	if args, err = gone.Encode(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.SubmitBatch(ctx, ledger.SubmitRequest{Org: "gone", ID: "faxes", Args: args}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.DeleteOrg(ctx, "gone", ledger.Meta{}, "contract ended"); err != nil {
		t.Fatal(err)
	}
	runBatches(t, env) // it has no leader: nobody offers it the batch
	if j, _, err := l.Do(ctx, "gone", "faxes", &ledger.Cancel{Reason: "contract ended"}, ledger.Meta{}); err != nil || j.State != schemas.StateCanceled {
		t.Fatalf("the deleted org's batch: %+v, %v", j, err)
	}
	do := func(cmd ledger.Command) *ledger.Job {
		t.Helper()
		j, _, err := l.Do(ctx, org, "faxes", cmd, ledger.Meta{})
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	j := do(&ledger.Queue{Policy: schemas.DefaultPolicy(), Epoch: 1, Now: time.Now()})
	j = do(&ledger.Claim{Generation: 1, Submitted: j.SubmittedSeq, Session: schemas.NewSessionID()})
	items := ledger.BatchItems(org, "faxes", 1)
	const given = 37 // two rounds and a part of the next, in which some are missing
	missing := map[int]bool{33: true, 35: true}
	for i := range given {
		if missing[i] {
			continue
		}
		if _, err := l.SubmitItem(ctx, org, "faxes", items, i, spec.Item(i), ledger.Meta{}); err != nil {
			t.Fatal(err)
		}
	}
	do(&ledger.Outcome{Fence: j.Fence, Generation: 1, Attempt: 1, Kind: schemas.EventReleased, Reason: schemas.ReleaseDrain})
	if j := do(&ledger.Cancel{Reason: "wrong list"}); j.State != schemas.StateCanceled {
		t.Fatalf("the batch is %s", j.State)
	}
	for i := range given {
		if missing[i] {
			continue
		}
		for limit := time.Now().Add(patience); ; {
			j, err := l.Fold(ctx, org, ledger.BatchItemID(items, i))
			if err != nil {
				t.Fatal(err)
			}
			if j.State == schemas.StateCanceled {
				break
			}
			if time.Now().After(limit) {
				t.Fatalf("item %d is %s", i, j.State)
			}
		}
	}
}
