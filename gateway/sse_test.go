package gateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// listener is a client of a stream.
type listener struct {
	t      testing.TB
	events chan *gateway.LiveEvent
	ended  chan struct{}
	last   string // id
	close  func()
}

// listen opens a stream; from is the Last-Event-ID.
func (s *site) listen(secret, path, from string) *listener {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+secret)
	if from != "" {
		r.Header.Set("Last-Event-ID", from)
	}
	reply, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	if reply.StatusCode != http.StatusOK || reply.Header.Get("Content-Type") != "text/event-stream" {
		s.t.Fatalf("%s: %s", path, reply.Status)
	}
	l := &listener{t: s.t, events: make(chan *gateway.LiveEvent, 1000), ended: make(chan struct{})}
	begun := make(chan struct{})
	begin := sync.OnceFunc(func() { close(begun) })
	go func() {
		defer close(l.ended)
		defer reply.Body.Close()
		lines := bufio.NewScanner(reply.Body)
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ": ")
			switch name {
			case "id":
				l.last = value
				begin()
			case "data":
				ev := &gateway.LiveEvent{}
				if json.Unmarshal([]byte(value), ev) == nil {
					l.events <- ev
				}
			}
		}
	}()
	select {
	case <-begun:
	case <-time.After(time.Minute):
		s.t.Fatal("the stream does not begin")
	}
	l.close = func() { cancel(); <-l.ended }
	s.t.Cleanup(l.close)
	return l
}

// next is the next event, as "job event".
func (l *listener) next() string {
	l.t.Helper()
	select {
	case ev := <-l.events:
		return string(*ev.ID) + " " + string(ev.Event)
	case <-time.After(time.Minute):
		l.t.Fatal("nothing comes")
	}
	return ""
}

// TestStream follows jobs over HTTP: each event once and in order, also across a cut and a restart of the server; from a
// position that is gone it says so.
func TestStream(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	op := s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleOperator}).Secret
	all := s.listen(op, "/v1/orgs/acme/events", "")
	submit := func(id string) {
		t.Helper()
		if got := s.call(op, "POST", "/v1/orgs/acme/jobs", `{"type":"echo","not_before":"1h","id":"`+id+`"}`); got.status != http.StatusCreated {
			t.Fatal(got)
		}
	}
	submit("a")
	submit("b")
	one := s.listen(op, "/v1/orgs/acme/jobs/b/events", "")
	if got := []string{all.next(), all.next()}; got[0] != "a submitted" || got[1] != "b submitted" {
		t.Errorf("all: %v", got)
	}
	s.call(op, "POST", "/v1/orgs/acme/jobs/a/cancel", `{"reason":"x"}`)
	s.call(op, "POST", "/v1/orgs/acme/jobs/b/cancel", `{"reason":"x"}`)
	if got := one.next(); got != "b canceled" {
		t.Errorf("one: %s", got)
	}
	if got := all.next(); got != "a canceled" {
		t.Errorf("all: %s", got)
	}
	if got := all.next(); got != "b canceled" {
		t.Errorf("all: %s", got)
	}
	all.close()
	submit("c")
	s.stop() // and another server, which was not there when c came
	<-one.ended
	other, _ := s.another(nil)
	server := httptest.NewServer(other.HTTP(gateway.HTTPConfig{}))
	t.Cleanup(server.Close)
	s.url = server.URL
	again := s.listen(op, "/v1/orgs/acme/events?state=submitted,canceled", all.last)
	submit("d")
	if got := []string{again.next(), again.next()}; got[0] != "c submitted" || got[1] != "d submitted" {
		t.Errorf("behind the restart: %v", got)
	}
	gone := s.call(op, "GET", "/v1/orgs/acme/events", "", "Last-Event-ID", "99999999")
	if gone.code() != ledger.CodePositionExpired || gone.status != http.StatusGone {
		t.Errorf("a position that is not of this ledger: %s", gone)
	}
	if got := s.call(op, "GET", "/v1/orgs/acme/events?stat=queued", ""); got.code() != ledger.CodeInvalidArgument {
		t.Errorf("a misspelt filter: %s", got)
	}
}

// TestStreamRights: a member hears of its own jobs alone, nobody of another org's, and a stream ends with its token
//
func TestStreamRights(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	token := func(org schemas.OrgID, role schemas.Role, actor string) *gateway.NewToken {
		return s.token(org, gateway.AddTokenRequest{Role: role, Actor: actor})
	}
	ada, bob := token("acme", schemas.RoleMember, "user:ada"), token("acme", schemas.RoleMember, "user:bob")
	root, other, worker := token("acme", schemas.RoleAdmin, "user:root"), token("other", schemas.RoleOperator, "user:eve"), token("acme", schemas.RoleWorker, "user:w")
	hers, cell := s.listen(ada.Secret, "/v1/orgs/acme/events", ""), s.listen(root.Secret, "/v1/events", "")
	for i, who := range []*gateway.NewToken{bob, ada, bob} {
		if got := s.call(who.Secret, "POST", "/v1/orgs/acme/jobs", fmt.Sprintf(`{"type":"echo","not_before":"1h","id":"j%d"}`, i)); got.status != http.StatusCreated {
			t.Fatal(got)
		}
	}
	if got := s.call(other.Secret, "POST", "/v1/orgs/other/jobs", `{"type":"echo","not_before":"1h","id":"x"}`); got.status != http.StatusCreated {
		t.Fatal(got)
	}
	if got := s.call(ada.Secret, "POST", "/v1/orgs/acme/jobs/j1/cancel", `{"reason":"x"}`); got.status != http.StatusOK {
		t.Fatal(got)
	}
	if got := []string{hers.next(), hers.next()}; got[0] != "j1 submitted" || got[1] != "j1 canceled" {
		t.Errorf("ada hears of %v", got)
	}
	for _, want := range []string{"j0 submitted", "j1 submitted", "j2 submitted", "x submitted", "j1 canceled"} {
		if got := cell.next(); got != want {
			t.Errorf("an admin hears of %s, want %s", got, want)
		}
	}
	for _, c := range []struct {
		secret, path string
		want         ledger.Code
	}{
		{ada.Secret, "/v1/orgs/acme/jobs/j0/events", ledger.CodeNotFound}, {ada.Secret, "/v1/events", ledger.CodePermissionDenied},
		{other.Secret, "/v1/orgs/acme/events", ledger.CodePermissionDenied}, {other.Secret, "/v1/orgs/acme/jobs/j0/events", ledger.CodeNotFound},
		{worker.Secret, "/v1/orgs/acme/events", ledger.CodePermissionDenied}, {"jl_wrong", "/v1/orgs/acme/events", ledger.CodeUnauthenticated},
	} {
		if got := s.call(c.secret, "GET", c.path, ""); got.code() != c.want {
			t.Errorf("%s: %s, want %s", c.path, got, c.want)
		}
	}
	revoked := time.Now()
	if _, err := s.client.RevokeToken(t.Context(), ada.ID, "she left"); err != nil {
		t.Fatal(err)
	}
	select {
	case <-hers.ended:
		t.Logf("the stream of a revoked token ended after %s; 2 s are allowed", time.Since(revoked).Round(time.Millisecond))
	case <-time.After(time.Minute):
		t.Error("the stream of a revoked token goes on")
	}
}
