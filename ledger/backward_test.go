package ledger_test

import (
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// A history holds every message of its subject, however it is read: from its end back, by the sequence that each
// event expected, or forward where that leads astray: over a foreign message, one that expects something of
// another subject, or a long story.
func TestHistoryHoldsEveryMessage(t *testing.T) {
	env := ledgertest.Start(t)
	env.SkipVerify() // foreign messages are damage
	l := env.Ledger
	type message struct {
		seq schemas.Seq
		id  string
	}
	stored := map[schemas.JobID][]message{}
	submit := func(id schemas.JobID) {
		t.Helper()
		r, err := l.Submit(t.Context(), ledger.SubmitRequest{Org: "acme", Type: "echo", ID: id, RegisterUnknown: true})
		if err != nil {
			t.Fatal(err)
		}
		stored[id] = append(stored[id], message{seq: r.Seq})
	}
	do := func(id schemas.JobID, c ledger.Command) {
		t.Helper()
		_, e, err := l.Do(t.Context(), "acme", id, c, ledger.Meta{})
		if err != nil || e == nil {
			t.Fatalf("%s: %v, %v", id, e, err)
		}
		stored[id] = append(stored[id], message{e.Seq, string(e.ID)})
	}
	foreign := func(id schemas.JobID, header ...string) {
		t.Helper()
		m := nats.NewMsg(schemas.JobSubject("acme", id).String())
		m.Data = []byte("hello")
		for i := 0; i < len(header); i += 2 {
			m.Header.Set(header[i], header[i+1])
		}
		ack, err := l.JetStream().PublishMsg(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		stored[id] = append(stored[id], message{seq: schemas.Seq(ack.Sequence)})
	}
	cancel, retry := &ledger.Cancel{}, &ledger.Retry{}

	submit("plain")
	submit("interrupted")
	submit("misled")
	submit("long")
	do("plain", cancel)
	foreign("interrupted")
	// What a hostile publisher would send to make the beginning look like the end.
	foreign("misled", "Nats-Expected-Last-Subject-Sequence", "0", "Nats-Expected-Last-Subject-Sequence-Subject", "jobs.acme.nobody")
	for range 50 {
		do("long", cancel)
		do("long", retry)
	}
	do("interrupted", cancel)
	do("misled", cancel)
	do("plain", retry)
	foreign("beginning")
	submit("beginning")
	for id, want := range stored {
		h, err := l.History(t.Context(), "acme", id)
		if err != nil {
			t.Errorf("%s: %v", id, err)
			continue
		}
		if len(h.Entries) != len(want) {
			t.Errorf("%s: %d messages, want %d", id, len(h.Entries), len(want))
			continue
		}
		for i, e := range h.Entries {
			if e.Seq != want[i].seq || want[i].id != "" && string(e.ID) != want[i].id {
				t.Errorf("%s: message %d is %d, want %d", id, i, e.Seq, want[i].seq)
			}
		}
	}
}
