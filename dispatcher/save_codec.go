package dispatcher

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
)

// errDamaged: a saved fold is not what was written.
var errDamaged = errors.New("the saved fold is damaged")

// codec writes a saved fold, or reads one: each record is described once, for both ways. Numbers are varints; names
// that occur again and again, as those of orgs, are written out once. After an error it does nothing more.
type codec struct {
	err error

	out   io.Writer // nil: it reads
	sum   hash.Hash32
	buf   []byte
	index map[string]uint64 // names written so far

	in    []byte // not read yet
	names []string
}

// codecFlush is how much is gathered before it is written.
const codecFlush = 64 << 10

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func newEncoder(w io.Writer) *codec {
	return &codec{out: w, sum: crc32.New(castagnoli), buf: make([]byte, 0, codecFlush+binary.MaxVarintLen64), index: make(map[string]uint64)}
}

func (c *codec) writing() bool { return c.out != nil }

func (c *codec) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

// flush writes what is gathered.
func (c *codec) flush() {
	if c.err == nil && len(c.buf) > 0 {
		c.sum.Write(c.buf)
		_, err := c.out.Write(c.buf)
		c.fail(err)
	}
	c.buf = c.buf[:0]
}

// seal writes the checksum of all that was written.
func (c *codec) seal() error {
	c.flush()
	if c.err == nil {
		_, err := c.out.Write(binary.LittleEndian.AppendUint32(nil, c.sum.Sum32()))
		c.fail(err)
	}
	return c.err
}

// unseal returns what was sealed.
func unseal(raw []byte) ([]byte, error) {
	const sum = 4
	if len(raw) < sum {
		return nil, errDamaged
	}
	body := raw[:len(raw)-sum]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(raw[len(raw)-sum:]) {
		return nil, errDamaged
	}
	return body, nil
}

func (c *codec) put(v uint64) {
	c.buf = binary.AppendUvarint(c.buf, v)
	if len(c.buf) >= codecFlush {
		c.flush()
	}
}

func (c *codec) get() uint64 {
	v, n := binary.Uvarint(c.in)
	if n <= 0 {
		c.fail(errDamaged)
		c.in = nil
		return 0
	}
	c.in = c.in[n:]
	return v
}

// unsigned is a number that is never negative.
func unsigned[T ~uint64 | ~uint32 | ~int | ~int64](c *codec, v *T) {
	if c.writing() {
		c.put(uint64(*v))
		return
	}
	*v = T(c.get())
}

// signed is a number near zero, on either side.
func signed[T ~uint64 | ~int | ~int64](c *codec, v *T) {
	if c.writing() {
		n := int64(*v)
		c.put(uint64(n)<<1 ^ uint64(n>>63))
		return
	}
	u := c.get()
	*v = T(int64(u>>1) ^ -int64(u&1))
}

// near is a number that is as a rule close to the one before it in its column.
func near[T ~uint64 | ~int | ~int64](c *codec, v, before *T) {
	d := *v - *before
	signed(c, &d)
	*v = *before + d
	*before = *v
}

func (c *codec) flag(v *bool) {
	n := 0
	if *v {
		n = 1
	}
	unsigned(c, &n)
	*v = n == 1
}

// text is a string of its own.
func text[T ~string](c *codec, v *T) {
	n := len(*v)
	unsigned(c, &n)
	if c.writing() {
		c.buf = append(c.buf, *v...)
		return
	}
	*v = T(c.take(n))
}

// take reads n bytes.
func (c *codec) take(n int) []byte {
	if n < 0 || n > len(c.in) {
		c.fail(errDamaged)
		c.in = nil
		return nil
	}
	b := c.in[:n]
	c.in = c.in[n:]
	return b
}

// name is a string that may occur again: it is written out once, and read ones share their bytes.
func name[T ~string](c *codec, v *T) {
	if c.writing() {
		i, ok := c.index[string(*v)]
		if !ok {
			i = uint64(len(c.index))
			c.index[string(*v)] = i
		}
		c.put(i)
		if !ok {
			text(c, v)
		}
		return
	}
	i := c.get()
	switch {
	case i < uint64(len(c.names)):
	case i == uint64(len(c.names)) && c.err == nil:
		var s string
		text(c, &s)
		c.names = append(c.names, s)
	default:
		c.fail(errDamaged)
		return
	}
	*v = T(c.names[i])
}

// raw is bytes, such as the random ones of a hash.
func (c *codec) raw(b []byte) {
	if c.writing() {
		c.buf = append(c.buf, b...)
		return
	}
	copy(b, c.take(len(b)))
}

// document is a value as JSON: what is small and has many fields.
func document[T any](c *codec, v *T) {
	var body []byte
	if c.writing() {
		var err error
		if body, err = json.Marshal(v); err != nil {
			c.fail(err)
		}
	}
	s := string(body)
	text(c, &s)
	if !c.writing() && c.err == nil {
		if err := json.Unmarshal([]byte(s), v); err != nil {
			c.fail(fmt.Errorf("%w: %w", errDamaged, err))
		}
	}
}

// list is a number of records, each of which takes a byte at least.
func list[T any](c *codec, l *[]T, each func(v *T)) {
	n := len(*l)
	unsigned(c, &n)
	if !c.writing() {
		if n < 0 || n > len(c.in) {
			c.fail(errDamaged)
			return
		}
		*l = make([]T, n)
	}
	for i := range *l {
		if c.err != nil {
			return
		}
		each(&(*l)[i])
	}
}
