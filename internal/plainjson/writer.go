package plainjson

import (
	"bytes"
	"encoding/json"
	"strconv"
	"time"
)

// Writer appends one object. Names are literals of plain text.
type Writer struct {
	b []byte
}

// NewWriter returns a writer of an object, with room for size bytes.
func NewWriter(size int) *Writer { w := Append(make([]byte, 0, size)); return &w }

// Append returns a writer of an object behind b, whose room it uses.
func Append(b []byte) Writer { return Writer{b: append(b, '{')} }

// Object writes a member that is itself an object, by fill.
func (w *Writer) Object(name string, fill func(w *Writer)) {
	w.name(name)
	w.b = append(w.b, '{')
	fill(w)
	w.b = append(w.b, '}')
}

// End closes the object and returns the text.
func (w *Writer) End() []byte { return append(w.b, '}') }

func (w *Writer) name(name string) {
	if w.b[len(w.b)-1] != '{' {
		w.b = append(w.b, ',')
	}
	w.b = append(w.b, '"')
	w.b = append(w.b, name...)
	w.b = append(w.b, '"', ':')
}

// Text writes a text.
func (w *Writer) Text(name, s string) {
	w.name(name)
	w.b = AppendText(w.b, s)
}

// TextIf writes a text unless it is empty.
func (w *Writer) TextIf(name, s string) {
	if s != "" {
		w.Text(name, s)
	}
}

// Int writes a whole number.
func (w *Writer) Int(name string, n int64) {
	w.name(name)
	w.b = strconv.AppendInt(w.b, n, 10)
}

// IntIf writes a whole number unless it is 0.
func (w *Writer) IntIf(name string, n int64) {
	if n != 0 {
		w.Int(name, n)
	}
}

// Uint writes a whole number.
func (w *Writer) Uint(name string, n uint64) {
	w.name(name)
	w.b = strconv.AppendUint(w.b, n, 10)
}

// TrueIf writes a true unless it is false.
func (w *Writer) TrueIf(name string, is bool) {
	if is {
		w.name(name)
		w.b = append(w.b, "true"...)
	}
}

// Time writes a time, which must lie in the years 0 to 9999.
func (w *Writer) Time(name string, t time.Time) {
	w.name(name)
	w.b = append(w.b, '"')
	w.b = t.AppendFormat(w.b, time.RFC3339Nano)
	w.b = append(w.b, '"')
}

// Null writes null.
func (w *Writer) Null(name string) {
	w.name(name)
	w.b = append(w.b, "null"...)
}

// Raw writes a value that is JSON already.
func (w *Writer) Raw(name string, value []byte) {
	w.name(name)
	w.b = append(w.b, value...)
}

// AppendText appends s as encoding/json writes it without HTML escapes.
func AppendText(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if !plain(s[i]) {
			return appendOdd(b, s)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

func appendOdd(b []byte, s string) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		panic(err) // no text fails to encode
	}
	return append(b, bytes.TrimSuffix(buf.Bytes(), []byte("\n"))...)
}
