package ledger_test

import (
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// what a check found can be read by who was not there, the newest alone.
func TestNoteVerified(t *testing.T) {
	env := ledgertest.Start(t)
	ctx := t.Context()
	if last, err := env.Ledger.LastVerified(ctx); last != nil || err != nil {
		t.Fatalf("before any: %+v, %v", last, err)
	}
	by := ledger.Meta{Actor: schemas.Actor{Type: "user", ID: "ada"}}
	first := verify(t, env, ledger.VerifyConfig{})
	if err := env.Ledger.NoteVerified(ctx, first, by); err != nil {
		t.Fatal(err)
	}
	full := verify(t, env, ledger.VerifyConfig{Full: true})
	bad := 2
	full.OK, full.Problems.View = false, &bad
	if err := env.Ledger.NoteVerified(ctx, full, by); err != nil {
		t.Fatal(err)
	}
	last, err := env.Ledger.LastVerified(ctx)
	if err != nil || last == nil || last.OK || !last.Full || last.Actor != "user:ada" || last.At.IsZero() || last.Problems[ledger.ProblemView] != 2 ||
		len(last.Problems) != 1 || last.Events != full.Events || last.LastSeq != first.LastSeq+1 {
		t.Errorf("%+v, %v", last, err)
	}
	org := schemas.OrgID("acme")
	if err := env.Ledger.NoteVerified(ctx, &ledger.Verdict{OK: true, Org: &org}, by); ledger.AsError(err) == nil || ledger.AsError(err).Code != ledger.CodeInvalidArgument {
		t.Errorf("of one org: %v", err)
	}
}

// What a newer version noted is unknown to this one, and no reason to tell nothing else of the cell.
func TestNoteOfANewerVersion(t *testing.T) {
	env := ledgertest.Start(t)
	env.SkipVerify() // damage
	publishRaw(t, env.Ledger, schemas.ControlSubject("cell", ledger.KindVerify, "ledger").String(), nats.Header{
		schemas.HeaderSpecVersion: {"1.0"}, schemas.HeaderID: {string(schemas.NewEventID())}, schemas.HeaderSource: {"/cell"}, schemas.HeaderType: {"jobledger.v2.verified"},
	}, "{}")
	if last, err := env.Ledger.LastVerified(t.Context()); last != nil || err != nil {
		t.Errorf("%+v, %v", last, err)
	}
}
