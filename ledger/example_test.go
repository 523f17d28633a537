package ledger_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// A publisher submits a job and later cancels it. The ledger was provisioned by a server (jobledger server).
func Example() {
	nc, err := nats.Connect(nats.DefaultURL)
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	l, err := ledger.New(ledger.Config{Conn: nc, Logger: zap.NewNop()})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := l.Check(ctx); err != nil {
		log.Fatal(err)
	}
	receipt, err := l.Submit(ctx, ledger.SubmitRequest{Org: "acme", Type: "email-send", Args: []byte(`{"to":"ada@example.org"}`)})
	if err != nil {
		log.Fatal(err) // an *ledger.Error: see Submit for the codes
	}
	fmt.Println(receipt.ID, receipt.Duplicate)

	who := ledger.Meta{Actor: schemas.Actor{Type: "user", ID: "ada"}}
	job, _, err := l.Do(ctx, receipt.Org, receipt.ID, &ledger.Cancel{Reason: "typo in the text"}, who)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(job.State)
}
