package where

import (
	"encoding/json"
	"strings"
	"testing"
)

// A mark that would mark nothing is found wherever a mark may stand, and nothing else is taken for one.
func TestCheckMarks(t *testing.T) {
	for _, c := range []struct{ schema, at, wrong string }{
		{`true`, "", ""},
		{`{"x-redact":true,"properties":{"a":{"x-redact":false}}}`, "", ""},
		{`{"x-redact":"yes"}`, "/x-redact", `"yes"`},
		{`{"properties":{"b":{"x-redact":1},"a":{"x-redact":null}}}`, "/properties/a/x-redact", "null"},
		{`{"properties":{"a/b~":{"items":{"x-redact":"true"}}}}`, "/properties/a~1b~0/items/x-redact", `"true"`},
		{`{"anyOf":[true,{"properties":{"a":{"x-redact":{}}}}]}`, "/anyOf/1/properties/a/x-redact", "{}"},
		{`{"$defs":{"d":{"x-redact":[true]}}}`, "/$defs/d/x-redact", "[true]"},
		{`{"patternProperties":{"^a":{"x-redact":"yes"}}}`, "/patternProperties/^a/x-redact", `"yes"`},
		// Names of the author's own, and values.
		{`{"properties":{"x-redact":{"type":"string"}},"$defs":{"x-redact":{}},"dependencies":{"x-redact":["a"]}}`, "", ""},
		{`{"properties":{"x-redact":{"x-redact":"yes"}}}`, "/properties/x-redact/x-redact", `"yes"`},
		{`{"properties":{"properties":{"properties":{"x-redact":{}}}}}`, "", ""},
		{`{"properties":{"default":{"x-redact":"yes"}}}`, "/properties/default/x-redact", `"yes"`},
		{`{"default":{"x-redact":"yes"},"const":{"x-redact":"yes"},"enum":[{"x-redact":"yes"}],"examples":[{"x-redact":"yes"}]}`, "", ""},
	} {
		at, err := CheckMarks(json.RawMessage(c.schema))
		if at != c.at || (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), "x-redact is "+c.wrong+",") {
			t.Errorf("%s: %s, %v", c.schema, at, err)
		}
	}
}
