package handlers_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
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

type account struct {
	Pages int `json:"pages"`
}

// syncPages copies an account page by page, and goes on where an earlier attempt stopped.
var syncPages = handlers.Typed(func(ctx context.Context, j *handlers.Job[account]) (int, error) {
	var at struct {
		Page int `json:"page"`
	}
	if j.Checkpoint != nil {
		if err := json.Unmarshal(j.Checkpoint, &at); err != nil {
			return 0, handlers.Permanent(err)
		}
	}
	for ; at.Page < j.Args.Pages; at.Page++ {
		j.Progress(schemas.Progress{Percent: 100 * at.Page / j.Args.Pages, Message: fmt.Sprintf("page %d of %d", at.Page+1, j.Args.Pages),
			Steps: []schemas.Step{{Name: "copy", State: "in_progress"}, {Name: "check", State: "pending"}}})
		// ... copy the page; then keep that it is done.
		kept, err := json.Marshal(map[string]int{"page": at.Page + 1})
		if err != nil {
			return 0, err
		}
		switch err := j.SaveCheckpoint(ctx, kept); {
		case errors.Is(err, handlers.ErrNoCheckpoints): // outside a worker, as here
		case err != nil:
			return 0, err
		}
	}
	return at.Page, nil
})

// A handler reports progress, and saves a checkpoint that the next attempt goes on from.
func ExampleAttempt_SaveCheckpoint() {
	second := &handlers.Attempt{Number: 2, Args: json.RawMessage(`{"pages":9}`), Checkpoint: json.RawMessage(`{"page":7}`)}
	result, err := syncPages.Run(context.Background(), second)
	fmt.Println(string(result), err)
	fmt.Println(second.LastProgress().Message)
	// Output:
	// 9 <nil>
	// page 9 of 9
}
