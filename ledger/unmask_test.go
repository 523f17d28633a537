package ledger_test

import (
	"strings"
	"testing"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// TestUnmaskFaults (R-606, DESIGN D3): an unmasking is one event, whatever becomes of the request and its reply, on a subject of
// its own; the job, its fold and its subject stay as they were.
func TestUnmaskFaults(t *testing.T) {
	env := ledgertest.Start(t)
	made, err := env.Ledger.Submit(t.Context(), ledger.SubmitRequest{Org: "acme", Type: "pay", RegisterUnknown: true})
	if err != nil {
		t.Fatal(err)
	}
	before, err := env.Ledger.Fold(t.Context(), "acme", made.ID)
	if err != nil {
		t.Fatal(err)
	}
	var want []schemas.EventID
	for _, kind := range []ledgertest.Kind{ledgertest.Pass, ledgertest.LoseRequest, ledgertest.LoseReply, ledgertest.Refuse} {
		env.Faults.Inject(ledgertest.Fault{Event: schemas.EventUnmasked, Kind: kind})
		e, err := env.Ledger.Unmask(t.Context(), &schemas.Unmasked{Org: "acme", Job: made.ID, Type: "pay", Fields: []string{"card"}, Reason: "case 4711"},
			ledger.Meta{Actor: schemas.Actor{Type: "user", ID: "ada"}})
		if err != nil {
			t.Fatalf("fault %d: %v", kind, err)
		}
		want = append(want, e.ID)
	}
	if env.Faults.Hits() != len(want) {
		t.Errorf("%d faults were met", env.Faults.Hits())
	}
	all, err := env.Ledger.Unmaskings(t.Context(), "acme", made.ID)
	if err != nil || len(all) != len(want) {
		t.Fatalf("%d unmaskings, %v", len(all), err)
	}
	for i, e := range all {
		if line := ledger.LineOf(e); e.ID != want[i] || line.Actor != "user:ada" || *line.Reason != "case 4711" || *line.ID != made.ID || *line.Type != "pay" || line.To != nil {
			t.Errorf("unmasking %d: %+v", i, line)
		}
	}
	if after, err := env.Ledger.Fold(t.Context(), "acme", made.ID); err != nil || after.LastSeq != before.LastSeq {
		t.Errorf("the job moved: %+v, %v", after, err)
	}
	for _, u := range []schemas.Unmasked{{Org: "acme", Job: made.ID, Type: "pay"}, {Org: "acme", Job: "a.b", Type: "pay", Reason: "x"}} {
		if _, err := env.Ledger.Unmask(t.Context(), &u, ledger.Meta{}); ledger.AsError(err).Code != ledger.CodeInvalidArgument {
			t.Errorf("%+v: %v", u, err)
		}
	}
}

// TestUnmaskingsLeave (R-606, DESIGN D13): who saw what of an org is told by its name and by the job's, also when it has left for
// the archive; a look at a job that is there does not bring it back.
func TestUnmaskingsLeave(t *testing.T) {
	t.Parallel()
	c := newCrowd(t, 1)
	unmask := func(org schemas.OrgID, id schemas.JobID, reason string) {
		t.Helper()
		if _, err := c.Ledger.Unmask(t.Context(), &schemas.Unmasked{Org: org, Job: id, Type: "t", Fields: []string{""}, Reason: reason}, ledger.Meta{}); err != nil {
			t.Fatal(err)
		}
	}
	unmask("acme", "done-0", "first")
	unmask("other", "done-0", "of another org")
	unmask("acme", "dead-0", "of another job")
	end := c.end0()
	c.leave(c.archiver(small(50)))
	if state, err := c.Ledger.Archived(t.Context()); err != nil || state.Through.Seq < end.Seq {
		t.Fatalf("%d has not left: %+v, %v", end.Seq, state, err)
	}
	unmask("acme", "done-0", "second")
	l := c.NewLedger()
	for want, q := range map[string]ledger.ReplayQuery{
		"first, of another job, second":                 {Org: "acme"},
		"first, second":                                 {Org: "acme", Job: "done-0"},
		"first, of another org, of another job, second": {},
		"second": {Org: "acme", From: ledger.ReplayBound{Seq: end.Seq + 1}},
	} {
		q.Event = schemas.EventUnmasked
		var told []string
		err := l.Replay(t.Context(), q, func(e *ledger.Entry) error {
			if !q.Matches(e) {
				t.Errorf("%+v does not match what it handed out", q)
			}
			told = append(told, e.Data.(*schemas.Unmasked).Reason)
			return nil
		})
		if have := strings.Join(told, ", "); err != nil || have != want {
			t.Errorf("%+v: %s, %v; want %s", q, have, err, want)
		}
	}
	if j, err := l.Fold(t.Context(), "acme", "done-0"); err != nil || !j.Archived {
		t.Errorf("the job came back: %+v, %v", j, err)
	}
}
