package cell_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// searching waits until the server's index answers.
func searching(t *testing.T, c *gateway.Client) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var err error
	for limit := time.Now().Add(time.Minute); time.Now().Before(limit); <-tick.C {
		if _, err = c.List(t.Context(), gateway.ListRequest{Filter: gateway.Filter{Where: "args:*"}}); err == nil {
			return
		}
	}
	t.Fatal(err)
}

func listed(t *testing.T, c *gateway.Client, text string, seq schemas.Seq) string {
	t.Helper()
	var ids []string
	for req := (gateway.ListRequest{Filter: gateway.Filter{Where: text}, Limit: 2, MinSeq: seq}); ; {
		page, err := c.List(t.Context(), req)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if page.AsOfSeq < seq {
			t.Errorf("%s: as of %d, before %d", text, page.AsOfSeq, seq)
		}
		for _, r := range page.Items {
			ids = append(ids, string(r.ID))
		}
		if page.Next == nil {
			return strings.Join(ids, " ")
		}
		req.Cursor = *page.Next
	}
}

// a server with an index lists, counts and acts by what stands in args; what a schema marks x-redact is found
// by nobody, on no way. Without one it says so.
func TestServerSearchesItsIndex(t *testing.T) {
	env := ledgertest.Start(t)
	plain := env.RunServer()
	c := env.Client("acme")
	for _, ask := range []gateway.CountRequest{{Where: "owner:*"}, {By: "owner"}} {
		if _, err := c.Count(t.Context(), ask); ledger.AsError(err).Code != ledger.CodeInvalidArgument {
			t.Errorf("%+v without an index: %v", ask, err)
		}
	}
	plain.Stop()
	env.RunServer(func(c *cell.Config) { c.IndexDir = filepath.Join(t.TempDir(), "index") })
	schema := `{"properties":{"user":{"properties":{"id":{"x-index":true},"mail":{"x-redact":true}}}}}`
	if _, err := env.Ledger.PutType(t.Context(), schemas.TypeSettings{Name: "mail", Schema: json.RawMessage(schema)}, ledger.Meta{}, ""); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		if _, err := env.Ledger.Submit(t.Context(), ledger.SubmitRequest{Org: "acme", Type: "mail", ID: schemas.JobID(fmt.Sprint("m", i)), Principal: "user:ada",
			Tags: map[string]string{"n": fmt.Sprint(i % 2)}, Args: fmt.Appendf(nil, `{"user":{"id":%d,"mail":"m%d@example.com"}}`, i%3, i)}); err != nil {
			t.Fatal(err)
		}
	}
	searching(t, c)
	end, err := env.Ledger.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"args.user.id:0,1 -tag.n:0":                   "m3 m1",
		"state:submitted submitted:<1d":               "m4 m3 m2 m1 m0",
		"args.user.mail:m3@example.com":               "",
		`args:"@EXAMPLE" state:submitted`:             "",
		"owner:user:ada args.user.id:2 reason:ready":  "m2",
		"id:m4,m9 type:mail":                          "m4",
		"-args.user.mail:m3@example.com id:m3":        "m3",
		"resolution:open state:submitted,queued id:*": "",
	} {
		if have := listed(t, c, text, end.Seq); have != want {
			t.Errorf("%s lists %q; want %q", text, have, want)
		}
	}
	for _, ask := range []struct {
		gateway.CountRequest
		want string
	}{
		{gateway.CountRequest{By: "tag:n", Where: "args.user.id:0,1"}, "map[0:2 1:2]"},
		{gateway.CountRequest{By: "owner"}, "map[user:ada:5]"},
		{gateway.CountRequest{By: gateway.ByType, Where: "args.user.id:2"}, "map[mail:1]"},
	} {
		count, err := c.Count(t.Context(), ask.CountRequest)
		if err != nil {
			t.Fatalf("%+v: %v", ask, err)
		}
		have := map[string]int64{}
		for _, item := range count.Items {
			have[item.Key] = item.Count
		}
		if fmt.Sprint(have) != ask.want {
			t.Errorf("%+v: %v; want %s", ask.CountRequest, have, ask.want)
		}
	}
	probe := gateway.BulkRequest{Action: gateway.ActionCancel, DryRun: true, IDs: []schemas.JobID{"m3"}, Filter: &gateway.Filter{Where: "args.user.mail:m3*"}}
	if told, err := c.Bulk(t.Context(), probe); err != nil || told.Eligible != 0 || told.Skipped != 1 {
		t.Errorf("a probe for a redacted value: %+v, %v", told, err)
	}
	if states, err := env.Ledger.Indexes(t.Context(), ledger.IndexAsk{}); err != nil || len(states) != 1 || !states[0].Serves || states[0].Seq < end.Seq || states[0].Bytes == 0 {
		t.Errorf("indexes: %+v, %v", states, err)
	}
	rebuilding, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if got, err := env.Ledger.RebuildIndexes(rebuilding); err != nil || got.Servers != 1 || len(got.Gone) > 0 || got.Seq < end.Seq {
		t.Errorf("rebuilt indexes: %+v, %v", got, err)
	}
	if have := listed(t, c, "args.user.id:2", end.Seq); have != "m2" {
		t.Errorf("behind a rebuild: %q", have)
	}
	if page, err := c.List(t.Context(), gateway.ListRequest{Filter: gateway.Filter{Where: "args.user.id:1"}, Sort: "submitted:asc", MinSeq: end.Seq}); err != nil || len(page.Items) != 2 || page.Items[0].ID != "m1" || page.Items[1].ID != "m4" {
		t.Errorf("the oldest first: %+v, %v", page, err)
	}
	chosen := gateway.BulkRequest{Action: gateway.ActionCancel, Reason: "r", Filter: &gateway.Filter{Where: "args.user.id:0"}}
	if told, err := c.Bulk(t.Context(), chosen); err != nil || told.Matched != 2 || told.Done != 2 {
		t.Errorf("a bulk by args: %+v, %v", told, err)
	}
}
