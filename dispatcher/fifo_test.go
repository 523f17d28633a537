package dispatcher

import (
	"testing"

	"github.com/dartwing/jobledger/schemas"
)

// A queue gives out what was put in, in order and put back in front included, and one that always holds a few takes no
// more room for the many that passed through it.
func TestFifo(t *testing.T) {
	for _, held := range []int{1, 4, chunkMax - 1, chunkMax, 3*chunkMax + 5} {
		var f fifo
		in, out := schemas.Seq(0), schemas.Seq(0)
		for range held {
			in++
			f.push(entry{id: in})
		}
		for range 10 * chunkMax {
			in++
			f.push(entry{id: in})
			if in%3 == 0 {
				f.pushFront(f.pop())
			}
			out++
			if e := f.pop(); e.id != out {
				t.Fatalf("%d held: %d comes, want %d", held, e.id, out)
			}
		}
		room := 0
		for _, c := range f.chunks {
			room += cap(c)
		}
		if f.n != held || held < 10 && room > 8*held || room > held+2*chunkMax {
			t.Errorf("%d held: %d counted, room for %d", held, f.n, room)
		}
	}
}
