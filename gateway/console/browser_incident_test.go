//go:build browser

package console_test

import (
	"fmt"
	"strings"
	"testing"
)

// incidentClicks is how many clicks may lie between the overview and a group that is on its way again (INTERFACE 7).
const incidentClicks = 6

// TestIncident shows the way out of one: of many types one fails for one org; from the overview of another org, who is called
// finds it, sees of what it died, and has all of the group start again, without a typed id.
func TestIncident(t *testing.T) {
	s := dev(t)
	const types, dead = 12, 110 // more than one request of a bulk
	for i := range types {
		s.submit(fmt.Sprintf(`{"type":"kind-%d","args":{}}`, i))
		s.call("POST", "orgs/globex/jobs", fmt.Sprintf(`{"type":"kind-%d","args":{}}`, i), nil)
	}
	items := make([]string, dead)
	for i := range items {
		items[i] = fmt.Sprintf(`{"type":"kind-7","args":{"n":%d},"dedup":"off"}`, i)
	}
	s.call("POST", "orgs/acme/submits", `{"items":[`+strings.Join(items, ",")+`]}`, nil)
	worker := s.command("worker", "run", "kind-7", "--exec", `case $JOBLEDGER_ORG in acme) echo "no route to 10.0.0.7" >&2; exit 65;; esac; echo {}`, "--max-jobs", fmt.Sprint(dead+2), "--slots", "16")
	if out, err := worker.CombinedOutput(); err != nil {
		t.Fatalf("worker: %v\n%s", err, out)
	}
	b := open(t, s.URL+"/o/globex")
	b.shows("h1", "Overview")
	clicks := 0
	click := func(selector, text string) {
		t.Helper()
		b.click(selector, text)
		clicks++
	}
	click(".side-link", "Organizations")
	click("tr td a.bad-link", "111") // the org for which it fails, known by its figure
	b.shows(".group-title", "no route to")
	b.shows(".group-facts", "kind-7")
	click(".group .actions button", "Retry")
	b.shows("dialog[open]", "Retry 111 jobs")
	b.fill("dialog[open] input[name=reason]", "the route is back")
	click("dialog[open] .dialog-foot button.primary", "Retry 111")
	b.shows(".toast", "111 retried")
	b.shows(".empty", "No open dead letter")
	if clicks > incidentClicks {
		t.Errorf("%d clicks, %d are allowed", clicks, incidentClicks)
	}
	if path := js[string](b, "location.pathname"); path != "/o/acme/dead-letters" {
		t.Errorf("the page is %s", path)
	}
	// The same from the overview of the org itself, whose first line says which type fails.
	b.visit(s.URL + "/o/acme")
	b.shows(".problems", "kind-7 fails")
	if e := s.happened(s.first("type:kind-7"), "retried"); e.Actor != "user:ada" || e.Reason != "the route is back" {
		t.Errorf("%+v", e)
	}
}
