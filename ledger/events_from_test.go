package ledger_test

import (
	"fmt"
	"testing"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// EventsFrom returns neighbours in order, stops at the end, and finds nothing behind it.
func TestEventsFrom(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ctx := env.Context()
	if _, err := env.Ledger.PutType(ctx, schemas.TypeSettings{Name: "a"}, ledger.Meta{}, ""); err != nil {
		t.Fatal(err)
	}
	var last schemas.Seq
	for i := range 20 {
		r, err := env.Ledger.Submit(ctx, ledger.SubmitRequest{Org: "acme", Type: "a", ID: schemas.JobID(fmt.Sprint("j", i))})
		if err != nil {
			t.Fatal(err)
		}
		last = r.Seq
	}
	for _, c := range []struct {
		from schemas.Seq
		n    int
		want int
	}{{last - 9, 4, 4}, {last - 9, 100, 10}, {last, 100, 1}, {last + 1, 100, 0}} {
		entries, err := env.Ledger.EventsFrom(ctx, c.from, c.n)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) != c.want {
			t.Errorf("%d from %d: %d events, want %d", c.n, c.from, len(entries), c.want)
		}
		for i, e := range entries {
			if s, ok := e.Data.(*schemas.Submitted); !ok || e.Seq != c.from+schemas.Seq(i) || string(s.Args) != "{}" {
				t.Errorf("event %d from %d is %d: %+v", i, c.from, e.Seq, e.Data)
			}
		}
	}
}
