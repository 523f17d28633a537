package cell_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/dartwing/jobledger/gateway/rights"
	"github.com/dartwing/jobledger/internal/cell"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// One job over HTTP, from the submit to the wait for its end, beside a worker on NATS.
func TestAPI(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	serve, url := withHTTP(t)
	env.RunServer(func(c *cell.Config) {
		serve(c)
		c.HTTP.Anyone = &rights.Principal{Actor: schemas.Actor{Type: "user", ID: "dev"}, Grants: []rights.Grant{{Role: schemas.RoleAdmin}}}
	})
	work(t, env)
	var made struct{ ID schemas.JobID }
	until(t, "a job is submitted", func() bool {
		r, err := http.Post(url+"/v1/orgs/acme/jobs", "application/json", strings.NewReader(`{"type":"echo","args":{"n":1}}`))
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		return r.StatusCode == http.StatusCreated && json.NewDecoder(r.Body).Decode(&made) == nil
	})
	var record ledger.Record
	until(t, "the job completes", func() bool {
		status, body := get(t, url+"/v1/orgs/acme/jobs/"+string(made.ID)+"?wait=30s")
		if err := json.Unmarshal([]byte(body), &record); err != nil {
			t.Fatal(err, body)
		}
		return status == http.StatusOK
	})
	if record.State != schemas.StateCompleted || *record.SubmittedBy != "user:dev" {
		t.Errorf("%+v", record)
	}
	if status, body := get(t, url+"/v1/orgs/acme/counts?min_seq="+record.Seq.String()); status != http.StatusOK || !strings.Contains(body, `{"key":"completed","count":1}`) {
		t.Errorf("%d %s", status, body)
	}
}
