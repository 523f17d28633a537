package ledger_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/internal/packs"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// limits are what the server may send to each consumer that reads the ledger in order.
func limits(t *testing.T, l *ledger.Ledger) (bits []uint64) {
	t.Helper()
	s, err := l.JetStream().Stream(t.Context(), ledger.StreamLedger)
	if err != nil {
		t.Fatal(err)
	}
	all := s.ListConsumers(t.Context())
	for c := range all.Info() {
		if strings.HasPrefix(c.Name, packs.Consumer) {
			bits = append(bits, c.Config.RateLimit)
		}
	}
	if err := all.Err(); err != nil {
		t.Fatal(err)
	}
	return bits
}

// A reader is slow while others write, by the server's own hand, and fast when they stop, and misses and repeats nothing on the
// way.
func TestPaceFollowsTheWriters(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	l := env.Ledger
	fill(t, env, "acme", 800) // 3,200 events: a few batches
	last := end(t, l)
	if !l.Busy(t.Context()) {
		t.Error("an event was just stored, and a reader is not paced")
	}
	busy, batches := true, 0
	var seqs []schemas.Seq
	err := l.PacedStretch(t.Context(), last, func() bool { return busy }, func(entries []*ledger.Entry) error {
		for _, e := range entries {
			seqs = append(seqs, e.Seq)
		}
		switch batches++; batches {
		case 1:
			if got := limits(t, l); !slices.Equal(got, []uint64{ledger.PaceBits}) {
				t.Errorf("beside writers the server may send %v bits a second, want %d", got, ledger.PaceBits)
			}
			busy = false
		case 2:
			awaitLimit(t, l, 0)
			busy = true
		}
		return nil
	})
	if err != nil || batches < 3 {
		t.Fatalf("%d batches: %v", batches, err)
	}
	if !slices.Equal(seqs, span(1, last)) {
		t.Errorf("read %d events of %d, or not in order", len(seqs), last)
	}
}

// awaitLimit waits until the one reader's limit is as it should be: an update is answered before it is in force.
func awaitLimit(t *testing.T, l *ledger.Ledger, bits uint64) {
	t.Helper()
	patience := time.Now().Add(time.Minute)
	for {
		got := limits(t, l)
		if slices.Equal(got, []uint64{bits}) {
			return
		}
		if time.Now().After(patience) {
			t.Fatalf("the server may send %v bits a second, want %d", got, bits)
		}
	}
}
