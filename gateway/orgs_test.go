package gateway_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/schemas"
)

// TestOrgsWithJobs: an org that has jobs is listed though it was never set, with how many.
func TestOrgsWithJobs(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	root := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleAdmin}).Secret
	for _, c := range [][3]string{{"POST", "/v1/orgs", `{"name":"umbrella","reason":"x"}`}, {"POST", "/v1/orgs/other/jobs", `{"type":"echo","not_before":"1h"}`}} {
		if got := s.call(root, c[0], c[1], c[2]); got.status != http.StatusCreated {
			t.Fatal(got)
		}
	}
	if _, err := s.client.Count(t.Context(), gateway.CountRequest{MinSeq: s.end()}); err != nil {
		t.Fatal(err)
	}
	list := func(query string) (names []string) {
		var all gateway.Orgs
		if got := s.call(root, "GET", "/v1/orgs"+query, ""); json.Unmarshal(got.body, &all) != nil {
			t.Fatal(got)
		}
		for _, o := range all.Items {
			names = append(names, string(o.Name))
			if o.Name == "other" && (o.Counts == nil || o.Counts.Submitted != 1) {
				t.Errorf("%+v", o.Counts)
			}
		}
		return names
	}
	if got := list(""); !slices.Equal(got, []string{"umbrella"}) {
		t.Errorf("those that were set: %v", got)
	}
	if got := list("?all=true"); !slices.Equal(got, []string{"other", "umbrella"}) {
		t.Errorf("all: %v", got)
	}
}
