package gateway_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/gateway/rights"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// door is a route, the right that it asks for, and what may pass: by whole, who reaches a whole org; by cell, who reaches
// all orgs.
type door struct {
	method, path, body string
	action             rights.Action
	whole, cell        bool
	lists              bool // of jobs: a publisher reads by id, and lists none
}

// jobDoors are those of one job, at {job}.
var jobDoors = []door{
	{method: "GET", path: "", action: rights.JobsRead},
	{method: "GET", path: "?wait=1ms", action: rights.JobsRead},
	{method: "GET", path: "/history", action: rights.JobsRead},
	{method: "GET", path: "/explain", action: rights.JobsRead},
	{method: "GET", path: "/children", action: rights.JobsRead, lists: true},
	{method: "GET", path: "/result", action: rights.PayloadsRead},
	{method: "GET", path: "/result?download", action: rights.PayloadsRead},
	{method: "POST", path: "/unmask", body: `{"reason":"x"}`, action: rights.PayloadsUnmask},
	{method: "POST", path: "/resubmit", body: `{"reason":"x"}`, action: rights.JobsSubmit},
	{method: "POST", path: "/resolve", body: `{"note":"x"}`, action: rights.JobsResolve},
	{method: "POST", path: "/retry", body: `{"reason":"x"}`, action: rights.JobsRetry},
	{method: "POST", path: "/cancel", body: `{"reason":"x"}`, action: rights.JobsCancel},
}

// doors are the others. {own} is a schedule of the caller.
var doors = []door{
	{method: "GET", path: "/v1/orgs/acme/jobs", action: rights.JobsRead},
	{method: "GET", path: "/v1/log?org=acme&to=1", action: rights.LogRead, whole: true},
	{method: "GET", path: "/v1/log?to=1", action: rights.LogRead, cell: true},
	{method: "GET", path: "/v1/orgs/acme/errors", action: rights.JobsRead},
	{method: "GET", path: "/v1/orgs/acme/notices", action: rights.JobsWatch},
	{method: "POST", path: "/v1/orgs/acme/notices/read", action: rights.JobsWatch},
	{method: "GET", path: "/v1/orgs/acme/counts", action: rights.MetricsRead},
	{method: "GET", path: "/v1/orgs/acme/stats", action: rights.MetricsRead, whole: true},
	{method: "GET", path: "/v1/orgs/acme/usage", action: rights.MetricsRead, whole: true},
	{method: "POST", path: "/v1/orgs/acme/bulk", body: `{"action":"cancel","filter":{"type":["none"]},"dry_run":true}`, action: rights.JobsBulk, whole: true},
	{method: "GET", path: "/v1/orgs/acme/schedules", action: rights.SchedulesRead},
	{method: "PUT", path: "/v1/orgs/acme/schedules/{own}", body: `{"type":"echo","every_s":3600,"replace":true}`, action: rights.SchedulesEdit},
	{method: "POST", path: "/v1/orgs/acme/schedules/{own}/pause", body: `{"reason":"x"}`, action: rights.SchedulesEdit},
	{method: "GET", path: "/v1/orgs/acme/schedules/{own}", action: rights.SchedulesRead},
	{method: "GET", path: "/v1/orgs/acme/schedules/{own}/next", action: rights.SchedulesRead},
	{method: "POST", path: "/v1/orgs/acme/schedules/{own}/resume", body: `{"reason":"x"}`, action: rights.SchedulesEdit},
	{method: "POST", path: "/v1/orgs/acme/schedules/{own}/trigger", body: `{"reason":"x"}`, action: rights.SchedulesEdit},
	{method: "POST", path: "/v1/orgs/acme/schedules/{own}/backfill", body: `{"from":"2026-01-01T00:00:00Z","dry_run":true}`, action: rights.SchedulesEdit},
	{method: "DELETE", path: "/v1/orgs/acme/schedules/{own}?reason=x", action: rights.SchedulesEdit},
	{method: "POST", path: "/v1/orgs/acme/jobs", body: `{"type":"echo","dedup":"off","not_before":"1h"}`, action: rights.JobsSubmit},
	{method: "POST", path: "/v1/orgs/acme/submits", body: `{"items":[{"type":"echo"}]}`, action: rights.JobsSubmit},
	{method: "GET", path: "/v1/orgs/acme/bulk/none", action: rights.JobsRead, whole: true},
	{method: "DELETE", path: "/v1/orgs/acme/bulk/none?reason=x", action: rights.JobsBulk, whole: true},
	{method: "POST", path: "/v1/orgs/acme/batches", body: `{"each":{"type":"echo"},"items":[{}]}`, action: rights.JobsSubmit},
	{method: "GET", path: "/v1/orgs/acme", action: rights.SettingsRead, whole: true},
	{method: "GET", path: "/v1/orgs/acme/holds", action: rights.SettingsRead, whole: true},
	{method: "POST", path: "/v1/orgs/acme/holds", body: `{"scope":{"org":"acme","type":"none"},"on":true,"reason":"x"}`, action: rights.HoldsOrg, whole: true},
	{method: "POST", path: "/v1/holds?org=acme", body: `{"scope":{"org":"other"},"on":true,"reason":"x"}`, action: rights.HoldsPlatform, cell: true},
	{method: "POST", path: "/v1/holds?org=acme", body: `{"scope":{"type":"none"},"on":true,"reason":"x"}`, action: rights.HoldsPlatform, cell: true},
	{method: "POST", path: "/v1/holds", body: `{"scope":{"queue":"none"},"on":true,"reason":"x"}`, action: rights.HoldsPlatform, cell: true},
	{method: "GET", path: "/v1/holds", action: rights.SettingsRead, cell: true},
	{method: "GET", path: "/v1/types?org=acme", action: rights.SettingsRead, whole: true},
	{method: "GET", path: "/v1/types/echo?org=acme", action: rights.SettingsRead, whole: true},
	{method: "PUT", path: "/v1/types/new", body: `{"name":"new"}`, action: rights.TypesEdit, cell: true},
	{method: "PATCH", path: "/v1/types/echo", body: `{"set":{"priority":"high"},"reason":"x"}`, action: rights.TypesEdit, cell: true},
	{method: "PATCH", path: "/v1/queues/mail", body: `{"set":{"max_running":5},"new":true,"reason":"x"}`, action: rights.LimitsEdit, cell: true},
	{method: "GET", path: "/v1/queues?org=acme", action: rights.SettingsRead, cell: true},
	{method: "GET", path: "/v1/queues/mail?org=acme", action: rights.SettingsRead, cell: true},
	{method: "GET", path: "/v1/workers?org=acme", action: rights.WorkersRead, cell: true},
	{method: "GET", path: "/v1/workers/none", action: rights.WorkersRead, cell: true},
	{method: "POST", path: "/v1/workers/none/drain", body: `{"reason":"x"}`, action: rights.WorkersDrain, cell: true},
	{method: "GET", path: "/v1/orgs?org=acme", action: rights.SettingsRead, cell: true},
	{method: "PATCH", path: "/v1/orgs/acme", body: `{"set":{"weight":2},"new":true,"reason":"x"}`, action: rights.OrgsEdit, cell: true},
	{method: "POST", path: "/v1/orgs", body: `{"name":"made","reason":"x"}`, action: rights.OrgsEdit, cell: true},
	{method: "POST", path: "/v1/orgs/made/suspend", body: `{"reason":"x"}`, action: rights.OrgsEdit, cell: true},
	{method: "POST", path: "/v1/orgs/made/resume", body: `{"reason":"x"}`, action: rights.OrgsEdit, cell: true},
	{method: "POST", path: "/v1/types/echo/enable", body: `{"reason":"x"}`, action: rights.TypesEdit, cell: true},
	{method: "POST", path: "/v1/types/none/disable", body: `{"reason":"x"}`, action: rights.TypesEdit, cell: true},
	{method: "GET", path: "/v1/info?org=acme", action: rights.MetricsRead, cell: true},
	{method: "DELETE", path: "/v1/orgs/none?reason=x", action: rights.OrgsEdit, cell: true},
	{method: "GET", path: "/v1/orgs/acme/tokens", action: rights.TokensEdit, cell: true},
	{method: "POST", path: "/v1/orgs/acme/tokens", body: `{"title":"x","role":"auditor","reason":"x"}`, action: rights.TokensEdit, cell: true},
	{method: "DELETE", path: "/v1/tokens/none?reason=x", action: rights.TokensEdit, cell: true},
}

// refusal is how a door answered who may not pass; empty: it let him through, whatever it found then.
func refusal(a *answer) ledger.Code {
	switch c := a.code(); c {
	case ledger.CodeUnauthenticated, ledger.CodePermissionDenied, ledger.CodeNotFound:
		return c
	}
	return ""
}

// TestHTTPRights tries each role at each door, with jobs of its own and of others (R-601..R-633, R-108).
func TestHTTPRights(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	const me, bob = "user:me", "user:bob"
	publisher := s.token("acme", gateway.AddTokenRequest{Role: schemas.RolePublisher, Actor: me}).Secret
	shop := s.token("acme", gateway.AddTokenRequest{Role: schemas.RolePublisher, Actor: "service_account:shop"}).Secret
	path := map[rights.Job]string{} // of the latest job of a kind
	submit := func(secret, principal string) rights.Job {
		t.Helper()
		a := s.call(secret, "POST", "/v1/orgs/acme/jobs", `{"type":"echo","not_before":"1h","dedup":"off","principal":"`+principal+`"}`)
		if a.status != http.StatusCreated {
			t.Fatal(a)
		}
		var made gateway.SubmitReply
		if err := json.Unmarshal(a.body, &made); err != nil {
			t.Fatal(err)
		}
		by := me
		if secret == shop {
			by = "service_account:shop"
		}
		path[rights.Job{Owner: principal, SubmittedBy: by}] = a.header.Get("Location")
		return rights.Job{Owner: principal, SubmittedBy: by}
	}
	for _, role := range append(schemas.Roles(), "operator of another org", "member of another org") {
		t.Run(strings.ReplaceAll(string(role), " ", "_"), func(t *testing.T) {
			org, is := schemas.OrgID("acme"), role
			if name, _, elsewhere := strings.Cut(string(role), " of another"); elsewhere {
				org, is = "other", schemas.Role(name)
			}
			secret := s.token(org, gateway.AddTokenRequest{Role: is, Actor: me}).Secret
			p := &rights.Principal{Actor: schemas.Actor{Type: "user", ID: "me"}, Grants: []rights.Grant{{Org: org, Role: is}}}
			if is == schemas.RoleAdmin {
				p.Grants[0].Org = ""
			}
			for _, d := range jobDoors {
				for _, j := range []rights.Job{submit(shop, me), submit(publisher, bob), submit(shop, bob)} {
					var want ledger.Code
					switch sees, may := rights.Decide(p, rights.JobsRead, "acme"), rights.Decide(p, d.action, "acme"); {
					case !sees.Covers(p, j):
						want = ledger.CodeNotFound
					case !may.Covers(p, j), d.lists && is == schemas.RolePublisher:
						want = ledger.CodePermissionDenied
					}
					got := s.call(secret, d.method, path[j]+d.path, d.body)
					if refusal(got) != want {
						t.Errorf("%s %s of a job of %s, submitted by %s: %s, want %q", d.method, d.path, j.Owner, j.SubmittedBy, got, want)
					}
				}
			}
			for _, d := range doors {
				reach := rights.Decide(p, d.action, "acme")
				open := reach != rights.None && reach != rights.Held && (!d.whole || reach.Whole()) && (!d.cell || reach == rights.All)
				if is == schemas.RolePublisher && (d.action == rights.JobsRead || d.action == rights.MetricsRead) {
					open = false // it reads by id, and lists and counts none
				}
				got := s.call(secret, d.method, strings.ReplaceAll(d.path, "{own}", "of-"+strings.ReplaceAll(string(role), " ", "-")), d.body)
				if refused := got.code() == ledger.CodePermissionDenied; refused == open {
					t.Errorf("%s %s: %s, want it open: %v", d.method, d.path, got, open)
				}
			}
		})
	}
}

// TestEveryRouteIsTried: what is not among the doors was not shown to ask.
func TestEveryRouteIsTried(t *testing.T) {
	mux, tried := http.NewServeMux(), map[string]bool{}
	for _, rt := range gateway.Routes() {
		mux.HandleFunc(rt.Pattern, func(http.ResponseWriter, *http.Request) {})
	}
	try := func(method, path string) {
		r, err := http.NewRequestWithContext(t.Context(), method, path, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, pattern := mux.Handler(r)
		tried[pattern] = true
	}
	for _, d := range jobDoors {
		try(d.method, "/v1/orgs/acme/jobs/x"+d.path)
	}
	for _, d := range doors {
		try(d.method, strings.ReplaceAll(d.path, "{own}", "own"))
	}
	for _, rt := range gateway.Routes() {
		if rt.Action != "" && !tried[rt.Pattern] {
			t.Errorf("%s, which asks for %s, is not tried by each role", rt.Pattern, rt.Action)
		}
	}
}

// TestHTTPMember: a member sees its own jobs and schedules alone, in lists too, submits in its own name, of the types that
// it may use, behind parents that it may see.
func TestHTTPMember(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	ada := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleMember, Actor: "user:ada", Permissions: []string{"fax.send"}}).Secret
	bob := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleMember, Actor: "user:bob"}).Secret
	op := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleOperator}).Secret
	if _, err := s.Ledger.PutType(t.Context(), schemas.TypeSettings{Name: "fax", Permission: "fax.send"}, ledger.Meta{}, "a test"); err != nil {
		t.Fatal(err)
	}
	submit := func(secret, fields string) *answer {
		return s.call(secret, "POST", "/v1/orgs/acme/jobs", `{"not_before":"1h","dedup":"off"`+fields+`}`)
	}
	hers := submit(ada, `,"type":"fax"`)
	if hers.status != http.StatusCreated {
		t.Fatal(hers)
	}
	if got := submit(bob, `,"type":"fax"`); got.code() != ledger.CodePermissionDenied || !strings.Contains(string(got.body), "fax.send") {
		t.Errorf("a type that needs a permission: %s", got)
	}
	if got := s.call(bob, "POST", "/v1/orgs/acme/batches", `{"each":{"type":"echo"},"items":[{},{"type":"fax"}]}`); got.code() != ledger.CodePermissionDenied {
		t.Errorf("it in a batch: %s", got)
	}
	if got := s.call(bob, "PUT", "/v1/orgs/acme/schedules/nightly", `{"type":"fax","every_s":3600}`); got.code() != ledger.CodePermissionDenied {
		t.Errorf("it in a schedule: %s", got)
	}
	if got := submit(bob, `,"type":"echo","principal":"user:ada"`); got.code() != ledger.CodePermissionDenied {
		t.Errorf("in ada's name: %s", got)
	}
	id := strings.TrimPrefix(hers.header.Get("Location"), "/v1/orgs/acme/jobs/")
	if got := submit(bob, `,"type":"echo","parents":["`+id+`"]`); got.code() != ledger.CodeNotFound {
		t.Errorf("behind ada's job: %s", got)
	}
	if got := submit(ada, `,"type":"echo","parents":["`+id+`"]`); got.status != http.StatusCreated {
		t.Errorf("behind her own job: %s", got)
	}
	if got := submit(bob, `,"type":"echo"`); got.status != http.StatusCreated {
		t.Error(got)
	}
	if got := s.call(ada, "PUT", "/v1/orgs/acme/schedules/hers", `{"type":"echo","every_s":3600}`); got.status != http.StatusOK {
		t.Error(got)
	}
	for who, want := range map[string][]string{ada: {"user:ada", "user:ada"}, bob: {"user:bob"}, op: {"user:ada", "user:ada", "user:bob"}} {
		for _, filter := range []string{"", "&owner=user:ada,user:bob", "&q=owner:user:ada,user:bob"} {
			got := s.call(who, "GET", "/v1/orgs/acme/jobs?min_seq="+s.end().String()+filter, "")
			var page gateway.List
			if err := json.Unmarshal(got.body, &page); err != nil {
				t.Fatalf("%v: %s", err, got)
			}
			var owners []string
			for _, j := range page.Items {
				owners = append(owners, *j.Owner)
			}
			slices.Sort(owners)
			if !slices.Equal(owners, want) {
				t.Errorf("a list%s shows jobs of %v, want %v", filter, owners, want)
			}
		}
	}
	if got := submit(op, `,"type":"echo","parents":["`+id+`"]`); got.status != http.StatusCreated {
		t.Errorf("an operator's behind hers: %s", got)
	}
	for who, want := range map[string]string{ada: "user:ada", op: "api_key:operator user:ada"} {
		got := s.call(who, "GET", hers.header.Get("Location")+"/children?min_seq="+s.end().String(), "")
		var page gateway.List
		if err := json.Unmarshal(got.body, &page); err != nil {
			t.Fatalf("%v: %s", err, got)
		}
		var owners []string
		for _, j := range page.Items {
			owners = append(owners, *j.Owner)
		}
		if strings.Join(owners, " ") != want {
			t.Errorf("the children of ada's job are jobs of %v, want %s", owners, want)
		}
	}
	if got := s.call(bob, "GET", "/v1/orgs/acme/jobs?owner=user:ada", ""); !strings.Contains(string(got.body), `"items":[]`) {
		t.Errorf("a list of ada's: %s", got)
	}
	if got := s.call(bob, "GET", "/v1/orgs/acme/schedules", ""); !strings.Contains(string(got.body), `"items":[]`) {
		t.Errorf("bob's schedules: %s", got)
	}
	for _, c := range [][2]string{{"GET", ""}, {"DELETE", "?reason=x"}, {"PUT", ""}} {
		if got := s.call(bob, c[0], "/v1/orgs/acme/schedules/hers"+c[1], `{"type":"echo","every_s":60,"replace":true}`); got.code() != ledger.CodeNotFound {
			t.Errorf("%s of ada's schedule: %s", c[0], got)
		}
	}
	if got := s.call(ada, "POST", hers.header.Get("Location")+"/cancel", `{"reason":"x","cascade":true}`); got.code() != ledger.CodePermissionDenied {
		t.Errorf("a cascade may reach others: %s", got)
	}
}

// TestHTTPPace: a member hears how many calls it has left, and when the next may be made; an operator is not counted.
func TestHTTPPace(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	ada := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleMember, Actor: "user:ada"}).Secret
	op := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleOperator}).Secret
	first := s.call(ada, "POST", "/v1/orgs/acme/jobs/none/cancel", "")
	if first.status != http.StatusNotFound || first.header.Get("RateLimit-Limit") != "30" || first.header.Get("RateLimit-Remaining") != "29" || first.header.Get("RateLimit-Reset") != "2" {
		t.Errorf("%s %v", first, first.header)
	}
	refused := 0
	for range 100 {
		switch got := s.call(ada, "POST", "/v1/orgs/acme/jobs/none/cancel", ""); got.code() {
		case ledger.CodeNotFound:
		case ledger.CodeRateLimited:
			if refused++; got.header.Get("Retry-After") == "" || got.header.Get("RateLimit-Remaining") != "0" {
				t.Errorf("%s %v", got, got.header)
			}
		default:
			t.Error(got)
		}
	}
	if refused == 0 {
		t.Error("a hundred cancels at once were all answered")
	}
	for range 100 {
		if got := s.call(op, "GET", "/v1/orgs/acme/jobs", ""); got.status != http.StatusOK || got.header.Get("RateLimit-Limit") != "" {
			t.Fatalf("an operator: %s %v", got, got.header)
		}
	}
}

// TestHTTPPaceOfMany: a batch or a backfill of a member counts as many submits as it makes jobs; what is more than a minute's is
// owed.
func TestHTTPPaceOfMany(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	items := strings.TrimSuffix(strings.Repeat("{},", 150), ",")
	batch := `{"each":{"type":"echo"},"items":[` + items + `]}`
	later := `{"type":"echo","dedup":"off","not_before":"1h"}`
	member := func(name string) string {
		return s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleMember, Actor: "user:" + name}).Secret
	}
	ada, bob, op := member("ada"), member("bob"), s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleOperator}).Secret
	if got := s.call(ada, "POST", "/v1/orgs/acme/batches", batch); got.status != http.StatusCreated || got.header.Get("RateLimit-Remaining") != "0" {
		t.Errorf("a batch: %s %v", got, got.header)
	}
	for path, body := range map[string]string{"jobs": later, "batches": batch} {
		if got := s.call(ada, "POST", "/v1/orgs/acme/"+path, body); got.code() != ledger.CodeRateLimited || got.header.Get("Retry-After") == "" {
			t.Errorf("%s while some are owed: %s", path, got)
		}
	}
	if got := s.call(bob, "PUT", "/v1/orgs/acme/schedules/minutes", `{"type":"echo","every_s":60,"paused":true}`); got.status != http.StatusOK {
		t.Fatal(got)
	}
	from := time.Now().Add(-3 * time.Hour).UTC().Format(time.RFC3339)
	if got := s.call(bob, "POST", "/v1/orgs/acme/schedules/minutes/backfill", `{"from":"`+from+`","dry_run":true}`); got.status != http.StatusOK {
		t.Errorf("a dry run: %s", got)
	}
	if got := s.call(bob, "POST", "/v1/orgs/acme/schedules/minutes/backfill", `{"from":"`+from+`"}`); got.status != http.StatusOK {
		t.Errorf("a backfill: %s", got)
	}
	if got := s.call(bob, "POST", "/v1/orgs/acme/jobs", later); got.code() != ledger.CodeRateLimited {
		t.Errorf("behind the backfill: %s", got)
	}
	for range 2 {
		if got := s.call(op, "POST", "/v1/orgs/acme/batches", batch); got.status != http.StatusCreated && got.status != http.StatusOK {
			t.Errorf("an operator: %s", got)
		}
	}
}

// TestHTTPOwners: what one member did is not found, taken over or read by another, whichever way he goes: the same work, the same
// id, the same key; and an operator who pauses a schedule does not become whom its jobs run as.
func TestHTTPOwners(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	ada := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleMember, Actor: "user:ada"}).Secret
	bob := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleMember, Actor: "user:bob"}).Secret
	op := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleOperator, Actor: "user:op"}).Secret
	submit := func(secret, body string) *answer { return s.call(secret, "POST", "/v1/orgs/acme/jobs", body) }
	for _, body := range []string{`{"type":"echo","args":{"x":1},"not_before":"100h"}`, `{"type":"echo","args":{"x":2},"key":"k","not_before":"100h"}`} {
		first := submit(bob, body)
		if first.status != http.StatusCreated {
			t.Fatal(first)
		}
		id := strings.TrimPrefix(first.header.Get("Location"), "/v1/orgs/acme/jobs/")
		if got := submit(ada, body); got.code() != ledger.CodeDuplicate || strings.Contains(string(got.body), id) || got.header.Get("Location") != "" {
			t.Errorf("the same work of another: %s", got)
		}
		if got := submit(bob, body); got.status != http.StatusOK || !strings.Contains(string(got.body), id) {
			t.Errorf("the same work of his own: %s", got)
		}
		if got := submit(op, body); got.status != http.StatusOK || !strings.Contains(string(got.body), id) {
			t.Errorf("an operator's: %s", got)
		}
	}
	if _, err := s.Ledger.PutType(t.Context(), schemas.TypeSettings{Name: "again", WindowMS: ptr(schemas.Millis(0))}, ledger.Meta{}, "a test"); err != nil {
		t.Fatal(err)
	}
	if got := submit(bob, `{"type":"again","id":"weekly","args":{"secret":1}}`); got.status != http.StatusCreated {
		t.Fatal(got)
	}
	s.finish(s.start("weekly"), `{"secret":2}`)
	if got := submit(ada, `{"type":"again","id":"weekly","args":{"n":3}}`); got.code() != ledger.CodeIDConflict || strings.Contains(string(got.body), "completed") {
		t.Errorf("an id of another that has ended: %s", got)
	}
	if got := submit(bob, `{"type":"again","id":"weekly","args":{"n":3}}`); got.status != http.StatusCreated {
		t.Errorf("his own id again: %s", got)
	}
	schedule := "/v1/orgs/acme/schedules/nightly"
	if got := s.call(ada, "PUT", schedule, `{"type":"echo","every_s":3600}`); got.status != http.StatusOK {
		t.Fatal(got)
	}
	if got := s.call(op, "POST", schedule+"/pause", `{"reason":"x"}`); got.status != http.StatusOK {
		t.Fatal(got)
	}
	if got := s.call(ada, "POST", schedule+"/resume", `{"reason":"x"}`); got.status != http.StatusOK {
		t.Errorf("her schedule, which an operator paused: %s", got)
	}
	made := s.call(op, "POST", schedule+"/trigger", `{"reason":"x"}`)
	var job gateway.SubmitReply
	if err := json.Unmarshal(made.body, &job); err != nil {
		t.Fatal(err)
	}
	if got := s.call(ada, "GET", "/v1/orgs/acme/jobs/"+string(job.ID), ""); !strings.Contains(string(got.body), `"owner":"user:ada"`) {
		t.Errorf("a job of her schedule: %s", got)
	}
}

// TestHTTPWithheld: the results of a suspended org are in none of the answers, but an admin's.
func TestHTTPWithheld(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	op := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleOperator}).Secret
	root := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleAdmin}).Secret
	id := s.submitDone()
	if got := s.call(root, "PATCH", "/v1/orgs/acme", `{"set":{"state":"suspended"},"new":true,"reason":"x"}`); got.status != http.StatusOK {
		t.Fatal(got)
	}
	for _, path := range []string{"", "/history", "/result", "?wait=1ms"} {
		s.until("it is withheld in"+path, func() bool {
			return !strings.Contains(string(s.call(op, "GET", "/v1/orgs/acme/jobs/"+id+path, "").body), `{"n":1}`)
		})
		if got := s.call(root, "GET", "/v1/orgs/acme/jobs/"+id+path, ""); !strings.Contains(string(got.body), `{"n":1}`) {
			t.Errorf("an admin's %s: %s", path, got)
		}
	}
}

// TestHTTPSlips: a slip in a body or a query does not do more than was meant.
func TestHTTPSlips(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	root := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleAdmin}).Secret
	for _, c := range [][3]string{
		{"POST", "/v1/orgs/acme/holds", `{"scop":{"org":"acme"},"on":true,"reason":"x"}`},
		{"POST", "/v1/orgs/acme/holds", `{"on":true,"reason":"x"}`},
		{"POST", "/v1/orgs/acme/holds", `{"scope":{"org":"other"},"on":true,"reason":"x"}`},
		{"POST", "/v1/holds", `{"on":true,"reason":"x"}`},
		{"POST", "/v1/orgs/acme/schedules/x/backfill", `{"from":"2026-01-01T00:00:00Z","dryrun":true}`},
		{"POST", "/v1/orgs/acme/jobs/x/cancel", `{"reson":"x"}`},
		{"DELETE", "/v1/orgs/acme?reason=x&dry_run=", ""},
		{"DELETE", "/v1/orgs/acme?reason=x&dryrun=true", ""},
		{"GET", "/v1/orgs/acme/events?q=args.n:7", ""},
		{"GET", "/v1/orgs/acme/jobs/*/events", ""},
	} {
		if got := s.call(root, c[0], c[1], c[2]); got.code() != ledger.CodeInvalidArgument {
			t.Errorf("%v: %s", c, got)
		}
	}
	if got := s.call(root, "POST", "/v1/orgs/acme/holds", `{"scope":{},"on":true,"reason":"x"}`); !strings.Contains(string(got.body), `"scope":{"org":"acme"}`) {
		t.Errorf("a hold in an org: %s", got)
	}
}
