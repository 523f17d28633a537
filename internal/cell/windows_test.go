package cell_test

import (
	"testing"
	"time"

	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// TestWindowsChangeWhileServing: windows that are set while a cell serves hold, also when its leader provisions again
// because LEASE is gone; what the ledger refuses leaves those from before.
func TestWindowsChangeWhileServing(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	s := env.RunServer(func(c *cell.Config) { c.HotWindow, c.Retention = 24*time.Hour, 90*schemas.Day })
	const hot, retention = 48 * time.Hour, 400 * schemas.Day
	if err := s.Info.SetWindows(env.Context(), hot, retention); err != nil {
		t.Fatal(err)
	}
	if err := s.Info.SetWindows(env.Context(), time.Minute, 0); ledger.AsError(err).Code != ledger.CodeInvalidArgument {
		t.Errorf("a window that is too short: %v", err)
	}
	js := env.Ledger.JetStream()
	if err := js.DeleteKeyValue(env.Context(), ledger.BucketLease); err != nil {
		t.Fatal(err)
	}
	until(t, "LEASE is there again", func() bool {
		_, err := js.KeyValue(env.Context(), ledger.BucketLease)
		return err == nil
	})
	l := env.NewReader() // remembers nothing from before
	gotHot, err := l.HotWindow(env.Context())
	if err != nil {
		t.Fatal(err)
	}
	gotRetention, err := l.Retention(env.Context())
	if err != nil {
		t.Fatal(err)
	}
	if gotHot != hot || gotRetention != retention {
		t.Errorf("hot window %s, retention %s; want %s, %s", gotHot, gotRetention, hot, retention)
	}
}
