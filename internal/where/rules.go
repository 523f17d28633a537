package where

import (
	"bytes"
	"encoding/json"
	"iter"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	// PayloadMax is how much of args, and of a result, is searched, in bytes.
	PayloadMax = 2048
	// rulesDepth bounds how deep a schema is looked into, and so how many names the path of a mark has: nothing is compared
	// below that, for args of a raw submit that was refused may be nested as deep as the decoder goes.
	rulesDepth = 16
)

// Rules are the fields of a type's args that its schema marks, in properties, items, allOf, anyOf and oneOf; an x-redact
// elsewhere, as behind a $ref, or that a $ref leads to, redacts all. A path is property names with dots between; the items of
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
	var whole any
	if json.Unmarshal(schema, &whole) != nil {
		return nil
	}
	r := new(Rules)
	r.read(whole, "", 0)
	if len(r.Redact) < marks(whole) || len(r.Redact) > 0 && refersToMark(whole, whole) {
		r.Redact = []string{""} // a mark stands where its path, or one of its paths, cannot be told
	}
	slices.Sort(r.Redact)
	slices.Sort(r.Index)
	r.Index = slices.DeleteFunc(r.Index, r.Redacted)
	if len(r.Redact)+len(r.Index) == 0 {
		return nil
	}
	return r
}

func (r *Rules) read(schema any, path string, depth int) {
	s, ok := schema.(map[string]any)
	if !ok || depth > rulesDepth {
		return // a boolean schema marks nothing
	}
	if s["x-redact"] == true {
		r.Redact = append(r.Redact, path)
	}
	if s["x-index"] == true && path != "" {
		r.Index = append(r.Index, path)
	}
	properties, _ := s["properties"].(map[string]any)
	for name, sub := range properties {
		r.read(sub, join(path, name), depth+1)
	}
	r.read(s["items"], path, depth+1)
	for _, of := range []string{"allOf", "anyOf", "oneOf"} {
		all, _ := s[of].([]any)
		for _, sub := range all {
			r.read(sub, path, depth+1)
		}
	}
}

// marks is how many x-redact a schema has.
func marks(schema any) (n int) {
	if s, ok := schema.(map[string]any); ok && s["x-redact"] == true {
		n++
	}
	for sub := range parts(schema) {
		n += marks(sub)
	}
	return n
}

// refersToMark reports whether a reference in part of a schema brings a mark to a second place: what it leads to has one, as
// where a schema is a part of itself, or cannot be told.
func refersToMark(whole, part any) bool {
	if s, ok := part.(map[string]any); ok {
		for _, name := range []string{"$ref", "$dynamicRef", "$recursiveRef"} {
			if ref, ok := s[name].(string); ok {
				if to, known := target(whole, ref); !known || marks(to) > 0 {
					return true
				}
			}
		}
	}
	for sub := range parts(part) {
		if refersToMark(whole, sub) {
			return true
		}
	}
	return false
}

// target is what a reference leads to that is a JSON pointer into the schema.
func target(whole any, ref string) (to any, known bool) {
	pointer, ok := strings.CutPrefix(ref, "#")
	pointer, err := url.PathUnescape(pointer)
	if !ok || err != nil || pointer != "" && pointer[0] != '/' {
		return nil, false
	}
	to = whole
	for _, name := range strings.Split(pointer, "/")[1:] {
		name = strings.NewReplacer("~1", "/", "~0", "~").Replace(name)
		switch at := to.(type) {
		case map[string]any:
			to, known = at[name]
		case []any:
			i, err := strconv.Atoi(name)
			if known = err == nil && i >= 0 && i < len(at); known {
				to = at[i]
			}
		default:
			known = false
		}
		if !known {
			return nil, false
		}
	}
	return to, true
}

// parts are what stands in an object or an array.
func parts(v any) iter.Seq[any] {
	return func(yield func(any) bool) {
		switch v := v.(type) {
		case map[string]any:
			for _, sub := range v {
				if !yield(sub) {
					return
				}
			}
		case []any:
			for _, sub := range v {
				if !yield(sub) {
					return
				}
			}
		}
	}
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// Redacted reports whether a path is marked, or lies within one that is, in upper case or lower: a handler in Go reads
// "Card" as "card", and the value is the same.
func (r *Rules) Redacted(path string) bool {
	return r != nil && slices.ContainsFunc(r.Redact, func(p string) bool {
		if p == "" || strings.EqualFold(p, path) {
			return true
		}
		for i := range len(path) {
			if path[i] == '.' && strings.EqualFold(p, path[:i]) {
				return true
			}
		}
		return false
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
	if _, ok := v.(string); ok { // what was no JSON: all of it may be what is redacted
		return nil
	}
	out, err := json.Marshal(r.without(v, "", 0))
	if err != nil {
		return nil
	}
	return out
}

func (r *Rules) without(v any, path string, names int) any {
	if r.Redacted(path) {
		return nil
	}
	switch v := v.(type) {
	case map[string]any:
		if names == rulesDepth {
			break
		}
		for name, sub := range v {
			if p := join(path, name); r.Redacted(p) {
				delete(v, name)
			} else {
				v[name] = r.without(sub, p, names+1)
			}
		}
	case []any:
		for i, sub := range v {
			v[i] = r.without(sub, path, names)
		}
	}
	return v
}
