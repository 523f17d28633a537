package ledger_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
)

// The store is warned of below twice its reserve, full below that, and open again only with a tenth more. Where
// nobody answers nothing is refused: a limit is no reason to stand still (R-08, DESIGN D2).
func TestSpace(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	if _, err := env.Ledger.Space(t.Context()); err == nil {
		t.Error("a server answers that does not run")
	}
	var free atomic.Int64
	free.Store(1000)
	measured := make(chan struct{})
	w, err := ledger.NewSpaceWatch(ledger.SpaceWatchConfig{Ledger: env.NewLedger(), Logger: zap.NewNop(), Every: 1, Reserve: func(total int64) int64 { return total / 10 },
		Measure: func(ctx context.Context) (ledger.Room, error) {
			select {
			case measured <- struct{}{}:
			case <-ctx.Done():
			}
			return ledger.Room{Free: free.Load(), Total: 1000}, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	for _, step := range []struct {
		free int64
		want string
	}{{1000, ledger.SpaceOK}, {200, ledger.SpaceOK}, {199, ledger.SpaceLow}, {100, ledger.SpaceLow}, {99, ledger.SpaceFull}, {105, ledger.SpaceFull},
		{110, ledger.SpaceLow}, {105, ledger.SpaceLow}, {0, ledger.SpaceFull}, {500, ledger.SpaceOK}} {
		free.Store(step.free)
		for range 3 { // the last of them began, and the one before ended, after the change
			<-measured
		}
		if got := w.Space(); got.State != step.want || got.Free != step.free || got.Reserve != 100 {
			t.Errorf("%d of 1000 free: %+v, want %s", step.free, got, step.want)
		}
	}
	go func() {
		for range measured {
		}
	}()
	for patience := time.Now().Add(time.Minute); ; { // that it answers is known to the server a moment after it began
		s, err := env.Ledger.Space(t.Context())
		if err == nil && s == w.Space() {
			break
		}
		if err == nil || ledger.AsError(err).Code != ledger.CodeUnavailable || time.Now().After(patience) {
			t.Errorf("asked, the server says %+v (%v)", s, err)
			break
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	close(measured)
}

// What an account may store is all that is known of a NATS elsewhere: without a limit there is no reserve either.
func TestSpaceOfAccount(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	w, err := ledger.NewSpaceWatch(ledger.SpaceWatchConfig{Ledger: env.NewLedger(), Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	s, err := env.Ledger.Space(ctx)
	for err != nil && ctx.Err() == nil { // until it has subscribed
		s, err = env.Ledger.Space(ctx)
	}
	if err != nil || s.State != ledger.SpaceOK || s.Reserve != 0 {
		t.Errorf("an account without limits has %+v (%v)", s, err)
	}
	cancel()
	<-ended
}
