package packs

import (
	"bytes"
	"strconv"
)

const (
	// Consumer begins the name of a consumer whose messages may come in packs. Its stream has no dots in its name, and the
	// server no JetStream domain; others come single.
	Consumer = "jl-tail-"
	// Subject is that of a pack. No stream stores it, and no subscription names it.
	Subject = "_jl.pack"
)

// Frame is one message as the server sends it: "HMSG <subject> <sid> <reply> <size of headers> <size>", the headers, the
// body. Its parts are cut from the text it was read from.
type Frame struct {
	Subject, Reply []byte
	Header, Data   []byte
	sid            []byte
}

var (
	message   = []byte("MSG ")
	headed    = []byte("HMSG ")
	ackPrefix = []byte("$JS.ACK.")
	consumer  = []byte("." + Consumer)
	lineEnd   = []byte("\r\n")
)

// Next cuts the first frame of a pack off, and returns what is left; false if there is none.
func Next(pack []byte) (f Frame, rest []byte, ok bool) {
	size, f, ok := cut(pack)
	if !ok || f.sid == nil {
		return Frame{}, nil, false
	}
	return f, pack[size:], true
}

// cut finds the end of the first line of the protocol, with the message that it may begin, and takes it apart if it is a
// message for packs. If only a part of it is there, ok is false, and size is its whole, or 0 where that cannot be told.
func cut(b []byte) (size int, f Frame, ok bool) {
	end := bytes.IndexByte(b, '\n')
	if end < 0 {
		return 0, Frame{}, false
	}
	line := bytes.TrimSuffix(b[:end], lineEnd[:1])
	size = end + 1
	has := bytes.HasPrefix(line, headed)
	if !has && !bytes.HasPrefix(line, message) {
		return size, Frame{}, true
	}
	body, ok := number(line[bytes.LastIndexByte(line, ' ')+1:])
	if !ok {
		return size, Frame{}, true // the client will say what it thinks of it
	}
	from := size
	if size += body + len(lineEnd); size > len(b) {
		return size, Frame{}, false
	}
	if has {
		f = headedFrame(line[len(headed):], b[from:from+body])
	}
	return size, f, true
}

// headedFrame takes a message with headers apart; the zero Frame if it is not one for packs.
func headedFrame(args, content []byte) Frame {
	var f Frame
	var rest, sizes []byte
	var ok bool
	if f.Subject, rest, ok = bytes.Cut(args, []byte{' '}); !ok {
		return Frame{}
	}
	if f.sid, rest, ok = bytes.Cut(rest, []byte{' '}); !ok || len(f.sid) == 0 {
		return Frame{}
	}
	if f.Reply, sizes, ok = bytes.Cut(rest, []byte{' '}); !ok || !packed(f.Reply) {
		return Frame{}
	}
	text, _, ok := bytes.Cut(sizes, []byte{' '})
	if !ok {
		return Frame{} // it has no reply
	}
	header, ok := number(text)
	if !ok || header > len(content) {
		return Frame{}
	}
	f.Header, f.Data = content[:header:header], content[header:len(content):len(content)]
	return f
}

// packed reports whether the reply subject of a message is of a consumer for packs: "$JS.ACK.<stream>.<consumer>.…".
func packed(reply []byte) bool {
	rest, ok := bytes.CutPrefix(reply, ackPrefix)
	i := bytes.IndexByte(rest, '.')
	return ok && i > 0 && bytes.HasPrefix(rest[i:], consumer)
}

// number reads a size as the server writes it.
func number(b []byte) (int, bool) {
	n, ok := long(b)
	return int(n), ok && n < 1<<31 // no message is as large
}

// appendHead appends the control line of a pack.
func appendHead(b, sid []byte, size int) []byte {
	b = append(append(b, message...), Subject+" "...)
	b = append(append(b, sid...), ' ')
	return append(strconv.AppendInt(b, int64(size), 10), lineEnd...)
}

// Place is where a message stands.
type Place struct {
	Seq     uint64 // in its stream
	Number  uint64 // among the messages of its consumer
	Time    int64  // when it was stored, Unix nanoseconds
	Pending uint64 // how many more the consumer had to send then
}

// PlaceOf reads the reply subject of a message in a pack:
// "$JS.ACK.<stream>.<consumer>.<times delivered>.<seq>.<number>.<time>.<pending>".
func PlaceOf(reply []byte) (p Place, ok bool) {
	const tokens = 9
	for i := range tokens {
		token, rest, more := bytes.Cut(reply, []byte{'.'})
		if more == (i == tokens-1) {
			return p, false
		}
		reply = rest
		ok := true
		switch i {
		case 5:
			p.Seq, ok = long(token)
		case 6:
			p.Number, ok = long(token)
		case 7:
			var n uint64
			n, ok = long(token)
			p.Time = int64(n)
		case 8:
			p.Pending, ok = long(token)
		}
		if !ok {
			return p, false
		}
	}
	return p, true
}

// long reads a number as the server writes it, below 2^63.
func long(b []byte) (uint64, bool) {
	const digitsMax = 19
	n := uint64(0)
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + uint64(c-'0')
	}
	return n, 0 < len(b) && len(b) <= digitsMax && n < 1<<63
}
