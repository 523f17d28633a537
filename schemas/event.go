package schemas

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// Version is the version of the event schema; it stands in every ce-type.
const Version = "v1"

// Headers of the envelope (INTERFACE 5), written exactly so, read tolerant of case.
const (
	HeaderSpecVersion   = "ce-specversion"
	HeaderID            = "ce-id"
	HeaderSource        = "ce-source"
	HeaderType          = "ce-type"
	HeaderTime          = "ce-time"
	HeaderAuthType      = "ce-authtype"
	HeaderAuthID        = "ce-authid"
	HeaderCausationID   = "ce-causationid"
	HeaderCorrelationID = "ce-correlationid"
	HeaderTraceparent   = "traceparent"
	HeaderTracestate    = "tracestate"
	HeaderMsgID         = "Nats-Msg-Id"
	HeaderExpect        = "Nats-Expected-Last-Subject-Sequence"

	typePrefix  = "jobledger." + Version + "."
	ourPrefix   = "jobledger."
	specVersion = "1.0"
)

// ErrForeign is returned by Decode for a message that is not an event of ours: it is quarantined, and
// moves a job's last sequence but never its state (DESIGN D1, D8).
var ErrForeign = errors.New("not a jobledger event")

// ErrUndecodable is returned by Decode for an event of ours that this binary cannot read: the job is
// read-only for it (DESIGN D8).
var ErrUndecodable = errors.New("event cannot be decoded by this version")

// Actor is who did something: <authtype>:<authid> (INTERFACE 2.1).
type Actor struct {
	Type string `json:"type"` // user, api_key, service_account, system
	ID   string `json:"id"`
}

// String returns "<type>:<id>", or "" for the zero Actor.
func (a Actor) String() string {
	if a == (Actor{}) {
		return ""
	}
	return a.Type + ":" + a.ID
}

// ParseActor reads "<type>:<id>".
func ParseActor(s string) (Actor, error) {
	t, id, ok := strings.Cut(s, ":")
	if !ok || id == "" {
		return Actor{}, fmt.Errorf("actor %q is not <type>:<id>, such as user:ada", s)
	}
	switch t {
	case "user", "api_key", "service_account", "system":
		return Actor{Type: t, ID: id}, nil
	}
	return Actor{}, fmt.Errorf("actor type %q is unknown: use user, api_key, service_account or system", t)
}

// Subject names where an event stands: a job of an org, or a control subject.
type Subject struct {
	Org OrgID
	Job JobID
	// Control is "<scope>.<kind>[.<name>]" of a control event; Org and Job are then empty.
	Control string
}

// JobSubject returns the place of a job's events.
func JobSubject(org OrgID, id JobID) Subject { return Subject{Org: org, Job: id} }

// ControlSubject returns the place of a control event.
func ControlSubject(tokens ...string) Subject { return Subject{Control: strings.Join(tokens, ".")} }

// String returns the NATS subject.
func (s Subject) String() string {
	if s.Control != "" {
		return "control." + s.Control
	}
	return "jobs." + string(s.Org) + "." + string(s.Job)
}

// ParseSubject reads a subject of the ledger; the error is ErrForeign for any other.
func ParseSubject(subject string) (Subject, error) {
	if rest, ok := strings.CutPrefix(subject, "jobs."); ok {
		org, job, ok := strings.Cut(rest, ".")
		if ok && CheckToken("org", org) == nil && CheckToken("job", job) == nil {
			return JobSubject(OrgID(org), JobID(job)), nil
		}
	}
	if rest, ok := strings.CutPrefix(subject, "control."); ok && rest != "" {
		return Subject{Control: rest}, nil
	}
	return Subject{}, fmt.Errorf("%w: subject %q", ErrForeign, subject)
}

// Event is one immutable message of the ledger. Seq and Time are given by the stream and zero before
// the event is stored. Folds share events: nobody changes one after Decode or Append.
type Event struct {
	Seq  Seq       // ledger sequence
	Time time.Time // stream time, UTC

	Subject
	ID            EventID
	Actor         Actor      // zero: the component that the event's name implies
	Meant         *time.Time // ce-time, when it differs from Time by meaning
	CausationID   string
	CorrelationID string
	Traceparent   string
	Tracestate    string
	MsgID         string // Nats-Msg-Id, only on submitted (DESIGN D4)
	Data          Data
}

// Name is the event's short name.
func (e *Event) Name() EventName { return e.Data.Name() }

// NewEvent returns an event with a fresh id, not yet stored.
func NewEvent(at Subject, data Data) *Event {
	return &Event{Subject: at, ID: NewEventID(), Data: data}
}

// Source returns ce-source: "/orgs/<org>" or "/cell".
func (e *Event) Source() string {
	if e.Control != "" {
		return "/cell"
	}
	return "/orgs/" + string(e.Org)
}

// Encode builds the message to publish, without the expectation header, which is not part of the event.
// The error is that of Validate.
func (e *Event) Encode() (*nats.Msg, error) {
	if err := e.Data.Validate(); err != nil {
		return nil, fmt.Errorf("encode %s: %w", e.Name(), err)
	}
	body, err := EncodeBody(e.Data)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", e.Name(), err)
	}
	h := make(nats.Header, 8)
	put := func(key, value string) {
		if value != "" {
			h[key] = []string{escape(value)}
		}
	}
	put(HeaderSpecVersion, specVersion)
	put(HeaderID, string(e.ID))
	put(HeaderSource, e.Source())
	put(HeaderType, typePrefix+string(e.Name()))
	if e.Meant != nil {
		put(HeaderTime, e.Meant.UTC().Format(time.RFC3339Nano))
	}
	put(HeaderAuthType, e.Actor.Type)
	put(HeaderAuthID, e.Actor.ID)
	put(HeaderCausationID, e.CausationID)
	put(HeaderCorrelationID, e.CorrelationID)
	put(HeaderTraceparent, e.Traceparent)
	put(HeaderTracestate, e.Tracestate)
	if e.MsgID != "" {
		h[HeaderMsgID] = []string{e.MsgID}
	}
	return &nats.Msg{Subject: e.Subject.String(), Header: h, Data: body}, nil
}

// Decode reads a stored message. The error wraps ErrForeign or ErrUndecodable; in the latter case the
// returned event still bears its subject, id, sequence and time, with nil Data.
func Decode(subject string, h nats.Header, body []byte, seq Seq, at time.Time) (*Event, error) {
	e := &Event{Seq: seq, Time: at.UTC()}
	var err error
	if e.Subject, err = ParseSubject(subject); err != nil {
		return e, err
	}
	e.ID = EventID(header(h, HeaderID))
	ceType := header(h, HeaderType)
	if e.ID == "" || !strings.HasPrefix(ceType, ourPrefix) {
		return e, fmt.Errorf("%w: no ce-id and ce-type of ours on %q", ErrForeign, subject)
	}
	name, ok := strings.CutPrefix(ceType, typePrefix)
	if !ok {
		return e, fmt.Errorf("%w: %s", ErrUndecodable, ceType)
	}
	data := newData(EventName(name))
	if data == nil {
		return e, fmt.Errorf("%w: %s", ErrUndecodable, ceType)
	}
	if err := json.Unmarshal(body, data); err != nil {
		return e, fmt.Errorf("%w: %s: %w", ErrUndecodable, ceType, err)
	}
	if err := data.Validate(); err != nil {
		return e, fmt.Errorf("%w: %s: %w", ErrUndecodable, ceType, err)
	}
	_, control := data.(interface{ Common() *Head })
	if _, submitted := data.(*Submitted); (control || submitted) == (e.Control != "") {
		return e, fmt.Errorf("%w: %s does not belong on %q", ErrForeign, ceType, subject)
	}
	return e, e.readHeaders(h, data)
}

// readHeaders fills the optional attributes; only a malformed ce-time can fail.
func (e *Event) readHeaders(h nats.Header, data Data) error {
	e.Actor = Actor{Type: header(h, HeaderAuthType), ID: header(h, HeaderAuthID)}
	e.CausationID = header(h, HeaderCausationID)
	e.CorrelationID = header(h, HeaderCorrelationID)
	e.Traceparent = header(h, HeaderTraceparent)
	e.Tracestate = header(h, HeaderTracestate)
	if v := h[HeaderMsgID]; len(v) > 0 {
		e.MsgID = v[0]
	}
	if s := header(h, HeaderTime); s != "" {
		t, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			return fmt.Errorf("%w: ce-time: %w", ErrUndecodable, err)
		}
		e.Meant = &t
	}
	e.Data = data
	return nil
}

// rawBody is data with caller-supplied JSON that must survive byte for byte.
type rawBody interface {
	// split returns a copy of the record without its raw fields, and those fields in their order.
	split() (rest any, raws []RawField)
}

// RawField is one caller-supplied JSON value that SpliceJSON writes verbatim.
type RawField struct {
	Name  string
	Value json.RawMessage
}

func (s *Submitted) split() (any, []RawField) {
	c := *s
	c.Args = nil
	return &c, []RawField{{"args", s.Args}}
}

func (c *Completed) split() (any, []RawField) {
	r := *c
	r.Result = nil
	return &r, []RawField{{"result", c.Result}}
}

func (l *LateResult) split() (any, []RawField) {
	r := *l
	r.Result = nil
	return &r, []RawField{{"result", l.Result}}
}

func (c *Carried) split() (any, []RawField) {
	r := *c
	r.Args, r.Result, r.Checkpoint = nil, nil, nil
	return &r, []RawField{{"args", c.Args}, {"result", c.Result}, {"checkpoint", c.Checkpoint}}
}

// EncodeBody returns the JSON of v. Raw fields of event data are spliced in at the end, untouched.
func EncodeBody(v any) ([]byte, error) {
	var raws []RawField
	if r, ok := v.(rawBody); ok {
		v, raws = r.split()
	}
	return SpliceJSON(v, raws...)
}

// SpliceJSON encodes v, a struct or map, and appends each non-empty raw field verbatim.
func SpliceJSON(v any, raws ...RawField) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	buf.Truncate(buf.Len() - 1) // the encoder's newline
	for _, r := range raws {
		if len(r.Value) == 0 {
			continue
		}
		buf.Truncate(buf.Len() - 1) // the closing brace
		if buf.Len() > 1 {
			buf.WriteByte(',')
		}
		buf.WriteByte('"')
		buf.WriteString(r.Name)
		buf.WriteString(`":`)
		buf.Write(r.Value)
		buf.WriteByte('}')
	}
	return buf.Bytes(), nil
}

// header reads an attribute: the exact key first, then any case.
func header(h nats.Header, key string) string {
	if v, ok := h[key]; ok && len(v) > 0 {
		return unescape(v[0])
	}
	for k, v := range h {
		if len(v) > 0 && strings.EqualFold(k, key) {
			return unescape(v[0])
		}
	}
	return ""
}
