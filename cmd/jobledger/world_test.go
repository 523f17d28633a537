package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/projector"
	"github.com/dartwing/jobledger/schemas"
)

// world is a cell for the commands to talk to: an embedded ledger on a port, a
// gateway, views, and the least of a leader, which queues and offers every
// submitted or retried job at once and never again, answers beats, and shows who sent them.
type world struct {
	*ledgertest.Env
	t   *testing.T
	env map[string]string
}

func startWorld(t *testing.T) *world {
	t.Helper()
	env := ledgertest.Start(t, ledgertest.WithPort())
	feed, err := ledger.NewFeed(ledger.FeedConfig{Ledger: env.NewLedger()})
	if err != nil {
		t.Fatal(err)
	}
	views, err := projector.New(projector.Config{Ledger: env.NewLedger(), Feed: feed, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	ready := make(chan struct{})
	door, err := gateway.New(gateway.Config{Ledger: env.NewLedger(), Conn: env.Connect(), Feed: feed, Logger: zap.NewNop(),
		RegisterUnknown: true, Actor: schemas.Actor{Type: "user", ID: "ada"}, Ready: func() { close(ready) }})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Env: env, t: t, env: map[string]string{"NATS_URL": env.URL(), "JOBLEDGER_ORG": "acme"}}
	w.answerBeats()
	w.component(feed.Run)
	w.component(func(ctx context.Context) error { return views.Run(ctx, 1) })
	w.component(door.Run)
	bulks, err := handlers.NewBulks(handlers.BulksConfig{Ledger: env.NewLedger(), Feed: feed, Act: door.ActBulk, Name: "server", Version: "0.0.0", Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	w.component(bulks.Run)
	leading := env.NewLedger() // here, so that its connection outlives the component
	w.component(func(ctx context.Context) error { return w.lead(ctx, feed, leading) })
	select {
	case <-ready:
	case <-time.After(time.Minute):
		t.Fatal("the gateway is not ready")
	}
	return w
}

// component runs until the test ends.
func (w *world) component(run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := run(ctx); err != nil && ctx.Err() == nil {
			w.t.Errorf("a component ended: %v", err)
		}
	}()
	w.t.Cleanup(func() { cancel(); <-ended })
}

func (w *world) answerBeats() {
	nc := w.Connect()
	answer, err := json.Marshal(ledger.BeatAnswer{Cell: w.Cell.ID, Epoch: 10, Position: 1 << 40})
	if err != nil {
		w.t.Fatal(err)
	}
	take := func(m *nats.Msg) {
		var b ledger.Beat
		if json.Unmarshal(m.Data, &b) == nil {
			p := ledger.Presence{Session: b.Session, Worker: b.Worker, Host: b.Host, Version: b.Version, StartedAt: b.StartedAt,
				SeenAt: time.Now(), Serves: b.Serves, Slots: b.Slots, Busy: b.Busy, Draining: b.Draining}
			shown, err := p.Encode()
			if b.Leaving {
				shown, err = ledger.Departure(b.Session), nil
			}
			if err == nil {
				_ = nc.PublishMsg(shown)
			}
		}
		_ = m.Respond(answer)
	}
	if _, err := nc.Subscribe(ledger.SubjectBeat, take); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) lead(ctx context.Context, feed *ledger.Feed, l *ledger.Ledger) error {
	cursor := feed.Subscribe(schemas.Position{})
	defer cursor.Close()
	for {
		entries, err := cursor.Next(ctx)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.Name() != schemas.EventSubmitted && e.Name() != schemas.EventRetried {
				continue
			}
			if err := queueAndOffer(ctx, l, w.Cell.ID, e); err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

func queueAndOffer(ctx context.Context, l *ledger.Ledger, cell string, e *ledger.Entry) error {
	if d, ok := e.Data.(*schemas.Submitted); ok && d.DelayMS > 0 {
		return nil // waits for ever
	}
	j, _, err := l.Do(ctx, e.Org, e.Job, &ledger.Queue{Policy: schemas.DefaultPolicy(), Epoch: 10, Now: e.Time}, ledger.Meta{})
	var state *ledger.StateError
	if errors.As(err, &state) {
		return nil // canceled meanwhile
	}
	if err != nil {
		return err
	}
	body, err := (&ledger.Offer{Epoch: 10, Cell: cell, Job: j}).Encode()
	if err != nil {
		return err
	}
	_, err = l.JetStream().Publish(ctx, ledger.OfferSubject(j.Spec.Queue, j.Spec.Type, j.Org, j.ID), body)
	return err
}

// run runs the program against the world.
func (w *world) run(args ...string) run { return w.runWith("", args...) }

func (w *world) runWith(stdin string, args ...string) run {
	w.t.Helper()
	m, stdout, stderr := testMain(w.t, w.env, stdin, args...)
	code := m.Run(w.t.Context())
	return run{code, stdout.String(), stderr.String()}
}

// must runs the program and expects this exit code.
func (w *world) must(code exitCode, args ...string) run {
	w.t.Helper()
	got := w.run(args...)
	if got.code != code {
		w.t.Fatalf("%s: exit %d, want %d\nstdout: %s\nstderr: %s", strings.Join(args, " "), got.code, code, got.stdout, got.stderr)
	}
	return got
}

// background starts a program that goes on; stop cancels it as Ctrl-C does and
// returns what it did.
func (w *world) background(args ...string) (out *lines, stop func() run) {
	w.t.Helper()
	m, _, _ := testMain(w.t, w.env, "", args...)
	out, stderr := newLines(), newLines()
	m.Stdout, m.Stderr = out, stderr
	ctx, cancel := context.WithCancelCause(context.Background())
	ended := make(chan exitCode, 1)
	go func() { ended <- m.Run(ctx); out.end() }()
	stop = sync.OnceValue(func() run {
		cancel(signalError{2})
		code := <-ended
		return run{code, out.String(), stderr.String()}
	})
	w.t.Cleanup(func() { stop() })
	return out, stop
}

// lines is a stdout whose lines can be waited for.
type lines struct {
	mu    sync.Mutex
	all   bytes.Buffer
	read  int
	more  chan struct{} // capacity 1
	ended bool
}

func newLines() *lines { return &lines{more: make(chan struct{}, 1)} }

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.wake()
	return l.all.Write(b)
}

func (l *lines) wake() {
	select {
	case l.more <- struct{}{}:
	default:
	}
}

func (l *lines) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.wake()
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// next returns the next whole line, or an error when the program has ended or
// says nothing for too long.
func (l *lines) next() (string, error) {
	limit := time.After(time.Minute)
	for {
		l.mu.Lock()
		line, _, whole := strings.Cut(l.all.String()[l.read:], "\n")
		if whole {
			l.read += len(line) + 1
		}
		ended := l.ended
		l.mu.Unlock()
		switch {
		case whole:
			return line, nil
		case ended:
			return "", io.EOF
		}
		select {
		case <-l.more:
		case <-limit:
			return "", errors.New("nothing was printed for 20 s")
		}
	}
}

// decode reads one JSON document.
func decode[T any](t *testing.T, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return v
}
