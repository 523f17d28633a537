package gateway_test

import (
	"encoding/json"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// each end of a job is a notice of its owner, after however long, until he has read it; nobody else
// reads or marks them, but for those who may follow all jobs of the org, who read.
func TestNotices(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	ada := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleMember, Actor: "user:ada"}).Secret
	bob := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleMember, Actor: "user:bob"}).Secret
	op := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleOperator, Actor: "user:op"}).Secret
	look := func(who, query string) gateway.Notices {
		t.Helper()
		var all gateway.Notices
		got := s.call(who, "GET", "/v1/orgs/acme/notices?min_seq="+s.end().String()+query, "")
		if err := json.Unmarshal(got.body, &all); err != nil || got.status != 200 {
			t.Fatal(got)
		}
		return all
	}
	submit := func(id string) {
		t.Helper()
		if got := s.call(ada, "POST", "/v1/orgs/acme/jobs", `{"type":"echo","dedup":"off","id":"`+id+`"}`); got.status != 201 {
			t.Fatal(got)
		}
	}
	submit("waits")
	submit("done")
	s.finish(s.start("done"), `{"n":1}`)
	submit("stopped")
	if got := s.call(ada, "POST", "/v1/orgs/acme/jobs/stopped/cancel", `{"reason":"a slip"}`); got.status != 200 {
		t.Fatal(got)
	}
	all := look(ada, "")
	if len(all.Items) != 2 || all.Unread != 2 || all.Owner != "user:ada" || all.ReadThrough != nil || all.Next != nil {
		t.Fatalf("%+v", all)
	}
	stopped, done := all.Items[0], all.Items[1]
	if stopped.ID != "stopped" || stopped.State != schemas.StateCanceled || stopped.Read || stopped.Result != nil || *stopped.Reason != ledger.ReasonCanceled {
		t.Errorf("canceled: %+v", stopped)
	}
	if done.ID != "done" || done.State != schemas.StateCompleted || done.Result == nil || s.call(ada, "GET", *done.Result, "").status != 200 {
		t.Errorf("completed: %+v", done)
	}
	first := look(ada, "&limit=1")
	if len(first.Items) != 1 || first.Next == nil || first.Items[0].ID != "stopped" || first.Unread != 2 {
		t.Fatalf("the first page: %+v", first)
	}
	if second := look(ada, "&limit=1&cursor="+url.QueryEscape(*first.Next)); len(second.Items) != 1 || second.Items[0].ID != "done" || second.Next != nil {
		t.Errorf("the second page: %+v", second)
	}

	if of := look(bob, ""); len(of.Items) != 0 || of.Owner != "user:bob" {
		t.Errorf("bob's: %+v", of)
	}
	if got := s.call(bob, "GET", "/v1/orgs/acme/notices?owner=user:ada", ""); got.code() != ledger.CodePermissionDenied {
		t.Errorf("ada's for bob: %s", got)
	}
	if of := look(op, "&owner=user:ada"); len(of.Items) != 2 {
		t.Errorf("ada's for an operator: %+v", of)
	}
	for who, secret := range map[string]string{"bob": bob, "op": op} {
		if got := s.call(secret, "POST", "/v1/orgs/acme/notices/read", `{"owner":"user:ada"}`); got.code() != ledger.CodePermissionDenied {
			t.Errorf("%s reads ada's: %s", who, got)
		}
	}
	if got := s.call(ada, "POST", "/v1/orgs/acme/notices/read", `{"through":`+strconv.Quote(done.FinishedAt.Format(time.RFC3339Nano))+`}`); got.status != 200 {
		t.Fatal(got)
	}
	if unread := look(ada, "&unread=true"); len(unread.Items) != 1 || unread.Items[0].ID != "stopped" || unread.Unread != 1 || !unread.ReadThrough.Equal(done.FinishedAt) {
		t.Errorf("behind the first: %+v", unread)
	}
	before := s.end()
	ahead := `{"through":` + strconv.Quote(time.Now().Add(time.Hour).UTC().Format(time.RFC3339)) + `}` // marks what is there alone
	for i, body := range []string{ahead, "", `{"through":"2026-01-01T00:00:00Z"}`, ahead} {            // what is read stays read, and is stored once
		got := s.call(ada, "POST", "/v1/orgs/acme/notices/read", body)
		var read gateway.ReadNoticesReply
		if err := json.Unmarshal(got.body, &read); err != nil || read.ReadThrough == nil || !read.ReadThrough.Equal(stopped.FinishedAt) {
			t.Errorf("read %d: %s", i, got)
		}
	}
	if after := s.end(); after != before+1 {
		t.Errorf("%d events tell that they were read", after-before)
	}
	if all := look(ada, ""); all.Unread != 0 || len(all.Items) != 2 || !all.Items[0].Read || !all.Items[1].Read {
		t.Errorf("all read: %+v", all)
	}
}
