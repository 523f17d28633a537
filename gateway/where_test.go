package gateway_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// one grammar chooses what is listed, counted, grouped and acted upon; a slip reaches no job.
func TestWhere(t *testing.T) {
	w := start(t)
	for i := range 3 {
		w.bury(ledger.SubmitRequest{ID: schemas.JobID(fmt.Sprintf("dead%d", i)), Type: "mail-send", Tags: map[string]string{"n": fmt.Sprint(i)}},
			fmt.Sprintf("Mailbox %d is full", i))
	}
	w.submit(ledger.SubmitRequest{ID: "new", Type: "mail-sort"})
	w.finish(w.start(w.submit(ledger.SubmitRequest{ID: "done", Type: "fax"})), `1`)
	end := w.end()
	for text, want := range map[string]string{
		`type:mail-*`:                              "new dead2 dead1 dead0",
		`-type:mail-*`:                             "done",
		`error:"MAILBOX 1 is",full tag.n:0,2`:      "dead2 dead0",
		`state:submitted,completed submitted:<1d`:  "done new",
		`finished:>1d`:                             "",
		`class:permanent resolution:open id:dead1`: "dead1",
	} {
		page, err := w.client.List(t.Context(), gateway.ListRequest{Filter: gateway.Filter{Where: text}, MinSeq: end})
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		var got []string
		for _, r := range page.Items {
			got = append(got, string(r.ID))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s lists %v, want %s", text, got, want)
		}
	}
	both := gateway.Filter{Where: "type:mail-*", State: []schemas.State{schemas.StateSubmitted}}
	if page, err := w.client.List(t.Context(), gateway.ListRequest{Filter: both}); err != nil || len(page.Items) != 1 || len(both.State) != 1 {
		t.Errorf("beside another filter: %+v, %v", page, err)
	}
	count, err := w.client.Count(t.Context(), gateway.CountRequest{Where: " type:mail-*  -state:submitted", MinSeq: end})
	if err != nil || count.Total != 3 || count.DeadLettersOpen != 3 || len(count.Items) != 6 || count.Where != "type:mail-* -state:submitted" {
		t.Errorf("count: %+v, %v", count, err)
	}
	groups, err := w.client.Errors(t.Context(), gateway.ErrorsRequest{Filter: gateway.Filter{Where: "-tag.n:0"}})
	if err != nil || groups.Total != 2 {
		t.Errorf("groups: %+v, %v", groups, err)
	}
	closing := gateway.BulkRequest{Action: gateway.ActionResolve, Note: "n", Filter: &gateway.Filter{Where: "group:" + groups.Groups[0].Key + " tag.n:1,2"}}
	if done, err := w.client.Bulk(t.Context(), closing); err != nil || done.Matched != 2 || done.Done != 2 {
		t.Errorf("bulk: %+v, %v", done, err)
	}
	closed := gateway.ErrorsRequest{Filter: gateway.Filter{Where: "resolution:*"}, MinSeq: w.end()}
	if all, err := w.client.Errors(t.Context(), closed); err != nil || all.Total != 3 {
		t.Errorf("open and closed ones: %+v, %v", all, err)
	}
	for subject, body := range map[string]string{
		"acme.list":   `{"where":"stat:x"}`,
		"acme.count":  `{"where":"tag.n:1"}`,
		"acme.errors": `{"where":"args.a:1"}`,
		"acme.bulk":   `{"action":"cancel","reason":"r","filter":{"where":"org:acme"}}`,
		"acme.list ":  `{"where":" "}`,
	} {
		if details := w.refused(ledger.CodeInvalidArgument, strings.TrimSpace(subject), body); details["field"] != "where" {
			t.Errorf("%s %s: %v", subject, body, details)
		}
	}
	// A field of a bulk that is not known would choose every job.
	w.refused(ledger.CodeInvalidArgument, "acme.bulk", `{"action":"cancel","reason":"r","filter":{"wher":"type:fax"}}`)
	w.refused(ledger.CodeInvalidArgument, "acme.bulk", `{"action":"cancel","reason":"r","filter":{"type":["fax"]}} {}`)
	// What a client sends with where is refused by a server that does not know it: without where the state is unknown.
	w.refused(ledger.CodeInvalidArgument, "acme.list", `{"state":["where"]}`)
}
