package cell_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// R-315 through a whole cell: large args in, a large result out; and the leader removes what no event names, here
// what a worker left that died between upload and append. The checker at the end finds every payload in its place.
func TestPayloads(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	orphan, err := env.Ledger.StoreResult(t.Context(), "acme", "killed", schemas.NewEventID(), []byte(`"nobody names me"`))
	if err != nil {
		t.Fatal(err)
	}
	store, err := env.Ledger.JetStream().ObjectStore(t.Context(), ledger.StoreResults)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	watch, err := store.Watch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = watch.Stop() }()
	env.RunServer(func(c *cell.Config) { c.PayloadGrace, c.CollectEvery = 5*time.Second, 100*time.Millisecond })
	work(t, env)
	c := env.Client("acme")
	args := json.RawMessage(`{"fill":"` + strings.Repeat("x", 2<<20) + `"}`)
	r, err := c.Submit(t.Context(), ledger.SubmitRequest{Type: "echo", Args: args})
	if err != nil {
		t.Fatal(err)
	}
	finish(t, c, r.ID, time.Minute)
	for gone := false; !gone; {
		select {
		case o := <-watch.Updates():
			gone = o != nil && o.Name == orphan.Name && o.Deleted
		case <-ctx.Done():
			t.Fatal("the orphan stays")
		}
	}
	if got, err := c.Result(t.Context(), r.ID); err != nil || string(got.Result) != string(args) {
		t.Errorf("the result is %d bytes, %v", len(got.Result), err)
	}
}
