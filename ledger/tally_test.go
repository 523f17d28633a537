package ledger_test

import (
	"errors"
	"math/rand/v2"
	"strings"
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
	c := &crowd{Env: env, t: t}
	w := ledgertest.NewWalk(env, t, rand.Uint64())
	steady := c.archiver(small(35)) // it knows the jobs that it moved in part
	for round := range 7 {
		for range 60 {
			w.Step()
		}
		w.Rest()
		if err := env.Ledger.Conn().PublishMsg(&nats.Msg{Subject: "jobs.acme.foreign", Data: []byte("none of ours")}); err != nil {
			t.Fatal(err)
		}
		w.Step() // behind the foreign message
		w.Rest()
		if round%3 == 2 { // another one moves the end that the first knows of
			c.leave(c.archiver(small(20 + w.Rand.IntN(60))))
		} else {
			c.leave(steady)
		}
		talliesAgree(t, env.Ledger, oneHistory(t, env.Ledger))
	}
	for range 40 { // they stay in LEDGER
		w.Step()
	}
	all := oneHistory(t, env.Ledger)
	segments, err := env.Ledger.ArchiveSegments(t.Context())
	if err != nil || len(segments) < 6 {
		t.Fatalf("%d segments, %v", len(segments), err)
	}
	state, err := env.Ledger.Archived(t.Context())
	if err == nil {
		err = env.Ledger.PurgeBelow(t.Context(), state.Through.Seq+1) // as a remover does: what is gone from the archive is gone
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range segments {
		if w.Rand.IntN(2) == 0 {
			if err := env.Ledger.RemoveSegments(t.Context(), s.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	talliesAgree(t, env.NewLedger(), all)
	verify(t, env, ledger.VerifyConfig{Org: "org1"})
}

// A tally that is not what its record names, or not what the messages did, is found, and said of which commit.
func TestVerifyTallies(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	env.SkipVerify()
	fill(t, env, "acme", 20)
	flip := func(m *nats.Msg) { m.Data[len(m.Data)-20] ^= 1 }
	env.Faults.Inject(ledgertest.Fault{Archive: "catalog.tally", Kind: ledgertest.LoseReply, Before: flip})
	if err := env.Ledger.ArchiveThrough(t.Context(), 30, 30); err != nil {
		t.Fatal(err)
	}
	wantProblems(t, verify(t, env, ledger.VerifyConfig{}), map[string]int{"archive": 1})
	if err := env.Ledger.ArchiveMiscounted(t.Context(), 30); err != nil {
		t.Fatal(err)
	}
	v := verify(t, env, ledger.VerifyConfig{})
	wantProblems(t, v, map[string]int{"archive": 2})
	if len(v.Examples) != 2 || !strings.Contains(v.Examples[0].Message, "commit from 0 to 30") || !strings.Contains(v.Examples[1].Message, "commit from 30 to 60") {
		t.Errorf("the problems are %+v", v.Examples)
	}
	if sum, err := env.Ledger.Tallied(t.Context(), time.Time{}); err != nil || sum.Seq != 0 || !strings.Contains(sum.Missing, "commit from 0 to 30") {
		t.Errorf("tallies that are damaged add up to %+v, %v", sum, err)
	}
}

// Nothing is removed that only an older version's commit tells of, which kept no tally.
func TestUntalliedStays(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	fill(t, env, "acme", 5)
	if err := ledger.MoveToArchive(t.Context(), env.Ledger, 10, false); err != nil {
		t.Fatal(err)
	}
	segments, err := env.Ledger.ArchiveSegments(t.Context())
	if err != nil || len(segments) != 1 {
		t.Fatal(segments, err)
	}
	if err := env.Ledger.RemoveSegments(t.Context(), segments[0].ID); !errors.Is(err, ledger.ErrUntallied) {
		t.Errorf("it was removed: %v", err)
	}
	if sum, err := env.Ledger.Tallied(t.Context(), time.Time{}); err != nil || sum.Seq != 0 || sum.Missing == "" {
		t.Errorf("%+v, %v", sum, err)
	}
}
