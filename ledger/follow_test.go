package ledger_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// follow starts a Follow; sequences arrive on the channel, and stop returns how it ended.
func follow(t *testing.T, l *ledger.Ledger, q ledger.ReplayQuery) (seqs <-chan schemas.Seq, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	out, ended := make(chan schemas.Seq, 100), make(chan error, 1)
	go func() {
		ended <- l.Follow(ctx, q, func(e *ledger.Entry) error { out <- e.Seq; return nil })
		close(out)
	}()
	return out, func() error { cancel(); return <-ended }
}

// Follow hands out what is there from its bound on, then what comes, chosen as in a replay.
func TestFollow(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	l := env.Ledger
	completeOne(t, l, "acme", "old")
	past := end(t, l)
	for name, tc := range map[string]struct {
		q    ledger.ReplayQuery
		want []schemas.Seq
	}{
		"a sequence": {ledger.ReplayQuery{From: ledger.ReplayBound{Seq: past}}, span(past, past+8)},
		"a time":     {ledger.ReplayQuery{From: ledger.ReplayBound{Time: time.Now().Add(-time.Hour)}}, span(1, past+8)},
		"an org":     {ledger.ReplayQuery{From: ledger.ReplayBound{Seq: 1}, Org: "other"}, span(past+5, past+8)},
		"a job":      {ledger.ReplayQuery{From: ledger.ReplayBound{Seq: 1}, Org: "other", Job: "b"}, span(past+5, past+8)},
		"an event":   {ledger.ReplayQuery{From: ledger.ReplayBound{Seq: past}, Event: schemas.EventRunning}, []schemas.Seq{past + 3, past + 7}},
	} {
		seqs, stop := follow(t, l, tc.q)
		if end(t, l) == past { // the first story is written while somebody follows
			completeOne(t, l, "acme", "a")
			completeOne(t, l, "other", "b")
		}
		var got []schemas.Seq
		for len(got) < len(tc.want) {
			seq, ok := <-seqs
			if !ok {
				break
			}
			got = append(got, seq)
		}
		if err := stop(); !errors.Is(err, context.Canceled) || !slices.Equal(got, tc.want) {
			t.Errorf("from %s: got %v, %v; want %v", name, got, err, tc.want)
		}
	}
	if err := l.Follow(t.Context(), ledger.ReplayQuery{To: ledger.ReplayBound{Seq: 1}}, nil); ledger.AsError(err).Code != ledger.CodeInvalidArgument {
		t.Errorf("following with an end: %v", err)
	}
}

// Without a bound Follow begins behind the ledger's end; a bound may lie ahead of it.
func TestFollowFromNow(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	l := env.Ledger
	completeOne(t, l, "acme", "old")
	past := end(t, l)
	now, stopNow := follow(t, l, ledger.ReplayQuery{})
	ahead, stopAhead := follow(t, l, ledger.ReplayQuery{From: ledger.ReplayBound{Seq: past + 6}})
	var first schemas.Seq
	for first == 0 { // nobody knows when now was: write until it has passed
		completeOne(t, l, "acme", schemas.NewJobID())
		select {
		case first = <-now:
		default:
		}
	}
	if first <= past {
		t.Errorf("from now began at %d, the end was %d", first, past)
	}
	completeOne(t, l, "acme", schemas.NewJobID())
	if got := <-ahead; got != past+6 {
		t.Errorf("from sequence %d, which lay ahead, began at %d", past+6, got)
	}
	if err := errors.Join(stopNow(), stopAhead()); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
