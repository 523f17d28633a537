package gateway

import (
	"fmt"
	"testing"
	"time"

	"github.com/dartwing/jobledger/gateway/rights"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// TestPaces: a member's calls of each kind are counted for themselves and come back with time; who has not called for a
// minute is forgotten when there are too many.
func TestPaces(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	p := newPaces()
	p.now = func() time.Time { return now }
	ada := &rights.Principal{Actor: schemas.Actor{Type: "user", ID: "ada"}}
	for i := range perMinute[paceCancel] {
		if a, err := p.take(ada, "acme", paceCancel); err != nil || a.remaining != perMinute[paceCancel]-1-i {
			t.Fatalf("call %d: %+v, %v", i, a, err)
		}
	}
	a, err := p.take(ada, "acme", paceCancel)
	e := ledger.AsError(err)
	if e.Code != ledger.CodeRateLimited || a.remaining != 0 || e.Details["retry_after_s"] != 2 {
		t.Errorf("one too many: %+v, %v, %v", a, err, e.Details)
	}
	if _, err := p.take(ada, "acme", paceGet); err != nil {
		t.Errorf("another kind: %v", err)
	}
	if _, err := p.take(ada, "other", paceCancel); err != nil {
		t.Errorf("another org: %v", err)
	}
	now = now.Add(2 * time.Second)
	if _, err := p.take(ada, "acme", paceCancel); err != nil {
		t.Errorf("when it said: %v", err)
	}
	for i := range pacedMax + 10 {
		if _, err := p.take(&rights.Principal{Actor: schemas.Actor{Type: "user", ID: fmt.Sprint(i)}}, "acme", paceGet); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(p.members); n != pacedMax {
		t.Errorf("%d members are counted, at most %d may be", n, pacedMax)
	}
	now = now.Add(time.Minute)
	if _, err := p.take(&rights.Principal{Actor: schemas.Actor{Type: "user", ID: "new"}}, "acme", paceGet); err != nil || len(p.members) != 1 {
		t.Errorf("%v, %d members are counted", err, len(p.members))
	}
}

// A call that does many things counts as many. What is more than a minute's needs all of one, and the rest is owed: in the
// long run nobody does more than by single calls, and who owes is not forgotten.
func TestPacesOfMany(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	p := newPaces()
	p.now = func() time.Time { return now }
	ada := &rights.Principal{Actor: schemas.Actor{Type: "user", ID: "ada"}}
	limit := perMinute[paceSubmit]
	one := func() error { _, err := p.take(ada, "acme", paceSubmit); return err }
	many := func(n int) (callsLeft, error) {
		t.Helper()
		if err := one(); err != nil {
			return callsLeft{}, err
		}
		return p.takeAll(ada, "acme", paceSubmit, 1, n)
	}
	refused := func(err error, wait int) {
		t.Helper()
		if e := ledger.AsError(err); e == nil || e.Code != ledger.CodeRateLimited || e.Details["retry_after_s"] != wait {
			t.Errorf("%v, want to wait %d s", err, wait)
		}
	}
	if a, err := many(40); err != nil || a.remaining != limit-40 {
		t.Errorf("40 of %d: %+v, %v", limit, a, err)
	}
	_, err := many(70) // 60 are left, one of them goes with the call
	refused(err, 6)
	now = now.Add(time.Minute)
	if a, err := many(3 * limit); err != nil || a.remaining != 0 || a.reset != 3*time.Minute {
		t.Errorf("three minutes' worth: %+v, %v", a, err)
	}
	refused(one(), 121)
	for i := range pacedMax {
		p.take(&rights.Principal{Actor: schemas.Actor{Type: "user", ID: fmt.Sprint(i)}}, "acme", paceGet)
	}
	now = now.Add(119 * time.Second)
	p.take(&rights.Principal{Actor: schemas.Actor{Type: "user", ID: "new"}}, "acme", paceGet)
	refused(one(), 2)
	now = now.Add(2 * time.Second)
	if err := one(); err != nil {
		t.Errorf("when all is paid: %v", err)
	}
	refused(one(), 1)
}
