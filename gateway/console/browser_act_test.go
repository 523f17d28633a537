//go:build browser

package console_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

// TestActions shows that what is done on a page stands in the ledger, with who did it and why.
func TestActions(t *testing.T) {
	s := dev(t)
	s.seed()
	t.Run("cancel", func(t *testing.T) {
		id := s.submit(`{"type":"called-off","args":{}}`)
		b := open(t, s.URL+"/o/acme/jobs/"+id)
		b.shows(".standing", "submitted")
		b.press("C")
		b.click("dialog[open] .dialog-foot button.danger", "Cancel the job")
		b.shows("dialog[open] .wrong-text", "say why") // no reason, no cancel
		b.confirm("not needed")
		b.shows(".standing", "canceled")
		if e := s.happened(id, "canceled"); e.Actor != "user:ada" || !strings.Contains(e.Reason+string(e.Data), "not needed") {
			t.Errorf("%+v", e)
		}
	})
	t.Run("retry", func(t *testing.T) {
		id := s.first("type:broken")
		b := open(t, s.URL+"/o/acme/jobs/"+id)
		b.click(".actions button", "Retry")
		b.confirm("the network is back")
		b.shows(".events", "the network is back")
		if e := s.happened(id, "retried"); e.Actor != "user:ada" || !strings.Contains(e.Reason+string(e.Data), "the network is back") {
			t.Errorf("%+v", e)
		}
	})
	t.Run("group", func(t *testing.T) {
		b := open(t, s.URL+"/o/acme/dead-letters")
		b.shows(".group-n", "2")
		b.click(".group .actions button", "Close")
		b.shows("dialog[open]", "Close 2 jobs")
		b.confirm("ticket 7")
		b.shows(".empty", "No open dead letter")
		if e := s.happened(s.first("type:broken resolution:resolved"), "resolved"); e.Actor != "user:ada" || !strings.Contains(e.Reason+string(e.Data), "ticket 7") {
			t.Errorf("%+v", e)
		}
	})
	t.Run("again", func(t *testing.T) {
		from := s.submit(`{"type":"exact","args":{"n":9007199254740993,"b":1,"a":[1.10]}}`)
		b := open(t, s.URL+"/o/acme/jobs/"+from)
		b.click(".actions button", "Run again")
		b.until("document.querySelector('dialog[open] textarea')?.value.includes('9007199254740993')")
		js[bool](b, `(() => { const e = document.querySelector("dialog[open] textarea"); e.value = e.value.replace('"b": 1', '"b": 2'); e.dispatchEvent(new Event("input", {bubbles: true})); return true })()`)
		b.confirm("with another b")
		b.until("!location.pathname.endsWith(" + string(must(json.Marshal(from))) + ")")
		var j struct{ Args json.RawMessage }
		s.call("GET", "orgs/acme/jobs/"+b.job(), "", &j)
		if args := strings.NewReplacer(" ", "", "\n", "").Replace(string(j.Args)); args != `{"n":9007199254740993,"b":2,"a":[1.10]}` {
			t.Errorf("args are %s", args)
		}
	})
	t.Run("text", func(t *testing.T) { // what jobs say is never markup
		id := s.submit(`{"type":"markup","args":{"<img src=x onerror=window.broken=1>":"<script>window.broken=1</script>"},"tags":{"t":"<b onclick=x>bold</b>"}}`)
		b := open(t, s.URL+"/o/acme/jobs/"+id)
		b.shows(".json", "<script>window.broken=1</script>")
		b.shows(".tags", "<b onclick=x>bold</b>")
		b.until("window.broken === undefined && document.querySelector('main img, main script, main b') === null")
	})
	t.Run("new", func(t *testing.T) { s.newJob(t) })
	t.Run("bulk", func(t *testing.T) { s.bulk(t) })
}

// newJob fills the form that is drawn from a type's schema.
func (s *site) newJob(t *testing.T) {
	s.call("PUT", "types/mail", `{"name":"mail","reason":"test","schema":{"type":"object","required":["to"],"properties":{
		"to":{"type":"string","description":"an address"},"customer":{"type":"integer"},"urgent":{"type":"boolean"},"kind":{"enum":["news","bill"]},"copies":{"type":"array","items":{"type":"string"}}}}}`, nil)
	b := open(t, s.URL+"/o/acme/jobs?new=1&type=mail")
	b.shows("dialog .help", "an address")
	b.click("dialog[open] .dialog-foot button.primary", "Submit")
	b.until("document.querySelector('dialog[open] input[name=to]:invalid') !== null") // the browser says what is missing
	b.fill("dialog input[name=to]", "ada@example.net")
	b.fill("dialog input[name=customer]", "9007199254740993")
	b.fill("dialog select[name=kind]", `"bill"`)
	b.fill("dialog textarea[name=copies]", "bob@example.net\ncy@example.net")
	js[bool](b, "(document.querySelector('dialog input[name=urgent]').click(), true)")
	b.click("dialog[open] .dialog-foot button.primary", "Submit")
	b.shows(".standing", "submitted")
	var j struct{ Args json.RawMessage }
	s.call("GET", "orgs/acme/jobs/"+b.job(), "", &j)
	if want := `{"to":"ada@example.net","customer":9007199254740993,"urgent":true,"kind":"bill","copies":["bob@example.net","cy@example.net"]}`; string(j.Args) != want {
		t.Errorf("args are %s", j.Args)
	}
}

// bulk cancels all jobs that a filter passes: they are counted first.
func (s *site) bulk(t *testing.T) {
	var last string
	for range 120 { // more than one request of a bulk, and more than one page
		last = s.submit(`{"type":"many","args":{},"dedup":"off"}`)
	}
	b := open(t, s.URL+"/o/acme/jobs?q="+url.QueryEscape("type:many"))
	b.shows(".pages", "of 120 jobs")
	// No answer comes to the request: it is asked once more, and begun once.
	js[bool](b, `(() => { const real = fetch; let n = 0; window.fetch = async (to, o) => { const r = await real(to, o); return String(o?.body).includes('"detach":true') && ++n === 1
		? new Response('{"error":{"code":"unavailable","message":"nobody leads"}}', {status: 503}) : r }; return true })()`)
	b.until("document.querySelector('.bulk') === null && document.querySelectorAll('tbody tr').length > 20")
	js[bool](b, "(document.querySelector('thead input').click(), true)")
	b.click(".bulk .link", "Select all 120")
	b.click(".bulk button", "Cancel")
	b.shows("dialog[open]", "120 jobs match")
	b.confirm("the campaign is over")
	b.shows(".toast", "120 canceled")
	b.click(".tabs button", "Canceled")
	b.shows(".pages", "of 120 jobs that match")
	if e := s.happened(last, "canceled"); e.Actor != "user:ada" || e.Reason != "the campaign is over" {
		t.Errorf("%+v", e)
	}
}

// TestBulkGoesOn shows that what is done to many jobs needs no page once it was begun, and is seen and stopped in Activity by
// whoever may (INTERFACE 7, 32).
func TestBulkGoesOn(t *testing.T) {
	s := dev(t)
	items := strings.TrimSuffix(strings.Repeat(`{"type":"many","args":{},"dedup":"off"},`, 300), ",")
	s.call("POST", "orgs/acme/submits", `{"items":[`+items+`]}`, nil)
	b := open(t, s.URL+"/o/acme/jobs?q="+url.QueryEscape("type:many"))
	b.shows(".pages", "of 300 jobs")
	js[bool](b, "(document.querySelector('thead input').click(), true)")
	js[bool](b, `(() => { const real = fetch; window.fetch = async (to, o) => { const r = await real(to, o); if (r.status === 202) window.begun = true; return r }; return true })()`)
	b.click(".bulk .link", "Select all 300")
	b.click(".bulk button", "Cancel")
	b.fill("dialog[open] input[name=reason]", "no more")
	b.click("dialog[open] .dialog-foot button.danger", "Cancel 300")
	b.until("window.begun === true")
	b.visit(s.URL + "/o/acme/activity") // the page that began it is gone
	b.shows(".notes", "Cancel 300 jobs")
	b.shows(".notes", "300 canceled")
	b.shows(".notes .state", "completed")
	// One that takes its time, begun elsewhere, is stopped here.
	s.call("POST", "orgs/acme/submits", `{"items":[`+items+`]}`, nil)
	var last struct{ Seq int } // the views lag
	s.call("POST", "orgs/acme/jobs", `{"type":"many","args":{},"dedup":"off"}`, &last)
	s.call("POST", "orgs/acme/bulk", fmt.Sprintf(`{"action":"cancel","q":"type:many state:submitted","reason":"by hand","rate":1,"detach":true,"bulk_id":"slow","min_seq":%d}`, last.Seq), nil)
	b.shows(".notes .state", "running")
	b.shows(".notes", "by hand")
	b.click(".notes button", "Stop")
	b.confirm("it was a mistake")
	b.shows(".notes .state", "canceled")
	if e := s.happened("slow", "cancel_requested"); e.Actor != "user:ada" {
		t.Errorf("%+v", e)
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}
