package ledger_test

import (
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// each append tells how it ended and what it took, and each submit that a limit refuses which.
func TestObservedAppends(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	var mu sync.Mutex
	told := map[string]int{}
	note := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		told[what]++
	}
	l, err := ledger.New(ledger.Config{Conn: env.Connect(), Logger: zap.NewNop(), Limited: note, Appended: func(e schemas.EventName, outcome string, took time.Duration) {
		if took <= 0 {
			t.Errorf("%s took %s", e, took)
		}
		note(string(e) + " " + outcome)
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.PutType(t.Context(), schemas.TypeSettings{Name: "mail", SubmitRate: &schemas.Rate{Count: 1, PerMS: 3_600_000}}, ledger.Meta{}, "a test"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Submit(t.Context(), ledger.SubmitRequest{Org: "acme", Type: "mail", NoDedup: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Submit(t.Context(), ledger.SubmitRequest{Org: "acme", Type: "mail", NoDedup: true}); ledger.AsError(err).Code != ledger.CodeRateLimited {
		t.Errorf("a second submit: %v", err)
	}
	e := &schemas.Event{Subject: ledger.ControlType("mail"), ID: schemas.NewEventID(), Data: &schemas.TypeSet{Settings: schemas.TypeSettings{Name: "mail"}}}
	if err := l.Append(t.Context(), e, 0); err == nil {
		t.Error("an append behind nothing is stored on a subject that has an event")
	}
	for what, want := range map[string]int{"type_set stored": 1, "submitted stored": 1, "type_set refused": 1, "rate": 1} {
		if told[what] != want {
			t.Errorf("%s was told %d times, of %v", what, told[what], told)
		}
	}
}
