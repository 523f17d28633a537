package ledger

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/dartwing/jobledger/schemas"
)

// A header block that is read line by line goes to the page as what the client reads it as, whatever it looks like: a page
// tells the same however its message came (DESIGN D13).
func FuzzHeaderLines(f *testing.F) {
	for _, block := range []string{
		"NATS/1.0\r\nce-id: x\r\nb:  y \r\na:\r\n\r\n",
		"NATS/1.0\r\nK: 1\r\nA: 2\r\nK: 3\r\n\r\n",
		"NATS/1.0\r\n\r\n", "NATS/1.0\r\n", "NATS/1.0 404\r\n\r\n", "no header", "",
		"NATS/1.0\r\n: no name\r\n\r\n", "NATS/1.0\r\nno colon\r\n\r\n", "NATS/1.0\r\na: 1\nb: 2\r\n\r\n",
		"NATS/1.0\r\nce-id: 1\r\nce-source: /orgs/acme\r\nce-specversion: 1.0\r\nce-type: jobledger.v1.checkpointed\r\n\r\n",
		"NATS/1.0\r\na: 1\r\n\r\nb: 2\r\n\r\n", "NATS/1.0\r\na: \t1\r\r\n\r\n", "NATS/1.0\r\na: 1\r\n b\r\n\r\n", "NATS/1.0\r\na: 1\r\n\r\n\r\n",
	} {
		f.Add([]byte(block))
	}
	var d placeDecoder
	f.Fuzz(func(t *testing.T, block []byte) {
		if len(block) == 0 {
			return // it has no headers
		}
		quick, read := rawMessage{Head: block}, rawMessage{Head: block}
		read.readHead()
		got, want := quick.pairs(nil), read.pairs(nil)
		if len(got) != len(want) || !bytes.Equal(quick.Block, read.Block) {
			t.Fatalf("%q is read as %q, want %q", block, got, want)
		}
		for i := range want {
			if !bytes.Equal(got[i].name, want[i].name) || !bytes.Equal(got[i].value, want[i].value) {
				t.Fatalf("%q is read as %q, want %q", block, got, want)
			}
		}
		quick = rawMessage{Subject: "jobs.acme.x", Head: block}
		if g, w := quick.entry(), (&rawMessage{Subject: "jobs.acme.x", Header: read.Header}).entry(); !reflect.DeepEqual(g.Event, w.Event) {
			t.Fatalf("%q is read as %+v, want %+v", block, g.Event, w.Event)
		}
		entry := quick.entry()
		for _, p := range d.decode(schemas.JobSubject("acme", "x"), []*rawMessage{&quick, &quick}) { // in memory that was used before
			if !reflect.DeepEqual(p, entry) {
				t.Fatalf("%q is read as %+v, want %+v", block, p, entry)
			}
		}
	})
}
