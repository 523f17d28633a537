//go:build browser

package console_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// look is one page, and a text by which it is known to be whole.
type look struct{ name, path, selector, text string }

// looks are all pages, of a ledger in which there is something to see.
func (s *site) looks() []look {
	s.t.Helper()
	s.seed()
	dead := s.first("state:dead_lettered")
	waiting := s.submit(`{"type":"unserved","args":{"n":9007199254740993}}`)
	return []look{
		{"overview", "", ".stat", "Waiting"}, {"jobs", "jobs", "td", "nobody"}, {"dead-letters", "dead-letters", ".group-title", "broken"},
		{"job-dead", "jobs/" + dead, ".events", "dead lettered"}, {"job-waiting", "jobs/" + waiting, ".explain", "nobody serves"}, {"job-new", "jobs?new=1", "dialog", "Type"},
		{"queues", "queues", "main", "default"}, {"types", "types", "main", "broken"}, {"workers", "workers", "h1", "Workers"}, {"schedules", "schedules", "h1", "Schedules"},
		{"organizations", "organizations", "h1", "Organizations"}, {"tokens", "tokens", "h1", "Tokens"}, {"activity", "activity", "h1", "Activity"},
	}
}

// TestLooks shows that every page is drawn from a real ledger, wide and narrow, light and dark: nothing is cut off
// sideways, and the browser complains of nothing (INTERFACE 7).
func TestLooks(t *testing.T) {
	s := dev(t)
	looks := s.looks()
	b := open(t, s.URL+"/o/acme")
	for _, page := range looks {
		for _, width := range []int64{1280, 360} {
			var colors []string
			for _, theme := range []string{"light", "dark"} {
				b.theme(theme)
				b.size(width, 900)
				b.visit(s.URL + "/o/acme/" + page.path)
				b.shows(page.selector, page.text)
				if sideways := js[int](b, "document.documentElement.scrollWidth - innerWidth"); sideways > 0 {
					t.Errorf("%s at %d: %d pixels lie beside the page", page.name, width, sideways)
				}
				if over := b.overlaps(); over != "" {
					t.Errorf("%s at %d: cells that lie on their neighbours: %s", page.name, width, over)
				}
				colors = append(colors, js[string](b, "getComputedStyle(document.body).backgroundColor"))
				b.shoot(fmt.Sprintf("%s-%d-%s", page.name, width, theme))
			}
			if colors[0] == colors[1] {
				t.Errorf("%s: light and dark are both %s", page.name, colors[0])
			}
		}
	}
}

// overlaps are the cells of tables whose content is wider than they are, and so lies on what stands beside it.
func (b *tab) overlaps() string {
	b.t.Helper()
	return js[string](b, `[...document.querySelectorAll(".table td")].filter((e) => e.offsetParent && e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).overflowX === "visible").map((e) => e.className + ": " + e.innerText).join()`)
}

// shoot writes a screenshot where -shots says.
func (b *tab) shoot(name string) {
	b.t.Helper()
	if *shots == "" {
		return
	}
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*shots, name+".png"), png, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

// seed has some jobs of acme complete, and some fail for good.
func (s *site) seed() {
	s.t.Helper()
	for i := range 6 {
		s.submit(fmt.Sprintf(`{"type":"fine","args":{"n":%d},"tags":{"env":"test"}}`, i))
		if i < 3 {
			s.submit(fmt.Sprintf(`{"type":"broken","args":{"n":%d}}`, i))
		}
	}
	s.submit(`{"type":"nobody","args":{}}`)
	for script, args := range map[string][]string{"echo '{\"ok\":true}'": {"fine", "--max-jobs", "6"}, "echo 'broken: cannot reach 10.0.0.7' >&2; exit 65": {"broken", "--max-jobs", "3"}} {
		if out, err := s.command(append([]string{"worker", "run", args[0], "--exec", script}, args[1:]...)...).CombinedOutput(); err != nil {
			s.t.Fatalf("worker: %v\n%s", err, out)
		}
	}
}

// first is the id of the newest job that a filter passes.
func (s *site) first(q string) string {
	s.t.Helper()
	var list struct{ Items []struct{ ID string } }
	s.call("GET", "orgs/acme/jobs?limit=1&q="+url.QueryEscape(q), "", &list)
	if len(list.Items) == 0 {
		s.t.Fatalf("no job has %s", q)
	}
	return list.Items[0].ID
}

// TestPrefix shows that behind a proxy that cuts a prefix off the pages, the API and the feed work as they are.
func TestPrefix(t *testing.T) {
	s := dev(t)
	to, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	through := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	proxy := httptest.NewServer(http.StripPrefix("/deep/inside", through))
	t.Cleanup(proxy.Close)
	b := open(t, proxy.URL+"/deep/inside/o/acme/jobs")
	b.shows(".live", "Live")
	id := s.submit(`{"type":"seen","args":{}}`)
	b.shows("td", "seen")
	b.click("td a", "seen")
	b.shows(".sub code", id)
	if at := js[string](b, "location.pathname"); at != "/deep/inside/o/acme/jobs/"+id {
		t.Errorf("the address is %s", at)
	}
	b.click(".side-link", "Overview")
	b.shows("h1", "Overview")
	b.visit(proxy.URL + "/deep/inside/")
	b.until("location.pathname.startsWith('/deep/inside/o/')")
	b.expectOffline(true) // 404 is an error for the browser
	b.visit(proxy.URL + "/deep/inside/jobs/" + id)
	b.shows("h1", "There is no such page")
	b.click("a", "To the overview")
	b.until("location.pathname.startsWith('/deep/inside/o/')")
}

// TestKeyboard shows the keys: the filter with completion, rows, the palette and the help.
func TestKeyboard(t *testing.T) {
	s := dev(t)
	id := s.submit(`{"type":"one","args":{}}`)
	s.submit(`{"type":"two","args":{}}`)
	b := open(t, s.URL+"/o/acme/jobs")
	b.shows("td", "two")
	b.shows(".live", "Live")
	b.press("j")
	b.shows("tr.at", "two")
	s.submit(`{"type":"three","args":{}}`)
	b.shows("td", "three")
	b.press("C") // means the row that was chosen, which has moved
	b.shows("dialog[open] strong", "two")
	b.press(kb.Escape)
	b.until("document.querySelector('dialog[open]') === null")
	b.press("/")
	b.until("document.activeElement.matches('[data-filter]')")
	b.fill("[data-filter]", "") // the protocol sends the letter apart from its key, so that it comes through
	b.press("typ")
	b.shows(".completions li", "type")
	b.press(kb.ArrowDown + kb.Enter)
	b.shows(".completions li", "one")
	b.press("one ")
	b.until("location.search.includes('type%3Aone') && document.querySelectorAll('tbody tr').length === 1")
	b.press("state:running ") // behind what is there, whose blank is kept
	b.until("new URLSearchParams(location.search).get('q') === 'type:one state:running'")
	b.shows(".empty", "No job matches")
	b.fill("[data-filter]", "type:one ")
	b.until("document.querySelectorAll('tbody tr').length === 1")
	b.press(kb.Escape)
	js[bool](b, "(document.activeElement.blur(), true)")
	b.press("jx") // x means what j chose, drawn or not
	b.shows(".bulk", "1 selected")
	b.press("?")
	b.shows("dialog[open]", "Keyboard")
	b.press(kb.Escape)
	b.until("document.querySelector('dialog[open]') === null")
	b.press(kb.Enter)
	b.shows(".sub code", id)
	b.press("k", chromedp.KeyModifiers(2))
	b.until("document.activeElement.matches('.palette-in')")
	b.press("dead" + kb.Enter)
	b.shows("h1", "Dead letters")
	b.expectOffline(true) // a refusal is an error for the browser, too
	b.visit(s.URL + "/o/acme/jobs?q=" + url.QueryEscape("nonsense:1"))
	b.shows(".filter .wrong-text", "unknown field")
	if text := js[string](b, "document.querySelector('.filter input').value"); !strings.Contains(text, "nonsense:1") {
		t.Errorf("the box holds %q", text)
	}
}
