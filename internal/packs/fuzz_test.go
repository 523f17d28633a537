package packs_test

import (
	"testing"

	"github.com/dartwing/jobledger/internal/packs"
)

// FuzzPack: whatever a pack holds, its frames end with it, each shorter than what was left.
func FuzzPack(f *testing.F) {
	for _, s := range []string{"", "HMSG a 1 $JS.ACK.LEDGER.x.1.2.3.4.5 12 14\r\nNATS/1.0\r\n\r\n{}\r\n", "HMSG a 1 99999999999999999999 1\r\n", "MSG a 1 2\r\nxx\r\n", "HMSG a 1 r 5 3\r\nabc\r\n", "HMSG  \r\n", "\n\n\n", "HMSG a 1 0 0\r\n\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, pack []byte) {
		for {
			_, rest, ok := packs.Next(pack)
			if !ok {
				break
			}
			if len(rest) >= len(pack) {
				t.Fatalf("%d bytes left of %d", len(rest), len(pack))
			}
			pack = rest
		}
		if p, ok := packs.PlaceOf(pack); ok && (p.Seq >= 1<<63 || p.Time < 0) {
			t.Fatalf("%q is at %+v", pack, p)
		}
	})
}
