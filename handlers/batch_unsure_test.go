package handlers_test

import (
	"context"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// lateCopies holds the submits of a batch's items on their way: no answer comes, and they arrive when the batch is canceled.
type lateCopies struct {
	items string
	sent  chan struct{} // told of the first of each

	mu   sync.Mutex
	held map[string]*nats.Msg
}

func (c *lateCopies) intercept(next ledger.PublishFunc) ledger.PublishFunc {
	return func(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
		typ := m.Header.Get(schemas.HeaderType)
		switch {
		case strings.Contains(m.Subject, c.items) && strings.HasSuffix(typ, "."+string(schemas.EventSubmitted)):
			c.mu.Lock()
			if c.held[m.Subject] == nil {
				c.held[m.Subject] = &nats.Msg{Subject: m.Subject, Header: maps.Clone(m.Header), Data: m.Data}
				c.sent <- struct{}{}
			}
			c.mu.Unlock()
			<-ctx.Done()
			return nil, ctx.Err()
		case strings.HasSuffix(m.Subject, ".faxes") && strings.HasSuffix(typ, "."+string(schemas.EventCanceled)):
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, copied := range c.held {
				if _, err := next(ctx, copied); err != nil {
					return nil, err
				}
			}
		}
		return next(ctx, m)
	}
}

// A batch that is canceled while the submit of an item is not settled leaves no such item running: one that arrives before
// the batch is over, though its handler has looked for it in vain, is canceled behind that (R-35, D3).
func TestCanceledBatchIsUnsure(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	l, ctx := env.Ledger, t.Context()
	if _, err := l.PutType(ctx, schemas.TypeSettings{Name: "fax"}, ledger.Meta{}, ""); err != nil {
		t.Fatal(err)
	}
	spec := ledger.BatchSpec{Each: ledger.BatchItem{Type: "fax"}, Items: make([]ledger.BatchItem, 2)}
	args, err := spec.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.SubmitBatch(ctx, ledger.SubmitRequest{Org: org, ID: "faxes", Args: args}); err != nil {
		t.Fatal(err)
	}
	items := ledger.BatchItems(org, "faxes", 1)
	copies := &lateCopies{items: items, sent: make(chan struct{}, len(spec.Items)), held: make(map[string]*nats.Msg)}
	slow, err := ledger.New(ledger.Config{Conn: env.Connect(), Logger: zap.NewNop(), Intercept: copies.intercept})
	if err != nil {
		t.Fatal(err)
	}
	ld := newLeader(t, env)
	runBatches(t, env, func(c *handlers.BatchesConfig) { c.Ledger = slow })
	j, _, err := l.Do(ctx, org, "faxes", &ledger.Queue{Policy: schemas.DefaultPolicy(), Epoch: 10, Now: time.Now()}, ledger.Meta{})
	if err != nil {
		t.Fatal(err)
	}
	ld.offer(j, 10)
	for range spec.Items {
		wait(t, "the submits", copies.sent)
	}
	if j, _, err = l.Do(ctx, org, "faxes", &ledger.Cancel{Reason: "wrong list"}, ledger.Meta{}); err != nil || j.State != schemas.StateRunning {
		t.Fatalf("%+v, %v", j, err)
	}
	ld.set(func(ld *leader) { ld.answer.Canceled = []schemas.Seq{j.Fence.Seq} })
	for i := range spec.Items {
		for limit := time.Now().Add(patience); ; {
			item, err := l.Fold(ctx, org, ledger.BatchItemID(items, i))
			if err == nil && item.State == schemas.StateCanceled {
				break
			}
			if time.Now().After(limit) {
				t.Fatalf("the batch is %s, item %d is %s: %v", ld.fold("faxes").State, i, item.State, err)
			}
		}
	}
	if j := ld.fold("faxes"); j.State != schemas.StateCanceled {
		t.Errorf("the batch is %s", j.State)
	}
}
