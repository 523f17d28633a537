package index

import (
	"encoding/json"
	"testing"

	"github.com/dartwing/jobledger/internal/where"
	"github.com/dartwing/jobledger/schemas"
)

// a type's rows are gone through again when its marks change, and by no other change of the type: also where a mark was
// removed, and where the rules come from a file.
func TestRowsAreGoneThroughOnlyWhenMarksChange(t *testing.T) {
	t.Parallel()
	f := newFold(schemas.Position{}, nil, nil)
	set := func(schema string) int {
		f.ruled = nil
		f.applyType(&schemas.TypeSet{Settings: schemas.TypeSettings{Name: "mail", Schema: json.RawMessage(schema)}})
		return len(f.ruled)
	}
	const marked, indexed = `{"properties":{"a":{"x-redact":true}}}`, `{"properties":{"a":{"x-index":true}}}`
	for i, c := range []struct {
		schema string
		times  int
	}{{"", 0}, {`{"type":"object"}`, 0}, {marked, 1}, {marked, 0}, {"", 1}, {"", 0}, {indexed, 1}, {`{"title":"x","properties":{"a":{"x-index":true}}}`, 0}, {`{}`, 1}, {"", 0}} {
		if n := set(c.schema); n != c.times {
			t.Errorf("change %d, %q: the rows are gone through %d times, want %d", i, c.schema, n, c.times)
		}
	}
	set(indexed)
	body, err := json.Marshal(f.rules["mail"])
	if err != nil {
		t.Fatal(err)
	}
	if f.rules["mail"], err = readRules(body); err != nil {
		t.Fatal(err)
	}
	if set(indexed) != 0 || sameRules(nil, &where.Rules{Index: []string{"a"}}) || !sameRules(nil, new(where.Rules)) {
		t.Error("rules from a file are others")
	}
}
