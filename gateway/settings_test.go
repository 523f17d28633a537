package gateway_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

func setRequest(isNew bool, set, reason string) gateway.SetRequest {
	return gateway.SetRequest{Set: json.RawMessage(set), New: isNew, Reason: reason}
}

// DESIGN D11: settings are added once and changed field by field; what is not named stays, null is
// the default and zero a value; each change names who and why, and all earlier ones stay readable.
func TestSettings(t *testing.T) {
	w := start(t)
	c, ctx := w.client, t.Context()
	if _, err := c.SetOrg(ctx, "acme", setRequest(false, `{"weight":2}`, "r")); code(err) != ledger.CodeNotFound {
		t.Errorf("edit of an org that was never set: %v", err)
	}
	o, err := c.SetOrg(ctx, "acme", setRequest(true, `{"weight":2,"max_running":0,"submit_rate":{"count":5,"per_ms":60000}}`, "plan"))
	if err != nil || o.Weight != 2 || o.MaxRunning != 0 || o.SubmitRate.Count != 5 || o.State != schemas.OrgActive || *o.Actor != "user:ada" || *o.Reason != "plan" || o.Seq == nil {
		t.Fatalf("add: %+v %v", o, err)
	}
	if _, err := c.SetOrg(ctx, "acme", setRequest(true, `{}`, "r")); code(err) != ledger.CodeInUse {
		t.Errorf("add twice: %v", err)
	}
	if o, err = c.SetOrg(ctx, "acme", setRequest(false, `{"max_running":null,"submit_rate":{"count":9}}`, "more")); err != nil || o.Weight != 2 ||
		o.MaxRunning != schemas.OrgRunningDefault || *o.SubmitRate != (schemas.Rate{Count: 9, PerMS: 60000}) {
		t.Errorf("edit: %+v %v", o, err)
	}
	before := w.end()
	if o, err = c.SetOrg(ctx, "acme", setRequest(false, `{"weight":2}`, "the same")); err != nil || *o.Reason != "more" || w.end() != before {
		t.Errorf("nothing to change: %+v %v", o, err)
	}
	stale := setRequest(false, `{"weight":3}`, "late")
	other := before - 1
	stale.IfSeq = &other
	if _, err = c.SetOrg(ctx, "acme", stale); code(err) != ledger.CodeVersionConflict || !strings.Contains(err.Error(), "by user:ada at sequence "+o.Seq.String()) {
		t.Errorf("an edit of settings that are not in force: %v", err)
	}
	h, err := c.OrgHistory(ctx, "acme")
	if err != nil || len(h.Items) != 2 || *h.Items[0].Reason != "plan" || *h.Items[1].Actor != "user:ada" || !strings.Contains(string(h.Items[0].Settings), `"max_running":0`) {
		t.Errorf("history: %+v %v", h, err)
	}
	w.submit(ledger.SubmitRequest{})
	if _, err = c.List(ctx, gateway.ListRequest{MinSeq: w.end()}); err != nil {
		t.Fatal(err)
	}
	if o, err = c.OrgInfo(ctx, "acme"); err != nil || o.Counts == nil || o.Counts.Submitted != 1 {
		t.Errorf("info: %+v %v", o, err)
	}
	if o, err = c.OrgInfo(ctx, "stranger"); err != nil || o.Seq != nil || o.MaxRunning != schemas.OrgRunningDefault || o.Weight != 1 {
		t.Errorf("an org that was never set: %+v %v", o, err)
	}
	if all, err := c.Orgs(ctx); err != nil || len(all.Items) != 1 {
		t.Errorf("orgs: %+v %v", all, err)
	}
	if _, err := c.SetResource(ctx, "carrier", setRequest(true, `{"max_running":1,"per_org":true}`, "terms")); err != nil {
		t.Error(err)
	}
	if r, err := c.Resource(ctx, "carrier"); err != nil || r.MaxRunning != 1 || !r.PerOrg || *r.Reason != "terms" {
		t.Errorf("resource: %+v %v", r, err)
	}
	if _, err := c.Resource(ctx, "nope"); code(err) != ledger.CodeNotFound {
		t.Errorf("a resource that was never set: %v", err)
	}
}

// what no setting may be is refused with its field, and nothing is stored.
func TestBadSettings(t *testing.T) {
	w := start(t)
	before := w.end()
	// Whether a queue is known is asked of the views, too: they are there once a list is answered.
	if _, err := w.client.List(t.Context(), gateway.ListRequest{MinSeq: before}); err != nil {
		t.Fatal(err)
	}
	for subject, bodies := range map[string][]string{
		"acme.org.set": {`{"new":true,"set":{}}`, `{"new":true,"reason":" ","set":{}}`, `{"new":true,"reason":"r","set":{"weight":-1}}`, `{"new":true,"reason":"r","set":{"weight":1.5}}`,
			`{"new":true,"reason":"r","set":{"wieght":1}}`, `{"new":true,"reason":"r","set":{"name":"other"}}`, `{"new":true,"reason":"r","set":{"state":"deleted"}}`,
			`{"new":true,"reason":"r","set":{"state":"sleepy"}}`, `{"new":true,"reason":"r","set":[1]}`, `{"new":true,"reason":"r","set":{"start_rate":{"count":0,"per_ms":1000}}}`,
			`{"new":true,"reason":"r","set":{"start_rate":{"count":1,"per_ms":1}}}`, `{`},
		"acme.queue.set.bulk":     {`{"new":true,"reason":"r","set":{"max_running":-1}}`, `{"new":true,"reason":"r","set":{"owner":"a.b"}}`, `{"new":true,"reason":"r","set":{"weights":{"a.b":1}}}`},
		"acme.resource.set.thing": {`{"new":true,"reason":"r","set":{"max_running":"many"}}`},
		"acme.hold.set": {`{"on":true}`, `{"on":true,"reason":"r","scope":{"queue":"a.b"}}`, `{"on":true,"reason":"r","scope":{"batch":"b","queue":"q"}}`,
			`{"on":true,"reason":"r","until":"2020-01-01T00:00:00Z"}`, `{"on":false,"reason":"r","until":"2120-01-01T00:00:00Z"}`},
		"acme.type.apply": {`{}`, `{"types":[]}`},
	} {
		for _, body := range bodies {
			w.refused(ledger.CodeInvalidArgument, subject, body)
		}
	}
	w.refused(ledger.CodeNotFound, "acme.hold.set", `{"on":false,"reason":"r","scope":{"queue":"bulk"}}`)
	w.refused(ledger.CodeNotFound, "acme.type.set.nope", `{"reason":"r","set":{}}`)
	w.refused(ledger.CodeNotFound, "acme.queue.info.nope", "")
	w.refused(ledger.CodeNotFound, "acme.queue.history.nope", "")
	if w.end() != before {
		t.Error("something was stored")
	}
}

// a hold is one for its scope, answers how many jobs it holds, shows at its queues, and is lifted once.
func TestHolds(t *testing.T) {
	w := start(t)
	c, ctx := w.client, t.Context()
	for range 3 {
		w.submit(ledger.SubmitRequest{Queue: "bulk"})
	}
	w.submit(ledger.SubmitRequest{})
	if _, err := c.List(ctx, gateway.ListRequest{MinSeq: w.end()}); err != nil {
		t.Fatal(err)
	}
	bulk := schemas.HoldScope{Queue: "bulk"}
	until := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	h, err := c.SetHold(ctx, gateway.HoldRequest{Scope: bulk, On: true, Until: &until, Reason: "database moves"})
	if err != nil || h.ID != bulk.ID() || h.Jobs == nil || *h.Jobs != 3 || !h.Until.Equal(until) {
		t.Fatalf("pause: %+v %v", h, err)
	}
	if _, err := c.SetHold(ctx, gateway.HoldRequest{Scope: schemas.HoldScope{Type: "echo", Org: "acme"}, On: true, Reason: "bounces"}); err != nil {
		t.Fatal(err)
	}
	all, err := c.Holds(ctx)
	if err != nil || len(all.Items) != 2 {
		t.Fatalf("holds: %+v %v", all, err)
	}
	q, err := c.Queue(ctx, "bulk")
	if err != nil || !q.Paused || len(q.Holds) != 2 || q.Waiting != 3 || q.Mine.Waiting != 3 || q.OldestAgeS == nil {
		t.Errorf("queue: %+v %v", q, err)
	}
	if q, err = c.Queue(ctx, "default"); err != nil || q.Paused || len(q.Holds) != 1 {
		t.Errorf("a queue that is held in part: %+v %v", q, err)
	}
	for range 2 {
		if h, err := c.SetHold(ctx, gateway.HoldRequest{Scope: bulk, Reason: "moved"}); err != nil || h.On {
			t.Errorf("resume: %+v %v", h, err)
		}
	}
	stored, err := w.Ledger.SettingHistory(ctx, ledger.KindHold, bulk.ID())
	if err != nil || len(stored) != 2 {
		t.Errorf("%d events of the hold, want one to lay and one to lift it (%v)", len(stored), err)
	}
	queues, err := c.Queues(ctx)
	if err != nil || len(queues.Items) != 2 || queues.Items[0].Name != "bulk" || queues.Items[0].Paused {
		t.Errorf("queues: %+v %v", queues, err)
	}
}

// some of a type's policy is changed and the rest stays as it was stored, defaults and all; a file of types is
// applied type by type.
func TestEditType(t *testing.T) {
	w := start(t)
	c, ctx := w.client, t.Context()
	attempts := 3
	if _, err := c.TypeAdd(ctx, gateway.Type{Name: "mail", MaxAttempts: &attempts, Schema: json.RawMessage(`{"type":"object"}`)}); err != nil {
		t.Fatal(err)
	}
	got, err := c.EditType(ctx, "mail", setRequest(false, `{"enabled":false,"max_running":5,"start_rate":{"count":9,"per_ms":1000},"breaker":{"percent":20},"disabled_orgs":["x"],"dedup":"singleton"}`, "terms"))
	if err != nil || *got.Enabled || got.MaxRunning != 5 || got.StartRate.Count != 9 || got.Breaker.Percent != 20 || got.Breaker.MinAttempts != schemas.BreakerAttemptsDefault ||
		!slices.Equal(got.DisabledOrgs, []schemas.OrgID{"x"}) || *got.MaxAttempts != 3 || *got.Dedup != "singleton" || *got.Reason != "terms" {
		t.Fatalf("edit: %+v %v", got, err)
	}
	stored, err := w.Ledger.Type(ctx, "mail")
	if err != nil || stored.TimeoutMS != 0 || stored.GraceMS != nil || stored.WindowMS != nil || string(stored.Schema) != `{"type":"object"}` {
		t.Errorf("an edit of something else wrote defaults down: %+v %v", stored, err)
	}
	for _, c := range []struct{ set, policy string }{{`{"dedup":"off"}`, "off"}, {`{"dedup":"in_flight"}`, "in_flight"}, {`{"dedup":"strict","dedup_window_s":60}`, "strict"}, {`{"dedup":"off"}`, "off"}} {
		if got, err = w.client.EditType(ctx, "mail", setRequest(false, c.set, "r")); err != nil || *got.Dedup != c.policy {
			t.Errorf("%s: %v %v", c.set, got, err)
		}
	}
	if got, err = c.EditType(ctx, "mail", setRequest(false, `{"enabled":true,"max_running":null,"start_rate":null,"breaker":null,"disabled_orgs":null}`, "r")); err != nil ||
		!*got.Enabled || got.MaxRunning != 0 || got.StartRate != nil || got.Breaker != nil || got.DisabledOrgs != nil {
		t.Errorf("back to the defaults: %+v %v", got, err)
	}
	for _, set := range []string{`{"max_attempts":0}`, `{"run_timeout_s":0}`, `{"schema":{"type":"nonsense"}}`, `{"max_runing":1}`, `{"breaker":{"percent":101}}`, `{"dedup":"sometimes"}`} {
		if _, err := c.EditType(ctx, "mail", setRequest(false, set, "r")); code(err) != ledger.CodeInvalidArgument {
			t.Errorf("%s: %v", set, err)
		}
	}
	r := gateway.TypesRequest{Reason: "release", Types: []gateway.Type{{Name: "a", MaxAttempts: &attempts}, {Name: "b", Schema: json.RawMessage(`{"type":"nonsense"}`)}, {}, {Name: "c", Queue: "bulk"}}, DryRun: true}
	for _, dry := range []bool{true, false, false} {
		before := w.end()
		r.DryRun = dry
		reply, err := c.ApplyTypes(ctx, r)
		if err != nil || len(reply.Items) != 4 || !reply.Items[0].OK || reply.Items[1].OK || reply.Items[2].OK || !reply.Items[3].OK || reply.Items[1].Error.Code != ledger.CodeInvalidArgument {
			t.Fatalf("apply: %+v %v", reply, err)
		}
		if dry && w.end() != before {
			t.Error("a dry run stored something")
		}
	}
	if h, err := c.TypeHistory(ctx, "a"); err != nil || len(h.Items) != 1 || *h.Items[0].Reason != "release" {
		t.Errorf("the same file twice: %+v %v", h, err)
	}
}

// while an org is suspended its submits are taken and its results withheld, and given again when it is resumed.
func TestSuspendedResults(t *testing.T) {
	w := start(t)
	c, ctx := w.client, t.Context()
	j := w.start(w.submit(ledger.SubmitRequest{}))
	w.finish(j, `{"secret":1}`)
	for _, state := range []string{"suspended", "active"} {
		if _, err := c.SetOrg(ctx, "acme", setRequest(state == "suspended", `{"state":"`+state+`"}`, "r")); err != nil {
			t.Fatal(err)
		}
		r, err := c.Result(ctx, j.ID)
		record, getErr := c.Get(ctx, j.ID)
		if getErr != nil {
			t.Fatal(getErr)
		}
		if withheld := state == "suspended"; withheld != (code(err) == ledger.CodeOrgSuspended) || withheld != (string(record.Result) == "null") {
			t.Errorf("%s: result %+v (%v), record %s", state, r, err, record.Result)
		}
		w.submit(ledger.SubmitRequest{})
	}
}
