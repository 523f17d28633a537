package ledger_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
)

// oneHistory is all that is in ARCHIVE and LEDGER.
func oneHistory(t *testing.T, l *ledger.Ledger) []*ledger.Entry {
	t.Helper()
	all := archived(t, l, 0, 1<<63, "")
	state, err := l.Archived(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for next := state.Through.Seq + 1; ; next = all[len(all)-1].Seq + 1 {
		entries, err := l.EventsFrom(t.Context(), next, 500)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) == 0 {
			return all
		}
		all = append(all, entries...)
	}
}

// talliesAgree holds the sum of the tallies to a fold of everything, of which a copy was kept.
func talliesAgree(t *testing.T, l *ledger.Ledger, all []*ledger.Entry) {
	t.Helper()
	sum, err := l.Tallied(t.Context(), time.Time{})
	if err != nil || sum.Missing != "" {
		t.Fatalf("%+v, %v", sum, err)
	}
	state, err := l.Archived(t.Context())
	if err != nil || sum.Position != state.Through {
		t.Fatalf("the tallies reach to %v, the archive to %v (%v)", sum.Position, state.Through, err)
	}
	want := ledger.TallyOf(all, 0, sum.Seq)
	if k, differ := sum.Differs(want); differ {
		t.Fatalf("counter %s: the tallies say %+v, the messages %+v; quarantined %d and %d, illegal %d and %d", k, sum.Counts[k], want.Counts[k],
			sum.Quarantined, want.Quarantined, sum.Illegal, want.Illegal)
	}
}

// Whatever jobs do and wherever the archive cuts, the tallies of its commits add up to what all messages up to its end
// amount to, also when segments are gone.
func TestTallies(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	env.SkipVerify() // segments are removed whose jobs live on
	c := &crowd{Env: env, t: t}
	w := ledgertest.NewWalk(env, t, rand.Uint64())
	for range 6 {
		for range 60 {
			w.Step()
		}
		w.Rest()
		if err := env.Ledger.Conn().PublishMsg(&nats.Msg{Subject: "jobs.acme.foreign", Data: []byte("none of ours")}); err != nil {
			t.Fatal(err)
		}
		w.Step() // behind the foreign message
		w.Rest()
		c.leave(c.archiver(small(20 + w.Rand.IntN(60))))
		talliesAgree(t, env.Ledger, oneHistory(t, env.Ledger))
	}
	all := oneHistory(t, env.Ledger)
	segments, err := env.Ledger.ArchiveSegments(t.Context())
	if err != nil || len(segments) < 6 {
		t.Fatalf("%d segments, %v", len(segments), err)
	}
	for _, s := range segments {
		if w.Rand.IntN(2) == 0 {
			if err := env.Ledger.RemoveSegments(t.Context(), s.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	talliesAgree(t, env.NewLedger(), all)
}
