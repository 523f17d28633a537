package index_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/dartwing/jobledger/internal/where"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// a job is found by every value of its x-index fields, however many they are.
func TestFindByEachOfManyIndexedValues(t *testing.T) {
	env := ledgertest.Start(t)
	set := schemas.TypeSettings{Name: "mail", Schema: json.RawMessage(`{"properties":{"to":{"x-index":true}}}`)}
	if _, err := env.Ledger.PutType(t.Context(), set, ledger.Meta{}, ""); err != nil {
		t.Fatal(err)
	}
	var to []string
	for i := range 40 {
		to = append(to, fmt.Sprintf("u%d", i))
	}
	args, err := json.Marshal(map[string]any{"to": to})
	if err != nil {
		t.Fatal(err)
	}
	receipt, err := env.Ledger.Submit(t.Context(), ledger.SubmitRequest{Org: "a", Type: "mail", Args: args})
	if err != nil {
		t.Fatal(err)
	}
	x, _ := start(t, env, feed(t, env), t.TempDir())
	check(t, env, x)
	for _, v := range to {
		w, err := where.Parse("args.to:" + v)
		if err != nil {
			t.Fatal(err)
		}
		if have := pages(t, x, "a", &w, 9, time.Now()); !slices.Equal(have, []schemas.JobID{receipt.ID}) {
			t.Errorf("%s: found %v", w.String(), have)
		}
	}
}
