package ledger

import (
	"slices"

	"github.com/dartwing/jobledger/schemas"
)

// entriesKept is of how many messages the memory is used again. Few jobs have more.
const entriesKept = 64

// placeDecoder decodes the messages of one place after the other. What it returns is good until it decodes the next one, but for the
// events' data, which is not used again: a job that was folded from them may keep that.
type placeDecoder struct {
	entries []Entry
	events  []schemas.Event
	list    []*Entry
}

// decode is entriesOf of messages on a subject.
func (d *placeDecoder) decode(at schemas.Subject, messages []*rawMessage) []*Entry {
	n := len(messages)
	if n > entriesKept || at == (schemas.Subject{}) {
		return entriesOf(messages)
	}
	d.entries, d.events, d.list = slices.Grow(d.entries[:0], n)[:n], slices.Grow(d.events[:0], n)[:n], d.list[:0]
	for i, m := range messages {
		e := &d.events[i]
		*e = schemas.Event{Subject: at, Seq: m.Seq, Time: m.Time.UTC()}
		if m.Head != nil && e.DecodePlain(m.Head, m.Data) {
			d.entries[i] = Entry{Event: e, RawSubject: m.Subject, Body: m.Data}
		} else {
			d.entries[i] = *m.entry()
		}
		d.list = append(d.list, &d.entries[i])
	}
	return d.list
}
