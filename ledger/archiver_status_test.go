package ledger_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// Whoever asks is told what holds the archive's boundary, by the leader alone (DESIGN D13).
func TestArchiverStatus(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	l := env.Ledger
	if s, err := l.ArchiverStatus(t.Context()); !errors.Is(err, ledger.ErrNoArchiver) {
		t.Errorf("without a leader: %+v, %v", s, err)
	}
	r, err := l.Submit(t.Context(), ledger.SubmitRequest{Org: "acme", Type: "t", ID: "long", RegisterUnknown: true})
	if err != nil {
		t.Fatal(err)
	}
	j, _, err := l.Do(t.Context(), "acme", "long", &ledger.Queue{Policy: schemas.DefaultPolicy(), Epoch: 1, Now: time.Now()}, ledger.Meta{})
	if err == nil {
		_, _, err = l.Do(t.Context(), "acme", "long", &ledger.Claim{Generation: 1, Submitted: j.SubmittedSeq, Session: schemas.NewSessionID()}, ledger.Meta{})
	}
	if err != nil {
		t.Fatal(err)
	}
	a, err := ledger.NewArchiver(ledger.ArchiverConfig{Ledger: env.NewLedger(), Logger: zap.NewNop(),
		Window: time.Millisecond, Every: 20 * time.Millisecond, Settle: time.Millisecond, Durable: -1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx, 0) }()
	for limit := time.Now().Add(time.Minute); ; {
		s, err := l.ArchiverStatus(t.Context())
		if err == nil && s.Held != nil {
			if s.Held.Subject != "jobs.acme.long" || s.Held.Seq != r.Seq || s.Held.Why != "it is running" || s.LookedAt.IsZero() || s.Error != "" {
				t.Errorf("it says %+v, %+v", s, s.Held)
			}
			break
		}
		if err != nil && !errors.Is(err, ledger.ErrNoArchiver) || time.Now().After(limit) {
			t.Fatalf("it says %+v, %v", s, err)
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
	now := time.Now()
	h := &ledger.ArchiverHeld{Since: now.Add(-3 * time.Hour)}
	if got := h.Late(time.Hour, now); got != 2*time.Hour {
		t.Errorf("held since 3h with a window of 1h, late by %s", got)
	}
	if (*ledger.ArchiverHeld)(nil).Late(time.Hour, now) != 0 || h.Late(0, now) != 0 || h.Late(4*time.Hour, now) != 0 {
		t.Error("what is in time is late")
	}
}
