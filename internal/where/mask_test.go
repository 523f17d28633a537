package where

import (
	"encoding/json"
	"runtime"
	"strings"
	"testing"
)

// TestMasked: what a schema marks is masked wherever it stands and whatever it is, and every other byte stays.
func TestMasked(t *testing.T) {
	nested := RulesOf(json.RawMessage(`{"properties":{"user":{"properties":{"mail":{"x-redact":true}}},"to":{"items":{"x-redact":true}}}}`))
	whole := RulesOf(json.RawMessage(`{"x-redact":true}`))
	behind := RulesOf(json.RawMessage(`{"$defs":{"d":{"x-redact":true}},"properties":{"a":{"$ref":"#/$defs/d"}}}`))
	for _, c := range []struct {
		r          *Rules
		args, want string
	}{
		{nil, `{"user":{"mail":"a@x"}}`, `{"user":{"mail":"a@x"}}`},
		{nested, ``, ``},
		{nested, "{ \"user\" : {\"mail\"\t:\n \"a@x\" , \"id\":12345678901234567890}, \"n\":1e400}", "{ \"user\" : {\"mail\"\t:\n \"[redacted]\" , \"id\":12345678901234567890}, \"n\":1e400}"},
		{nested, `{"user":[{"mail":{"of":["a@x",{}]}},{"mail":null},{"id":1}]}`, `{"user":[{"mail":"[redacted]"},{"mail":"[redacted]"},{"id":1}]}`},
		{nested, `{"to":["b@x","c@x"],"cc":[ ]}`, `{"to":"[redacted]","cc":[ ]}`},
		{nested, `{"user":{"mail":1,"mail":"a@x","m\u0061il":true}}`, `{"user":{"mail":"[redacted]","mail":"[redacted]","m\u0061il":"[redacted]"}}`},
		{nested, `{"USER":{"Mail":"a@x","mails":"b@x"},"user":{"MAIL":1}}`, `{"USER":{"Mail":"[redacted]","mails":"b@x"},"user":{"MAIL":"[redacted]"}}`},
		{nested, `{"user":{"mail":"a@x"`, `"[redacted]"`},
		{nested, `"{\"user\":{\"mail\":\"a@x\""`, `"[redacted]"`},
		{nested, ` "a@x" `, ` "[redacted]" `},
		{nested, `["a@x",7]`, `["a@x",7]`},
		{whole, ` {"a":1} `, ` "[redacted]" `},
		{behind, `{"a":"x","b":2}`, `"[redacted]"`},
	} {
		args := []byte(c.args)
		if have := string(c.r.Masked(args)); have != c.want {
			t.Errorf("%s: %s; want %s", c.args, have, c.want)
		}
		if string(args) != c.args {
			t.Errorf("%s was changed to %s", c.args, args)
		}
	}
}

// TestHoldsMask: only a marked value that is the mask itself was copied from what somebody was shown.
func TestHoldsMask(t *testing.T) {
	r := RulesOf(json.RawMessage(`{"properties":{"a":{"x-redact":true},"to":{"items":{"properties":{"mail":{"x-redact":true}}}}}}`))
	for args, want := range map[string]string{
		`{"a":"[redacted]"}`:               "a",
		`{"to":[{"mail":"[redacted]"}]}`:   "to.mail",
		`{"a":"x","b":"[redacted]"}`:       "-",
		`{"a":"it says [redacted] there"}`: "-",
		`{"a":["[redacted]"]}`:             "-",
		`{"a":"[redacted]`:                 "-",
	} {
		path, found := r.HoldsMask([]byte(args))
		if !found {
			path = "-"
		}
		if path != want {
			t.Errorf("%s: %q, want %q", args, path, want)
		}
	}
	if _, found := (*Rules)(nil).HoldsMask([]byte(`{"a":"[redacted]"}`)); found {
		t.Error("without marks nothing is a mask")
	}
}

// FuzzMasked: what is masked is JSON still, and has no marked value but the mask.
func FuzzMasked(f *testing.F) {
	f.Add(`{"a":1,"b":{"a":"x"},"c":[{"d":"s"}]}`)
	r := RulesOf(json.RawMessage(`{"properties":{"a":{"x-redact":true},"c":{"items":{"properties":{"d":{"x-redact":true}}}}}}`))
	f.Fuzz(func(t *testing.T, args string) {
		if !json.Valid([]byte(args)) {
			return
		}
		masked := r.Masked([]byte(args))
		if !json.Valid(masked) {
			t.Fatalf("%s became %s", args, masked)
		}
		cuts, err := r.find(masked)
		for _, c := range cuts {
			if string(masked[c.From:c.To]) != `"`+Mask+`"` {
				t.Errorf("%s shows %s", masked, masked[c.From:c.To])
			}
		}
		if err != nil || strings.Count(string(masked), Mask) < len(cuts) {
			t.Errorf("%s became %s: %v", args, masked, err)
		}
	})
}

// TestMaskDeep: what args cost that are nested as deep as the decoder goes, with long names, is bounded: they come
// from a raw submit, which is recorded though it is refused.
func TestMaskDeep(t *testing.T) {
	r := RulesOf(json.RawMessage(`{"properties":{"a":{"x-redact":true}}}`))
	const deep = 9000
	name := strings.Repeat("n", 100)
	args := []byte(strings.Repeat(`{"`+name+`":`, deep) + `{"a":1}` + strings.Repeat("}", deep))
	for what, of := range map[string]func(){
		"masked":   func() { r.Masked(args) },
		"searched": func() { r.Kept(args) },
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		of()
		runtime.ReadMemStats(&after)
		if had := after.TotalAlloc - before.TotalAlloc; had > 100*uint64(len(args)) {
			t.Errorf("%s: %d bytes for args of %d", what, had, len(args))
		}
	}
	deepest := RulesOf(json.RawMessage(strings.Repeat(`{"properties":{"n":`, rulesDepth) + `{"x-redact":true}` + strings.Repeat("}}", rulesDepth)))
	args = []byte(strings.Repeat(`{"n":`, rulesDepth) + `7` + strings.Repeat("}", rulesDepth))
	if masked, kept := string(deepest.Masked(args)), string(deepest.Kept(args)); strings.Contains(masked, "7") || strings.Contains(kept, "7") || !strings.Contains(masked, Mask) {
		t.Errorf("the deepest mark: %s, %s", masked, kept)
	}
}
