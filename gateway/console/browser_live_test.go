//go:build browser

package console_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLive shows that a job moves on the page while it is looked at: rows come, steps are done, the end is told, and
// the page was loaded once (INTERFACE 7, 2 and 24).
func TestLive(t *testing.T) {
	s := dev(t)
	b := open(t, s.URL+"/o/acme/jobs")
	js[bool](b, "(window.loadedOnce = true)")
	b.shows(".live", "Live")
	id := s.submit(`{"type":"steps","args":{}}`)
	b.shows("td", "steps")
	b.shows("td", "submitted")
	gate := filepath.Join(t.TempDir(), "gate")
	script := filepath.Join(t.TempDir(), "steps.sh")
	text := `echo '{"percent":40,"message":"drawing","steps":[{"name":"load","state":"done"},{"name":"draw","state":"in_progress"}]}' >&3
while [ ! -e ` + gate + ` ]; do sleep 0.1; done
echo '{"pages":9007199254740993}'
`
	if err := os.WriteFile(script, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	worker := s.command("worker", "run", "steps", "--exec", "sh "+script, "--max-jobs", "1")
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = worker.Process.Kill() })
	b.shows("td", "40 %")
	b.click("td a", "steps")
	b.shows(".step-in_progress", "draw")
	b.shows(".step-done", "load")
	if err := os.WriteFile(gate, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	b.shows(".standing", "completed")
	b.shows(".json", "9007199254740993")
	b.shows(".events", "completed")
	b.until("window.loadedOnce === true")
	if err := worker.Wait(); err != nil {
		t.Error(err)
	}
	s.happened(id, "completed")
	// Paused: what comes is counted and not shown.
	b.click(".side-link", "Jobs")
	b.shows("td", "steps")
	b.click(".live", "Live")
	s.submit(`{"type":"later","args":{}}`)
	b.shows(".live", "Paused · 1 new")
	if strings.Contains(js[string](b, "document.querySelector('tbody').innerText"), "later") {
		t.Error("a paused page moved")
	}
	b.click(".live", "Paused")
	b.shows("td", "later")
}

// TestRestart shows that a page says when its server is gone, and goes on by itself when it is back, without a gap.
func TestRestart(t *testing.T) {
	s := dev(t)
	id := s.submit(`{"type":"before","args":{}}`)
	b := open(t, s.URL+"/o/acme/jobs/"+id)
	js[bool](b, "(window.loadedOnce = true)")
	b.shows(".live", "Live")
	b.expectOffline(true)
	s.kill()
	b.shows(".banner", "The connection is lost")
	b.until("getComputedStyle(document.querySelector('.page')).opacity < 1")
	port := s.URL[strings.LastIndex(s.URL, ":")+1:]
	s.run("dev", "--port", "0", "--http", port)
	if !strings.HasSuffix(s.URL, ":"+port) {
		t.Skip("another program took the port meanwhile")
	}
	s.call("POST", "orgs/acme/jobs/"+id+"/cancel", `{"reason":"while you were away"}`, nil)
	b.until("document.querySelector('.banner') === null")
	b.shows(".standing", "canceled")
	b.shows(".events", "while you were away")
	b.until("window.loadedOnce === true")
}
