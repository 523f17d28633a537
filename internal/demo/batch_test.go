package demo_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/dartwing/jobledger/internal/demo"
	"github.com/dartwing/jobledger/schemas"
)

func TestBatchIsValid(t *testing.T) {
	items := demo.Batch()
	if len(items) < 30 || len(items) > 50 {
		t.Errorf("%d jobs: want 30 to 50", len(items))
	}
	orgs, types, failing, shown := map[schemas.OrgID]int{}, map[schemas.TypeName]int{}, 0, map[string]bool{}
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
		for what, is := range map[string]bool{
			"a retry":                          strings.Contains(string(i.Args), `"fail_first":1`) && i.Expect.State == schemas.StateCompleted,
			"a timeout that a retry mends":     i.RunTimeout > 0 && i.Expect.State == schemas.StateCompleted,
			"a timeout for good":               i.RunTimeout > 0 && i.Expect.Reason == schemas.DeadRetriesExhausted,
			"a cancel of a running job":        i.Cancel == demo.CancelRunning && i.Expect.State == schemas.StateCanceled,
			"a cancel of a job that waits":     i.Cancel == demo.CancelWaiting && i.Expect.State == schemas.StateCanceled && i.Delay > 0,
			"a dead letter at the first error": i.Expect.Reason == schemas.DeadPermanentError,
		} {
			shown[what] = shown[what] || is
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
	for what, is := range shown {
		if !is {
			t.Errorf("the batch does not show %s", what)
		}
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
