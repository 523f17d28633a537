package gateway_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// who waits for a job, or waited for it, is listed page by page, and what a batch submitted.
func TestChildren(t *testing.T) {
	w := start(t)
	w.submit(ledger.SubmitRequest{ID: "load", Type: "echo"})
	w.submit(ledger.SubmitRequest{ID: "other", Type: "echo"})
	for i := range 5 {
		parents := []schemas.ParentRef{{ID: "load", OnFailure: schemas.ParentRun}}
		if i == 0 {
			parents = append(parents, schemas.ParentRef{ID: "other", OnFailure: schemas.ParentRun})
		}
		w.submit(ledger.SubmitRequest{ID: schemas.JobID(fmt.Sprintf("step%d", i)), Type: "echo", Parents: parents})
	}
	w.submit(ledger.SubmitRequest{ID: "item", Type: "echo", Batch: "other"})
	w.do("step3", &ledger.Cancel{Reason: "not needed"})
	end := w.end()
	children := func(id schemas.JobID, r gateway.ListRequest) (ids []string, next *string) {
		t.Helper()
		r.MinSeq = end
		page, err := w.client.Children(t.Context(), id, r)
		if err != nil {
			t.Fatal(err)
		}
		for _, j := range page.Items {
			ids = append(ids, string(j.ID)+" "+string(j.State))
		}
		return ids, page.Next
	}
	var pages []string
	for req := (gateway.ListRequest{Limit: 2}); ; {
		ids, next := children("load", req)
		if pages = append(pages, strings.Join(ids, ", ")); next == nil {
			break
		}
		req.Cursor = *next
	}
	if got := strings.Join(pages, "; "); got != "step4 submitted, step3 canceled; step2 submitted, step1 submitted; step0 submitted" {
		t.Errorf("children of load: %s", got)
	}
	for id, want := range map[schemas.JobID]string{"other": "item submitted, step0 submitted", "step1": ""} {
		if ids, _ := children(id, gateway.ListRequest{}); strings.Join(ids, ", ") != want {
			t.Errorf("children of %s: %v, want %s", id, ids, want)
		}
	}
	if ids, _ := children("load", gateway.ListRequest{Filter: gateway.Filter{State: []schemas.State{schemas.StateCanceled}}}); strings.Join(ids, "") != "step3 canceled" {
		t.Errorf("canceled ones: %v", ids)
	}
	if _, err := w.client.Children(t.Context(), "none", gateway.ListRequest{}); ledger.AsError(err).Code != ledger.CodeNotFound {
		t.Errorf("of no job: %v", err)
	}
}

// Over HTTP it takes the parameters of a list, and no others.
func TestChildrenOverHTTP(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	op := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleOperator}).Secret
	s.submit(ledger.SubmitRequest{ID: "load", Type: "echo"})
	s.submit(ledger.SubmitRequest{ID: "step", Type: "echo", Parents: []schemas.ParentRef{{ID: "load"}}})
	got := s.call(op, "GET", "/v1/orgs/acme/jobs/load/children?limit=1&state=submitted&min_seq="+s.end().String(), "")
	if got.status != http.StatusOK || !strings.Contains(string(got.body), `"id":"step"`) || !strings.Contains(string(got.body), `"next":null`) {
		t.Error(got)
	}
	if got := s.call(op, "GET", "/v1/orgs/acme/jobs/load/children?wait=1s", ""); got.code() != ledger.CodeInvalidArgument {
		t.Error(got)
	}
}
