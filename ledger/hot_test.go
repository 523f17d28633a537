package ledger_test

import (
	"errors"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
)

// The hot window stands with the ledger, for every writer; one that is too short beside the dedup window is refused, and
// whoever says nothing keeps what is there (DESIGN D13).
func TestHotWindow(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	set := func(w, dedup time.Duration) error {
		_, err := ledger.Provision(t.Context(), env.NewLedger(), ledger.ProvisionConfig{HotWindow: w, DuplicateWindow: dedup, Version: "test"})
		return err
	}
	want := func(w time.Duration) {
		t.Helper()
		if got, err := env.NewLedger().HotWindow(t.Context()); err != nil || got != w {
			t.Errorf("hot window %s, %v, want %s", got, err, w)
		}
	}
	want(0)
	if err := set(9*time.Minute, 0); ledger.AsError(err).Code != ledger.CodeInvalidArgument {
		t.Errorf("too short: %v", err)
	}
	if err := set(10*time.Minute, 0); err != nil {
		t.Error(err)
	}
	if err := set(0, 0); err != nil {
		t.Error(err)
	}
	want(10 * time.Minute)
	if err := set(0, 20*time.Minute); ledger.AsError(err).Code != ledger.CodeInvalidArgument {
		t.Errorf("a longer dedup window beside the hot window that is kept: %v", err)
	}
	if err := set(30*time.Minute, 20*time.Minute); ledger.AsError(err).Code != ledger.CodeInvalidArgument {
		t.Errorf("too short beside the dedup window: %v", err)
	}
	var short ledger.ProvisionConfig
	short.HotWindow = time.Second
	short.WithHotWindowMin(time.Second)
	if _, err := ledger.Provision(t.Context(), env.NewLedger(), short); err != nil {
		t.Error(err)
	}
	want(time.Second)
	if err := set(ledger.HotNever, 0); err != nil {
		t.Error(err)
	}
	want(0)
}

// Nobody leads: who asks to archive is told so. What is too young stays whoever asks.
func TestAskArchive(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	if _, err := env.Ledger.AskArchive(t.Context(), time.Now().Add(-time.Minute), nil); ledger.AsError(err).Code != ledger.CodeInvalidArgument {
		t.Errorf("a minute ago: %v", err)
	}
	ask := func() (*ledger.ArchiveProgress, error) {
		return env.Ledger.AskArchive(t.Context(), time.Now().Add(-time.Hour), nil)
	}
	if _, err := ask(); !errors.Is(err, ledger.ErrNoArchiver) {
		t.Errorf("without a leader: %v", err)
	}
	env.RunServer()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	done, err := ask()
	for limit := time.Now().Add(time.Minute); errors.Is(err, ledger.ErrNoArchiver) && time.Now().Before(limit); <-tick.C {
		done, err = ask()
	}
	if err != nil || !done.Done || done.Events != 0 {
		t.Errorf("%+v, %v", done, err)
	}
}

// The retention stands with the ledger, too: 90 days where nobody said otherwise; one that is too short is refused, and who
// says nothing keeps what is there.
func TestRetentionSetting(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	set := func(d time.Duration) error {
		_, err := ledger.Provision(t.Context(), env.NewLedger(), ledger.ProvisionConfig{Retention: d, Version: "test"})
		return err
	}
	want := func(d time.Duration) {
		t.Helper()
		if got, err := env.NewLedger().Retention(t.Context()); err != nil || got != d {
			t.Errorf("retention %s, %v, want %s", got, err, d)
		}
	}
	want(90 * 24 * time.Hour)
	if err := set(ledger.RetentionMin - time.Hour); ledger.AsError(err).Code != ledger.CodeInvalidArgument {
		t.Errorf("too short: %v", err)
	}
	for _, d := range []time.Duration{ledger.RetentionMin, 0} {
		if err := set(d); err != nil {
			t.Error(err)
		}
		want(ledger.RetentionMin)
	}
	if err := set(ledger.RetentionForever); err != nil {
		t.Error(err)
	}
	want(0)
}
