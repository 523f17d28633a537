package index

import (
	"errors"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
)

func built(t *testing.T, n int) *Built {
	t.Helper()
	x, err := Build(t.Context(), t.TempDir(), submits(n))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// who checks an index hears of it again and again while its rows are walked, however few parts that makes.
func TestPartsAreToldInTime(t *testing.T) {
	t.Parallel()
	x := built(t, 3000)
	x.partEvery = time.Nanosecond
	rows, parts := 0, 0
	if err := x.eachPart(t.Context(), &ledger.IndexRows{}, func(p *ledger.IndexPart) {
		parts++
		for _, s := range p.Sums {
			rows += s.Rows
		}
	}); err != nil || rows != 3000 || parts < 1000 {
		t.Errorf("%d rows in %d parts, %v", rows, parts, err)
	}
	if err := x.Close(); err != nil {
		t.Error(err)
	}
}

// DESIGN D2: neither a rebuild nor the end of a file waits until its rows are walked.
func TestWalkEndsWithTheFile(t *testing.T) {
	t.Parallel()
	for _, rebuild := range []bool{true, false} {
		x := built(t, 3000)
		x.partEvery = time.Nanosecond
		closed, parts := make(chan error, 1), 0
		err := x.eachPart(t.Context(), &ledger.IndexRows{}, func(p *ledger.IndexPart) {
			if p.Seq == 0 { // it waits for its turn
				return
			}
			if parts++; parts > 1 {
				return
			}
			x.mu.Lock()
			moved := x.moved
			x.mu.Unlock()
			if rebuild {
				x.Rebuild()
			} else {
				go func() { closed <- x.Close() }()
			}
			<-moved
			x.mu.Lock() // under which the file is taken away
			defer x.mu.Unlock()
		})
		if rebuild {
			closed <- x.Close()
		}
		if !errors.Is(err, errTaken) || parts > 1 {
			t.Errorf("rebuild %t: the walk ends with %v behind %d parts", rebuild, err, parts)
		}
		if err := <-closed; err != nil {
			t.Error(err)
		}
	}
}
