//go:build browser

package console_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"testing"
)

// What `make browser` fetches from npm, and the sum that it must have.
const (
	axeFile = "../../bin/axe/node_modules/axe-core/axe.min.js"
	axeSum  = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
)

// TestAxe shows that axe-core finds no page at fault by WCAG 2.2 AA: every page, light and dark, wide and narrow, and what
// opens on top of them (INTERFACE 7).
func TestAxe(t *testing.T) {
	script, err := os.ReadFile(axeFile)
	if err != nil {
		t.Skip("SKIPPED: nothing says whether the pages are accessible; make browser fetches axe-core from npm: ", err)
	}
	if sum := sha256.Sum256(script); hex.EncodeToString(sum[:]) != axeSum {
		t.Fatalf("%s is another: %x", axeFile, sum)
	}
	s := dev(t)
	looks := s.looks()
	s.call("PUT", "orgs/acme/schedules/nightly", `{"type":"fine","cron":"0 3 * * *","tz":"UTC","args":{}}`, nil)
	b := open(t, s.URL+"/o/acme")
	for _, page := range append(looks, look{"login", "../../login", ".login", "Token"}) {
		for _, as := range []struct {
			theme string
			width int64
		}{{"light", 1280}, {"dark", 1280}, {"light", 360}} {
			b.theme(as.theme)
			b.size(as.width, 900)
			b.visit(s.URL + "/o/acme/" + page.path)
			b.shows(page.selector, page.text)
			b.clean(script, fmt.Sprintf("%s, %s at %d", page.name, as.theme, as.width))
		}
	}
	b.size(1280, 900)
	for _, theme := range []string{"light", "dark"} {
		b.theme(theme)
		for _, over := range []struct{ name, path, selector, text, shows string }{
			{"go to", "jobs", ".go-to", "Go to", ".palette-in"}, {"keys", "jobs", ".side-foot .side-link", "Keyboard", "dialog[open]"}, {"orgs", "jobs", ".org-switch", "acme", ".palette-in"},
			{"retry", "dead-letters", ".group .actions button", "Retry", "dialog[open] input[name=reason]"}, {"group", "dead-letters", ".group-open", "", ".group-jobs td"},
			{"bulk", "jobs", "thead .sel", "", ".bulk"}, {"run again", looks[3].path, ".actions button", "Run again", "dialog[open] textarea"}, {"event", looks[3].path, ".event-row", "submitted", ".event-data .json"},
			{"queue", "queues", "td a", "default", "h1"}, {"type", "types", "td a", "broken", "h1"}, {"organization", "organizations", "td a", "acme", "h1"}, {"schedule", "schedules", "td a", "nightly", "h1"},
			{"new token", "tokens", ".page-head button", "", "dialog[open]"}, {"new schedule", "schedules", ".page-head button", "", "dialog[open]"}, {"all", "activity", ".tabs button", "Everything", "td"},
		} {
			b.visit(s.URL + "/o/acme/" + over.path)
			if over.selector == "thead .sel" {
				b.shows("td", "nobody")
				js[bool](b, "(document.querySelector('thead input').click(), true)")
			} else {
				b.click(over.selector, over.text)
			}
			b.until(fmt.Sprintf("document.querySelector(%q) !== null", over.shows))
			b.clean(script, over.name+", "+theme)
		}
	}
	js[bool](b, "(document.querySelector('main').append(document.createElement('button')), true)")
	if len(b.faults(script)) == 0 {
		t.Error("a button without a name is no fault for it: it looks at nothing")
	}
}

// clean has axe-core look at what is shown.
func (b *tab) clean(script []byte, what string) {
	b.t.Helper()
	for _, v := range b.faults(script) {
		b.t.Errorf("%s: %s", what, v)
	}
}

func (b *tab) faults(script []byte) []string {
	b.t.Helper()
	const run = `axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"], resultTypes: ["violations"]}).then((r) =>
		r.violations.flatMap((v) => v.nodes.slice(0, 3).map((n) => v.id + ": " + n.html.slice(0, 200) + "\n    " + n.failureSummary.replaceAll("\n", " "))))`
	js[bool](b, string(script)+";true")
	return js[[]string](b, run)
}
