package plainjson

import (
	"bytes"
	"encoding/json"
	"time"
)

// Reader reads one text. The zero value is not of use: see Read.
type Reader struct {
	b   []byte
	i   int
	bad bool
}

// Read reads all of b as one object: member is called with each member's name and reads the value. It
// reports whether b was plain to its end; if not, what was read is void.
func Read(b []byte, member func(r *Reader, name []byte)) bool {
	r := Reader{b: b}
	r.Object(member)
	return !r.bad && r.i == len(b)
}

// Fail says that the text is not plain, such as for a name that member does not know. All reads are zero from
// here on.
func (r *Reader) Fail() { r.bad = true }

// Object reads an object.
func (r *Reader) Object(member func(r *Reader, name []byte)) {
	if !r.take('{') {
		return
	}
	if r.peek() == '}' {
		r.i++
		return
	}
	for {
		name := r.Bytes()
		if !r.take(':') {
			return
		}
		if member(r, name); r.bad {
			return
		}
		if r.peek() == '}' {
			r.i++
			return
		}
		if !r.take(',') {
			return
		}
	}
}

// peek is the next byte, 0 at the end.
func (r *Reader) peek() byte {
	if r.i < len(r.b) {
		return r.b[r.i]
	}
	return 0
}

func (r *Reader) take(c byte) bool {
	if r.bad || r.peek() != c {
		r.bad = true
		return false
	}
	r.i++
	return true
}

// Bytes reads a text; it shares the memory of what is read.
func (r *Reader) Bytes() []byte {
	if !r.take('"') {
		return nil
	}
	from := r.i
	for ; r.i < len(r.b); r.i++ {
		c := r.b[r.i]
		if c == '"' {
			r.i++
			return r.b[from : r.i-1]
		}
		if !plain(c) {
			break
		}
	}
	r.bad = true
	return nil
}

// plain reports a byte that stands for itself in a JSON text.
func plain(c byte) bool { return c >= ' ' && c <= '~' && c != '"' && c != '\\' }

// Text reads a text.
func (r *Reader) Text() string { return string(r.Bytes()) }

// digitsMax is the number of digits of which none can overflow a uint64 or an int64.
const digitsMax = 18

// Whole reads a number of at most 18 digits, without sign, fraction or exponent.
func (r *Reader) Whole() uint64 {
	from, n := r.i, uint64(0)
	for ; r.i < len(r.b); r.i++ {
		c := r.b[r.i] - '0'
		if c > 9 {
			break
		}
		n = n*10 + uint64(c)
	}
	if digits := r.i - from; r.bad || digits == 0 || digits > digitsMax || digits > 1 && r.b[from] == '0' {
		r.bad = true
		return 0
	}
	return n
}

// Bool reads true or false.
func (r *Reader) Bool() bool {
	if !r.bad {
		if bytes.HasPrefix(r.b[r.i:], []byte("true")) {
			r.i += len("true")
			return true
		}
		if bytes.HasPrefix(r.b[r.i:], []byte("false")) {
			r.i += len("false")
			return false
		}
	}
	r.bad = true
	return false
}

// Time reads a time as time.Time's own methods do.
func (r *Reader) Time() time.Time {
	var t time.Time
	if b := r.Bytes(); r.bad || t.UnmarshalText(b) != nil {
		r.bad = true
		return time.Time{}
	}
	return t
}

// LastRaw reads any JSON value that ends the text but for one closing brace: where a record is written
// together with JSON that came from elsewhere, that stands last. The value shares the memory of what is read.
func (r *Reader) LastRaw() json.RawMessage {
	end := len(r.b) - 1
	if r.bad || r.i >= end || r.b[end] != '}' || blank(r.b[r.i]) || blank(r.b[end-1]) || !Valid(r.b[r.i:end]) {
		r.bad = true
		return nil
	}
	raw := json.RawMessage(r.b[r.i:end:end])
	r.i = end
	return raw
}

func blank(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }
