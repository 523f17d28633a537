package schemas

import (
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
)

// attributes are the headers that make an event, by number, as they are written; empty for one that is not there.
type attributes [attributesMax]string

const (
	attrSpecVersion = iota
	attrID
	attrSource
	attrType
	attrTime
	attrAuthType
	attrAuthID
	attrCausationID
	attrCorrelationID
	attrTraceparent
	attrTracestate
	attrMsgID
	attrExpect
	attributesMax
)

var attributeNames = [attributesMax]string{HeaderSpecVersion, HeaderID, HeaderSource, HeaderType, HeaderTime, HeaderAuthType, HeaderAuthID,
	HeaderCausationID, HeaderCorrelationID, HeaderTraceparent, HeaderTracestate, HeaderMsgID, HeaderExpect}

// get reads an attribute.
func (a *attributes) get(i int) string { return unescape(a[i]) }

// attributesOf reads headers.
func attributesOf(h nats.Header) (a attributes) {
	h = lowerNames(h)
	for i, name := range attributeNames {
		if v := h[name]; len(v) > 0 {
			a[i] = v[0]
		}
	}
	return a
}

// blockStart and blockEnd stand before and behind the lines of a header block.
const (
	blockStart = "NATS/1.0\r\n"
	blockEnd   = "\r\n"
)

// plainAttributes reads a header block as it was sent, without a map: a few of our names in their own spelling, each once.
// False says nothing: the client's own reader has to judge.
func plainAttributes(block string) (a attributes, ok bool) {
	rest, ok := strings.CutPrefix(block, blockStart)
	if !ok {
		return a, false
	}
	var seen [attributesMax]bool
	for rest != blockEnd {
		end := strings.IndexByte(rest, '\n')
		if end < 1 || rest[end-1] != '\r' {
			return a, false
		}
		name, value, ok := strings.Cut(rest[:end-1], ":")
		i := numberOf(name)
		if !ok || i < 0 || seen[i] {
			return a, false
		}
		seen[i] = true
		a[i] = strings.TrimLeft(value, " \t")
		rest = rest[end+1:]
	}
	return a, true
}

// numberOf is the number of the attribute of this name; -1 for none.
func numberOf(name string) int {
	switch name {
	case HeaderSpecVersion:
		return attrSpecVersion
	case HeaderID:
		return attrID
	case HeaderSource:
		return attrSource
	case HeaderType:
		return attrType
	case HeaderTime:
		return attrTime
	case HeaderAuthType:
		return attrAuthType
	case HeaderAuthID:
		return attrAuthID
	case HeaderCausationID:
		return attrCausationID
	case HeaderCorrelationID:
		return attrCorrelationID
	case HeaderTraceparent:
		return attrTraceparent
	case HeaderTracestate:
		return attrTracestate
	case HeaderMsgID:
		return attrMsgID
	case HeaderExpect:
		return attrExpect
	}
	return -1
}

// TypeOf is the ce-type of a message, also of one that Decode refuses; empty if it has none.
func TypeOf(h nats.Header) string {
	a := attributesOf(h)
	return a.get(attrType)
}

// lowerNames returns h with the names of attributes in lower case, so that they are read tolerant of case:
// h itself when they are so already, as ours are. The exact spelling wins over others, and of those the
// first in byte order, so that every replay reads the same.
func lowerNames(h nats.Header) nats.Header {
	odd := false
	for k := range h {
		if odd = oddName(k); odd {
			break
		}
	}
	if !odd {
		return h
	}
	lower := make(nats.Header, len(h))
	for _, k := range slices.Sorted(maps.Keys(h)) {
		name := k
		if oddName(k) {
			name = strings.ToLower(k)
		}
		if _, taken := lower[name]; !taken || name == k {
			lower[name] = h[k]
		}
	}
	return lower
}

// oddName reports a name that is neither in lower case nor one of the server's.
func oddName(k string) bool {
	if strings.HasPrefix(k, "Nats-") {
		return false
	}
	for i := 0; i < len(k); i++ {
		if k[i] >= 'A' && k[i] <= 'Z' {
			return true
		}
	}
	return false
}
