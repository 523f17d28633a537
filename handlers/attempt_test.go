package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

var errTestCancel = errors.New("canceled by the test")

func testAttempt() *Attempt {
	return &Attempt{
		Org: "acme", ID: "job-1", Type: "fax", Queue: "critical", Generation: 2, Number: 3, MaxAttempts: 6,
		Timeout: time.Minute, Deadline: time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC), Grace: 30 * time.Second,
		Fence: schemas.Fence{Seq: 4711, ID: "018f-event"}, Token: "acme-job-1-2", SubmittedBy: "user:ada",
		CorrelationID: "root-1", Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		Args: json.RawMessage(`{"to": "+49", "n": 12345678901234567890}`),
	}
}

// TestProgress shows: clamped, cut, conflated to the latest.
func TestProgress(t *testing.T) {
	told := 0
	a := &Attempt{host: host{progressed: func() { told++ }}}
	if a.LastProgress() != nil {
		t.Error("progress before the first report")
	}
	steps := make([]schemas.Step, 150)
	a.Progress(schemas.Progress{Percent: -4})
	if p := a.LastProgress(); p.Percent != 0 || p.Steps != nil {
		t.Errorf("got %+v", p)
	}
	a.Progress(schemas.Progress{Percent: 250, Message: strings.Repeat("ü", 600), Steps: steps})
	steps[0].Name = "changed by the caller afterwards"
	p := a.LastProgress()
	if p.Percent != 100 || len([]rune(p.Message)) != 500 || len(p.Steps) != 100 || p.Steps[0] != (schemas.Step{State: "pending"}) || told != 2 {
		t.Errorf("percent %d, message of %d characters, %d steps, told %d times", p.Percent, len([]rune(p.Message)), len(p.Steps), told)
	}
}

// TestSaveCheckpoint shows R-26: bad checkpoints are refused before they are stored.
func TestSaveCheckpoint(t *testing.T) {
	ctx := context.Background()
	if err := new(Attempt).SaveCheckpoint(ctx, json.RawMessage(`{}`)); !errors.Is(err, ErrNoCheckpoints) {
		t.Errorf("without a store: %v", err)
	}
	var saved string
	a := &Attempt{host: host{save: func(_ context.Context, raw json.RawMessage) error {
		saved = string(raw)
		return nil
	}}}
	if err := a.SaveCheckpoint(ctx, json.RawMessage(`{"page":`)); err == nil {
		t.Error("half a JSON value was accepted")
	}
	if err := a.SaveCheckpoint(ctx, json.RawMessage(strings.Repeat(" ", CheckpointMax+1))); err == nil {
		t.Error("a checkpoint over the limit was accepted")
	}
	if err := a.SaveCheckpoint(ctx, json.RawMessage(`{"page":7}`)); err != nil || saved != `{"page":7}` {
		t.Errorf("saved %q, %v", saved, err)
	}
}

// TestTyped shows that args and results pass through typed handlers, and that args which do not decode are
// permanent.
func TestTyped(t *testing.T) {
	type args struct {
		A, B int
	}
	sum := Typed(func(_ context.Context, j *Job[args]) (int, error) { return j.Args.A + j.Args.B, nil })
	got, err := sum.Run(context.Background(), &Attempt{Args: json.RawMessage(`{"a":2,"b":40}`)})
	if string(got) != "42" || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
	if got, err := sum.Run(context.Background(), &Attempt{}); string(got) != "0" || err != nil {
		t.Errorf("without args: %s, %v", got, err)
	}
	_, err = sum.Run(context.Background(), &Attempt{Args: json.RawMessage(`{"a":"two"}`)})
	if v := Classify(err, nil); v.Error.Class != schemas.ClassPermanent || v.Error.Code != CodeInvalidArgs {
		t.Errorf("bad args: %+v", v)
	}
	echo := Typed(func(_ context.Context, j *Job[json.RawMessage]) (json.RawMessage, error) { return j.Args, nil })
	big := `{"n": 123456789012345678901234567890}`
	if got, err := echo.Run(context.Background(), &Attempt{Args: json.RawMessage(big)}); string(got) != big || err != nil {
		t.Errorf("raw result %s, %v", got, err)
	}
	failing := Typed(func(context.Context, *Job[args]) (string, error) { return "lost", errors.New("no") })
	if got, err := failing.Run(context.Background(), &Attempt{}); got != nil || err == nil {
		t.Errorf("a failure gave %s, %v", got, err)
	}
}
