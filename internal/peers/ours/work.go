package ours

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// StartWorkers serves jobs, n at once, and calls handle with the payload of each as its handler. stop drains the worker
// and proves that the server holds as many completions as were reported.
func (c *Client) StartWorkers(ctx context.Context, n int, handle func(payload []byte)) (stop func() error, err error) {
	var roles [3]*nats.Conn // claims and outcomes, offers and beats, progress
	hangUp := func() {
		for _, nc := range roles {
			if nc != nil {
				nc.Close()
			}
		}
	}
	for i := range roles {
		if roles[i], err = c.dial(); err != nil {
			hangUp()
			return nil, err
		}
	}
	l, err := ledger.New(ledger.Config{Conn: roles[0], Logger: zap.NewNop()})
	if err != nil {
		hangUp()
		return nil, err
	}
	handler := handlers.HandlerFunc(func(_ context.Context, a *handlers.Attempt) (json.RawMessage, error) {
		payload, err := unquote(a.Args)
		if err != nil {
			return nil, handlers.Permanent(err)
		}
		handle(payload)
		return nil, nil
	})
	w, err := handlers.New(handlers.Config{Ledger: l, Work: roles[1], Live: roles[2], Slots: n, Name: "bench", Logger: zap.NewNop(),
		Serves: []handlers.Registration{{Type: kind, Handler: handler}}, Report: c.report})
	if err != nil {
		hangUp()
		return nil, err
	}
	c.workers.Store(true)
	working, end := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(working) }()
	return func() error {
		end()
		err := <-ended
		hangUp()
		if err != nil {
			return err
		}
		return c.prove(context.WithoutCancel(ctx))
	}, nil
}

func (c *Client) report(r handlers.Report) {
	if r.Outcome == schemas.EventCompleted {
		c.completed.Add(1)
	} else {
		c.others.Add(1)
	}
}

// prove compares what was acknowledged with what the server's views hold.
func (c *Client) prove(ctx context.Context) error {
	acked, completed := c.acked.Load(), c.completed.Load()
	held, err := c.counts(ctx)
	if err != nil {
		return err
	}
	if held.Total() != acked || held.Completed != completed {
		return fmt.Errorf("%d submits and %d completions were acknowledged, and the views hold %d jobs of which %d are completed",
			acked, completed, held.Total(), held.Completed)
	}
	return nil
}

// quote makes a payload one JSON string.
func quote(payload []byte) json.RawMessage {
	if !plain(payload) {
		text, _ := json.Marshal(string(payload)) // a string always can be
		return text
	}
	b := make([]byte, 0, len(payload)+2)
	return append(append(append(b, '"'), payload...), '"')
}

func unquote(args json.RawMessage) ([]byte, error) {
	if len(args) < 2 {
		return nil, errors.New("the args are no payload")
	}
	if inner := args[1 : len(args)-1]; args[0] == '"' && plain(inner) {
		return inner, nil
	}
	var text string
	err := json.Unmarshal(args, &text)
	return []byte(text), err
}

// plain: in JSON these bytes stand for themselves.
func plain(b []byte) bool {
	for _, c := range b {
		if c < ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}
