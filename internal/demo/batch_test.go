package demo_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/dartwing/jobledger/internal/demo"
	"github.com/dartwing/jobledger/schemas"
	demodata "github.com/dartwing/jobledger/testdata/demo"
)

func TestBatchIsValid(t *testing.T) {
	items := demo.Batch()
	if len(items) < 30 || len(items) > 40 {
		t.Errorf("%d jobs: want 30 to 40", len(items))
	}
	orgs, types, failing := map[schemas.OrgID]int{}, map[schemas.TypeName]int{}, 0
	titles := map[string]bool{}
	for _, i := range items {
		orgs[i.Org]++
		types[i.Type]++
		if err := schemas.CheckToken("type", string(i.Type)); err != nil {
			t.Error(err)
		}
		if err := schemas.CheckJSON("args", i.Args); err != nil {
			t.Errorf("%s: %v", i.Title, err)
		}
		if i.Priority != "" {
			if err := i.Priority.Validate(); err != nil {
				t.Errorf("%s: %v", i.Title, err)
			}
		}
		if key := string(i.Org) + i.Title; i.Title == "" || titles[key] {
			t.Errorf("title %q of %s is empty or used twice", i.Title, i.Org)
		} else {
			titles[key] = true
		}
		if i.Expect.State == schemas.StateDeadLettered {
			failing++
			if err := i.Expect.Reason.Validate(); err != nil {
				t.Errorf("%s: %v", i.Title, err)
			}
		}
	}
	if len(orgs) != len(demo.Orgs()) || len(types) != 7 || failing < 5 {
		t.Errorf("orgs %v, types %v, %d fail on purpose: want 3, 7 and some", orgs, types, failing)
	}
	for i := range len(demo.Orgs()) {
		if items[i].Org != demo.Orgs()[i] {
			t.Errorf("job %d is of %s: the orgs take turns", i, items[i].Org)
		}
	}
}

func TestExpect(t *testing.T) {
	dead := demo.Expect{State: schemas.StateDeadLettered, Reason: schemas.DeadPermanentError}
	if !dead.Met(schemas.StateDeadLettered, schemas.DeadPermanentError) || dead.Met(schemas.StateDeadLettered, schemas.DeadExpired) || dead.Met(schemas.StateCompleted, "") {
		t.Error("dead_lettered is met by its own reason alone")
	}
	done := demo.Expect{State: schemas.StateCompleted}
	if !done.Met(schemas.StateCompleted, "") || done.Met(schemas.StateRunning, "") {
		t.Error("completed is met by completed alone")
	}
	if dead.String() != "dead_lettered (permanent_error)" || done.String() != "completed" {
		t.Errorf("%s, %s", dead, done)
	}
}

// Runs the whole batch by hand, as a worker would, twice over the same folder and receiver: each job ends as its
// item expects, and the second run like the first.
func TestBatchEndsAsExpectedTwice(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	r, _, at := receiver(t)
	ts := demo.New(demo.Config{Input: demodata.Files, Output: root, Receiver: at, Secret: secret})
	var results [2][]string
	for run := range results {
		for n, i := range demo.Batch() {
			c := demo.Call{Org: string(i.Org), Job: fmt.Sprintf("run%d-job%d", run, n), Token: fmt.Sprintf("run%d-token%d", run, n)}
			state, reason, result := work(t, ts, i, c)
			if !i.Expect.Met(state, reason) {
				t.Errorf("run %d, %s, %q: %s %s, want %s: %s", run, i.Org, i.Title, state, reason, i.Expect, result)
			}
			if i.Type != demo.TypeWebhook {
				results[run] = append(results[run], result)
			}
		}
	}
	if a, b := strings.Join(results[0], "\n"), strings.Join(results[1], "\n"); a != b {
		t.Errorf("the second run differs:\n%s\n--\n%s", a, b)
	}
	if d := r.Deliveries(); len(d) != 12 {
		t.Errorf("%d webhooks were taken in two runs, want 12", len(d))
	}
}

// work runs one item's attempts without their waiting times, and judges errors as do.
func work(t *testing.T, ts *demo.Tasks, i demo.Item, c demo.Call) (schemas.State, schemas.DeadReason, string) {
	t.Helper()
	budget := i.MaxAttempts
	if budget == 0 {
		budget = 3
	}
	var last error
	for c.Attempt = 1; c.Attempt <= budget; c.Attempt++ {
		out, err := runItem(t, ts, i, c)
		if err == nil {
			return schemas.StateCompleted, "", out
		}
		last = err
		var p *demo.PermanentError
		if errors.As(err, &p) {
			return schemas.StateDeadLettered, schemas.DeadPermanentError, err.Error()
		}
	}
	return schemas.StateDeadLettered, schemas.DeadRetriesExhausted, last.Error()
}

func runItem(t *testing.T, ts *demo.Tasks, i demo.Item, c demo.Call) (string, error) {
	t.Helper()
	ctx := t.Context()
	switch i.Type {
	case demo.TypeThumbnail:
		return typed(t, i.Args, func(in demo.ThumbnailArgs) (any, error) { return ts.Thumbnail(ctx, c, in) })
	case demo.TypeSummarise:
		return typed(t, i.Args, func(in demo.SummariseArgs) (any, error) { return ts.SummariseCSV(ctx, c, in) })
	case demo.TypeCount:
		return typed(t, i.Args, func(in demo.CountArgs) (any, error) { return ts.CountText(ctx, c, in) })
	case demo.TypeWebhook:
		return typed(t, i.Args, func(in demo.WebhookArgs) (any, error) { return ts.DeliverWebhook(ctx, c, in) })
	case demo.TypeEcho:
		out, err := demo.Echo(ctx, i.Args)
		return string(out), err
	case demo.TypeSample:
		return inBubble(t, i.Args, func(ctx context.Context, in demo.SampleArgs) (any, error) { return demo.Sample(ctx, c, in) })
	case demo.TypeLongRunning:
		return inBubble(t, i.Args, func(ctx context.Context, in demo.LongRunningArgs) (any, error) {
			return demo.LongRunning(ctx, c, in, 0, nil)
		})
	}
	t.Fatalf("no task for type %s", i.Type)
	return "", nil
}

func typed[A any](t *testing.T, args json.RawMessage, run func(A) (any, error)) (string, error) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(args))
	d.DisallowUnknownFields() // a misspelt argument would go unnoticed
	var in A
	if err := d.Decode(&in); err != nil {
		t.Fatalf("args %s: %v", args, err)
	}
	out, err := run(in)
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	if len(body) > schemas.ResultMax {
		t.Errorf("a result of %d bytes is over the inline limit", len(body))
	}
	return string(body), nil
}

// inBubble runs a task that waits by the clock without waiting.
func inBubble[A any](t *testing.T, args json.RawMessage, run func(context.Context, A) (any, error)) (string, error) {
	t.Helper()
	var out string
	var outErr error
	synctest.Test(t, func(t *testing.T) {
		out, outErr = typed(t, args, func(in A) (any, error) { return run(t.Context(), in) })
	})
	return out, outErr
}
