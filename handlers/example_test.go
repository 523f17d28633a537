package handlers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
)

// A worker serves types until its context ends.
func ExampleWorker() {
	serve := func(ctx context.Context, l *ledger.Ledger) error {
		w, err := handlers.New(handlers.Config{
			Ledger: l,
			Slots:  16,
			Logger: zap.NewNop(),
			Serves: []handlers.Registration{
				{Type: "mail-send", Handler: sendMail},
				{Type: "page-fetch", Handler: &handlers.Exec{Command: `curl -fsS "$(jq -r .url)"`}},
				{Type: "hook-deliver", Handler: &handlers.HTTP{URL: "https://hooks.example.com/", Secrets: []string{"s3cret"}}},
			},
		})
		if err != nil {
			return err
		}
		return w.Run(ctx)
	}
	_ = serve // needs a server
}

type mail struct {
	To string `json:"to"`
}

type receipt struct {
	ID string `json:"id"`
}

var errNoSuchUser = errors.New("no such user")

var sendMail = handlers.Typed(func(_ context.Context, j *handlers.Job[mail]) (receipt, error) {
	if j.Args.To == "" {
		return receipt{}, handlers.Permanent(errNoSuchUser) // no retry can mend it
	}
	return receipt{ID: j.Token}, nil // the token is the same on every attempt
})

// A typed handler is given its args decoded.
func ExampleTyped() {
	result, err := sendMail.Run(context.Background(), &handlers.Attempt{Token: "acme-7-1", Args: json.RawMessage(`{"to":"ada"}`)})
	fmt.Println(string(result), err)
	_, err = sendMail.Run(context.Background(), &handlers.Attempt{Args: json.RawMessage(`{}`)})
	fmt.Println(handlers.Classify(err, nil).Error.Class)
	// Output:
	// {"id":"acme-7-1"} <nil>
	// permanent
}
