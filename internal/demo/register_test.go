package demo_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/internal/demo"
	"github.com/dartwing/jobledger/schemas"
)

// byType returns the handlers that a worker would be given.
func byType(t *testing.T, ts *demo.Tasks) map[schemas.TypeName]handlers.Handler {
	t.Helper()
	out := map[schemas.TypeName]handlers.Handler{}
	for _, r := range ts.Serves() {
		if r.Handler == nil || out[r.Type] != nil {
			t.Fatalf("type %s has no handler, or two", r.Type)
		}
		out[r.Type] = r.Handler
	}
	return out
}

// Every type has a valid policy and a handler, and the batch uses no other.
func TestTypesHaveHandlers(t *testing.T) {
	workers := byType(t, demo.New(demo.Config{}))
	types := map[schemas.TypeName]schemas.TypeSettings{}
	for _, s := range demo.Types() {
		if err := s.Validate(); err != nil {
			t.Errorf("%s: %v", s.Name, err)
		}
		if workers[s.Name] == nil {
			t.Errorf("%s has no handler", s.Name)
		}
		types[s.Name] = s
	}
	if len(types) != len(workers) {
		t.Errorf("%d types, %d handlers", len(types), len(workers))
	}
	for _, i := range demo.Batch() {
		if workers[i.Type] == nil {
			t.Errorf("%q is of type %s, which nobody serves", i.Title, i.Type)
		}
	}
}

// Shows R-28: the figures of the reference types.
func TestReferencePolicies(t *testing.T) {
	want := map[schemas.TypeName]struct {
		timeout  time.Duration
		retries  int
		window   time.Duration
		priority schemas.Priority
	}{
		demo.TypeSample:      {60 * time.Second, 3, 300 * time.Second, ""},
		demo.TypeEcho:        {30 * time.Second, 1, 60 * time.Second, ""},
		demo.TypeLongRunning: {1800 * time.Second, 2, 300 * time.Second, schemas.PriorityLow},
	}
	for _, s := range demo.Types() {
		w, ok := want[s.Name]
		if !ok {
			continue
		}
		delete(want, s.Name)
		p := s.Effective(nil)
		policy, window := s.DedupFor()
		if p.TimeoutMS.Duration() != w.timeout || p.MaxAttempts-1 != w.retries || window != w.window || policy != schemas.DedupStrict || s.Priority != w.priority {
			t.Errorf("%s: timeout %v, %d retries, dedup %s %v, priority %q; want %+v", s.Name, p.TimeoutMS.Duration(), p.MaxAttempts-1, policy, window, s.Priority, w)
		}
	}
	if len(want) != 0 {
		t.Errorf("missing: %v", want)
	}
}

// Args that do not decode can never run: permanent, before the task sees them.
func TestHandlersRefuseOtherArgs(t *testing.T) {
	for name, h := range byType(t, demo.New(demo.Config{})) {
		if name == demo.TypeEcho {
			continue // takes anything
		}
		a := call()
		a.Args = json.RawMessage(`["not","an","object"]`)
		_, err := h.Run(t.Context(), a)
		wantPermanent(t, err, "args do not decode")
	}
}

// Open is all that `dev --demo` needs: the embedded input, a folder, a receiver that the tasks know.
func TestLocal(t *testing.T) {
	output := filepath.Join(t.TempDir(), "new", "output")
	l, err := demo.Open(output)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	workers := byType(t, l.Tasks)
	run := func(name schemas.TypeName, args string) {
		t.Helper()
		a := &handlers.Attempt{Org: "acme", ID: "job-1", Number: 1, Token: "token", Args: json.RawMessage(args)}
		if out, err := workers[name].Run(ctx, a); err != nil {
			t.Errorf("%s: %s, %v", name, out, err)
		}
	}
	run(demo.TypeThumbnail, `{"path":"photos/cat.png"}`)
	run(demo.TypeWebhook, `{"path":"/orders","event":"order.paid"}`)
	if _, err := os.Stat(filepath.Join(output, "thumbnails", "acme", "cat-160.png")); err != nil {
		t.Error(err)
	}
	if d := l.Receiver.Deliveries(); len(d) != 1 {
		t.Errorf("taken: %+v", d)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := demo.Open(filepath.Join(file, "below")); err == nil {
		t.Error("a folder below a file is opened")
	}
}
