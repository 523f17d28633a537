package demo_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/internal/demo"
	"github.com/dartwing/jobledger/schemas"
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

// Runs the whole batch as a worker would, without the waiting, twice over the same folder and receiver: each job
// ends as its item expects, and the second run like the first.
func TestBatchEndsAsExpectedTwice(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = root.Close() }()
	r, _, at := receiver(t)
	workers := demo.New(demo.Config{Output: root, Receiver: at, Secret: secret}).Handlers()
	budgets := map[schemas.TypeName]int{}
	for _, s := range demo.Types() {
		budgets[s.Name] = s.MaxAttempts
	}
	var results [2][]string
	for run := range results {
		for n, i := range demo.Batch() {
			a := &handlers.Attempt{Org: i.Org, ID: schemas.JobID(fmt.Sprintf("run%d-job%d", run, n)), Type: i.Type, Args: i.Args,
				Token: fmt.Sprintf("run%d-token%d", run, n), MaxAttempts: budgets[i.Type]}
			if i.MaxAttempts != 0 {
				a.MaxAttempts = i.MaxAttempts
			}
			state, reason, result := work(t, workers[i.Type], a)
			if !i.Expect.Met(state, reason) {
				t.Errorf("run %d, %s, %q: %s %s, want %s: %s", run, i.Org, i.Title, state, reason, i.Expect, result)
			}
			if len(result) > schemas.ResultMax {
				t.Errorf("%q: a result of %d bytes is over the inline limit", i.Title, len(result))
			}
			results[run] = append(results[run], result)
		}
	}
	if a, b := strings.Join(results[0], "\n"), strings.Join(results[1], "\n"); a != b {
		t.Errorf("the second run differs:\n%s\n--\n%s", a, b)
	}
	if d := r.Deliveries(); len(d) != 12 {
		t.Errorf("%d webhooks were taken in two runs, want 12", len(d))
	}
}

// work runs a job's attempts one after the other. Types that wait by the clock do so in a bubble, so not at all.
func work(t *testing.T, h handlers.Handler, job *handlers.Attempt) (schemas.State, schemas.DeadReason, string) {
	t.Helper()
	var last error
	for n := 1; n <= job.MaxAttempts; n++ {
		a := &handlers.Attempt{Org: job.Org, ID: job.ID, Type: job.Type, Args: job.Args, Token: job.Token, MaxAttempts: job.MaxAttempts, Number: n}
		var out json.RawMessage
		switch job.Type {
		case demo.TypeSample, demo.TypeLongRunning:
			synctest.Test(t, func(t *testing.T) { out, last = h.Run(t.Context(), a) })
		default:
			out, last = h.Run(t.Context(), a)
		}
		if last == nil {
			return schemas.StateCompleted, "", string(out)
		}
		if permanent(last) {
			return schemas.StateDeadLettered, schemas.DeadPermanentError, last.Error()
		}
	}
	return schemas.StateDeadLettered, schemas.DeadRetriesExhausted, last.Error()
}

// A misspelt argument would go unnoticed: unknown fields are ignored when a job runs.
func TestBatchArgsHaveNoUnknownFields(t *testing.T) {
	shapes := map[schemas.TypeName]func() any{
		demo.TypeThumbnail:   func() any { return new(demo.ThumbnailArgs) },
		demo.TypeSummarise:   func() any { return new(demo.SummariseArgs) },
		demo.TypeCount:       func() any { return new(demo.CountArgs) },
		demo.TypeWebhook:     func() any { return new(demo.WebhookArgs) },
		demo.TypeSample:      func() any { return new(demo.SampleArgs) },
		demo.TypeLongRunning: func() any { return new(demo.LongRunningArgs) },
		demo.TypeEcho:        func() any { return new(any) },
	}
	for _, i := range demo.Batch() {
		d := json.NewDecoder(bytes.NewReader(i.Args))
		d.DisallowUnknownFields()
		if err := d.Decode(shapes[i.Type]()); err != nil {
			t.Errorf("%q: args %s: %v", i.Title, i.Args, err)
		}
	}
}
