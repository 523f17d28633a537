package ledger

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/schemas"
)

// A job's subject is read from its last message back. The sequence that an event expected when it was appended
// is that of the message before it on its subject (DESIGN D1), so each one leads to the one before, wherever in
// the stream that stands. To read forward the server has to look through everything in between, and through
// what is behind the last one: tens of milliseconds for a job whose events lie far apart, such as a dead letter
// that is retried, or one of ten thousand that wait for their retry (ENGINE 6).

// backMax is how many messages are read one by one; a longer story is read forward, in batches.
const backMax = 32

// headerExpectOther makes the server judge an expectation on another subject. We never send it: a message that
// bears it says nothing about its own subject.
const headerExpectOther = "Nats-Expected-Last-Subject-Sequence-Subject"

// link is what a stored message says about the one before it on its subject.
type link struct {
	before schemas.Seq // 0: there is none
	known  bool        // false: it says nothing that can be relied upon
}

// linkOf reads the link of an entry from its headers. A message that is no event of ours may expect anything.
func linkOf(e *Entry, h nats.Header) link {
	if e.Err != nil || lastValue(h, headerExpectOther) != "" {
		return link{}
	}
	before, err := strconv.ParseUint(lastValue(h, schemas.HeaderExpect), 10, 64)
	if err != nil || schemas.Seq(before) >= e.Seq {
		return link{}
	}
	return link{before: schemas.Seq(before), known: true}
}

// directGet reads one message with a direct get; errNoMessage if whoever answered has none.
func (l *Ledger) directGet(ctx context.Context, req getRequest) (*Entry, link, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, link{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	m, err := l.nc.RequestWithContext(ctx, subjectDirectGet, body)
	if err != nil {
		return nil, link{}, fmt.Errorf("direct get: %w", err)
	}
	h := m.Header
	e, status, err := directEntry(m)
	switch {
	case err != nil:
		return nil, link{}, err
	case status == statusNotFound:
		return nil, link{}, errNoMessage
	case e == nil:
		return nil, link{}, fmt.Errorf("%w: status %s", errDirect, status)
	}
	return e, linkOf(e, h), nil
}

// backFrom returns the messages of the newest one's subject, oldest first, or nil where they do not lead to its
// beginning: the caller reads forward then. They need not lead further than to a message that begins, where the caller
// asks for no more.
func (l *Ledger) backFrom(ctx context.Context, newest *Entry, at link, begins func(*Entry) bool) []*Entry {
	entries := []*Entry{newest}
	for at.known && at.before != 0 && len(entries) < backMax {
		e, next, err := l.directGet(ctx, getRequest{Seq: at.before})
		if errors.Is(err, errNoMessage) && begins != nil {
			// What stood before has left: the oldest message that begins is enough.
			for len(entries) > 0 && !begins(entries[len(entries)-1]) {
				entries = entries[:len(entries)-1]
			}
			if len(entries) == 0 {
				return nil
			}
			at = link{known: true}
			break
		}
		if err != nil || e.Seq != at.before || e.RawSubject != newest.RawSubject {
			return nil // purged, not yet on the replica that answered, or not what it seems
		}
		entries, at = append(entries, e), next
	}
	if !at.known || at.before != 0 {
		return nil
	}
	slices.Reverse(entries)
	return entries
}
