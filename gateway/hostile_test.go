package gateway_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// marker is in all that umbrella, the victim, has: no answer to anybody of acme may hold it. A guess that an answer repeats is
// spelled without it.
const marker = "umbrella-only"

// hostile is a cell in which umbrella has jobs, a schedule, a token and a hold, and acme attacks.
type hostile struct {
	*tenants
	job, done, token string // of umbrella
	attacker         *nats.Conn
}

func startHostile(t *testing.T) *hostile {
	t.Helper()
	w := &hostile{tenants: startTenants(t)}
	victim := w.Client("umbrella")
	made, err := victim.Submit(t.Context(), ledger.SubmitRequest{Type: "echo", Args: []byte(`{"x":"` + marker + `"}`), Tags: map[string]string{"t": marker},
		Principal: "user:" + marker, Delay: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	w.job, w.token = string(made.ID), w.umbrellaToken()
	w.done = w.umbrellaDone(victim)
	if code, body := ask(t, victim.Conn, "jobledger.umbrella.schedule.add.nightly", `{"type":"echo","args":{"x":"`+marker+`"},"every_s":86400}`); code != "" {
		t.Fatalf("%s", body)
	}
	if code, body := ask(t, victim.Conn, "jobledger.umbrella.hold.set", `{"scope":{"org":"umbrella","type":"`+marker+`"},"on":true,"reason":"`+marker+`"}`); code != "" {
		t.Fatalf("%s", body)
	}
	w.attacker = w.login(w.tenants.token("acme", schemas.RoleOperator, "user:eve"))
	return w
}

func (w *hostile) umbrellaToken() string {
	made, err := w.admin.AddToken(w.t.Context(), "umbrella", gateway.AddTokenRequest{Title: marker, Role: schemas.RoleOperator, Reason: marker})
	if err != nil {
		w.t.Fatal(err)
	}
	return made.ID
}

// umbrellaDone is a job that was canceled: one with an end and a history.
func (w *hostile) umbrellaDone(victim *gateway.Client) string {
	made, err := victim.Submit(w.t.Context(), ledger.SubmitRequest{Type: "echo", Args: []byte(`{"y":"` + marker + `"}`), Delay: time.Hour})
	if err == nil {
		_, err = victim.Cancel(w.t.Context(), made.ID, marker)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return string(made.ID)
}

// end is where the ledger ends.
func (w *hostile) end() schemas.Seq {
	w.t.Helper()
	p, err := w.Ledger.End(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return p.Seq
}

// whole checks that nothing has left the ledger, and that what came behind a sequence is acme's, or the cell's own doing.
func (w *hostile) whole(before schemas.Seq) {
	w.t.Helper()
	for seq, end := schemas.Seq(1), w.end(); seq <= end; seq++ {
		e, err := w.Ledger.EventAt(w.t.Context(), seq)
		if err != nil {
			w.t.Errorf("event %d: %v", seq, err)
			continue
		}
		if seq <= before {
			continue
		}
		own := e.Err == nil && (e.Org == "acme" || e.Subject == ledger.ControlLeader || strings.HasPrefix(e.RawSubject, "control.acme."))
		if e.Err == nil {
			switch e.Data.(type) { // by the test itself, or a type that acme uses first, as dev has it
			case *schemas.TypeSet, *schemas.TokenSet, *schemas.HoldSet:
				own = true
			}
		}
		if !own || bytes.Contains(e.Body, []byte(marker)) {
			w.t.Errorf("event %d was written: %s %s", seq, e.RawSubject, e.Body)
		}
	}
}

// TestHostileSubjects: from a tenant's account nothing is there but the service of its own org: not the streams,
// their API, acks, direct gets, buckets, beats, the system, nor what leads to another account.
func TestHostileSubjects(t *testing.T) {
	w := startHostile(t)
	before := w.end()
	subjects := []string{"$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.PURGE.LEDGER", "$JS.API.STREAM.DELETE.LEDGER", "$JS.API.STREAM.MSG.GET.LEDGER",
		"$JS.API.DIRECT.GET.LEDGER", "$JS.API.DIRECT.GET.LEDGER.jobs.umbrella." + w.job, "$JS.API.DIRECT.GET.KV_JOBS.$KV.JOBS.umbrella." + w.job,
		"$JS.API.CONSUMER.CREATE.LEDGER", "$JS.API.CONSUMER.CREATE.LEDGER.x.jobs.umbrella.>", "$JS.API.CONSUMER.MSG.NEXT.WORK.default_echo", "$JS.API.CONSUMER.DELETE.WORK.default_echo",
		"$JS.ACK.WORK.default_echo.1.1.1.1.1", "$JS.FC.LEDGER", "$KV.JOBS.umbrella." + w.job, "$KV.LEASE.leader", "$O.PAYLOADS.C.x", "$O.PAYLOADS.M.x",
		"jobs.umbrella." + w.job, "jobs.umbrella.new", "control.cell.type.echo", "control.cell.token." + w.token, "work.default.echo.umbrella." + w.job, "jl.beat", "jl.cancel.x",
		"jobledger-as." + w.token + ".umbrella.list", "$SRV.PING", "$SRV.INFO.jobledger", "$SYS.REQ.SERVER.PING", "$SYS.REQ.ACCOUNT.$G.CONNZ",
		"$SYS.REQ.CLAIMS.LIST", "$SYS.REQ.USER.AUTH", "_R_.x"}
	for _, verb := range gateway.Verbs() {
		subjects = append(subjects, "jobledger.umbrella."+strings.Replace(verb, "*", w.job, 1))
	}
	for _, subject := range subjects {
		if code, body := ask(t, w.attacker, subject, ""); code != noResponders {
			t.Errorf("%s leads somewhere: %q %s", subject, code, body)
		}
		m := nats.NewMsg(subject)
		m.Data = []byte("+ACK")
		m.Header.Set("Nats-Rollup", "all")
		if err := w.attacker.PublishMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.attacker.Flush(); err != nil {
		t.Fatal(err)
	}
	if code, _ := ask(t, w.attacker, "jobledger.acme.list", ""); code != "" {
		t.Errorf("the attacker's own org: %s", code)
	}
	// The server tells every account of its own connections.
	w.as("umbrella", schemas.RoleOperator, "user:vera")
	var conns struct {
		Data struct {
			Total int `json:"total"`
		} `json:"data"`
	}
	if _, body := ask(t, w.attacker, "$SYS.REQ.SERVER.PING.CONNZ", `{"acc":"$G","subscriptions":true}`); json.Unmarshal(body, &conns) != nil || conns.Data.Total > 1 {
		t.Errorf("other accounts' connections are shown: %s", body)
	}
	w.whole(before)
}

// TestHostileReplies (R-604, ENGINE 9): a reply subject that is one of the ledger's leads back into the asker's account.
func TestHostileReplies(t *testing.T) {
	w := startHostile(t)
	before := w.end()
	ledgers := w.Connect()
	heard, err := ledgers.SubscribeSync(">")
	if err == nil {
		err = ledgers.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, reply := range []string{"jobs.umbrella.smuggled", "jobs.acme.smuggled", "control.cell.type.echo", "jobledger.umbrella.submit.echo", "$JS.API.STREAM.PURGE.LEDGER",
		"$KV.JOBS.umbrella." + w.job, "work.default.echo.acme.x", "jobledger-as." + w.token + ".umbrella.submit.echo"} {
		if err := w.attacker.PublishRequest("jobledger.acme.list", reply, nil); err != nil {
			t.Fatal(err)
		}
		var same []byte                     // what came on the reply subject: it may be the ledger's own
		for answered := false; !answered; { // on a subject of the server's own, which leads to the asker's account
			m, err := heard.NextMsg(time.Minute)
			if err != nil {
				t.Fatalf("%s: there was no answer: %v", reply, err)
			}
			if m.Subject == reply {
				same = m.Data
			}
			if answered = strings.HasPrefix(m.Subject, "_R_."); answered && bytes.Equal(m.Data, same) {
				t.Errorf("%s: the answer is in the ledger's account: %s", reply, m.Data)
			}
		}
	}
	w.whole(before)
}

// engineHeaders are headers by which a publisher tells JetStream what to do.
var engineHeaders = map[string]string{"Nats-Rollup": "all", "Nats-TTL": "1s", "Nats-Schedule": "@every 1s", "Nats-Schedule-Target": "jobs.umbrella.forged",
	"Nats-Schedule-Source": "jobs.umbrella.x", "Nats-Schedule-TTL": "1s", "Nats-Schedule-Next": "purge", "Nats-Scheduler": "x", "Nats-Expected-Stream": "WORK", "Nats-Expected-Last-Sequence": "0",
	"Nats-Expected-Last-Subject-Sequence": "99", "Nats-Expected-Last-Subject-Sequence-Subject": "jobs.umbrella.x", "Nats-Expected-Last-Msg-Id": "x", "Nats-Batch-Id": "b",
	"Nats-Batch-Sequence": "1", "Nats-Batch-Commit": "1", "Nats-Incr": "1", "Nats-Required-Api-Level": "99", "Nats-Trace-Dest": "jobs.umbrella.traced", "Nats-Marker-Reason": "x",
	"ce-id": "forged", "ce-source": "/orgs/umbrella", "ce-type": "jobledger.v1.completed", "ce-authid": "root", "Nats-Service-Error": "x", "Nats-Request-Info": `{"acc":"$G"}`}

// TestHostileHeaders: whatever headers a submit has, what is stored is one event of its own org with none of them.
func TestHostileHeaders(t *testing.T) {
	w := startHostile(t)
	before := w.end()
	for name, value := range engineHeaders {
		for _, spelled := range []string{name, strings.ToLower(name)} {
			m := nats.NewMsg("jobledger.acme.submit.echo")
			m.Header[spelled] = []string{value}
			m.Data = []byte(`{"n":"` + spelled + `"}`)
			m.Header.Set(gateway.HeaderDedup, "off")
			reply, err := w.attacker.RequestMsg(m, time.Minute)
			if err != nil {
				t.Fatalf("%s: %v", spelled, err)
			}
			var made gateway.SubmitReply
			if err := json.Unmarshal(reply.Data, &made); err != nil || made.Org != "acme" || made.ID == "" {
				t.Fatalf("%s: %s", spelled, reply.Data)
			}
			s, err := w.Ledger.JetStream().Stream(t.Context(), ledger.StreamLedger)
			if err != nil {
				t.Fatal(err)
			}
			stored, err := s.GetMsg(t.Context(), uint64(made.Seq))
			if err != nil {
				t.Fatal(err)
			}
			for have, values := range stored.Header {
				if strings.EqualFold(have, name) && slices.Contains(values, value) {
					t.Errorf("%s: %s went into the ledger", spelled, values)
				}
			}
			if stored.Subject != "jobs.acme."+string(made.ID) {
				t.Errorf("%s: stored as %s", spelled, stored.Subject)
			}
		}
	}
	w.whole(before)
}

// TestHostileIDs: keys, request ids and job ids are each org's own, derived ids are not for callers.
func TestHostileIDs(t *testing.T) {
	w := startHostile(t)
	victim := w.as("umbrella", schemas.RoleOperator, "user:vera")
	request := uuid.NewString()
	for _, headers := range []nats.Header{{gateway.HeaderKey: {"invoice-1"}}, {gateway.HeaderRequestID: {request}}, {gateway.HeaderJobID: {"invoice-2"}}} {
		for _, who := range []struct {
			nc  *nats.Conn
			org string
		}{{w.attacker, "acme"}, {victim.Conn, "umbrella"}} { // the attacker is there first
			m := &nats.Msg{Subject: "jobledger." + who.org + ".submit.echo", Header: headers, Data: []byte(`{"n":1}`)}
			reply, err := who.nc.RequestMsg(m, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			var made gateway.SubmitReply
			if err := json.Unmarshal(reply.Data, &made); err != nil || string(made.Org) != who.org || made.Duplicate && len(headers[gateway.HeaderKey]) > 0 {
				t.Errorf("%v of %s: %s", headers, who.org, reply.Data)
			}
		}
	}
	for _, id := range []string{"_x", "_" + w.job, "a.b", "..", "*", ">", "a/../b", strings.Repeat("x", 65)} {
		m := &nats.Msg{Subject: "jobledger.acme.submit.echo", Header: nats.Header{gateway.HeaderJobID: {id}}, Data: []byte(`{}`)}
		if reply, err := w.attacker.RequestMsg(m, time.Minute); err != nil || reply.Header.Get("Nats-Service-Error-Code") != "400" {
			t.Errorf("job id %q: %v, %v", id, reply, err)
		}
	}
	for _, id := range []string{w.job, w.done, "umbrella", strings.ToUpper(w.job), "jobs/umbrella/" + w.job} {
		for _, verb := range []string{"get", "history", "result", "explain", "payload", "cancel", "wait"} {
			if code, body := ask(t, w.attacker, "jobledger.acme."+verb+"."+id, `{"reason":"x"}`); code != "not_found" && code != "invalid_argument" {
				t.Errorf("%s of %s: %q %s", verb, id, code, body)
			}
		}
	}
}

// TestHostileInboxes: nobody hears the answers to another, nor what he asks.
func TestHostileInboxes(t *testing.T) {
	w := startHostile(t)
	ears := make(chan *nats.Msg, 1024)
	for _, subject := range []string{">", "_INBOX.>", "jobledger.>", "jobledger-as.>", "jobs.>", "$KV.>", "_R_.>", "$JS.>", "jl.>"} {
		if _, err := w.attacker.ChanSubscribe(subject, ears); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.attacker.Flush(); err != nil {
		t.Fatal(err)
	}
	victim := w.as("umbrella", schemas.RoleOperator, "user:vera")
	for _, verb := range []string{"list", "get." + w.job, "history." + w.job} {
		if code, body := ask(t, victim.Conn, "jobledger.umbrella."+verb, ""); code != "" {
			t.Fatalf("%s: %s", verb, body)
		}
	}
	if err := w.attacker.Flush(); err != nil { // what was sent to it before is here now
		t.Fatal(err)
	}
	for len(ears) > 0 {
		if m := <-ears; bytes.Contains(m.Data, []byte(marker)) || strings.Contains(m.Subject, "umbrella") {
			t.Errorf("the attacker hears %s: %s", m.Subject, m.Data)
		}
	}
}

// TestHostileSweep (R-108, R-621..R-633): each verb, by each role of acme, with ids of umbrella and with bodies that ask for it:
// no answer holds anything of umbrella's, and nothing of umbrella's has changed.
func TestHostileSweep(t *testing.T) {
	w := startHostile(t)
	before := w.end()
	history, err := w.Ledger.History(t.Context(), "umbrella", schemas.JobID(w.job))
	if err != nil {
		t.Fatal(err)
	}
	bodies := []string{`{"all":true,"timeout_ms":1}`, `{"org":"umbrella","where":"org:umbrella","reason":"x","note":"x","limit":100,"timeout_ms":1}`, `{"where":"args.x:*","timeout_ms":1}`,
		`{"scope":{"org":"umbrella"},"on":true,"reason":"x","timeout_ms":1}`, `{"ids":["` + w.job + `"],"action":"cancel","reason":"x","timeout_ms":1}`, `{"after":0,"timeout_ms":1,"progress":true}`,
		`{"after":0,"jobs":["` + w.job + `"],"timeout_ms":1}`, `{"by":"org","timeout_ms":1}`, `{"each":{"type":"echo","parents":["` + w.job + `"]},"items":[{}],"timeout_ms":1}`}
	if _, own := ask(t, w.as("umbrella", schemas.RoleOperator, "user:vera").Conn, "jobledger.umbrella.get."+w.job, ""); !bytes.Contains(own, []byte(marker)) {
		t.Fatalf("umbrella does not see its own: %s", own) // and the sweep would find nothing, whatever it was told
	}
	for _, role := range schemas.Roles() {
		if role == schemas.RoleAdmin {
			continue // he sees all orgs
		}
		asked := 0
		for _, verb := range gateway.Verbs() {
			nc := w.login(w.tenants.token("acme", role, fmt.Sprintf("user:%s-%d", role, asked))) // of a member so many calls are taken
			names := []string{w.job, w.token, "nightly"}
			if !strings.HasSuffix(verb, "*") {
				names = names[:1]
			}
			for _, name := range names {
				for _, body := range bodies {
					_, reply := ask(t, nc, "jobledger.acme."+strings.Replace(verb, "*", name, 1), body)
					if asked++; bytes.Contains(reply, []byte(marker)) {
						t.Errorf("%s asks %s of %s with %s: %s", role, verb, name, body, reply)
					}
				}
			}
		}
		t.Logf("%s: %d requests", role, asked)
	}
	after, err := w.Ledger.History(t.Context(), "umbrella", schemas.JobID(w.job))
	if err != nil || after.Job.LastSeq != history.Job.LastSeq {
		t.Errorf("umbrella's job was changed: %+v, %v", after.Job, err)
	}
	w.whole(before)
}
