package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/gateway/rights"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// secret is in marked fields alone: no answer but that of an unmasking may hold it.
const secret = "4929-1234-5678"

// payments has a type with a marked field, and everything that holds args of it: the ids of jobs, by what they are.
func (s *site) payments() map[string]schemas.JobID {
	s.t.Helper()
	schema := `{"type":"object","properties":{"card":{"type":"string","x-redact":true},"to":{"type":"array","items":{"properties":{"card":{"x-redact":true}}}}}}`
	if _, err := s.client.TypeAdd(s.t.Context(), gateway.Type{Name: "pay", Schema: json.RawMessage(schema)}); err != nil {
		s.t.Fatal(err)
	}
	args := json.RawMessage(`{"n": 9007199254740993, "card": "` + secret + `", "to": [{"card":"` + secret + `","x":1}]}`)
	jobs := map[string]schemas.JobID{}
	submit := func(what string, r ledger.SubmitRequest) {
		r.Type, r.NoDedup, r.Delay, r.Principal = "pay", true, time.Hour, "user:me"
		if r.Args == nil {
			r.Args = args
		}
		made, err := s.client.Submit(s.t.Context(), r)
		if err != nil {
			s.t.Fatal(err)
		}
		jobs[what] = made.ID
	}
	submit("waits", ledger.SubmitRequest{})
	submit("carried", ledger.SubmitRequest{})
	s.do(jobs["carried"], &ledger.Carry{})
	submit("large", ledger.SubmitRequest{Args: bytes.Replace(largeArgs(schemas.ArgsMax+1), []byte(`{`), []byte(`{"card":"`+secret+`",`), 1)})
	batch, err := s.client.SubmitBatch(s.t.Context(), ledger.SubmitRequest{ID: "batch", Delay: time.Hour}, &ledger.BatchSpec{Each: ledger.BatchItem{Type: "pay", Args: args},
		Items: []ledger.BatchItem{{Args: args}, {}}, Then: &ledger.BatchItem{Type: "pay", Args: args}})
	if err != nil {
		s.t.Fatal(err)
	}
	jobs["batch"] = batch.ID
	// A raw submit that is refused is recorded with why, and so are its args, as far as they are any.
	for i, body := range []string{`{"card":{"number":"` + secret + `"}}`, `{"card":"` + secret + `"`} {
		id := uuid.NewString()
		raw := &nats.Msg{Subject: "jobledger.acme.submit.pay", Header: nats.Header{gateway.HeaderRequestID: {id}}, Data: []byte(body)}
		if err := s.client.Conn.PublishMsg(raw); err != nil {
			s.t.Fatal(err)
		}
		s.until("the raw submit is recorded", func() bool {
			_, err := s.client.Get(s.t.Context(), schemas.JobID(id))
			return err == nil
		})
		jobs[fmt.Sprintf("refused %d", i)] = schemas.JobID(id)
	}
	if m := s.ask("acme.schedule.add.own", `{"type":"pay","principal":"user:me","args":`+string(args)+`,"every_s":86400}`); bytes.Contains(m.Data, []byte(secret)) ||
		!bytes.Contains(m.Data, []byte(`[redacted]`)) {
		s.t.Fatalf("the schedule: %s", m.Data)
	}
	return jobs
}

// tells reports what is not to be told in an answer, in a page of a payload too.
func tells(body []byte) bool {
	var page struct{ Data []byte }
	return bytes.Contains(body, []byte(secret)) || json.Unmarshal(body, &page) == nil && bytes.Contains(page.Data, []byte(secret))
}

// TestMaskSweep: what a schema redacts is in no answer to anybody: every route and verb, in every role, about
// every kind of thing that holds args; nor in what a feed tells.
func TestMaskSweep(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	begin := s.end()
	jobs := s.payments()
	for i, role := range schemas.Roles() {
		token := s.token("acme", gateway.AddTokenRequest{Role: role, Actor: "user:me"}).Secret
		account := fmt.Sprintf("A%d", i)
		s.token("acme", gateway.AddTokenRequest{Role: role, Actor: "user:me", NATSAccount: account})
		masked := 0
		for what, id := range jobs {
			for _, d := range jobDoors {
				if d.path != "/unmask" || role != schemas.RoleAdmin {
					if s.hides(role, d.method+" "+d.path+" of "+what, s.call(token, d.method, "/v1/orgs/acme/jobs/"+string(id)+d.path, d.body).body) {
						masked++
					}
				}
			}
			s.hides(role, "at of "+what, s.call(token, "GET", fmt.Sprintf("/v1/orgs/acme/jobs/%s?at=%d", id, s.end()), "").body)
		}
		for _, d := range append(doors, door{method: "GET", path: "/v1/log?org=acme"}, door{method: "GET", path: "/v1/log"}, door{method: "GET", path: "/v1/orgs/acme/jobs?q=args.card:" + secret[:4] + "*"}) {
			if d.method == "GET" || strings.Contains(d.path, "{own}/") {
				s.hides(role, d.method+" "+d.path, s.call(token, d.method, strings.ReplaceAll(d.path, "{own}", "own"), d.body).body)
			}
		}
		masked += s.sweepVerbs(role, "jobledger-as."+account+".acme.", jobs, role == schemas.RoleAdmin)
		if rights.Decide(&rights.Principal{Grants: []rights.Grant{{Org: "acme", Role: role}}}, rights.JobsRead, "acme").Whole() && masked < 5*len(jobs) {
			t.Errorf("%s was answered %d times with something masked: the sweep sees too little", role, masked)
		}
	}
	if masked := s.sweepVerbs("the cell's owner", "jobledger.acme.", jobs, true); masked < 3*len(jobs) {
		t.Errorf("the cell's owner was answered %d times with something masked", masked)
	}
	if m := s.ask("acme.events", `{"after":`+begin.String()+`,"timeout_ms":1}`); tells(m.Data) || !bytes.Contains(m.Data, []byte(jobs["waits"])) {
		t.Errorf("the feed: %s", m.Data)
	}
}

// hides reports an answer that tells; true: it has the mask in place of it.
func (s *site) hides(who any, what string, body []byte) bool {
	s.t.Helper()
	if tells(body) {
		s.t.Errorf("%s is told by %s: %.2000s", who, what, body)
	}
	return bytes.Contains(body, []byte("[redacted]"))
}

// sweepVerbs asks all of the service, and returns how many answers had something masked.
func (s *site) sweepVerbs(who any, prefix string, jobs map[string]schemas.JobID, maySee bool) (masked int) {
	s.t.Helper()
	bodies := map[string]string{"wait.*": `{"timeout_ms":1}`, "events": `{"after":1,"timeout_ms":1}`, "payload.*": `{"of":"args"}`, "cancel.*": `{"if_seq":1}`, "unmask.*": `{"reason":"x"}`,
		"bulk": `{"action":"cancel","filter":{"type":["pay"]},"dry_run":true}`, "org.rm": `{"dry_run":true}`, "token.rm.*": `{}`, "worker.drain.*": `{}`}
	for _, verb := range gateway.Verbs() {
		if verb == "unmask.*" && maySee || verb == "schedule.rm.*" {
			continue
		}
		names := []schemas.JobID{"own"}
		if strings.HasSuffix(verb, "*") && strings.Count(verb, ".") == 1 {
			for _, id := range jobs {
				names = append(names, id)
			}
		}
		for _, name := range names {
			m, err := s.client.Conn.Request(prefix+strings.Replace(verb, "*", string(name), 1), []byte(bodies[verb]), time.Minute)
			if err != nil {
				s.t.Fatalf("%s: %v", verb, err)
			}
			if s.hides(who, verb+" "+string(name), m.Data) {
				masked++
			}
		}
	}
	return masked
}

// TestUnmask: who is granted it sees the args, byte for byte, after an event is stored that says who, what and why;
// others do not, and nobody sees them by that event.
func TestUnmask(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	jobs := s.payments()
	granted := func(role schemas.Role) string {
		return s.token("acme", gateway.AddTokenRequest{Role: role, Actor: "user:eve", Permissions: []string{"payloads.unmask"}}).Secret
	}
	operator, auditor := granted(schemas.RoleOperator), s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleAuditor}).Secret
	job := "/v1/orgs/acme/jobs/" + string(jobs["waits"])
	for secret, want := range map[string]ledger.Code{auditor: ledger.CodePermissionDenied, granted(schemas.RoleMember): ledger.CodeNotFound} {
		if a := s.call(secret, "POST", job+"/unmask", `{"reason":"curious"}`); a.code() != want {
			t.Errorf("%s, want %s", a, want)
		}
	}
	if a := s.call(operator, "POST", job+"/unmask", `{}`); a.code() != ledger.CodeInvalidArgument {
		t.Errorf("without a reason: %s", a)
	}
	if a := s.call(operator, "POST", job+"/unmask", `{"reason":"x"}`, "If-Match", `"1"`); a.code() != ledger.CodeVersionConflict {
		t.Errorf("of a job that moved: %s", a)
	}
	before := s.end()
	a := s.call(operator, "POST", job+"/unmask", `{"reason":"case 4711"}`)
	var shown gateway.UnmaskReply
	if err := json.Unmarshal(a.body, &shown); err != nil || a.status != http.StatusOK || string(shown.Args) != `{"n": 9007199254740993, "card": "`+secret+`", "to": [{"card":"`+secret+`","x":1}]}` ||
		fmt.Sprint(shown.Fields) != "[card to.card]" || shown.Seq == nil {
		t.Fatalf("%s", a)
	}
	if e, err := s.Ledger.EventAt(t.Context(), *shown.Seq); err != nil || *shown.Seq != before+1 || e.ID != *shown.EventID || e.Actor.String() != "user:eve" || s.end() != before+1 {
		t.Errorf("the event is %+v, %v", e, err)
	}
	told := s.call(auditor, "GET", job+"/history", "")
	if !strings.Contains(string(told.body), `"event":"unmasked","actor":"user:eve"`) || !strings.Contains(string(told.body), `"reason":"case 4711"`) || tells(told.body) {
		t.Errorf("the history: %s", told)
	}
	replayed := s.call(s.token("_", gateway.AddTokenRequest{Role: schemas.RoleAdmin}).Secret, "GET", "/v1/log?actor=user:eve", "")
	if !strings.Contains(string(replayed.body), `"event":"unmasked"`) || !strings.Contains(string(replayed.body), `"id":"`+string(jobs["waits"])+`"`) || tells(replayed.body) {
		t.Errorf("the log: %s", replayed)
	}
	if all := s.call(auditor, "GET", "/v1/log?org=acme&event=unmasked", ""); !strings.Contains(string(all.body), `"reason":"case 4711"`) || all.header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("the org's unmaskings: %s", all)
	}
	if again := s.call(operator, "GET", job, ""); tells(again.body) {
		t.Errorf("it is shown once: %s", again)
	}
	// Who takes the mark away takes no name out of the history.
	if _, err := s.Ledger.PutType(t.Context(), schemas.TypeSettings{Name: "pay"}, ledger.Meta{}, "a test"); err != nil {
		t.Fatal(err)
	}
	s.until("the mark is gone", func() bool { return tells(s.call(auditor, "GET", job+"/history", "").body) })
	if told := s.call(auditor, "GET", job+"/history", ""); !strings.Contains(string(told.body), `"event":"unmasked","actor":"user:eve"`) {
		t.Errorf("the history of a type that marks nothing any more: %s", told)
	}
	// What marks nothing is shown, and is no event.
	plain, err := s.client.Submit(t.Context(), ledger.SubmitRequest{Type: "echo", Args: []byte(`{"a":1}`), Delay: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	before = s.end()
	if a := s.call(operator, "POST", "/v1/orgs/acme/jobs/"+string(plain.ID)+"/unmask", `{"reason":"x"}`); !strings.Contains(string(a.body), `"fields":[],"seq":null`) ||
		!strings.Contains(string(a.body), `"args":{"a":1}`) || s.end() != before {
		t.Errorf("without marks: %s", a)
	}
}

// TestUnmaskLarge: the pages of args that are kept by reference are opened by the event of an unmasking, to who asked for it.
func TestUnmaskLarge(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	id := s.payments()["large"]
	masked, err := s.client.Payload(t.Context(), id, gateway.PayloadArgs)
	if err != nil || tells(masked) || !bytes.HasPrefix(masked, []byte(`{"card":"[redacted]","fill":"0123`)) || len(masked) < schemas.ArgsMax {
		t.Fatalf("%.100s, %v", masked, err)
	}
	shown, err := s.client.Unmask(t.Context(), id, gateway.UnmaskRequest{Reason: "case 4711"})
	if err != nil || shown.ArgsRef == nil || shown.EventID == nil || !bytes.HasPrefix(shown.Args, []byte(`{"card":"`+secret+`","fill":"0123`)) {
		t.Fatalf("%v, %v", shown, err)
	}
	s.refused(ledger.CodePermissionDenied, "acme.payload."+string(id), `{"of":"args","unmasked":"`+string(schemas.NewEventID())+`"}`)
	s.token("acme", gateway.AddTokenRequest{Role: schemas.RoleOperator, Actor: "user:eve", NATSAccount: "EVE"})
	code, body := ask(t, s.client.Conn, "jobledger-as.EVE.acme.payload."+string(id), `{"of":"args","unmasked":"`+string(*shown.EventID)+`"}`)
	if code != string(ledger.CodePermissionDenied) {
		t.Errorf("another's unmasking opens the pages: %.200s", body)
	}
	// One of the same name opens them while it has the right itself.
	for account, may := range map[string]bool{"MALLORY": false, "OSCAR": true} {
		r := gateway.AddTokenRequest{Role: schemas.RoleOperator, Actor: "user:oscar", NATSAccount: account}
		if may {
			r.Permissions = []string{"payloads.unmask"}
		}
		s.token("acme", r)
	}
	_, body = ask(t, s.client.Conn, "jobledger-as.OSCAR.acme.unmask."+string(id), `{"reason":"case 4711"}`)
	var opened gateway.UnmaskReply
	if err := json.Unmarshal([]byte(body), &opened); err != nil || opened.EventID == nil {
		t.Fatalf("%s, %v", body, err)
	}
	for account, want := range map[string]ledger.Code{"MALLORY": ledger.CodePermissionDenied, "OSCAR": ""} {
		code, body := ask(t, s.client.Conn, "jobledger-as."+account+".acme.payload."+string(id), `{"of":"args","unmasked":"`+string(*opened.EventID)+`"}`)
		if code != string(want) || tells([]byte(body)) != (want == "") {
			t.Errorf("%s: %s %.200s", account, code, body)
		}
	}
}

// TestRefusedValue: why args were refused that do not fit a schema with marks is told without what stood there.
func TestRefusedValue(t *testing.T) {
	set := &schemas.TypeSettings{Name: "pay", Schema: json.RawMessage(`{"properties":{"card":{"type":"string","x-redact":true}}}`)}
	for _, args := range []string{`{"card":4929e999}`, `{"card":4929}`} {
		if err := new(gateway.ArgsChecker).Check(set, json.RawMessage(args)); err == nil || strings.Contains(err.Error(), "4929") {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// TestMaskComesBack: what was shown in place of a value is not stored as one, by whatever way it comes back.
func TestMaskComesBack(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	jobs := s.payments()
	const shown = `{"card":"[redacted]"}`
	for subject, body := range map[string]string{
		"submit.pay": shown, "resubmit." + string(jobs["waits"]): `{"reason":"x","args":{"to":[{"card":"[redacted]"}]}}`,
		"batch":            `{"items":[{"type":"pay","args":` + shown + `}]}`,
		"schedule.add.new": `{"type":"pay","every_s":60,"args":` + shown + `}`,
	} {
		before := s.end()
		s.refused(ledger.CodeInvalidArgument, "acme."+subject, body)
		if s.end() != before {
			t.Errorf("%s stored something", subject)
		}
	}
	many := s.ask("acme.submits", `{"items":[{"type":"pay","args":`+shown+`},{"type":"echo","args":`+shown+`}]}`)
	if !strings.Contains(string(many.Data), `"created":1,"duplicate":0,"refused":1`) || !strings.Contains(string(many.Data), "args/card") || !strings.Contains(string(many.Data), "job unmask") {
		t.Errorf("%s", many.Data)
	}
	// Without args the new job has the true ones.
	again, err := s.client.Resubmit(t.Context(), jobs["waits"], gateway.ResubmitRequest{Reason: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if j, err := s.Ledger.Fold(t.Context(), "acme", again.ID); err != nil || !tells(j.Spec.Args) {
		t.Errorf("%+v, %v", j, err)
	}
}

// TestUnmaskNotStored (D3): where the event is not stored nothing is shown.
func TestUnmaskNotStored(t *testing.T) {
	tried := 0
	s := &site{world: start(t, func(c *gateway.Config) {
		l, err := ledger.New(ledger.Config{Conn: c.Conn, Logger: c.Logger, Intercept: func(next ledger.PublishFunc) ledger.PublishFunc {
			return func(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
				if strings.HasPrefix(m.Subject, "control.acme.unmask.") {
					tried++
					return &nats.Msg{Data: []byte(`{"error":{"code":503,"err_code":10060,"description":"injected"},"stream":"LEDGER","seq":0}`)}, nil
				}
				return next(ctx, m)
			}
		}})
		if err != nil {
			t.Fatal(err)
		}
		c.Ledger = l
	})}
	id, before := s.payments()["waits"], s.end()
	reply, err := s.client.Conn.Request("jobledger.acme.unmask."+string(id), []byte(`{"reason":"x"}`), time.Minute)
	if err != nil || tells(reply.Data) || reply.Header.Get("Nats-Service-Error-Code") != "500" || tried == 0 || s.end() != before {
		t.Errorf("%v, %v after %d tries", reply, err, tried)
	}
}

// TestMarkThatMarksNothing: a schema whose x-redact is no boolean is refused by every way in, with its place and what to
// write, and nothing is stored. A type that has such a schema already goes on as before, also through a change of something else.
func TestMarkThatMarksNothing(t *testing.T) {
	s := serveHTTP(t, gateway.HTTPConfig{})
	const field, bad = "schema/properties/card/x-redact", `{"properties":{"card":{"x-redact":"yes"}}}`
	old := schemas.TypeSettings{Name: "old", Schema: json.RawMessage(bad)}
	if _, err := s.Ledger.PutType(t.Context(), old, ledger.Meta{}, ""); err != nil { // as a server from before took it
		t.Fatal(err)
	}
	end := s.end()
	_, added := s.client.TypeAdd(t.Context(), gateway.Type{Name: "pay", Schema: old.Schema})
	_, changed := s.client.EditType(t.Context(), "old", gateway.SetRequest{Set: json.RawMessage(`{"schema":{"properties":{"card":{"x-redact":1}}}}`), Reason: "r"})
	for _, err := range []error{added, changed} {
		if e := ledger.AsError(err); e == nil || e.Code != ledger.CodeInvalidArgument || e.Details[ledger.DetailField] != field || !strings.Contains(e.Message, "write true") {
			t.Errorf("%v, want one about %s", err, field)
		}
	}
	reply, err := s.client.ApplyTypes(t.Context(), gateway.TypesRequest{Types: []gateway.Type{{Name: "pay", Schema: old.Schema}}, Reason: "r"})
	if err != nil || reply.Items[0].Error == nil || !strings.Contains(reply.Items[0].Error.Message, field) {
		t.Errorf("%+v, %v", reply, err)
	}
	if s.end() != end {
		t.Error("a refused schema was stored")
	}
	edited, err := s.client.EditType(t.Context(), "old", gateway.SetRequest{Set: json.RawMessage(`{"max_running":5}`), Reason: "r"})
	if err != nil || !strings.Contains(string(edited.Schema), `"yes"`) {
		t.Errorf("a change of something else: %+v, %v", edited, err)
	}
	if _, err := s.client.Submit(t.Context(), ledger.SubmitRequest{Type: "old", Args: json.RawMessage(`{"card":"1"}`), Delay: time.Hour}); err != nil {
		t.Errorf("a submit of the type: %v", err)
	}
	if _, err := s.client.EditType(t.Context(), "old", gateway.SetRequest{Set: json.RawMessage(`{"schema":{"properties":{"card":{"x-redact":true}}}}`), Reason: "r"}); err != nil {
		t.Errorf("the mark made good: %v", err)
	}
}
