package handlers_test

import (
	"errors"
	"testing"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/handlers"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
)

// A worker ends by itself on a ledger that newer programs use in a way that it does not know (DESIGN D13, R-110).
func TestWorkerTooOld(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ld := newLeader(t, env)
	set := func(level string) {
		t.Helper()
		s, err := ld.l.JetStream().Stream(t.Context(), ledger.StreamLedger)
		if err != nil {
			t.Fatal(err)
		}
		c := s.CachedInfo().Config
		c.Metadata["jobledger.level"] = level
		if _, err := ld.l.JetStream().UpdateStream(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
	set("99")
	cfg := serves("hello", newHeld())
	cfg.Ledger, cfg.Work, cfg.Live, cfg.Logger = env.NewLedger(), env.Connect(), env.Connect(), zap.NewNop()
	w, err := handlers.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Run(t.Context()); !errors.Is(err, ledger.ErrTooOld) {
		t.Errorf("it ends with %v", err)
	}
	set("1")
}
