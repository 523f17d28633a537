//go:build browser

package console_test

import (
	"flag"
	"fmt"
	"net/url"
	"strings"
	"testing"
)

var many = flag.Int("jobs", 3000, "jobs of TestMany; its figures stand in docs/PERFORMANCE.md for more")

// TestMany shows a list of many jobs: the counts are exact, a page holds no more rows than it may, and how long it took is
// logged.
func TestMany(t *testing.T) {
	s := dev(t)
	for at := 0; at < *many; at += 1000 {
		var b strings.Builder
		for i := at; i < min(at+1000, *many); i++ {
			fmt.Fprintf(&b, `,{"type":"kind-%d","args":{"customer":%d},"tags":{"env":"test"},"dedup":"off"}`, i%40, i%5000)
		}
		s.call("POST", "orgs/acme/submits", `{"items":[`+b.String()[1:]+`]}`, nil)
	}
	b := open(t, s.URL+"/o/acme/jobs")
	b.shows(".pages", fmt.Sprintf("of %s jobs", grouped(*many)))
	b.visit(s.URL + "/o/acme/jobs")
	b.shows("tbody td", "kind-")
	if rows := js[int](b, "document.querySelectorAll('tbody tr').length"); rows > 200 {
		t.Errorf("%d rows", rows)
	}
	paint := js[float64](b, "performance.getEntriesByName('first-contentful-paint')[0].startTime")
	list := js[float64](b, "Math.max(...performance.getEntriesByType('resource').filter((e) => e.name.includes('/jobs?')).map((e) => e.responseEnd))")
	t.Logf("of %d jobs: first paint after %.0f ms, the list after %.0f ms", *many, paint, list)
	for _, q := range []string{"type:kind-7", "state:submitted type:kind-1*", "args.customer:4711", "tag.env:test submitted:<1h -type:kind-3", "state:completed", "error:refused"} {
		took := js[float64](b, fmt.Sprintf(`(async () => {
			const begin = performance.now();
			const r = await fetch(document.baseURI + "v1/orgs/acme/jobs?limit=50&q=%s");
			await r.json();
			return r.ok ? performance.now() - begin : -1;
		})()`, url.QueryEscape(q)))
		if took < 0 {
			t.Errorf("%s is refused", q)
		}
		t.Logf("%-40s %.0f ms", q, took)
	}
	// Who began on an older page, and goes to the newest, is shown what comes.
	b.click(".pages button", "Older")
	b.until("location.search.includes('cursor=')")
	b.visit(js[string](b, "location.href"))
	b.shows(".live", "Live")
	b.click(".pages button", "To the newest")
	b.until("!location.search.includes('cursor=') && !document.querySelector('.table-wrap.stale')")
	s.submit(`{"type":"fresh","args":{}}`)
	b.shows("td", "fresh")
	b.fill("[data-filter]", "type:kind-7 ")
	b.until("[...document.querySelectorAll('tbody tr')].every((r) => r.innerText.includes('kind-7')) && location.search.includes('kind-7')")
}

// grouped writes a number as the pages do.
func grouped(n int) string {
	text := fmt.Sprint(n)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}
