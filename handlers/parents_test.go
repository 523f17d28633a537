package handlers

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// TestHTTPParents shows what a service is told of its job's parents: all that fits into a header, signed, and of
// the rest its size; of too many parents nothing.
func TestHTTPParents(t *testing.T) {
	var header http.Header
	service := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { header = r.Header.Clone() }))
	defer service.Close()
	h := &HTTP{URL: service.URL, Secrets: []string{"s"}, AllowPrivate: true}
	large := json.RawMessage(fmt.Sprintf("%q", make([]byte, HTTPParentsMax)))
	many := make([]Parent, schemas.ParentsMax)
	for i := range many {
		many[i] = Parent{ID: schemas.JobID(fmt.Sprintf("0193f0c2-7c00-7abc-8def-%012d", i)), State: schemas.StateCompleted}
	}
	for _, tc := range []struct {
		name    string
		parents []Parent
		want    string
	}{
		{"none", nil, ""},
		{"results", []Parent{{ID: "a", State: schemas.StateCompleted, Result: json.RawMessage(`{"n": 1}`)}, {ID: "b", State: schemas.StateCanceled}},
			`{"parent_states":{"a":"completed","b":"canceled"},"parents":{"a":{"n": 1},"b":null}}`},
		{"a large one", []Parent{{ID: "a", State: schemas.StateCompleted, Result: large}},
			fmt.Sprintf(`{"parent_states":{"a":"completed"},"parents_omitted":{"a":%d},"parents":{}}`, len(large))},
		{"too many", many, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := testAttempt()
			a.Parents = tc.parents
			if _, err := h.Run(context.Background(), a); err != nil {
				t.Fatal(err)
			}
			got, err := base64.StdEncoding.DecodeString(header.Get("jobledger-parents"))
			if err != nil || string(got) != tc.want {
				t.Errorf("told: %s (%v)\nwant: %s", got, err, tc.want)
			}
			if signed := header.Get("jobledger-parents-signature") != ""; signed != (tc.want != "") {
				t.Errorf("signed: %t", signed)
			}
		})
	}
}

// TestParentResult: a result kept by reference is read when it is asked for; a job that is no parent has none.
func TestParentResult(t *testing.T) {
	read := 0
	a := testAttempt()
	a.Parents = []Parent{{ID: "inline", Result: json.RawMessage(`1`)}, {ID: "far", Ref: &schemas.ObjectRef{Bytes: 2}, job: &ledger.Job{ID: "far"}}}
	a.host.result = func(_ context.Context, j *ledger.Job) (json.RawMessage, error) {
		read++
		return fmt.Appendf(nil, "%q", j.ID), nil
	}
	for id, want := range map[schemas.JobID]string{"inline": "1", "far": `"far"`} {
		if got, err := a.ParentResult(context.Background(), id); err != nil || string(got) != want {
			t.Errorf("%s: %s, %v", id, got, err)
		}
	}
	if _, err := a.ParentResult(context.Background(), "stranger"); !errors.Is(err, ErrNoParent) || read != 1 {
		t.Errorf("of a stranger: %v, after %d reads", err, read)
	}
}
