package ledger

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/internal/plainjson"
	"github.com/dartwing/jobledger/schemas"
)

// A replay writes a line for each event of a history: without reflection, and into a room that is used again.

// Encode returns the line as JSON on one line, with Org, ID and Type if placed. Data stays as it is.
func (h *HistoryLine) Encode(placed bool) ([]byte, error) { return h.Append(nil, placed), nil }

// Append appends what Encode returns.
func (h *HistoryLine) Append(b []byte, placed bool) []byte {
	w := plainjson.Append(b)
	w.Uint("seq", uint64(h.Seq))
	w.Time("time", h.Time)
	w.Text("event", string(h.Event))
	w.Text("actor", h.Actor)
	intOrNull(&w, "generation", h.Generation)
	intOrNull(&w, "attempt", h.Attempt)
	textOrNull(&w, "from", h.From)
	textOrNull(&w, "to", h.To)
	textOrNull(&w, "reason", h.Reason)
	w.TrueIf("illegal", h.Illegal)
	w.TextIf("quarantined", h.Quarantined)
	if placed {
		textOrNull(&w, "org", h.Org)
		textOrNull(&w, "id", h.ID)
		textOrNull(&w, "type", h.Type)
	}
	w.Raw("data", orNull(trimmed(h.Data)))
	return w.End()
}

func intOrNull(w *plainjson.Writer, name string, n *int) {
	if n == nil {
		w.Null(name)
	} else {
		w.Int(name, int64(*n))
	}
}

func textOrNull[T ~string](w *plainjson.Writer, name string, s *T) {
	if s == nil {
		w.Null(name)
	} else {
		w.Text(name, string(*s))
	}
}

// CloudEvent returns an event in the CloudEvents JSON format 1.0, with the extensions of INTERFACE 5, on one line, its
// data byte for byte but for line breaks between values. It returns schemas.ErrForeign for a message that is no event.
func CloudEvent(e *Entry) ([]byte, error) { return AppendCloudEvent(nil, e) }

// AppendCloudEvent appends what CloudEvent returns; nothing beside an error.
func AppendCloudEvent(b []byte, e *Entry) ([]byte, error) {
	if errors.Is(e.Err, schemas.ErrForeign) {
		return b, e.Err
	}
	subject, at := string(e.Job), e.Time // the job's id, or "<scope>.<kind>[.<name>]"
	if e.Control != "" {
		subject = e.Control
	}
	if e.Meant != nil {
		at = e.Meant.UTC()
	}
	data := oneLine(e.Body)
	w := plainjson.Append(b)
	w.Text("specversion", "1.0")
	w.Text("id", string(e.ID))
	w.Text("source", e.Source())
	w.Text("type", ceTypeOf(e))
	w.Text("subject", subject)
	w.Time("time", at) // when it happened by meaning, else when it was stored
	if data != nil {
		w.Text("datacontenttype", "application/json")
	}
	w.TextIf("authtype", e.Actor.Type)
	w.TextIf("authid", e.Actor.ID)
	w.TextIf("causationid", e.CausationID)
	w.TextIf("correlationid", e.CorrelationID)
	w.TextIf("traceparent", e.Traceparent)
	w.TextIf("tracestate", e.Tracestate)
	w.Text("sequence", padded(e.Seq))
	w.Time("recordedtime", e.Time) // the ledger's clock
	switch {
	case data != nil:
		w.Raw("data", trimmed(data))
	case len(e.Body) > 0:
		w.Text("data_base64", base64.StdEncoding.EncodeToString(e.Body))
	}
	return w.End(), nil
}

// ParseCloudEvent reads what AppendCloudEvent has written. The entry's Err says whether this version can decode the event,
// as in a replay.
func ParseCloudEvent(line []byte) (*Entry, error) {
	var c struct {
		ID, Source, Type, Subject, AuthType, AuthID, CausationID, CorrelationID, Traceparent, Tracestate, Sequence string
		SpecVersion                                                                                                string
		Time, RecordedTime                                                                                         time.Time
		Data                                                                                                       json.RawMessage
		DataBase64                                                                                                 []byte `json:"data_base64"`
	}
	if err := json.Unmarshal(line, &c); err != nil {
		return nil, err
	}
	seq, err := schemas.ParseSeq(strings.TrimLeft(c.Sequence, "0"))
	if err != nil {
		return nil, fmt.Errorf("its sequence: %w", err)
	}
	subject := schemas.Subject{Control: c.Subject}
	if org, ok := schemas.OrgOfSource(c.Source); ok {
		subject = schemas.JobSubject(org, schemas.JobID(c.Subject))
	}
	body := []byte(c.Data)
	if c.Data == nil {
		body = c.DataBase64
	}
	e := newEntry(subject.String(), nats.Header{schemas.HeaderID: {c.ID}, schemas.HeaderSource: {c.Source}, schemas.HeaderType: {c.Type},
		schemas.HeaderSpecVersion: {c.SpecVersion}}, body, seq, c.RecordedTime)
	e.Actor, e.CausationID, e.CorrelationID = schemas.Actor{Type: c.AuthType, ID: c.AuthID}, c.CausationID, c.CorrelationID
	e.Traceparent, e.Tracestate = c.Traceparent, c.Tracestate
	if !c.Time.Equal(c.RecordedTime) {
		e.Meant = &c.Time
	}
	return e, nil
}

// padded is a sequence that sorts as text.
func padded(seq schemas.Seq) string {
	digits := [20]byte{}
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = '0' + byte(seq%10)
		seq /= 10
	}
	return string(digits[:])
}

// ceTypeOf is the event's ce-type, also of one this version cannot decode.
func ceTypeOf(e *Entry) string {
	if e.Err == nil {
		return e.Type()
	}
	return schemas.TypeOf(e.Header)
}

// oneLine returns body without line breaks, which in JSON can stand only between values; nil if it is not
// JSON in UTF-8.
func oneLine(body []byte) json.RawMessage {
	if len(body) == 0 { // as a feed's entries are: to find out that nothing is not JSON costs a text of an error for each
		return nil
	}
	if schemas.CheckJSON("data", body) != nil {
		return nil
	}
	if bytes.IndexByte(body, '\n') < 0 && bytes.IndexByte(body, '\r') < 0 {
		return body
	}
	out := bytes.Clone(body)
	for i, c := range out {
		if c == '\n' || c == '\r' {
			out[i] = ' '
		}
	}
	return out
}

// trimmed is a value without the blanks around it.
func trimmed(raw json.RawMessage) json.RawMessage { return bytes.Trim(raw, " \t\r\n") }
