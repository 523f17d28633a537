//go:build browser

package console_test

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// feedCounter is a proxy before a site that counts the streams of events that are open.
type feedCounter struct {
	*httptest.Server
	mu         sync.Mutex
	open, most int
	refuse     int         // how many streams are refused before one is let through
	refused    []time.Time // when they were
	passed     time.Time   // when one was let through behind them
	left       chan struct{}
}

const retryAfterS = 2

func countFeeds(t *testing.T, s *site) *feedCounter {
	t.Helper()
	to, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	through := &httputil.ReverseProxy{FlushInterval: -1, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }, ErrorLog: log.New(io.Discard, "", 0)}
	c := &feedCounter{left: make(chan struct{}, 1)}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/events") && strings.Contains(r.Header.Get("Accept"), "event-stream") {
			if !c.enter() {
				w.Header().Set("Retry-After", fmt.Sprint(retryAfterS))
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			defer c.leave()
		}
		through.ServeHTTP(w, r)
	}))
	t.Cleanup(func() { c.CloseClientConnections(); c.Close() })
	return c
}

func (c *feedCounter) enter() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refuse > 0 {
		c.refuse--
		c.refused = append(c.refused, time.Now())
		return false
	}
	c.passed = time.Now()
	c.open++
	c.most = max(c.most, c.open)
	return true
}

func (c *feedCounter) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open--
	select {
	case c.left <- struct{}{}:
	default:
	}
}

// settles waits until so many streams are open: the server hears late of one that was ended.
func (c *feedCounter) settles(t *testing.T, want int) {
	t.Helper()
	late := time.After(patience)
	for {
		open, _ := c.streams()
		if open == want {
			return
		}
		select {
		case <-c.left:
		case <-late:
			t.Fatalf("%d streams are open, not %d", open, want)
		}
	}
}

func (c *feedCounter) streams() (open, most int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open, c.most
}

// seen is a tab as it is where a person looks at each in a window of its own: none is hidden by another.
func seen(t testing.TB, url, before string) *tab {
	t.Helper()
	b := openTab(t)
	script := "Object.defineProperty(document, 'hidden', {get: () => false});" + before
	if _, err := chromedp.Call(b.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: script}); err != nil {
		t.Fatal(err)
	}
	b.visit(url)
	return b
}

// leave has a tab show something else.
func (b *tab) leave() {
	b.t.Helper()
	b.do(chromedp.Navigate("about:blank"))
}

// TestTabs shows that the tabs of a browser hold one stream of events between them, and that when the one that holds it
// goes, another goes on without a gap (INTERFACE 7).
func TestTabs(t *testing.T) {
	s := dev(t)
	c := countFeeds(t, s)
	first := seen(t, c.URL+"/o/acme/jobs", "")
	first.shows(".live", "Live")
	second := seen(t, c.URL+"/o/acme/activity?who=all", "")
	third := seen(t, c.URL+"/o/acme/jobs", "")
	for _, b := range []*tab{second, third} {
		b.shows(".live", "Live")
	}
	s.submit(`{"type":"one","args":{}}`)
	for _, b := range []*tab{first, second, third} {
		b.shows("td", "one")
	}
	if open, most := c.streams(); open != 1 || most != 1 {
		t.Errorf("three tabs hold %d streams, and held %d", open, most)
	}
	first.leave()
	for i := range 20 { // while nobody leads, or one begins to
		s.submit(fmt.Sprintf(`{"type":"gap-%d","args":{}}`, i))
	}
	second.shows("td", "21 jobs the last: gap-19") // each once
	third.shows("td", "gap-19")
	second.shows(".live", "Live")
	c.settles(t, 1)
	second.leave()
	third.shows(".live", "Live")
	s.submit(`{"type":"last","args":{}}`)
	third.shows("td", "last")
}

// TestTabsAlone shows that where a browser has no locks (a page that is neither of https nor of this machine) each tab has a
// stream of its own.
func TestTabsAlone(t *testing.T) {
	s := dev(t)
	c := countFeeds(t, s)
	const without = "Object.defineProperty(Navigator.prototype, 'locks', {get: () => undefined});"
	one, two := seen(t, c.URL+"/o/acme/jobs", without), seen(t, c.URL+"/o/acme/jobs", without)
	one.shows(".live", "Live")
	two.shows(".live", "Live")
	s.submit(`{"type":"one","args":{}}`)
	one.shows("td", "one")
	two.shows("td", "one")
	if open, _ := c.streams(); open != 2 {
		t.Errorf("two tabs hold %d streams", open)
	}
}

// TestTabsHung shows that a tab which leads and says nothing is put out by one that waits.
func TestTabsHung(t *testing.T) {
	s := dev(t)
	c := countFeeds(t, s)
	b, hung := seen(t, c.URL+"/o/acme/jobs", ""), openTab(t)
	b.shows(".live", "Live")
	name := js[string](b, "navigator.locks.query().then((q) => q.held[0].name)")
	b.leave()
	hung.expectOffline(true) // it has no icon
	hung.do(chromedp.Navigate(c.URL + "/assets/licenses.txt"))
	js[bool](hung, fmt.Sprintf("new Promise((got) => navigator.locks.request(%q, () => { got(true); return new Promise(() => {}); }).catch(() => {}))", name))
	b.visit(c.URL + "/o/acme/jobs")
	b.shows(".live", "Live")
	s.submit(`{"type":"one","args":{}}`)
	b.shows("td", "one")
}

// TestLimited shows that a feed that is refused for the moment is asked for again when the server said, not before, and that
// the page says so.
func TestLimited(t *testing.T) {
	s := dev(t)
	c := countFeeds(t, s)
	c.refuse = 2
	b := openTab(t)
	b.expectOffline(true) // a refusal is an error for the browser
	b.visit(c.URL + "/o/acme/jobs")
	b.shows(".live", "Too many streams")
	b.shows(".live", "Live")
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, at := range append(c.refused[1:], c.passed) {
		if waited := at.Sub(c.refused[i]); waited < retryAfterS*time.Second {
			t.Errorf("it asked again after %v, %d s were asked for", waited, retryAfterS)
		}
	}
}
