package where

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
)

const (
	// PayloadMax is how much of args, and of a result, is searched, in bytes.
	PayloadMax = 2048
	// rulesDepth bounds how deep a schema is looked into.
	rulesDepth = 16
)

// Rules are the fields of a type's args that its schema marks, in properties, items, allOf, anyOf and oneOf; an x-redact
// elsewhere, as behind a $ref, redacts all. A path is property names with dots between; the items of
// an array have that of the array.
type Rules struct {
	Redact []string `json:"redact,omitempty"`
	Index  []string `json:"index,omitempty"`
}

// RulesOf are those of a schema of args; nil if it marks nothing.
func RulesOf(schema json.RawMessage) *Rules {
	if !bytes.Contains(schema, []byte("x-redact")) && !bytes.Contains(schema, []byte("x-index")) {
		return nil
	}
	r := new(Rules)
	r.read(schema, "", 0)
	var whole any
	if json.Unmarshal(schema, &whole) == nil && len(r.Redact) < marks(whole) {
		r.Redact = []string{""} // a mark stands where its path cannot be told
	}
	slices.Sort(r.Redact)
	slices.Sort(r.Index)
	r.Index = slices.DeleteFunc(r.Index, r.Redacted)
	if len(r.Redact)+len(r.Index) == 0 {
		return nil
	}
	return r
}

func (r *Rules) read(schema json.RawMessage, path string, depth int) {
	var s struct {
		Redact     any                        `json:"x-redact"`
		Index      any                        `json:"x-index"`
		Properties map[string]json.RawMessage `json:"properties"`
		Items      json.RawMessage            `json:"items"`
		AllOf      []json.RawMessage          `json:"allOf"`
		AnyOf      []json.RawMessage          `json:"anyOf"`
		OneOf      []json.RawMessage          `json:"oneOf"`
	}
	if depth > rulesDepth || json.Unmarshal(schema, &s) != nil {
		return // a boolean schema marks nothing
	}
	if s.Redact == true {
		r.Redact = append(r.Redact, path)
	}
	if s.Index == true && path != "" {
		r.Index = append(r.Index, path)
	}
	for name, sub := range s.Properties {
		r.read(sub, join(path, name), depth+1)
	}
	for _, sub := range slices.Concat([]json.RawMessage{s.Items}, s.AllOf, s.AnyOf, s.OneOf) {
		if len(sub) > 0 {
			r.read(sub, path, depth+1)
		}
	}
}

// marks is how many x-redact a schema has.
func marks(schema any) (n int) {
	switch s := schema.(type) {
	case map[string]any:
		if s["x-redact"] == true {
			n++
		}
		for _, sub := range s {
			n += marks(sub)
		}
	case []any:
		for _, sub := range s {
			n += marks(sub)
		}
	}
	return n
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// Redacted reports whether a path is marked, or lies within one that is.
func (r *Rules) Redacted(path string) bool {
	return r != nil && slices.ContainsFunc(r.Redact, func(p string) bool {
		return p == "" || p == path || strings.HasPrefix(path, p+".")
	})
}

// Kept is what of args may be kept to be searched: without what is redacted. The result may be args itself.
func (r *Rules) Kept(args []byte) []byte {
	if r == nil || len(r.Redact) == 0 {
		return args
	}
	d := json.NewDecoder(bytes.NewReader(args))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return nil
	}
	out, err := json.Marshal(r.without(v, ""))
	if err != nil {
		return nil
	}
	return out
}

func (r *Rules) without(v any, path string) any {
	if r.Redacted(path) {
		return nil
	}
	switch v := v.(type) {
	case map[string]any:
		for name, sub := range v {
			if p := join(path, name); r.Redacted(p) {
				delete(v, name)
			} else {
				v[name] = r.without(sub, p)
			}
		}
	case []any:
		for i, sub := range v {
			v[i] = r.without(sub, path)
		}
	}
	return v
}
