package where

import (
	"bytes"
	"encoding/json"
	"strings"
)

// The payloads of a job, as those who keep them put them into a record. With a path as its key a term asks about the values
// that stand there, without one about the text of all of them.
const (
	FieldArgs   Field = "args"
	FieldResult Field = "result"
)

// anywhere are the forms of terms about a payload without a path.
var anywhere = map[Field]*fieldForm{
	FieldArgs:   {field: FieldArgs, kind: kindText, costly: true},
	FieldResult: {field: FieldResult, kind: kindText, costly: true},
}

// form is what there is to know about a term's field.
func (t *Term) form() *fieldForm {
	if t.Key == "" && anywhere[t.Field] != nil {
		return anywhere[t.Field]
	}
	return formOf(t.Field)
}

// Payload reports whether a term asks about args or results.
func (w *Where) Payload() bool { return w.Uses(FieldArgs, FieldResult) }

// holdsPayload is holds for a payload: one value must hold of what stands in it.
func (t *Term) holdsPayload(body []byte) (found bool) {
	if len(body) == 0 || !t.mayHold(body) {
		return false
	}
	Values(body, func(path, value string) bool {
		if t.Key == "" {
			value = strings.ToLower(value)
		} else if path != t.Key {
			return true
		}
		for i := range t.Values {
			if v := &t.Values[i]; v.Op == OpBegins && strings.HasPrefix(value, v.Text) ||
				v.Op == OpIs && (value == v.Text || t.Key == "" && strings.Contains(value, v.Text)) {
				found = true
			}
		}
		return !found
	})
	return found
}

// mayHold looks for the values' letters before anything is decoded. Where letters may be written in another way, it may.
func (t *Term) mayHold(body []byte) bool {
	if t.Key == "" || bytes.IndexByte(body, '\\') >= 0 {
		return true
	}
	for i := range t.Values {
		if text := t.Values[i].Text; strings.ContainsAny(text, "\"\\") || bytes.Contains(body, []byte(text)) {
			return true
		}
	}
	return false
}

// Values hands over the texts, numbers, true and false and null of a JSON text, each with the names of the members it
// stands in, with dots between, until take has had enough. The items of an array have the path of the array. Of a text that
// was cut off, or is none, it hands over what stands before that.
func Values(body []byte, take func(path, value string) bool) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	v := valueReader{d: d, take: take}
	v.value("")
}

type valueReader struct {
	d    *json.Decoder
	take func(path, value string) bool
}

// value reads one value; false: the end is reached.
func (v *valueReader) value(path string) bool {
	token, err := v.d.Token()
	if err != nil {
		return false
	}
	switch x := token.(type) {
	case json.Delim:
		for v.d.More() {
			at := path
			if x == '{' {
				name, err := v.d.Token()
				if err != nil {
					return false
				}
				at, _ = name.(string)
				if path != "" {
					at = path + "." + at
				}
			}
			if !v.value(at) {
				return false
			}
		}
		_, err := v.d.Token()
		return err == nil
	case string:
		return v.take(path, x)
	case json.Number:
		return v.take(path, x.String())
	case bool:
		if x {
			return v.take(path, "true")
		}
		return v.take(path, "false")
	}
	return v.take(path, "null")
}
