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

	// expectEmpty is the expectation of an event that is the first on its subject.
	expectEmpty = "0"

	// headersMax is how many an event has, its expectation included.
	headersMax = 13

	typePrefix  = "jobledger." + Version + "."
	ourPrefix   = "jobledger."
	specVersion = "1.0"

	cellSource = "/cell"
	orgSource  = "/orgs/"
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

// valid reports whether s is what ParseSubject makes of s.String().
func (s Subject) valid() bool {
	if s.Control != "" {
		return s.Org == "" && s.Job == ""
	}
	return CheckToken("org", string(s.Org)) == nil && CheckToken("job", string(s.Job)) == nil
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
	// First: it was stored on an empty subject, as its expectation of 0 says. On the subject of a job that is in ARCHIVE
	// such a submitted begins another life of the same id (DESIGN D13). Only what was read from a stream tells.
	First bool
	Data  Data
}

// Name is the event's short name, or "" for a message that Decode refused.
func (e *Event) Name() EventName {
	if e.Data == nil {
		return ""
	}
	return e.Data.Name()
}

// Type is the event's ce-type.
func (e *Event) Type() string { return typePrefix + string(e.Name()) }

// NewEvent returns an event with a fresh id, not yet stored.
func NewEvent(at Subject, data Data) *Event {
	return &Event{Subject: at, ID: NewEventID(), Data: data}
}

// Source returns ce-source: "/orgs/<org>" or "/cell".
func (e *Event) Source() string {
	if e.Control != "" {
		return cellSource
	}
	return orgSource + string(e.Org)
}

// isSource is source == e.Source() without making a text for each event.
func (e *Event) isSource(source string) bool {
	if e.Control != "" {
		return source == cellSource
	}
	org, ok := OrgOfSource(source)
	return ok && org == e.Org
}

// OrgOfSource reads the org in the source of a job's event; false for that of a control event.
func OrgOfSource(source string) (OrgID, bool) {
	org, ok := strings.CutPrefix(source, orgSource)
	return OrgID(org), ok
}

// Encode builds the message to publish, without the expectation header, which is not part of the event.
// It refuses what Decode would refuse, and what is over a limit: an event that nobody can read would make
// its job read-only for ever. Nothing is to be retried after an error.
func (e *Event) Encode() (*nats.Msg, error) {
	if err := e.validate(); err != nil {
		return nil, fmt.Errorf("encode %s: %w", e.Name(), err)
	}
	body, err := EncodeBody(e.Data)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", e.Name(), err)
	}
	h := make(nats.Header, 8)
	values := make([]string, 0, headersMax)
	put := func(key, value string) {
		if value != "" {
			values = append(values, escape(value))
			h[key] = values[len(values)-1 : len(values) : len(values)]
		}
	}
	put(HeaderSpecVersion, specVersion)
	put(HeaderID, string(e.ID))
	put(HeaderSource, e.Source())
	put(HeaderType, e.Type())
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

// validate reports an envelope or data that Decode or the server would refuse.
func (e *Event) validate() error {
	if e.ID == "" {
		return errors.New("event id is empty")
	}
	if !e.Subject.valid() {
		return fmt.Errorf("%q is no subject of the ledger", e.Subject.String())
	}
	if !e.belongs(e.Data) {
		return fmt.Errorf("does not belong on %q", e.Subject.String())
	}
	if e.Actor != (Actor{}) {
		if _, err := ParseActor(e.Actor.String()); err != nil {
			return err
		}
	}
	for i := 0; i < len(e.MsgID); i++ {
		if mustEscape(e.MsgID[i]) && e.MsgID[i] != '%' {
			return fmt.Errorf("%s holds the byte %q: it is written as it is", HeaderMsgID, e.MsgID[i])
		}
	}
	return e.Data.Validate()
}

// belongs reports whether data may stand on e's subject: job events on jobs.>, the others on control.>.
func (e *Event) belongs(data Data) bool {
	_, later := data.(JobData)
	_, first := data.(*Submitted)
	return (later || first) == (e.Control == "")
}

// Decode reads a stored message. The error wraps ErrForeign or ErrUndecodable; in the latter case the
// returned event still bears its subject, id, sequence and time, with nil Data.
func Decode(subject string, h nats.Header, body []byte, seq Seq, at time.Time) (*Event, error) {
	a := attributesOf(h)
	return decode(subject, &a, body, seq, at)
}

// DecodeBlock is Decode of a message whose headers are the block that it was sent with. It returns them only beside an
// error: nil for a block that is none.
func DecodeBlock(subject string, block, body []byte, seq Seq, at time.Time) (*Event, nats.Header, error) {
	if a, ok := plainAttributes(string(block)); ok {
		if e, err := decode(subject, &a, body, seq, at); err == nil {
			return e, nil, nil
		}
	}
	h, err := nats.DecodeHeadersMsg(block)
	if err != nil {
		h = nil // as the client shows such a message
	}
	e, err := Decode(subject, h, body, seq, at)
	return e, h, err
}

// DecodePlain reads a message as DecodeBlock does into e, of which Subject, Seq and Time are set and nothing else: who reads many of one
// subject parses it once, and needs no memory for each. False says nothing: DecodeBlock has to judge.
func (e *Event) DecodePlain(block, body []byte) bool {
	a, ok := plainAttributes(string(block))
	return ok && e.decode(&a, body) == nil
}

func decode(subject string, a *attributes, body []byte, seq Seq, at time.Time) (*Event, error) {
	e := &Event{Seq: seq, Time: at.UTC()}
	var err error
	if e.Subject, err = ParseSubject(subject); err != nil {
		return e, err
	}
	return e, e.decode(a, body)
}

// decode fills what does not stand in the subject.
func (e *Event) decode(a *attributes, body []byte) (err error) {
	e.ID = EventID(a.get(attrID))
	ceType := a.get(attrType)
	if e.ID == "" || !strings.HasPrefix(ceType, ourPrefix) {
		return fmt.Errorf("%w: no %s and %s of ours on %q", ErrForeign, HeaderID, HeaderType, e.Subject.String())
	}
	if source := a.get(attrSource); !e.isSource(source) {
		// A copy of another org's event, or a forgery: the org is part of each record's address.
		return fmt.Errorf("%w: %s %q on %q", ErrForeign, HeaderSource, source, e.Subject.String())
	}
	name, ok := strings.CutPrefix(ceType, typePrefix)
	data := newData(EventName(name))
	if version := a.get(attrSpecVersion); !ok || data == nil || version != specVersion {
		return fmt.Errorf("%w: %s, CloudEvents %q", ErrUndecodable, ceType, version)
	}
	if !e.belongs(data) {
		return fmt.Errorf("%w: %s does not belong on %q", ErrForeign, ceType, e.Subject.String())
	}
	if data, err = decodeBody(EventName(name), data, body); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrUndecodable, ceType, err)
	}
	if err := data.wellFormed(); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrUndecodable, ceType, err)
	}
	return e.readAttributes(a, data)
}

// readAttributes fills the optional attributes; only a malformed ce-time can fail.
func (e *Event) readAttributes(a *attributes, data Data) error {
	e.Actor = Actor{Type: a.get(attrAuthType), ID: a.get(attrAuthID)}
	e.CausationID = a.get(attrCausationID)
	e.CorrelationID = a.get(attrCorrelationID)
	e.Traceparent = a.get(attrTraceparent)
	e.Tracestate = a.get(attrTracestate)
	e.MsgID = a[attrMsgID]
	e.First = a.get(attrExpect) == expectEmpty
	if s := a.get(attrTime); s != "" {
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

func (c *Checkpointed) split() (any, []RawField) {
	return &struct{ AttemptHead }{c.AttemptHead}, []RawField{{"checkpoint", c.Checkpoint}}
}

// EncodeBody returns the JSON of v. Raw fields of event data are spliced in at the end, untouched.
func EncodeBody(v any) ([]byte, error) {
	var raws []RawField
	if r, ok := v.(rawBody); ok {
		v, raws = r.split()
	}
	return SpliceJSON(v, raws...)
}

// SpliceJSON encodes v, a struct or map, and appends each non-empty raw field verbatim, but for blanks
// around the value, which no reader could give back. The error names a raw field that is not JSON.
func SpliceJSON(v any, raws ...RawField) ([]byte, error) {
	body, ok := encodePlain(v, raws)
	if !ok {
		var buf bytes.Buffer
		enc := json.NewEncoder(&buf)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(v); err != nil {
			return nil, err
		}
		body = buf.Bytes()[:buf.Len()-1] // without the encoder's newline
	}
	for _, r := range raws {
		value := bytes.Trim(r.Value, " \t\r\n")
		if len(value) == 0 {
			continue
		}
		if err := CheckJSON(r.Name, value); err != nil {
			return nil, err
		}
		body = body[:len(body)-1] // without the closing brace
		if len(body) > 1 {
			body = append(body, ',')
		}
		body = append(body, '"')
		body = append(body, r.Name...)
		body = append(body, `":`...)
		body = append(body, value...)
		body = append(body, '}')
	}
	return body, nil
}
