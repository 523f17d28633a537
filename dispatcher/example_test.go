package dispatcher_test

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/dispatcher"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// A core is fed events and beats and asked what to do; whoever carries that out settles it.
func ExampleCore() {
	core := dispatcher.NewCore(dispatcher.DefaultTimes())
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	core.Apply(&schemas.Event{Seq: 1, Time: at, Subject: schemas.JobSubject("acme", "report-7"),
		Data: &schemas.Submitted{Type: "report", Queue: "default", Priority: schemas.PriorityNormal, Generation: 1}})
	core.Lead(2, 0)
	fmt.Println("without a worker:", len(core.Decide(at, 0, 10)))

	core.Beat(&ledger.Beat{Session: "s1", Slots: 1, Serves: []ledger.Serves{{Queue: "default", Type: "report"}}}, 0)
	for _, d := range core.Decide(at, 0, 10) {
		fmt.Println("queue the job submitted at", d.ID, "of", d.Org)
		core.Settle(d, dispatcher.Result{Outcome: dispatcher.Failed}) // or Stored, with the event
	}
	// Output:
	// without a worker: 0
	// queue the job submitted at 1 of acme
}

// A server process runs one host beside its feed.
func ExampleHost() {
	serve := func(ctx context.Context, forHost, forFeed *ledger.Ledger) error {
		feed, err := ledger.NewFeed(ledger.FeedConfig{Ledger: forFeed})
		if err != nil {
			return err
		}
		host, err := dispatcher.New(dispatcher.Config{Ledger: forHost, Feed: feed, Server: "server-1", Logger: zap.NewNop()})
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- feed.Run(ctx) }()
		err = host.Run(ctx)
		cancel()
		<-done
		return err
	}
	_ = serve // needs a server
}
