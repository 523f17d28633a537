//go:build browser

package console_test

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestFamily shows the parents and children of a job, and how they move while one looks (INTERFACE 7, 25).
func TestFamily(t *testing.T) {
	s := dev(t)
	first := s.submit(`{"type":"extract","args":{}}`)
	second := s.submit(`{"type":"convert","args":{},"parents":["` + first + `"]}`)
	b := open(t, s.URL+"/o/acme/jobs/"+second)
	b.shows(".family", first)
	b.shows(".family", "submitted")
	b.shows(".live", "Live")
	js[bool](b, "(window.loadedOnce = true)")
	third := s.submit(`{"type":"load","args":{},"parents":["` + second + `"]}`)
	b.shows(".family-below .family-child", "load") // it came while the page was open
	b.shows(".family-below", "0 of 1 completed")
	s.submit(`{"type":"report","args":{},"parents":["` + third + `"]}`)
	js[bool](b, "(document.querySelector('.family-child .icon-btn').click(), true)")
	b.shows(".family-below .family-below", "report")
	run := func(kind string) {
		t.Helper()
		if out, err := s.command("worker", "run", kind, "--exec", "echo {}", "--max-jobs", "1").CombinedOutput(); err != nil {
			t.Fatalf("worker: %v\n%s", err, out)
		}
	}
	run("extract")
	b.until("document.querySelector('.family li:has(a[href$=\"" + first + "\"])').innerText.includes('completed')")
	run("convert")
	run("load")
	b.shows(".family-below", "1 of 1 completed")
	b.until("window.loadedOnce === true")
	b.click(".family-below .family-child a", "load")
	b.shows(".family", second)
	b.shows(".family-below .family-child", "report")
}

// TestUnmask shows that what a schema redacts is shown to who says why, and kept nowhere: not in the page, nor in a job that is
// run again.
func TestUnmask(t *testing.T) {
	s := dev(t)
	s.call("PUT", "types/pay", `{"name":"pay","reason":"cards","schema":{"type":"object","properties":{"card":{"type":"string","x-redact":true}}}}`, nil)
	id := s.submit(`{"type":"pay","args":{"card":"4929-1234","amount":9007199254740993}}`)
	b := open(t, s.URL+"/o/acme/jobs/"+id)
	b.shows(".json .j-redacted", "redacted")
	b.click(".card-head button", "Unmask")
	b.click("dialog[open] .dialog-foot button.primary", "Unmask")
	b.shows("dialog[open] .wrong-text", "say why")
	b.confirm("case 4711")
	b.shows(".json", "4929-1234")
	b.shows(".json", "9007199254740993")
	b.shows(".events", "unmasked")
	b.shows(".events", "case 4711")
	b.click(".card-head button", "Hide again")
	b.shows(".json .j-redacted", "redacted")
	if kept := js[string](b, "JSON.stringify([localStorage, sessionStorage, location.href]) + document.documentElement.outerHTML"); strings.Contains(kept, "4929-1234") {
		t.Error("what was unmasked stands in the page still")
	}
	b.click(".actions button", "Run again")
	b.until("document.querySelector('dialog[open] textarea')?.value.includes('[redacted]')")
	js[bool](b, `(() => { const e = document.querySelector("dialog[open] textarea"); e.value = e.value.replace('"amount": 9', '"amount": 8'); e.dispatchEvent(new Event("input", {bubbles: true})); return true })()`)
	b.fill("dialog[open] input[name=reason]", "another amount")
	b.click("dialog[open] .dialog-foot button.primary", "Submit")
	b.shows("dialog[open] .wrong-text", "give the value")
	js[bool](b, `(() => { const e = document.querySelector("dialog[open] textarea"); e.value = e.value.replace('[redacted]', '4929-9999'); e.dispatchEvent(new Event("input", {bubbles: true})); return true })()`)
	b.click("dialog[open] .dialog-foot button.primary", "Submit")
	b.until("!location.pathname.endsWith(" + string(must(json.Marshal(id))) + ")")
	b.shows(".json .j-redacted", "redacted")
	var whole struct{ Args json.RawMessage }
	s.call("POST", "orgs/acme/jobs/"+b.job()+"/unmask", `{"reason":"the test looks"}`, &whole)
	if args := strings.NewReplacer(" ", "", "\n", "").Replace(string(whole.Args)); args != `{"card":"4929-9999","amount":8007199254740993}` {
		t.Errorf("it runs again with %s", args)
	}
}
