package cell_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// verify finds a row of a server's index that is wrong, one that is missing, one too many, and a counter that is
// not that of the rows, and names the jobs; a rebuild mends them.
func TestVerifyFindsWhatIsWrongInAnIndex(t *testing.T) {
	env := ledgertest.Start(t)
	dir := filepath.Join(t.TempDir(), "index")
	indexed := func(c *cell.Config) { c.IndexDir = dir }
	first := env.RunServer(indexed)
	if _, err := env.Ledger.PutType(t.Context(), schemas.TypeSettings{Name: "mail"}, ledger.Meta{}, ""); err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		if _, err := env.Ledger.Submit(t.Context(), ledger.SubmitRequest{Org: "acme", Type: "mail", ID: schemas.JobID(fmt.Sprint("m", i)), Principal: "user:ada"}); err != nil {
			t.Fatal(err)
		}
	}
	searching(t, env.Client("acme"))
	verify := func(org schemas.OrgID, full bool) (*ledger.Verdict, string) {
		t.Helper()
		v := verifyIndexed(t, env, ledger.VerifyConfig{Org: org, Full: full})
		var ids []string
		for _, e := range v.Examples {
			if e.Kind != ledger.ProblemIndex {
				t.Errorf("%+v", e)
			}
			if e.ID != nil {
				ids = append(ids, string(*e.ID))
			} else {
				ids = append(ids, e.Message[strings.Index(e.Message, ": ")+2:][:11])
			}
		}
		slices.Sort(ids)
		return v, strings.Join(ids, " ")
	}
	if v, ids := verify("", true); !v.OK || *v.Problems.Index != 0 || v.Indexes[0].Rows != 6 {
		t.Errorf("clean: %q, %+v", ids, v)
	}
	first.Stop()
	// Between two jobs' sequences may stand other events: of the leader, say.
	row := func(n int) string { return fmt.Sprintf(`(SELECT seq FROM jobs ORDER BY seq LIMIT 1 OFFSET %d)`, n) }
	plant(t, dir,
		`DELETE FROM jobs WHERE seq = `+row(0),                                                    // m0 is missing
		`UPDATE jobs SET doc = (SELECT doc FROM jobs WHERE seq = `+row(1)+`) WHERE seq = `+row(0), // m1 says m2
		`UPDATE jobs SET state = state + 1 WHERE seq = (SELECT max(seq) FROM jobs)`,               // m5 is found by another state
		`DELETE FROM terms WHERE seq = `+row(3),                                                   // m4 is not found by its owner
		`UPDATE counts SET submitted = submitted + 1`,
		`INSERT INTO jobs SELECT seq + 1000000, org, idh, state, reason, type, queue, priority, class, resolution, attempt, finished, grp, doc, args, result
			FROM jobs WHERE seq = `+row(2), // m3 is there twice
	)
	env.RunServer(indexed)
	searching(t, env.Client("acme"))
	if v, ids := verify("acme", true); v.OK || !strings.Contains(ids, "m0") || !strings.Contains(ids, "m1") || !strings.Contains(ids, "m3") ||
		!strings.Contains(ids, "m4") || !strings.Contains(ids, "m5") || !strings.Contains(ids, "the counter") || v.Indexes[0].Rows != 6 {
		t.Errorf("damaged: %q, %+v", ids, v)
	}
	if v, _ := verify("other", false); !v.OK || v.Indexes[0].Rows != 0 {
		t.Errorf("another org: %+v", v)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := env.Ledger.RebuildIndexes(ctx); err != nil {
		t.Fatal(err)
	}
	if v, ids := verify("", true); !v.OK || v.Indexes[0].Rows != 6 {
		t.Errorf("behind a rebuild: %q, %+v", ids, v)
	}
}

// verifyIndexed verifies until the one index is checked: beside a load its server may answer late.
func verifyIndexed(t *testing.T, env *ledgertest.Env, cfg ledger.VerifyConfig) *ledger.Verdict {
	t.Helper()
	cfg.Ledger = env.NewLedger()
	for limit := time.Now().Add(time.Minute); ; {
		v, err := ledger.Verify(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if v.Problems.Index != nil && len(v.Indexes) == 1 && v.Indexes[0].Checked {
			return v
		}
		if time.Now().After(limit) {
			t.Fatalf("the index was not checked: %+v", v)
		}
	}
}

// plant changes the file of an index that nobody has open.
func plant(t *testing.T, dir string, statements ...string) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(dir, "index.sqlite"))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
