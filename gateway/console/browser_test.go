//go:build browser

package console_test

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// patience is how long what must happen may take beside a load.
const patience = time.Minute

var shots = flag.String("shots", "", "folder for screenshots of every page")

var (
	program string          // the binary that is looked at
	browser context.Context // one Chromium for all tests, a tab each
)

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "console")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "jobledger")
		if out, err := exec.Command("go", "build", "-o", program, "../../cmd/jobledger").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
			return 1
		}
		chromium, err := exec.LookPath("chromium")
		if err != nil {
			fmt.Fprintln(os.Stderr, "the tests need Debian's chromium:", err)
			return 1
		}
		// A container's root may not make the sandbox; what is looked at is our own page.
		ctx, stop := chromedp.NewExecAllocator(context.Background(), chromedp.NoSandbox, chromedp.Headless, chromedp.ExecPath(chromium))
		defer stop()
		ctx, stop = chromedp.NewContext(ctx)
		defer stop()
		if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
			fmt.Fprintln(os.Stderr, "the tests need Debian's chromium:", err)
			return 1
		}
		browser = ctx
		return m.Run()
	}())
}

// site is a server with its ledger in a folder.
type site struct {
	t     testing.TB
	store string
	URL   string `json:"http_url"`
	NATS  string `json:"nats_url"`
	env   []string
	kill  func()
}

// dev starts `jobledger dev`; at the end of the test its ledger is verified (STYLE 7).
func dev(t testing.TB, flags ...string) *site {
	t.Helper()
	s := &site{t: t, store: filepath.Join(t.TempDir(), "store"), env: append(os.Environ(), "USER=ada", "XDG_CONFIG_HOME="+t.TempDir(), "HOME="+t.TempDir())}
	s.run(append([]string{"dev", "--port", "0", "--http", "0"}, flags...)...)
	t.Cleanup(func() { s.kill() })
	t.Cleanup(func() {
		if out, err := s.command("log", "verify").CombinedOutput(); err != nil {
			t.Errorf("log verify: %v\n%s", err, out)
		}
	})
	return s
}

// run starts a server and waits until it is ready.
func (s *site) run(args ...string) {
	s.t.Helper()
	cmd := exec.Command(program, append(args, "--store", s.store, "--json")...)
	cmd.Env = s.env
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.kill = sync.OnceFunc(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil || json.Unmarshal(line, s) != nil {
		s.kill()
		s.t.Fatalf("%v: %s %s", args, line, said.String())
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
}

// command is the program on the site's ledger, for org acme.
func (s *site) command(args ...string) *exec.Cmd {
	cmd := exec.Command(program, append([]string{"--server", s.NATS, "--org", "acme"}, args...)...)
	cmd.Env = s.env
	return cmd
}

// call asks the API, and reads its answer into v.
func (s *site) call(method, path, body string, v any) {
	s.t.Helper()
	r, err := http.NewRequest(method, s.URL+"/v1/"+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		s.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode >= 300 {
		s.t.Fatalf("%s %s: %d %s %v", method, path, res.StatusCode, b, err)
	}
	if v != nil {
		if err := json.Unmarshal(b, v); err != nil {
			s.t.Fatal(err)
		}
	}
}

// submit returns the id of a new job of acme.
func (s *site) submit(body string) string {
	s.t.Helper()
	var made struct{ ID string }
	s.call("POST", "orgs/acme/jobs", body, &made)
	return made.ID
}

// event is a line of a history.
type event struct {
	Event, Actor, Reason string
	Data                 json.RawMessage
}

// happened returns the first event of a job by its name.
func (s *site) happened(id, name string) event {
	s.t.Helper()
	var h struct{ Items []event }
	s.call("GET", "orgs/acme/jobs/"+id+"/history", "", &h)
	for _, e := range h.Items {
		if e.Event == name {
			return e
		}
	}
	s.t.Fatalf("job %s has no event %s: %+v", id, name, h.Items)
	return event{}
}

// tab is a page of the browser.
type tab struct {
	t   testing.TB
	ctx context.Context
	// offline: the server is gone on purpose, so that the browser complains of requests that fail.
	offline bool
	mu      sync.Mutex
}

// open opens a tab. Whatever the browser complains of fails the test: errors, exceptions, violations of the policy.
func open(t testing.TB, url string) *tab {
	t.Helper()
	b := openTab(t)
	b.visit(url)
	return b
}

// openTab opens a tab that shows nothing yet.
func openTab(t testing.TB) *tab {
	t.Helper()
	ctx, stop := chromedp.NewContext(browser)
	b := &tab{t: t, ctx: ctx}
	t.Cleanup(stop)
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatal(err)
	}
	go func() {
		for m, err := range chromedp.Console(ctx) {
			if err != nil {
				return
			}
			b.mu.Lock()
			if (m.Type == chromedp.ConsoleError || m.IsException()) && !(m.Source == "network" && (b.offline || strings.Contains(m.Text, "status of 503"))) { // a 503 is asked for again
				t.Errorf("the browser: %s %s %s", m.Type, m.Text, m.URL)
			}
			b.mu.Unlock()
		}
	}()
	b.size(1280, 900)
	return b
}

func (b *tab) expectOffline(on bool) {
	b.mu.Lock()
	b.offline = on
	b.mu.Unlock()
}

func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, stop := context.WithTimeout(b.ctx, patience)
	defer stop()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.fail(err.Error())
	}
}

// fail ends the test with what the page shows.
func (b *tab) fail(what string) {
	b.t.Helper()
	b.shoot(strings.ReplaceAll(b.t.Name(), "/", "-"))
	text, _ := chromedp.Run(b.ctx, chromedp.Evaluate[string]("location.href + '\\n' + document.body.innerText"))
	b.t.Fatalf("%s; the page shows:\n%s", what, text)
}

func (b *tab) visit(url string) {
	b.t.Helper()
	b.do(chromedp.Navigate(url), chromedp.WaitVisible(chromedp.CSS("h1")))
}

func (b *tab) size(width, height int64) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(width, height))
}

func (b *tab) theme(name string) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}})
	if err != nil {
		b.t.Fatal(err)
	}
}

// dropCookies ends what logins there are, as their time would.
func (b *tab) dropCookies() {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, network.ClearBrowserCookies, cdp.Empty{}); err != nil {
		b.t.Fatal(err)
	}
}

// js evaluates an expression.
func js[T any](b *tab, expression string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		b.fail(expression + ": " + err.Error())
	}
	return v
}

// until waits for an expression to become true.
func (b *tab) until(expression string) {
	b.t.Helper()
	if _, err := chromedp.Run(b.ctx, chromedp.Poll[bool](expression, chromedp.WithPollingTimeout(patience))); err != nil {
		b.fail("never: " + expression)
	}
}

// shows waits for a text in what a selector finds.
func (b *tab) shows(selector, text string) {
	b.t.Helper()
	b.until(fmt.Sprintf("[...document.querySelectorAll(%q)].some((e) => e.innerText.includes(%q))", selector, text))
}

// click presses what a selector finds with a text in it.
func (b *tab) click(selector, text string) {
	b.t.Helper()
	b.shows(selector, text)
	js[bool](b, fmt.Sprintf("([...document.querySelectorAll(%q)].find((e) => e.innerText.includes(%q)).click(), true)", selector, text))
}

// fill writes into an input.
func (b *tab) fill(selector, text string) {
	b.t.Helper()
	b.until(fmt.Sprintf("document.querySelector(%q) !== null", selector))
	js[bool](b, fmt.Sprintf(`(() => { const e = document.querySelector(%q); e.focus(); e.value = %q; e.dispatchEvent(new Event(e.tagName === "SELECT" ? "change" : "input", {bubbles: true})); return true })()`, selector, text))
}

func (b *tab) press(keys string, opts ...chromedp.KeyOption) {
	b.t.Helper()
	b.do(chromedp.KeyEvent(keys, opts...))
}

// confirm gives the reason that a dialog asks for, and confirms.
func (b *tab) confirm(reason string) {
	b.t.Helper()
	b.fill("dialog[open] input[name=reason]", reason)
	b.click("dialog[open] .dialog-foot button.primary, dialog[open] .dialog-foot button.danger", "")
	b.until("document.querySelector('dialog[open]') === null")
}

// job is the id of the job whose page is open.
func (b *tab) job() string {
	b.t.Helper()
	return js[string](b, "location.pathname.split('/').at(-1)")
}
