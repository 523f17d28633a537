package gateway_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// TestListWhole: a list is streamed whole, one job a line, whatever its length; of a member its own alone, and it is one call
//
func TestListWhole(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	op := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleOperator}).Secret
	ada := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleMember, Actor: "user:ada"}).Secret
	const n = 2*gateway.LimitMax + 50
	var items []string
	for i := range n {
		items = append(items, fmt.Sprintf(`{"type":"echo","args":%d}`, i))
	}
	s.submits(op, strings.Join(items, ","))
	s.submits(ada, `{"type":"echo","args":"hers"}`)
	whole := func(secret, query string) (lines []string, a *answer) {
		t.Helper()
		a = s.call(secret, "GET", "/v1/orgs/acme/jobs?min_seq="+s.end().String()+query, "", "Accept", "application/x-ndjson")
		if a.status != http.StatusOK || a.header.Get("Content-Type") != "application/x-ndjson" {
			t.Fatalf("%.300s", a)
		}
		return strings.Split(strings.TrimSuffix(string(a.body), "\n"), "\n"), a
	}
	lines, _ := whole(op, "")
	seen := map[string]bool{}
	for _, l := range lines {
		seen[l] = true
	}
	if len(lines) != n+1 || len(seen) != n+1 || !strings.Contains(lines[0], "user:ada") {
		t.Errorf("%d lines, %d of them different, beginning with %.200s", len(lines), len(seen), lines[0])
	}
	hers, a := whole(ada, "")
	if len(hers) != 1 || !strings.Contains(hers[0], "user:ada") || a.header.Get("RateLimit-Remaining") == "" {
		t.Errorf("ada's: %q %v", hers, a.header)
	}
	if got := s.call(op, "GET", "/v1/orgs/acme/jobs?limit=5", "", "Accept", "application/x-ndjson"); got.code() != ledger.CodeInvalidArgument {
		t.Errorf("a page of it: %s", got)
	}
	if got := s.call(ada, "GET", "/v1/orgs/acme/jobs?sort=run", "", "Accept", "application/x-ndjson"); got.code() != ledger.CodeInvalidArgument {
		t.Errorf("sorted: %s", got)
	}
}

// TestReplayLog: the ledger comes one event a line, of the org that was asked for, to who may read it; results of a suspended
// org are not among them.
func TestReplayLog(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	auditor := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleAuditor}).Secret
	root := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleAdmin}).Secret
	done := s.submitDone()
	if got := s.call(root, "POST", "/v1/orgs/other/jobs", `{"type":"echo"}`); got.status != http.StatusCreated {
		t.Fatal(got)
	}
	get := func(secret, query string) string {
		t.Helper()
		a := s.call(secret, "GET", "/v1/log?"+query, "")
		if a.status != http.StatusOK || a.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Fatalf("%.300s", a)
		}
		return string(a.body)
	}
	acme := get(auditor, "org=acme")
	if strings.Count(acme, `"org":"acme"`) != strings.Count(acme, "\n") || !strings.Contains(acme, `"event":"completed"`) || !strings.Contains(acme, `{"n":1}`) {
		t.Errorf("of acme: %s", acme)
	}
	if all := get(root, ""); !strings.Contains(all, `"org":"other"`) || !strings.Contains(all, "token_set") {
		t.Errorf("of all: %s", all)
	}
	if got := get(auditor, "org=acme&event=completed&job="+done); strings.Count(got, "\n") != 1 {
		t.Errorf("one event: %s", got)
	}
	if got := get(auditor, "org=acme&from=2999-01-01T00:00:00Z"); got != "" {
		t.Errorf("of the future: %s", got)
	}
	for _, bad := range []string{"org=acme&event=exploded", "org=acme&from=soon", "org=acme&evnt=completed", "org=acme&job=*"} {
		if got := s.call(auditor, "GET", "/v1/log?"+bad, ""); got.code() != ledger.CodeInvalidArgument {
			t.Errorf("%s: %s", bad, got)
		}
	}
	if got := s.call(root, "POST", "/v1/orgs/acme/suspend", `{"reason":"x"}`); got.status != http.StatusOK {
		t.Fatal(got)
	}
	s.until("the result is withheld", func() bool { return !strings.Contains(get(auditor, "org=acme"), `{"n":1}`) })
	if got := get(root, "org=acme"); !strings.Contains(got, `{"n":1}`) {
		t.Errorf("an admin's: %s", got)
	}
}

// TestResultDownload: a result comes as the bytes that were written, small or large; one that was damaged does not come whole
//
func TestResultDownload(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	op := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleOperator}).Secret
	small := s.submitDone()
	if got := s.call(op, "GET", "/v1/orgs/acme/jobs/"+small+"/result", "", "Accept", "application/octet-stream"); string(got.body) != `{"n":1}` ||
		got.header.Get("Content-Disposition") != `attachment; filename="`+small+`.json"` || got.header.Get("Repr-Digest") == "" || got.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("%s %v", got, got.header)
	}
	made, err := s.client.Submit(t.Context(), ledger.SubmitRequest{Type: "echo", NoDedup: true})
	if err != nil {
		t.Fatal(err)
	}
	want := largeArgs(3 << 20)
	s.finishLarge(s.start(made.ID), want)
	path := "/v1/orgs/acme/jobs/" + string(made.ID) + "/result?download"
	if got := s.call(op, "GET", path, ""); !bytes.Equal(got.body, want) || got.header.Get("Content-Length") != fmt.Sprint(len(want)) {
		t.Errorf("%d bytes of %d: %v", len(got.body), len(want), got.header)
	}
	if got := s.call(op, "GET", "/v1/orgs/acme/jobs/none/result?download", ""); got.code() != ledger.CodeNotFound {
		t.Errorf("%s", got)
	}
	s.damageResults()
	r, err := http.NewRequestWithContext(t.Context(), "GET", s.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+op)
	reply, err := http.DefaultClient.Do(r)
	if err != nil {
		return // it was cut off before its first byte
	}
	defer reply.Body.Close()
	if got, err := io.ReadAll(reply.Body); err == nil && reply.StatusCode == http.StatusOK {
		t.Errorf("a damaged result came whole: %d bytes", len(got))
	}
}

// TestLongAnswersOfOne: who reads nothing of his long answers takes no place from others.
func TestLongAnswersOfOne(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	greedy := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleAuditor, Actor: "user:greedy"}).Secret
	other := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleAuditor, Actor: "user:other"}).Secret
	made, err := s.client.Submit(t.Context(), ledger.SubmitRequest{Type: "echo", NoDedup: true})
	if err != nil {
		t.Fatal(err)
	}
	s.finishLarge(s.start(made.ID), largeArgs(16<<20)) // more than lies between us
	path := "/v1/orgs/acme/jobs/" + string(made.ID) + "/result?download"
	for range 4 {
		r, err := http.NewRequestWithContext(t.Context(), "GET", s.url+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+greedy)
		reply, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer reply.Body.Close()
	}
	if got := s.call(greedy, "GET", path, ""); got.code() != ledger.CodeRateLimited || got.header.Get("Retry-After") == "" {
		t.Errorf("a fifth one: %.200s", got)
	}
	if got := s.call(other, "GET", "/v1/log?org=acme", ""); got.status != http.StatusOK {
		t.Errorf("another's: %.200s", got)
	}
	namesake := s.token("other", gateway.AddTokenRequest{Role: schemas.RoleAuditor, Actor: "user:greedy"}).Secret
	if got := s.call(namesake, "GET", "/v1/log?org=other", ""); got.status != http.StatusOK {
		t.Errorf("a namesake's in another org: %.200s", got)
	}
}

// damageResults changes the last chunk of every stored result, and leaves its size.
func (s *site) damageResults() {
	s.t.Helper()
	js := s.Ledger.JetStream()
	store, err := js.ObjectStore(s.t.Context(), ledger.StoreResults)
	if err != nil {
		s.t.Fatal(err)
	}
	all, err := store.List(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	stream, err := js.Stream(s.t.Context(), "OBJ_"+ledger.StoreResults)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, o := range all {
		m, err := stream.GetLastMsgForSubject(s.t.Context(), "$O."+ledger.StoreResults+".C."+o.NUID)
		if err == nil {
			err = stream.DeleteMsg(s.t.Context(), m.Sequence)
		}
		if err == nil {
			_, err = js.Publish(s.t.Context(), m.Subject, bytes.Repeat([]byte("x"), len(m.Data)))
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
}
