package projector

import (
	"testing"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// A fold that is behind another leader's document knows its revision, and must not write over it until it
// has come past it: neither a job's document, nor a counter, nor the position (DESIGN D9).
func TestBehindAnotherLeader(t *testing.T) {
	v := newViews(nil)
	v.seen = newSeen()
	j := &ledger.Job{Org: "acme", ID: "j1"}
	next := func(seq schemas.Seq, c ledger.Command) {
		t.Helper()
		data, err := ledger.Decide(j, c)
		if err != nil {
			t.Fatal(err)
		}
		e := schemas.NewEvent(schemas.JobSubject(j.Org, j.ID), data)
		e.Seq = seq
		ledger.Apply(j, e)
		if err := v.apply(t.Context(), e, nil); err != nil {
			t.Fatal(err)
		}
	}
	flush := func(settle func(*put)) (puts int) {
		t.Helper()
		b, err := v.take()
		if err != nil {
			t.Fatal(err)
		}
		all := append(append([]*put{}, b.docs...), b.counts...)
		if b.all != nil {
			all = append(all, b.all)
		}
		for _, p := range all {
			settle(p)
		}
		v.done(b)
		return len(all)
	}
	refused := func(p *put) { // what another leader wrote at 20 stands there
		p.rev, p.kept, p.found = 9, true, &found{Seq: 20, Generation: 1, SubmittedSeq: 10}
	}
	stored := func(p *put) {
		if p.slot.rev != 9 || !p.slot.known {
			t.Errorf("%s/%s expects revision %d, want 9", p.bucket, p.key, p.slot.rev)
		}
		p.rev = 10
	}

	next(10, &ledger.Begin{Spec: schemas.Submitted{Type: "echo", Queue: "default", Priority: schemas.PriorityNormal}})
	if n := flush(refused); n != 3 {
		t.Fatalf("the first flush has %d puts, want a document, a counter and the position", n)
	}
	next(12, &ledger.Queue{Policy: schemas.DefaultPolicy(), Epoch: 1})
	if n := flush(stored); n != 0 {
		t.Errorf("%d puts at 12 go over what stands at 20", n)
	}
	next(21, &ledger.Claim{Generation: 1, Submitted: 10, Session: "s", Worker: "w"})
	if n := flush(stored); n != 3 {
		t.Errorf("%d puts at 21, want 3", n)
	}
}
