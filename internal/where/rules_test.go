package where

import (
	"encoding/json"
	"testing"
)

// x-redact and x-index are found wherever a schema of args may put them.
func TestRulesOfSchema(t *testing.T) {
	for _, c := range []struct{ schema, want string }{
		{`{}`, `null`},
		{`true`, `null`},
		{`{"x-redact":true}`, `{"redact":[""]}`},
		{`{"properties":{"a":{"x-index":true,"x-redact":true},"b":{"x-index":true}}}`, `{"redact":["a"],"index":["b"]}`},
		{`{"properties":{"a":{"items":{"properties":{"b":{"x-redact":true}}}}},"allOf":[{"properties":{"c":{"x-index":true}}}]}`, `{"redact":["a.b"],"index":["c"]}`},
		{`{"properties":{"a":{"x-redact":"yes"}}}`, `null`},
		{`{"$defs":{"d":{"x-redact":true}},"properties":{"a":{"$ref":"#/$defs/d"},"b":{"x-index":true}}}`, `{"redact":[""]}`},
		{`{"properties":{"ssn":{"x-redact":true},"child":{"$ref":"#"}}}`, `{"redact":[""]}`},
		{`{"properties":{"home":{"properties":{"ssn":{"x-redact":true}}},"work":{"$ref":"#/properties/home"}}}`, `{"redact":[""]}`},
		{`{"properties":{"a":{"$anchor":"a","x-redact":true},"b":{"$ref":"#a"}}}`, `{"redact":[""]}`},
		{`{"allOf":[{"properties":{"a":{"x-redact":true}}}],"properties":{"b~/":{"$ref":"#/allOf/0/properties/a"}}}`, `{"redact":[""]}`},
		{`{"$defs":{"p/q":{"$ref":"#/$defs/r"},"r":{}},"properties":{"a":{"x-redact":true},"b":{"$ref":"#/$defs/p~1q"}}}`, `{"redact":["a"]}`},
		{`{"properties":{"a":{"X-Redact":true}},"patternProperties":{"^b":{"x-redact":true}}}`, `{"redact":[""]}`},
		{`{"properties":{"x-redact":{"x-redact":true}}}`, `{"redact":["x-redact"]}`},
	} {
		if have, _ := json.Marshal(RulesOf(json.RawMessage(c.schema))); string(have) != c.want {
			t.Errorf("%s: %s; want %s", c.schema, have, c.want)
		}
	}
}

// What is redacted is in nothing that is kept, wherever it stands.
func TestKept(t *testing.T) {
	r := RulesOf(json.RawMessage(`{"properties":{"user":{"properties":{"mail":{"x-redact":true}}},"to":{"items":{"x-redact":true}}}}`))
	for args, want := range map[string]string{
		`{"user":{"mail":"a@x","id":12345678901234567890},"to":["b@x"]}`: `{"user":{"id":12345678901234567890}}`,
		`{"user":[{"mail":"a@x"},{"id":1}]}`:                             `{"user":[{},{"id":1}]}`,
		`"a@x"`:                                                          ``,
		`{"user":{"mail":"cut o`:                                         ``,
	} {
		if have := string(r.Kept([]byte(args))); have != want {
			t.Errorf("%s: %s; want %s", args, have, want)
		}
	}
}
