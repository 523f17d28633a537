package where

import (
	"bytes"
	"encoding/json"
	"slices"
)

// Mask stands in the place of a value that a schema marks x-redact, wherever a caller reads it.
const Mask = "[redacted]"

// maskJSON is Mask as it stands in JSON.
var maskJSON = []byte(`"` + Mask + `"`)

// All marks all args.
var All = &Rules{Redact: []string{""}}

// With are the rules of both.
func (r *Rules) With(other *Rules) *Rules {
	if r == nil {
		return other
	}
	both := &Rules{Redact: slices.Concat(r.Redact, other.Redact), Index: slices.Concat(r.Index, other.Index)}
	slices.Sort(both.Redact)
	slices.Sort(both.Index)
	return both
}

// Masks reports whether the rules mask anything.
func (r *Rules) Masks() bool { return r != nil && len(r.Redact) > 0 }

// Masked is args with Mask in the place of each value that is marked, whatever it is; all else stays as it is, byte for
// byte. Where nothing is marked the result is args itself. What cannot be read is masked whole.
func (r *Rules) Masked(args []byte) []byte {
	if !r.Masks() || len(args) == 0 {
		return args
	}
	cuts, err := r.find(args)
	if err != nil {
		return maskJSON
	}
	return Splice(args, cuts)
}

// HoldsMask returns the path of a marked value that is Mask itself: what somebody was shown, and not what was submitted.
func (r *Rules) HoldsMask(args []byte) (path string, found bool) {
	if !r.Masks() || !bytes.Contains(args, []byte(Mask)) {
		return "", false
	}
	cuts, err := r.find(args)
	if err != nil {
		return "", false
	}
	for _, c := range cuts {
		var s string
		if json.Unmarshal(args[c.From:c.To], &s) == nil && s == Mask {
			return c.path, true
		}
	}
	return "", false
}

// Span is a stretch of a JSON text, and what is to stand there.
type Span struct {
	From, To int
	With     []byte

	path string
}

// Splice returns a text with its cuts, which are in order and do not overlap, made.
func Splice(text []byte, cuts []Span) []byte {
	if len(cuts) == 0 {
		return text
	}
	size := len(text)
	for _, c := range cuts {
		size += len(c.With) - (c.To - c.From)
	}
	out, at := make([]byte, 0, size), 0
	for _, c := range cuts {
		out = append(append(out, text[at:c.From]...), c.With...)
		at = c.To
	}
	return append(out, text[at:]...)
}

// find returns where the marked values stand. A text in place of all args is one: that is how a raw submit is recorded which
// was no JSON.
func (r *Rules) find(args []byte) (cuts []Span, err error) {
	if text := bytes.TrimLeft(args, " \t\r\n"); len(text) > 0 && text[0] == '"' {
		r = All
	}
	err = Walk(args, func(names []string) bool { return len(names) <= rulesDepth && r.Redacted(pathOf(names)) }, func(names []string, from, to int) {
		cuts = append(cuts, Span{From: from, To: to, With: maskJSON, path: pathOf(names)})
	})
	return cuts, err
}

func pathOf(names []string) (path string) {
	for _, name := range names {
		path = join(path, name)
	}
	return path
}

// Walk calls take with where each value stands that chosen chooses by its path, in order; what such a value holds is not
// looked into. The items of an array have the path of the array. The path is the callee's only while it is called.
func Walk(text []byte, chosen func(path []string) bool, take func(path []string, from, to int)) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	w := walker{text: text, d: d, chosen: chosen, take: take}
	return w.value(nil)
}

type walker struct {
	text   []byte
	d      *json.Decoder
	chosen func([]string) bool
	take   func([]string, int, int)
}

func (w *walker) value(path []string) error {
	if w.chosen(path) {
		from := w.begin()
		var raw json.RawMessage
		if err := w.d.Decode(&raw); err != nil {
			return err
		}
		w.take(path, from, int(w.d.InputOffset()))
		return nil
	}
	t, err := w.d.Token()
	if err != nil {
		return err
	}
	delim, _ := t.(json.Delim)
	switch delim {
	case '{':
		for w.d.More() {
			name, err := w.d.Token()
			if err != nil {
				return err
			}
			if err := w.value(append(path, name.(string))); err != nil {
				return err
			}
		}
	case '[':
		for w.d.More() {
			if err := w.value(path); err != nil {
				return err
			}
		}
	default:
		return nil
	}
	_, err = w.d.Token() // its end
	return err
}

// begin is where the next value begins: behind what separates it from what was read.
func (w *walker) begin() int {
	at := int(w.d.InputOffset())
	for at < len(w.text) && bytes.IndexByte([]byte(" \t\r\n,:"), w.text[at]) >= 0 {
		at++
	}
	return at
}
