package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/schemas"
)

// Where a page belongs: all its messages are of one org, or are control events, or stand on a subject of no org.
const (
	pageControl = "control"
	pageForeign = "foreign"
	pageOrgs    = "org."
)

// pageOf is where the messages of a subject go: "org.<org>", "control" or "foreign".
func pageOf(subject string) string {
	if strings.HasPrefix(subject, "control.") {
		return pageControl
	}
	if rest, ok := strings.CutPrefix(subject, "jobs."); ok {
		org, _, _ := strings.Cut(rest, ".")
		if schemas.CheckToken("org", org) == nil {
			return pageOrgs + org
		}
	}
	return pageForeign
}

// How an event's headers are written.
const (
	headersNone  = 0 // there are none
	headersBlock = 1 // a block that is no header, as it is
	headersPairs = 2 // two more than the number of pairs
)

// A page is one text of the archive:
//
//	names   uvarint n, n texts: the header names that its events use, by number
//	groups  until the end: the events of one subject, ascending
//	  uvarint size of the rest of the group, text subject, uvarint events
//	  event   uvarint size of the rest of the event
//	          uvarint sequence: for the first of the group itself, then the distance to the one before
//	          varint stored time, Unix nanoseconds: likewise
//	          uvarint headers (none, block, or 2 + pairs), the block as a text or for each pair uvarint name, text value
//	          the body: all that is left
//
// A text is a uvarint of its length in bytes, then the bytes. Pairs stand in the byte order of their names, and values
// of one name in their own order: that is all that NATS keeps of the order of headers.
type pageBuilder struct {
	place string // pageOf of all its messages
	names map[string]int
	list  []string
	body  []byte // groups
	group []byte // scratch: one group
	event []byte // scratch: one event
	whole []byte // scratch: content
	pairs []headerPair

	groups, events int
	first, last    schemas.Seq // least and greatest
}

func newPage(place string) *pageBuilder {
	return &pageBuilder{place: place, names: make(map[string]int)}
}

// begin empties the builder for another page.
func (p *pageBuilder) begin(place string) {
	clear(p.names)
	*p = pageBuilder{place: place, names: p.names, list: p.list[:0], body: p.body[:0], group: p.group, event: p.event, whole: p.whole, pairs: p.pairs}
}

// add appends a group: messages of one subject, ascending. It returns how many it took, at least one, until the page
// is full.
func (p *pageBuilder) add(messages []*rawMessage) int {
	group, n := p.group[:0], 0
	var before *rawMessage
	for _, m := range messages {
		if n > 0 && len(p.body)+len(group) >= pageTarget {
			break
		}
		if n+p.events > 0 && len(p.body)+len(group)+m.size() > partMax {
			break // a great one has a page of its own
		}
		event := p.encode(m, before)
		group = binary.AppendUvarint(group, uint64(len(event)))
		group = append(group, event...)
		before = m
		n++
	}
	if n == 0 {
		return 0
	}
	p.group = group
	subject := messages[0].Subject
	head := binary.AppendUvarint(appendText(p.event[:0], subject), uint64(n))
	p.body = binary.AppendUvarint(p.body, uint64(len(head)+len(group)))
	p.body = append(append(p.body, head...), group...)
	if p.events == 0 {
		p.first = messages[0].Seq
	}
	p.first, p.last = min(p.first, messages[0].Seq), max(p.last, messages[n-1].Seq)
	p.groups++
	p.events += n
	return n
}

// encode writes one event into the scratch.
func (p *pageBuilder) encode(m, before *rawMessage) []byte {
	seq, at := uint64(m.Seq), m.Time.UnixNano()
	if before != nil {
		seq, at = uint64(m.Seq-before.Seq), at-before.Time.UnixNano()
	}
	b := binary.AppendUvarint(p.event[:0], seq)
	b = binary.AppendVarint(b, at)
	p.pairs = m.pairs(p.pairs[:0])
	switch {
	case m.Block != nil:
		b = appendText(binary.AppendUvarint(b, headersBlock), m.Block)
	case len(p.pairs) == 0:
		b = binary.AppendUvarint(b, headersNone)
	default:
		b = binary.AppendUvarint(b, uint64(headersPairs+len(p.pairs)))
		for _, h := range p.pairs {
			b = appendText(binary.AppendUvarint(b, uint64(p.name(h.name))), h.value)
		}
	}
	p.event = append(b, m.Data...)
	return p.event
}

// name is the number of a header name.
func (p *pageBuilder) name(k []byte) int {
	i, ok := p.names[string(k)]
	if !ok {
		i = len(p.list)
		p.list = append(p.list, string(k))
		p.names[p.list[i]] = i
	}
	return i
}

// content is the whole page; it is good until another is begun.
func (p *pageBuilder) content() []byte {
	b := binary.AppendUvarint(slices.Grow(p.whole[:0], len(p.body)+1024), uint64(len(p.list)))
	for _, k := range p.list {
		b = appendText(b, k)
	}
	p.whole = append(b, p.body...)
	return p.whole
}

func appendText[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// errPage: the bytes are not what a writer of pages writes.
var errPage = errors.New("it is not a page of the archive")

// pagedEvent is one event inside a page that was read. It is cut from the page's bytes.
type pagedEvent struct {
	seq     schemas.Seq
	at      int64 // Unix nanoseconds
	subject string
	names   []string // of the page
	rest    []byte   // headers and body
}

// walkPage calls fn for each event of a page whose subject is wanted; "" wants all. Events of a group ascend.
func walkPage(content []byte, subject string, fn func(pagedEvent)) error {
	c := cutter{b: content}
	names := make([]string, 0, min(c.uvarintAt(), uint64(len(content))))
	for n := c.uvarint(); n > 0 && !c.bad; n-- {
		names = append(names, string(c.text()))
	}
	for len(c.b) > 0 && !c.bad {
		group := cutter{b: c.text()}
		if c.bad {
			break
		}
		at := group.text()
		n := group.uvarint()
		if group.bad || n == 0 {
			return errPage
		}
		if subject != "" && subject != string(at) {
			continue
		}
		if err := walkGroup(&group, pagedEvent{subject: string(at), names: names}, n, fn); err != nil {
			return err
		}
	}
	if c.bad {
		return errPage
	}
	return nil
}

// walkGroup calls fn for the n events of a group.
func walkGroup(group *cutter, e pagedEvent, n uint64, fn func(pagedEvent)) error {
	for ; n > 0; n-- {
		event := cutter{b: group.text()}
		step, at := event.uvarint(), event.varint()
		if group.bad || event.bad || step == 0 || step > math.MaxUint64-uint64(e.seq) {
			return errPage
		}
		e.seq += schemas.Seq(step)
		e.at += at
		e.rest = event.b
		fn(e)
	}
	if len(group.b) > 0 {
		return errPage
	}
	return nil
}

// pageDecoder turns events of pages into entries. It belongs to one goroutine.
type pageDecoder struct {
	header nats.Header // reused: entries keep only what newEntry copies out of it
	values []string
}

// entry decodes an event as newEntry decodes the message that it was. What it returns shares nothing with the page.
func (d *pageDecoder) entry(e pagedEvent) (*Entry, error) {
	c := cutter{b: e.rest}
	h, err := d.headers(&c, e.names)
	if err != nil {
		return nil, fmt.Errorf("event %d: %w", e.seq, err)
	}
	body := make([]byte, len(c.b))
	copy(body, c.b)
	entry := newEntry(e.subject, h, body, e.seq, time.Unix(0, e.at).UTC())
	if entry.Header != nil {
		entry.Header = cloneHeader(entry.Header)
	}
	return entry, nil
}

// headers reads an event's headers into the decoder's own map.
func (d *pageDecoder) headers(c *cutter, names []string) (nats.Header, error) {
	n := c.uvarint()
	switch {
	case c.bad:
		return nil, errPage
	case n == headersNone:
		return nil, nil
	case n == headersBlock:
		if c.text(); c.bad {
			return nil, errPage
		}
		return nil, nil
	}
	if d.header == nil {
		d.header = make(nats.Header, 16)
	}
	clear(d.header)
	d.values = d.values[:0]
	n -= headersPairs
	if n > uint64(len(c.b)) {
		return nil, errPage
	}
	// One text for all values of the event: what its readers keep of them holds no more than that.
	size := pairsSize(c.b, n)
	if size < 0 {
		return nil, errPage
	}
	all := cutter{b: c.b[:size]}
	text := string(all.b)
	c.b = c.b[size:]
	d.values = slices.Grow(d.values, int(n)) // values must not move: the map points to them
	for ; n > 0; n-- {
		i := all.uvarint()
		v := all.text()
		if all.bad || i >= uint64(len(names)) {
			return nil, errPage
		}
		end := len(text) - len(all.b)
		d.values = append(d.values, text[end-len(v):end])
		at := len(d.values) - 1
		if have, ok := d.header[names[i]]; ok {
			d.header[names[i]] = append(have, d.values[at])
		} else {
			d.header[names[i]] = d.values[at : at+1 : at+1]
		}
	}
	return d.header, nil
}

// pairsSize is how many bytes n pairs take; -1 if they are not there.
func pairsSize(b []byte, n uint64) int {
	c := cutter{b: b}
	for ; n > 0 && !c.bad; n-- {
		c.uvarint()
		c.text()
	}
	if c.bad {
		return -1
	}
	return len(b) - len(c.b)
}

func cloneHeader(h nats.Header) nats.Header {
	c := make(nats.Header, len(h))
	for k, v := range h {
		c[k] = slices.Clone(v)
	}
	return c
}

// cutter reads a binary form from its front. After bad all that it returns is empty.
type cutter struct {
	b   []byte
	bad bool
}

func (c *cutter) uvarint() uint64 {
	v, n := binary.Uvarint(c.b)
	if n <= 0 {
		c.fail()
		return 0
	}
	c.b = c.b[n:]
	return v
}

// uvarintAt is the next uvarint, left where it is.
func (c *cutter) uvarintAt() uint64 {
	v, _ := binary.Uvarint(c.b)
	return v
}

func (c *cutter) varint() int64 {
	v, n := binary.Varint(c.b)
	if n <= 0 {
		c.fail()
		return 0
	}
	c.b = c.b[n:]
	return v
}

// take is the next n bytes.
func (c *cutter) take(n uint64) []byte {
	if n > uint64(len(c.b)) {
		c.fail()
		return nil
	}
	t := c.b[:n:n]
	c.b = c.b[n:]
	return t
}

func (c *cutter) text() []byte { return c.take(c.uvarint()) }

func (c *cutter) fail() { c.b, c.bad = nil, true }
