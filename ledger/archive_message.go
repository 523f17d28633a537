package ledger

import (
	"bytes"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/schemas"
)

// rawMessage is a stored message of LEDGER as ARCHIVE keeps it.
type rawMessage struct {
	Subject string
	// Header is what every reader sees of the message's headers; nil for none, or for a block that is none.
	Header nats.Header
	// Head is the header block as it is stored, in place of Header: nobody has read it yet.
	Head []byte
	// Block is a header block that cannot be read, byte for byte. Nobody reads it: it is kept.
	Block []byte
	Data  []byte
	Seq   schemas.Seq
	Time  time.Time
}

// raw is the message for the archive, with its header block if that is none.
func (m *storedMessage) raw() rawMessage {
	r := rawMessage{Subject: m.Subject, Data: m.Data, Seq: m.Seq, Time: m.Time}
	if len(m.Header) > 0 {
		r.Head = m.Header
		r.readHead()
	}
	return r
}

// readHead puts Header or Block in the place of Head.
func (m *rawMessage) readHead() {
	var err error
	if m.Header, err = nats.DecodeHeadersMsg(m.Head); err != nil {
		m.Header, m.Block = nil, m.Head
	}
	m.Head = nil
}

// size is about what the message takes in a page.
func (m *rawMessage) size() int {
	n := len(m.Data) + len(m.Head)/2 + len(m.Block) + 16 // a page has each name once
	for _, values := range m.Header {
		for _, v := range values {
			n += len(v) + 3
		}
	}
	return n
}

// entry decodes the message.
func (m *rawMessage) entry() *Entry {
	if m.Head != nil {
		return blockEntry(m.Subject, m.Head, m.Data, m.Seq, m.Time)
	}
	return newEntry(m.Subject, m.Header, m.Data, m.Seq, m.Time)
}

// headerPair is a header's name and one of its values.
type headerPair struct{ name, value []byte }

// pairs appends the message's headers as a page has them: in the byte order of their names, values of one name in their own.
func (m *rawMessage) pairs(pairs []headerPair) []headerPair {
	if m.Head != nil {
		if lines, ok := linesOf(m.Head, pairs); ok {
			if !slices.IsSortedFunc(lines, byName) { // the client sends them sorted
				slices.SortStableFunc(lines, byName)
			}
			return lines
		}
		m.readHead()
	}
	for _, k := range slices.Sorted(maps.Keys(m.Header)) {
		for _, v := range m.Header[k] {
			pairs = append(pairs, headerPair{name: []byte(k), value: []byte(v)})
		}
	}
	return pairs
}

func byName(a, b headerPair) int { return bytes.Compare(a.name, b.name) }

// What stands before the lines of a header block, and at the end of each and of all.
var (
	headStart = []byte("NATS/1.0\r\n")
	lineEnd   = []byte("\r\n")
)

// linesOf appends the lines of a header block as the client reads them, without a text for each. False says nothing: the client's
// own reader has to judge.
func linesOf(block []byte, pairs []headerPair) ([]headerPair, bool) {
	rest, ok := bytes.CutPrefix(block, headStart)
	for ok && !bytes.Equal(rest, lineEnd) {
		end := bytes.IndexByte(rest, '\n')
		if end < 1 || rest[end-1] != '\r' {
			return pairs, false
		}
		name, value, found := bytes.Cut(rest[:end-1], []byte{':'})
		if !found || len(name) == 0 {
			return pairs, false
		}
		pairs = append(pairs, headerPair{name: name, value: bytes.TrimLeft(value, " \t")})
		rest = rest[end+1:]
	}
	return pairs, ok
}
