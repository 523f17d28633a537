package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/dartwing/jobledger/internal/plainjson"
	"github.com/dartwing/jobledger/schemas"
)

// The canonical form of JSON, which belongs to the protocol: two args with the same form are the
// same work. It is never stored; only its hash is. Golden vectors are in testdata/canonical.txt.
//
//   - No blanks. Members of an object in byte order of their canonical names; of equal names all are kept,
//     in their order.
//   - Numbers by value and exact, of any size: 1, 1.0, 10e-1 and 0.1E1 are equal, 9007199254740993 is not
//     9007199254740992. Written as digits without zeros at either end, then e and the exponent unless it is
//     0: 1, -15e-1, 1e2. Zero has no sign.
//   - Strings by their characters: escapes only for '"', '\', control characters (as \u00xx) and
//     surrogates without a partner (as \udxxx).

const (
	// canonicalDepthMax bounds the nesting of args. People write a dozen levels; recursion takes memory.
	canonicalDepthMax = 128

	// exponentDigitsMax bounds the exponent of a number, so that it is exact in an int64.
	exponentDigitsMax = 15

	// hashBytes of SHA-256 are kept: 22 characters in base64url.
	hashBytes = 16
)

// ContentHash identifies work: a type and its args, by their canonical form. The error says why args are
// not JSON that has one. Args of schemas.PayloadMax bytes, the most that are accepted, take about three times as
// much memory while it runs.
func ContentHash(t schemas.TypeName, args json.RawMessage) (string, error) {
	form, err := canonical(args)
	if err != nil {
		return "", err
	}
	b := make([]byte, 0, len(t)+1+len(form))
	return hashed(append(append(append(b, t...), 0), form...)), nil
}

// surelyCanonical reports whether ContentHash of args gives no error, as far as that is known for less than the hash
// costs: JSON of printable ASCII, not nested deeply, without long exponents. false says nothing.
func surelyCanonical(args json.RawMessage) bool {
	if !plainjson.ASCII(args) {
		return false
	}
	for i := 1; i < len(args); i++ {
		if args[i]|' ' != 'e' || !digit(args[i-1]) {
			continue
		}
		from := i + 1
		if from < len(args) && (args[from] == '+' || args[from] == '-') {
			from++
		}
		n := from
		for n < len(args) && digit(args[n]) {
			n++
		}
		if n-from > exponentDigitsMax {
			return false
		}
	}
	return true
}

func digit(b byte) bool { return b >= '0' && b <= '9' }

// contentOf is ContentHash of what a job was submitted with. Where the args are kept by reference it stands in
// the event, whatever the dedup policy: args inline and by reference are the same work.
func contentOf(s *schemas.Submitted) (string, error) {
	if s.ArgsRef != nil {
		return s.Hash, nil
	}
	return ContentHash(s.Type, s.Args)
}

// shortHash hashes parts that hold no byte 0.
func shortHash(parts ...string) string {
	return hashed([]byte(strings.Join(parts, "\x00")))
}

func hashed(b []byte) string {
	sum := sha256.Sum256(b)
	return base64.RawURLEncoding.EncodeToString(sum[:hashBytes])
}

// canonical returns the canonical form of exactly one JSON value.
func canonical(src []byte) ([]byte, error) {
	if err := schemas.CheckJSON("args", src); err != nil {
		return nil, err
	}
	if !utf8.Valid(src) {
		return nil, errors.New("args are not valid UTF-8")
	}
	c := canonicalizer{src: src}
	return c.value(make([]byte, 0, len(src)), 0)
}

// canonicalizer walks JSON that is known to be valid.
type canonicalizer struct {
	src []byte
	pos int
}

// peek skips blanks and returns the next byte.
func (c *canonicalizer) peek() byte {
	for c.src[c.pos] == ' ' || c.src[c.pos] == '\t' || c.src[c.pos] == '\n' || c.src[c.pos] == '\r' {
		c.pos++
	}
	return c.src[c.pos]
}

func (c *canonicalizer) value(dst []byte, depth int) ([]byte, error) {
	if depth > canonicalDepthMax {
		return nil, fmt.Errorf("args are nested deeper than %d", canonicalDepthMax)
	}
	switch b := c.peek(); b {
	case '{':
		return c.object(dst, depth)
	case '[':
		return c.array(dst, depth)
	case '"':
		return c.text(dst), nil
	case 't', 'n':
		c.pos += len("true")
		return append(dst, c.src[c.pos-4:c.pos]...), nil
	case 'f':
		c.pos += len("false")
		return append(dst, "false"...), nil
	}
	start := c.pos
	for c.pos < len(c.src) && bytes.IndexByte([]byte("+-.0123456789eE"), c.src[c.pos]) >= 0 {
		c.pos++
	}
	return number(dst, c.src[start:c.pos])
}

func (c *canonicalizer) array(dst []byte, depth int) ([]byte, error) {
	c.pos++
	dst = append(dst, '[')
	for first := true; c.peek() != ']'; first = false {
		if !first {
			c.pos++ // the comma
			dst = append(dst, ',')
		}
		var err error
		if dst, err = c.value(dst, depth+1); err != nil {
			return nil, err
		}
	}
	c.pos++
	return append(dst, ']'), nil
}

// member is where one member of an object stands in the output.
type member struct{ start, nameEnd, end int }

func (c *canonicalizer) object(dst []byte, depth int) ([]byte, error) {
	c.pos++
	dst = append(dst, '{')
	open := len(dst)
	var members []member
	for first := true; c.peek() != '}'; first = false {
		if !first {
			c.pos++ // the comma
			c.peek()
		}
		m := member{start: len(dst)}
		dst = c.text(dst)
		m.nameEnd = len(dst)
		c.peek()
		c.pos++ // the colon
		dst = append(dst, ':')
		var err error
		if dst, err = c.value(dst, depth+1); err != nil {
			return nil, err
		}
		m.end = len(dst)
		members = append(members, m)
	}
	c.pos++
	return append(sortMembers(dst, open, members), '}'), nil
}

// sortMembers puts the members, which stand one after the other from open, in order and commas between them.
func sortMembers(dst []byte, open int, members []member) []byte {
	written := bytes.Clone(dst[open:])
	name := func(m member) []byte { return written[m.start-open+1 : m.nameEnd-open-1] } // without quotes
	slices.SortStableFunc(members, func(a, b member) int { return bytes.Compare(name(a), name(b)) })
	dst = dst[:open]
	for i, m := range members {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, written[m.start-open:m.end-open]...)
	}
	return dst
}

// text writes the string that begins here. What needs no rewriting is copied in stretches: args may be one long
// string.
func (c *canonicalizer) text(dst []byte) []byte {
	dst = append(dst, '"')
	c.pos++
	for quote := c.pos - 1; ; {
		if quote < c.pos { // the last one found was escaped
			quote = c.pos + bytes.IndexByte(c.src[c.pos:], '"')
		}
		n := bytes.IndexByte(c.src[c.pos:quote], '\\')
		if n < 0 {
			dst = append(dst, c.src[c.pos:quote]...)
			c.pos = quote + 1
			return append(dst, '"')
		}
		dst = append(dst, c.src[c.pos:c.pos+n]...)
		c.pos += n
		dst = appendChar(dst, c.escape())
	}
}

// escape reads one escape, or two that form a surrogate pair.
func (c *canonicalizer) escape() rune {
	b := c.src[c.pos+1]
	c.pos += 2
	switch b {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'u':
		r := c.hex()
		if utf16.IsSurrogate(r) && c.src[c.pos] == '\\' && c.src[c.pos+1] == 'u' {
			second := canonicalizer{src: c.src, pos: c.pos + 2}
			if pair := utf16.DecodeRune(r, second.hex()); pair != utf8.RuneError {
				c.pos = second.pos
				return pair
			}
		}
		return r
	}
	return rune(b) // '"', '\', '/'
}

// hex reads four hexadecimal digits.
func (c *canonicalizer) hex() rune {
	n, err := strconv.ParseUint(string(c.src[c.pos:c.pos+4]), 16, 16)
	if err != nil {
		panic("ledger: valid JSON holds a malformed \\u escape")
	}
	c.pos += 4
	return rune(n)
}

func appendChar(dst []byte, r rune) []byte {
	switch {
	case r == '"', r == '\\':
		return append(dst, '\\', byte(r))
	case r < ' ', utf16.IsSurrogate(r):
		return fmt.Appendf(dst, `\u%04x`, r)
	}
	return utf8.AppendRune(dst, r)
}

// number writes a number by its value.
func number(dst, lit []byte) ([]byte, error) {
	unsigned, negative := bytes.CutPrefix(lit, []byte("-"))
	mantissa, exponent := unsigned, []byte(nil)
	if i := bytes.IndexAny(unsigned, "eE"); i >= 0 {
		mantissa, exponent = unsigned[:i], unsigned[i+1:]
	}
	whole, fraction, _ := bytes.Cut(mantissa, []byte("."))
	digits := append(bytes.Clone(whole), fraction...)
	digits = bytes.TrimLeft(digits, "0")
	if len(digits) == 0 {
		return append(dst, '0'), nil
	}
	exp, err := parseExponent(exponent)
	if err != nil {
		return nil, err
	}
	trimmed := bytes.TrimRight(digits, "0")
	exp += int64(len(digits) - len(trimmed) - len(fraction))
	if negative {
		dst = append(dst, '-')
	}
	dst = append(dst, trimmed...)
	if exp != 0 {
		dst = append(dst, 'e')
		dst = strconv.AppendInt(dst, exp, 10)
	}
	return dst, nil
}

func parseExponent(lit []byte) (int64, error) {
	if len(lit) == 0 {
		return 0, nil
	}
	digits, negative := bytes.CutPrefix(lit, []byte("-"))
	digits = bytes.TrimLeft(bytes.TrimPrefix(digits, []byte("+")), "0")
	if len(digits) == 0 {
		return 0, nil
	}
	if len(digits) > exponentDigitsMax {
		return 0, fmt.Errorf("args hold a number with the exponent %.20s: at most %d digits are allowed", lit, exponentDigitsMax)
	}
	n, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil {
		return 0, err
	}
	if negative {
		n = -n
	}
	return n, nil
}
