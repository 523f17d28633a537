package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/dartwing/jobledger/ledger"
)

// Formats of events.
const (
	formatTable  = "table"
	formatNDJSON = "ndjson"
	formatCloud  = "cloudevents"
	formatCSV    = "csv"
	formatSQLite = "sqlite"
)

// eventSink takes events one after the other.
type eventSink interface {
	put(e *ledger.Entry) error
	close() error
}

// eventForm writes events as lines of one format.
type eventForm struct {
	*program
	format string
}

// csvColumns are a contract: further ones come at the end.
const csvColumns = "seq,time,event,actor,org,id,type,generation,attempt,from,to,reason,quarantined,data"

// heading is the line before the first event; empty for none.
func (f *eventForm) heading() string {
	switch f.format {
	case formatTable:
		return "     seq  time                     event             job  type\n"
	case formatCSV:
		return csvColumns + "\n"
	}
	return ""
}

// append appends one event and a newline, which is the only one of the line.
func (f *eventForm) append(b []byte, e *ledger.Entry) ([]byte, error) {
	var err error
	switch f.format {
	case formatCloud:
		b, err = ledger.AppendCloudEvent(b, e)
	case formatNDJSON:
		line := ledger.LineOf(e)
		b = line.Append(b, true)
	case formatCSV:
		b = appendCSV(b, ledger.LineOf(e))
	default:
		b = append(b, f.eventLine(ledger.LineOf(e))...)
	}
	return append(b, '\n'), err
}

// appendCSV appends an event as a row of csvColumns (RFC 4180). A line break in a text becomes a blank: the data have it as
// it was.
func appendCSV(b []byte, h ledger.HistoryLine) []byte {
	b = append(strconv.AppendUint(b, uint64(h.Seq), 10), ',')
	b = h.Time.AppendFormat(b, time.RFC3339Nano)
	b = appendCell(b, string(h.Event))
	b = appendCell(b, h.Actor)
	b = appendCell(b, textOf(h.Org))
	b = appendCell(b, textOf(h.ID))
	b = appendCell(b, textOf(h.Type))
	b = appendNumber(b, h.Generation)
	b = appendNumber(b, h.Attempt)
	b = appendCell(b, textOf(h.From))
	b = appendCell(b, textOf(h.To))
	b = appendCell(b, textOf(h.Reason))
	b = appendCell(b, h.Quarantined)
	return appendCell(b, string(h.Data))
}

func textOf[T ~string](s *T) string {
	if s == nil {
		return ""
	}
	return string(*s)
}

func appendNumber(b []byte, n *int) []byte {
	if b = append(b, ','); n != nil {
		b = strconv.AppendInt(b, int64(*n), 10)
	}
	return b
}

func appendCell(b []byte, s string) []byte {
	b = append(b, ',')
	if !strings.ContainsAny(s, "\",\r\n\t") && !strings.HasPrefix(s, " ") {
		return append(b, s...)
	}
	return append(append(append(b, '"'), strings.ReplaceAll(oneLine.Replace(s), `"`, `""`)...), '"')
}

// lineSink writes lines to stdout or into a file.
type lineSink struct {
	*eventForm
	out  *bufio.Writer
	file *os.File // nil for stdout
	line []byte   // room for one
}

// eventsBuffer is how much is written at once.
const eventsBuffer = 256 << 10

func newLineSink(form *eventForm, w io.Writer, file *os.File, begun bool) (*lineSink, error) {
	s := &lineSink{eventForm: form, out: bufio.NewWriterSize(w, eventsBuffer), file: file}
	if begun {
		return s, nil
	}
	_, err := s.out.WriteString(form.heading())
	return s, outputError(err)
}

// put implements eventSink.
func (s *lineSink) put(e *ledger.Entry) (err error) {
	if s.line, err = s.append(s.line[:0], e); err != nil {
		return err
	}
	_, err = s.out.Write(s.line)
	return outputError(err)
}

// close implements eventSink. A file is on the disk then.
func (s *lineSink) close() error {
	err := s.out.Flush()
	if s.file != nil {
		err = errors.Join(err, s.file.Sync(), s.file.Close())
	}
	return outputError(err)
}
