package schemagen

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/jsonschema-go/jsonschema"

	"github.com/dartwing/jobledger/schemas"
)

const eventsDir = "../../testdata/events"

func resolved(t *testing.T, name schemas.EventName) (*jsonschema.Schema, *jsonschema.Resolved) {
	t.Helper()
	body, err := schemas.JSONSchema(name)
	if err != nil {
		t.Fatal(err)
	}
	s := new(jsonschema.Schema)
	if err := json.Unmarshal(body, s); err != nil {
		t.Fatal(err)
	}
	r, err := s.Resolve(nil)
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

func goldenBody(t *testing.T, name schemas.EventName) map[string]any {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(eventsDir, string(name)+".v1.txt"))
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := bytes.Cut(b, []byte("\n\n"))
	// 1e400 is a JSON number and no float64: the validator's representation cannot hold it, the ledger can.
	body = bytes.ReplaceAll(body, []byte("1e400"), []byte("1e40"))
	var v map[string]any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// TestGoldenEventsValidate shows that every golden event satisfies the schema of its type, that the schema
// names every property it has, and that unknown ones are allowed (INTERFACE 5: within v1 all grows by addition).
func TestGoldenEventsValidate(t *testing.T) {
	for _, name := range slices.Concat(schemas.JobEvents(), schemas.ControlEvents()) {
		t.Run(string(name), func(t *testing.T) {
			s, r := resolved(t, name)
			if s.Title != "jobledger.v1."+string(name) || !strings.HasSuffix(s.ID, "/v1/"+string(name)+".json") || s.Description == "" {
				t.Errorf("title %q, $id %q, description %q", s.Title, s.ID, s.Description)
			}
			v := goldenBody(t, name)
			if err := r.Validate(v); err != nil {
				t.Error(err)
			}
			for _, p := range unknown(s, v, string(name)) {
				t.Errorf("%s is not in the schema", p)
			}
			v["added_later"] = map[string]any{"x": 1}
			if err := r.Validate(v); err != nil {
				t.Errorf("an added property: %v", err)
			}
		})
	}
}

// unknown lists the properties of v, all the way down, that the schema does not name.
func unknown(s *jsonschema.Schema, v any, path string) []string {
	var missing []string
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			switch p := s.Properties[k]; {
			case p != nil:
				missing = append(missing, unknown(p, e, path+"."+k)...)
			case s.Properties != nil:
				missing = append(missing, path+"."+k)
			}
		}
	case []any:
		for _, e := range v {
			if s.Items != nil {
				missing = append(missing, unknown(s.Items, e, path+"[]")...)
			}
		}
	}
	return missing
}

// TestSchemasRefuse shows that the schemas say more than "an object": a sample of what Decode refuses too.
func TestSchemasRefuse(t *testing.T) {
	for _, c := range []struct {
		event schemas.EventName
		key   string
		value any // nil removes the key
	}{
		{schemas.EventSubmitted, "type", nil},
		{schemas.EventSubmitted, "queue", "a.b"},
		{schemas.EventSubmitted, "generation", 0.0},
		{schemas.EventSubmitted, "priority", "urgent"},
		{schemas.EventSubmitted, "delay_ms", -1.0},
		{schemas.EventSubmitted, "tags", map[string]any{"a": 1.0}},
		{schemas.EventQueued, "policy", map[string]any{"timeout_ms": 0.0}},
		{schemas.EventRunning, "session", ""},
		{schemas.EventCompleted, "fence", map[string]any{"seq": 0.0, "id": "x"}},
		{schemas.EventFailed, "delay_ms", 0.5},
		{schemas.EventDeadLettered, "reason", "bored"},
		{schemas.EventLost, "cause", "unknown"},
		{schemas.EventCarried, "job", nil},
		{schemas.EventCellStarted, "cell", 7.0},
	} {
		_, r := resolved(t, c.event)
		v := goldenBody(t, c.event)
		if c.value == nil {
			delete(v, c.key)
		} else {
			v[c.key] = c.value
		}
		if err := r.Validate(v); err == nil {
			t.Errorf("%s with %s = %v passes", c.event, c.key, c.value)
		}
	}
}
