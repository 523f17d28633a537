package ledger_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// What was removed excuses nothing else: messages that are missing from what is there, and counters of jobs that somebody
// published without saying that theirs is the first message. A counter that sums up to nothing may be missing (STYLE 22, R-40).
func TestVerifyBehindRemoval(t *testing.T) {
	t.Parallel()
	r := newRetained(t, 400)
	r.SkipVerify() // it finds what is missing
	r.setOrg("d", 30)
	r.setUsedAgain("u", 0)
	r.setUsedAgain("t", 0)
	lost := r.make("a", "t", "canceled")
	r.life("moved", "u")
	r.life("moved", "t")
	s, err := r.Ledger.JetStream().Stream(t.Context(), ledger.StreamLedger)
	if err == nil {
		err = s.Purge(t.Context(), jetstream.WithPurgeSubject(schemas.JobSubject("a", lost.id).String()))
	}
	if err != nil {
		t.Fatal(err)
	}
	r.leave()
	r.make("d", "t", "done")
	r.leave()
	e := schemas.NewEvent(schemas.JobSubject("a", madeAt(t, time.Now().Add(time.Hour))), &schemas.Submitted{Type: "t", Queue: "default",
		Generation: 1, Priority: schemas.PriorityNormal, Args: []byte(`{}`)})
	m, err := e.Encode()
	if err != nil {
		t.Fatal(err)
	}
	m.Header.Del(schemas.HeaderExpect)
	if _, err := r.Ledger.JetStream().PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	project(t, r.Env)
	r.ahead = 40 * day
	if plan, err := r.rem.Look(t.Context()); err != nil || plan.Segments == 0 {
		t.Fatalf("removed %+v, %v", plan, err)
	}
	kv, err := r.Ledger.JetStream().KeyValue(t.Context(), ledger.BucketCounts)
	if err == nil {
		err = kv.Delete(t.Context(), ledger.CountKey{Org: "a", Queue: "default", Type: "u"}.String())
	}
	if err != nil {
		t.Fatal(err)
	}
	wantProblems(t, verify(t, r.Env, ledger.VerifyConfig{Full: true}), map[string]int{ledger.ProblemGap: 2})

	at, err := r.Ledger.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	k := ledger.CountKey{Org: "a", Queue: "default", Type: "t"}
	put(t, r.Env, ledger.BucketCounts, k.String(), &ledger.CountDocument{Org: k.Org, Queue: k.Queue, Type: k.Type, Position: at, Count: ledger.Count{Submitted: 7}})
	wantProblems(t, verify(t, r.Env, ledger.VerifyConfig{Full: true}), map[string]int{ledger.ProblemGap: 2, ledger.ProblemCount: 1})
}
