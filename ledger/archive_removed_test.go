package ledger_test

import (
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// what is removed is told, with its jobs, as long as its messages stand, a day; then that it is forgotten, and of removals
// that are not this archive's that they are not.
func TestRemovalsAreTold(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	l, ctx := env.Ledger, t.Context()
	const years = 3 * 365 * schemas.Day
	later := func(by time.Duration) {
		t.Helper()
		r, err := ledger.NewRemover(ledger.RemoverConfig{Ledger: env.NewLedger(), Logger: zap.NewNop(), Wait: -1, Now: func() time.Time { return time.Now().Add(by) }})
		if err == nil {
			_, err = r.Look(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var ids []schemas.JobID
	for i := range 3 {
		ids = append(ids, schemas.NewJobID())
		completeOne(t, l, "acme", ids[i])
		a, err := ledger.NewArchiver(ledger.ArchiverConfig{Ledger: env.NewLedger(), Logger: zap.NewNop(), Durable: -1, Window: time.Nanosecond})
		if err == nil {
			_, err = a.Look(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	later(years)
	var told []*ledger.RemovedSegment
	tell := func(after int, last string) error {
		told = nil
		return l.RemovalsSince(ctx, after, last, func(g *ledger.RemovedSegment) error {
			told = append(told, g)
			return nil
		})
	}
	if err := tell(0, ""); err != nil || len(told) != len(ids) {
		t.Fatalf("%d removals are told, %v; want %d", len(told), err, len(ids))
	}
	all := told
	for i, g := range all {
		if g.Number != i+1 || len(g.Jobs) != 1 || g.Jobs[0] != schemas.JobSubject("acme", ids[i]) || g.Last < g.First {
			t.Errorf("removal %d is told as %+v", i+1, g)
		}
		if err := tell(g.Number, g.ID); err != nil || len(told) != len(ids)-i-1 {
			t.Errorf("%d are told behind %d, %v", len(told), g.Number, err)
		}
		if err := tell(g.Number, all[(i+1)%len(all)].ID); !errors.Is(err, ledger.ErrPositionExpired) {
			t.Errorf("behind another removal: %v", err)
		}
	}
	if err := tell(len(ids)+1, ""); !errors.Is(err, ledger.ErrPositionExpired) {
		t.Errorf("behind one that never was: %v", err)
	}
	if n, last, err := l.Removals(ctx); err != nil || n != len(ids) || last != all[n-1].ID {
		t.Errorf("%d removals, the last is %s, %v", n, last, err)
	}
	later(years + 2*schemas.Day)
	if err := tell(0, ""); !errors.Is(err, ledger.ErrRemovalForgotten) || len(told) > 0 {
		t.Errorf("behind the day: %d are told, %v", len(told), err)
	}
	if err := tell(len(ids), all[len(ids)-1].ID); err != nil || len(told) > 0 {
		t.Errorf("who has followed all is told %d, %v", len(told), err)
	}
}
