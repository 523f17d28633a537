package handlers_test

import (
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// TestWorkerUnreadable: a newer version writes an event that this worker cannot read on the job that it runs. What the
// job came to is not stored, and the worker does not try for ever: its slot is free for other jobs, no beat names the
// attempt any more, so that a newer leader gives it up, and the worker ends like others (DESIGN D8).
func TestWorkerUnreadable(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	env.SkipVerify() // one event cannot be read
	ld := newLeader(t, env)
	h := newHeld()
	_, reports, stop := ld.worker(serves("future", h))
	j := ld.give(spec{typ: "future", args: `{}`})
	h.await(t)
	m := nats.NewMsg(schemas.JobSubject(org, j.ID).String())
	m.Header = nats.Header{schemas.HeaderSpecVersion: {"1.0"}, schemas.HeaderID: {string(schemas.NewEventID())},
		schemas.HeaderSource: {"/orgs/" + string(org)}, schemas.HeaderType: {"jobledger.v2.hibernated"}}
	ack, err := ld.l.JetStream().PublishMsg(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	ld.await("a beat that names the attempt", func(b *ledger.Beat) bool { return len(b.Attempts) == 1 })
	h.free <- struct{}{}
	ld.await("a beat that names no attempt", func(b *ledger.Beat) bool { return len(b.Attempts) == 0 })
	next := ld.give(spec{typ: "future", args: `{}`})
	h.await(t)
	close(h.free)
	if r := <-reports; r.ID != next.ID || r.Outcome != schemas.EventCompleted {
		t.Errorf("report %+v", r)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if after := ld.fold(j.ID); uint64(after.LastSeq) != ack.Sequence || after.State != schemas.StateRunning {
		t.Errorf("the job went on to %d as %s", after.LastSeq, after.State)
	}
}
