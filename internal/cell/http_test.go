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

// A member counts its own jobs, whatever it asks for, and hears what part of them failed.
func TestOwnFigures(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ada := schemas.Actor{Type: "user", ID: "ada"}
	serve, url := withHTTP(t)
	env.RunServer(ledgertest.Indexed(t.TempDir()), func(c *cell.Config) {
		serve(c)
		c.HTTP.Anyone = &rights.Principal{Actor: ada, Grants: []rights.Grant{{Org: acme, Role: schemas.RoleMember}}}
	})
	submit := func(typ schemas.TypeName, by schemas.Actor, principal string, dies bool) {
		t.Helper()
		r := ledger.SubmitRequest{Org: acme, Type: typ, NoDedup: true, RegisterUnknown: true, Principal: principal, Meta: ledger.Meta{Actor: by}}
		made, err := env.Ledger.Submit(t.Context(), r)
		if err == nil && dies {
			_, _, err = env.Ledger.Do(t.Context(), acme, made.ID, &ledger.DeadLetter{Reason: schemas.DeadExpired}, ledger.Meta{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	bob := schemas.Actor{Type: "user", ID: "bob"}
	submit("fax", ada, "", true)
	submit("fax", ada, "", false)
	submit("mail", bob, ada.String(), false) // for her
	submit("fax", ada, bob.String(), true)
	for range 3 {
		submit("mail", bob, "", true)
	}
	end, err := env.Ledger.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for query, want := range map[string][]string{
		"":                    {`"total":3,`, `{"key":"dead_lettered","count":1}`, `{"key":"submitted","count":2}`, `"dead_letters_open":1,"failure_rate":1,`},
		"&by=type":            {`"total":3,"items":[{"key":"fax","count":2},{"key":"mail","count":1}]`},
		"&q=owner:user:bob":   {`"total":0,`, `"failure_rate":null`},
		"&by=owner&type=mail": {`"items":[{"key":"user:ada","count":1}]`},
	} {
		until(t, "the index tells", func() bool {
			status, _ := get(t, url+"/v1/orgs/acme/counts?min_seq="+end.Seq.String()+query)
			return status == http.StatusOK
		})
		status, body := get(t, url+"/v1/orgs/acme/counts?min_seq="+end.Seq.String()+query)
		for _, w := range want {
			if status != http.StatusOK || !strings.Contains(body, w) {
				t.Errorf("%s: %d %s, want %s", query, status, body, w)
			}
		}
	}
}
