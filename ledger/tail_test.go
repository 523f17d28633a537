package ledger

import (
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/internal/packs"
	"github.com/dartwing/jobledger/schemas"
)

// A consumer that has sent what did not arrive is found out, by the next message or by a heartbeat, and
// given up: no event is skipped in silence (DESIGN D8).
func TestSourceNoticesGaps(t *testing.T) {
	t.Parallel()
	nc := new(nats.Conn) // nothing is sent on it
	reply := func(stream, consumer string) string {
		return "$JS.ACK.LEDGER.c.1." + stream + "." + consumer + ".1700000000000000000.0"
	}
	single := func(reply string) *stored {
		return &stored{msg: &nats.Msg{Subject: "jobs.acme.one", Sub: &nats.Subscription{}, Reply: reply}}
	}
	inPack := func(reply string) *stored {
		return &stored{frame: packs.Frame{Subject: []byte("jobs.acme.one"), Reply: []byte(reply)}}
	}
	heartbeat := func(stream, consumer string) *nats.Msg {
		return &nats.Msg{Header: nats.Header{"Status": {"100"}, "Nats-Last-Consumer": {consumer}, "Nats-Last-Stream": {stream}}}
	}
	for _, message := range []func(reply string) *stored{single, inPack} {
		s := &source{}
		if !s.accept(message(reply("7", "1"))) || s.passed != 7 {
			t.Errorf("the first message was refused, or left the source at %d", s.passed)
		}
		if !s.control(nc, heartbeat("9", "1")) || s.passed != 9 {
			t.Errorf("a heartbeat behind what came was refused, or left the source at %d", s.passed)
		}
		if s.control(nc, heartbeat("11", "2")) || s.passed != 9 {
			t.Errorf("a heartbeat that names a message which did not come was taken")
		}
		if s.accept(message(reply("12", "3"))) {
			t.Error("a message behind a missing one was taken")
		}
		if m := message(reply("10", "2")); !s.accept(m) || m.seq != 10 || m.at.UnixNano() != 1700000000000000000 {
			t.Error("the next message was refused")
		}
		if s.control(nc, &nats.Msg{Header: nats.Header{"Status": {"409"}}}) {
			t.Error("a consumer that ended was kept")
		}
		if s.accept(message("")) {
			t.Error("a message of no consumer was taken")
		}
	}
}

// The ring holds the newest entries, bounded in number and in bytes, and finds positions by sequence and id.
func TestRing(t *testing.T) {
	t.Parallel()
	entry := func(seq schemas.Seq, bytes int) *Entry {
		return &Entry{Event: &schemas.Event{Seq: seq, ID: schemas.EventID("e" + seq.String())}, Body: make([]byte, bytes)}
	}
	start := schemas.Position{Seq: 10, ID: "e10"}
	r := newRing(4, 3*(entryOverhead+100), start)
	at := func(seq schemas.Seq) schemas.Position {
		return schemas.Position{Seq: seq, ID: schemas.EventID("e" + seq.String())}
	}
	if r.last() != start {
		t.Errorf("an empty ring ends at %v", r.last())
	}
	if i, ok := r.find(start); !ok || len(r.from(i, 10)) != 0 {
		t.Error("the start of an empty ring is not in it")
	}
	for _, seq := range []schemas.Seq{11, 13, 14, 15, 17} { // sequences may be missing
		r.add(entry(seq, 0))
	}
	if r.n != 3 || r.start != at(13) || r.last() != at(17) {
		t.Fatalf("the ring holds %d behind %v up to %v, want 3 by its bytes", r.n, r.start, r.last())
	}
	for pos, want := range map[schemas.Position]int{at(13): 3, at(14): 2, at(15): 1, at(17): 0, at(11): -1, at(16): -1, at(18): -1, {Seq: 14, ID: "other"}: -1, {}: -1} {
		i, ok := r.find(pos)
		if got := len(r.from(i, 10)); ok != (want >= 0) || ok && got != want {
			t.Errorf("behind %v the ring has %d, %t; want %d", pos, got, ok, want)
		}
	}
	r.add(entry(18, 5*entryOverhead)) // larger than the ring
	if r.n != 1 || r.start != at(17) || r.last() != at(18) {
		t.Errorf("with a large entry the ring holds %d behind %v up to %v", r.n, r.start, r.last())
	}
	small := newRing(2, 1<<30, start)
	for seq := schemas.Seq(11); seq < 20; seq++ {
		small.add(entry(seq, 0))
	}
	if small.n != 2 || small.start != at(17) || small.at(0).Body != nil {
		t.Errorf("the ring holds %d behind %v, want 2 without bodies", small.n, small.start)
	}
}
