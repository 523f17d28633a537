package ledger

import (
	"bytes"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/schemas"
)

// Entry is one stored message of the ledger as a reader sees it: an event, or a message that is none.
// Entries are shared by all readers: nobody changes one.
type Entry struct {
	// Event is never nil. Seq and Time are always set; ID, Org, Job and Control as far as they could be
	// read; Data only if Err is nil.
	*schemas.Event
	// Err says why the message is quarantined: it wraps schemas.ErrForeign or schemas.ErrUndecodable. nil
	// for an event.
	Err error
	// RawSubject is the NATS subject as stored, also where it names no job and no control subject.
	RawSubject string
	// Body is the message's body, byte for byte. A Feed does not keep it.
	Body []byte
	// Header is kept for quarantined messages only.
	Header nats.Header
}

// Position is where the entry stands. The id of a message without one is empty.
func (e *Entry) Position() schemas.Position { return schemas.Position{Seq: e.Seq, ID: e.ID} }

// ApplyTo folds the entry, which must be of j's subject, and reports whether it was legal there: Apply for
// an event, Skip for a quarantined message.
func (e *Entry) ApplyTo(j *Job) bool {
	if e.Err != nil {
		Skip(j, e.Event, errors.Is(e.Err, schemas.ErrUndecodable))
		return true
	}
	return Apply(j, e.Event)
}

// FoldEvents is the job that its subject's entries, in ledger order, amount to.
func FoldEvents(org schemas.OrgID, id schemas.JobID, entries []*Entry) *Job {
	j := &Job{Org: org, ID: id}
	for _, e := range entries {
		e.ApplyTo(j)
	}
	return j
}

// newEntry decodes a stored message.
func newEntry(subject string, h nats.Header, body []byte, seq schemas.Seq, at time.Time) *Entry {
	event, err := schemas.Decode(subject, h, body, seq, at)
	e := &Entry{Event: event, Err: err, RawSubject: subject, Body: body}
	if err != nil {
		event.Data = nil
		e.Header = h
	}
	return e
}

// newBlockEntry is newEntry of a message as the server sends it. It shares no memory with what it is made of: what is kept
// of one event must not keep its neighbours.
func newBlockEntry(subject, block, body []byte, seq schemas.Seq, at time.Time) *Entry {
	return blockEntry(string(subject), block, bytes.Clone(body), seq, at)
}

// blockEntry is newBlockEntry that keeps body.
func blockEntry(subject string, block, body []byte, seq schemas.Seq, at time.Time) *Entry {
	e := &Entry{RawSubject: subject, Body: body}
	e.Event, e.Header, e.Err = schemas.DecodeBlock(subject, block, body, seq, at)
	if e.Err != nil {
		e.Data = nil
	}
	return e
}
