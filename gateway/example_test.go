package gateway_test

import (
	"context"
	"fmt"
	"log"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
)

// Any connection with a tenant's credentials is enough to submit a job and to wait for its result.
func ExampleClient() {
	nc, err := nats.Connect(nats.DefaultURL)
	if err != nil {
		log.Fatal(err)
	}
	defer nc.Close()
	c := gateway.Client{Conn: nc, Org: "demo"}
	job, err := c.Submit(context.Background(), ledger.SubmitRequest{Type: "echo", Args: []byte(`{"name":"Ada"}`)})
	if err != nil {
		log.Fatal(err)
	}
	record, err := c.Wait(context.Background(), job.ID)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(record.State, string(record.Result))
}
