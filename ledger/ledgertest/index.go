package ledgertest

import (
	"context"
	"sync"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/projector/index"
)

// RunIndex keeps a query index of its own until the end of the test, as a server does, without one.
func (env *Env) RunIndex() *index.Index {
	env.t.Helper()
	feed, err := ledger.NewFeed(ledger.FeedConfig{Ledger: env.NewLedger()})
	if err != nil {
		env.t.Fatal(err)
	}
	x, err := index.New(index.Config{Ledger: env.NewLedger(), Feed: feed, Dir: env.t.TempDir(), Server: "index", Logger: zap.NewNop()})
	if err != nil {
		env.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = feed.Run(ctx) }) // ends with ctx
	running.Go(func() { _ = x.Run(ctx) })
	env.t.Cleanup(func() { cancel(); running.Wait() })
	return x
}
