package ledger_test

import (
	"testing"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// partlyArchived is a mixed ledger of which the first events are in ARCHIVE, purged from LEDGER or not.
func partlyArchived(t *testing.T, purge bool) *ledgertest.Env {
	env := ledgertest.Start(t)
	mixed(t, env)
	if err := ledger.MoveToArchive(t.Context(), env.Ledger, 5, purge); err != nil {
		t.Fatal(err)
	}
	return env
}

// The checker takes ARCHIVE and LEDGER for one ledger, before the purge and after it.
func TestVerifyOneHistory(t *testing.T) {
	t.Parallel()
	for _, purge := range []bool{false, true} {
		env := partlyArchived(t, purge)
		v := verify(t, env, ledger.VerifyConfig{Full: true, Limits: true})
		last := end(t, env.Ledger)
		if !v.OK || v.FirstSeq != 1 || v.LastSeq != last || v.Events != int(last) || v.Jobs != 4 || v.Archive.Events != 5 || v.Archive.Through.Seq != 5 {
			t.Errorf("purged %t: the verdict is %+v", purge, v)
		}
	}
}

// A message of ARCHIVE that is gone is found, and nothing is judged by half a story.
func TestVerifyDamagedArchive(t *testing.T) {
	t.Parallel()
	env := partlyArchived(t, true)
	env.SkipVerify()
	s, err := env.Ledger.JetStream().Stream(t.Context(), ledger.StreamArchive)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteMsg(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	v := verify(t, env, ledger.VerifyConfig{})
	if v.OK || v.Problems.Archive == nil || *v.Problems.Archive != 1 || v.Problems.Illegal == nil || *v.Problems.Illegal != 0 {
		t.Errorf("the verdict is %+v", v)
	}
}

// A carried event that does not hold the state folded so far is a problem of its own kind.
func TestVerifyCarried(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	l := env.Ledger
	submitOne(t, l, "acme", "one")
	step(t, l, "acme", "one", &ledger.Carry{})
	wantProblems(t, verify(t, env, ledger.VerifyConfig{}), nil)
	j, err := l.Fold(t.Context(), "acme", "one")
	if err != nil {
		t.Fatal(err)
	}
	env.SkipVerify()
	data, err := ledger.Decide(j, &ledger.Carry{})
	if err != nil {
		t.Fatal(err)
	}
	data.(*schemas.Carried).Job.Used = 3
	if err := l.Append(t.Context(), schemas.NewEvent(schemas.JobSubject("acme", "one"), data), j.LastSeq); err != nil {
		t.Fatal(err)
	}
	wantProblems(t, verify(t, env, ledger.VerifyConfig{}), map[string]int{"carried": 1})
}
