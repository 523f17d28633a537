package projector_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// The checker holds statistics to a fold of their events, and finds what was changed; a projector that goes on from them
// says what a fold from zero says.
func TestStatisticsAreVerified(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	f := feed(t, env)
	for n := range 3 { // each goes on from what the one before it wrote
		stop := project(t, env, f)
		for i := range 3 {
			complete(t, env.Ledger, schemas.JobID(fmt.Sprintf("job-%d-%d", n, i)))
		}
		check(t, env)
		stop()
	}
	kv := bucket(t, env, ledger.BucketCounts)
	entry, err := kv.Get(t.Context(), "acme.default.echo")
	if err != nil {
		t.Fatal(err)
	}
	verify := func() *ledger.Verdict {
		v, err := ledger.Verify(t.Context(), ledger.VerifyConfig{Ledger: env.NewLedger()})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if v := verify(); !v.OK {
		t.Errorf("before: %+v", v)
	}
	var doc ledger.CountDocument
	if err := json.Unmarshal(entry.Value(), &doc); err != nil {
		t.Fatal(err)
	}
	doc.Stats.Hours[0].Failed++
	body, err := json.Marshal(&doc)
	if err == nil {
		_, err = kv.Update(t.Context(), entry.Key(), body, entry.Revision())
	}
	if err != nil {
		t.Fatal(err)
	}
	env.SkipVerify()
	if v := verify(); v.OK || *v.Problems.Count != 1 {
		t.Errorf("with a number changed: %+v", v)
	}
}

// A counter that was written without statistics has them from its next event on.
func TestStatisticsBeginLater(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	f := feed(t, env)
	stop := project(t, env, f)
	complete(t, env.Ledger, "first")
	at := caughtUp(t, env)
	stop()
	kv := bucket(t, env, ledger.BucketCounts)
	read := func() (doc ledger.CountDocument, rev uint64) {
		entry, err := kv.Get(t.Context(), "acme.default.echo")
		if err == nil {
			err = json.Unmarshal(entry.Value(), &doc)
		}
		if err != nil {
			t.Fatal(err)
		}
		return doc, entry.Revision()
	}
	doc, rev := read()
	doc.Stats = nil
	body, err := json.Marshal(&doc)
	if err == nil {
		_, err = kv.Update(t.Context(), "acme.default.echo", body, rev)
	}
	if err != nil {
		t.Fatal(err)
	}
	project(t, env, f)
	complete(t, env.Ledger, "second")
	check(t, env)
	if doc, _ := read(); doc.Stats.After != at || doc.Stats.Days[0].Completed != 1 {
		t.Errorf("statistics behind %s are %+v", at, doc.Stats)
	}
}
