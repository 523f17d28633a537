package backup

import (
	"archive/tar"
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/textproto"

	"github.com/klauspost/compress/s2"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// Forms of a snapshot.
const (
	formMessages = "messages" // nats-server 2.15 and later: messages, one by one
	formFiles    = "files"    // before: a tar of the stream's files
)

// archiveMagic begins a snapshot of messages.
const archiveMagic = "NATSARC1"

// Bounds of what a snapshot says of itself.
const (
	nameMax    = 64 << 10 // a subject
	messageMax = 64 << 20 // more than any server takes
)

// content is what a snapshot was found to hold.
type content struct {
	format    string
	messages  uint64
	first     uint64
	last      uint64
	lastEvent string // id of the last message's event
	through   uint64 // up to here a catalog says that events have left LEDGER
}

// decode reads the snapshot of a stream to its end and returns what it holds. progress, if not nil, hears of each
// message's sequence. Whatever is cut off or not of either form is an error.
func decode(stream string, r io.Reader, progress func(seq uint64)) (*content, error) {
	in := bufio.NewReaderSize(s2.NewReader(r), 256<<10)
	head, err := in.Peek(len(archiveMagic))
	if err != nil {
		return nil, fmt.Errorf("the snapshot has no beginning: %w", err)
	}
	if string(head) != archiveMagic {
		return decodeFiles(in)
	}
	if _, err := in.Discard(len(archiveMagic)); err != nil {
		return nil, err
	}
	d := &decoder{in: in, catalog: stream == ledger.StreamCatalog, content: content{format: formMessages}}
	for {
		more, err := d.entry(progress)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, fmt.Errorf("the snapshot breaks off or is damaged behind sequence %d: %w", d.last, err)
		}
		if !more {
			break
		}
	}
	if n, err := io.Copy(io.Discard, in); n > 0 || err != nil {
		return nil, fmt.Errorf("%d bytes stand behind the snapshot's end (%v)", n, err)
	}
	d.lastEvent = eventID(d.head)
	return &d.content, nil
}

// decodeFiles reads a snapshot in the older form. What its files hold is the server's to judge.
func decodeFiles(in io.Reader) (*content, error) {
	files := tar.NewReader(in)
	for {
		h, err := files.Next()
		if errors.Is(err, io.EOF) {
			return &content{format: formFiles}, nil
		}
		if err != nil {
			return nil, fmt.Errorf("the snapshot is none: %w", err)
		}
		if h.Name == "errors.txt" {
			text, _ := io.ReadAll(io.LimitReader(files, 1<<10)) // for the message only
			return nil, fmt.Errorf("the server could not read the stream: %s", text)
		}
		if _, err := io.Copy(io.Discard, files); err != nil {
			return nil, fmt.Errorf("the snapshot breaks off in %s: %w", h.Name, err)
		}
	}
}

// decoder reads a snapshot of messages: entries of name, time, sequence, header size and body size, then the bytes.
type decoder struct {
	in      *bufio.Reader
	catalog bool
	content
	buf  []byte
	head []byte // header block of the latest message
}

// entry reads one entry; false for the end mark, in which all fields are empty.
func (d *decoder) entry(progress func(uint64)) (more bool, err error) {
	nameLen, err := binary.ReadUvarint(d.in)
	if err != nil {
		return false, err
	}
	at, err := binary.ReadVarint(d.in)
	if err != nil {
		return false, err
	}
	var field [3]uint64 // sequence, header size, body size
	for i := range field {
		if field[i], err = binary.ReadUvarint(d.in); err != nil {
			return false, err
		}
	}
	seq, head, body := field[0], field[1], field[2]
	if nameLen > nameMax || head > messageMax || body > messageMax {
		return false, fmt.Errorf("an entry of %d, %d and %d bytes", nameLen, head, body)
	}
	if seq == 0 && nameLen == 0 && at == 0 && head == 0 && body == 0 {
		return false, nil
	}
	all, err := d.read(int(nameLen + head + body))
	if err != nil || seq == 0 { // the stream's state comes as an entry without sequence
		return err == nil, err
	}
	if seq <= d.last {
		return false, fmt.Errorf("sequence %d stands behind %d", seq, d.last)
	}
	if d.messages == 0 {
		d.first = seq
	}
	d.messages, d.last = d.messages+1, seq
	d.head = append(d.head[:0], all[nameLen:nameLen+head]...)
	if d.catalog {
		d.through = max(d.through, uint64(ledger.CommittedThrough(string(all[:nameLen]), all[nameLen+head:])))
	}
	if progress != nil {
		progress(seq)
	}
	return true, nil
}

func (d *decoder) read(n int) ([]byte, error) {
	if cap(d.buf) < n {
		d.buf = make([]byte, n)
	}
	b := d.buf[:n]
	_, err := io.ReadFull(d.in, b)
	return b, err
}

// eventID finds the event's id in a message's header block; empty if there is none.
func eventID(block []byte) string {
	i := bytes.Index(block, []byte("\r\n"))
	if i < 0 {
		return ""
	}
	h, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(block[i+2:]))).ReadMIMEHeader()
	if err != nil {
		return ""
	}
	return h.Get(schemas.HeaderID)
}
