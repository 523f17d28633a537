//go:build browser

package console_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestDrain shows that a worker that is drained on its page finishes what it runs, takes nothing more, and ends (INTERFACE 7, 37).
func TestDrain(t *testing.T) {
	s := dev(t)
	gate := filepath.Join(t.TempDir(), "gate")
	worker := s.command("worker", "run", "held", "--exec", "while [ ! -e "+gate+" ]; do sleep 0.1; done; echo {}", "--slots", "1", "--grace", "10m", "--name", "printer")
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = worker.Process.Kill() })
	first := s.submit(`{"type":"held","args":{"n":1}}`)
	b := open(t, s.URL+"/o/acme/workers")
	b.shows("td", "1 of 1")
	b.shows("td", "busy")
	b.click("td button", "Drain")
	b.shows("dialog[open]", "finishes the 1 that runs")
	b.confirm("new paper")
	b.shows(".toast", "printer drains")
	b.shows("td .badge", "draining")
	b.until("![...document.querySelectorAll('td button')].some((e) => e.innerText.includes('Drain'))")
	second := s.submit(`{"type":"held","args":{"n":2}}`)
	if err := os.WriteFile(gate, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := worker.Wait(); err != nil {
		t.Errorf("a drained worker ends with %v", err)
	}
	b.shows(".empty", "No worker is here")
	s.happened(first, "completed")
	var j struct{ Attempt int }
	if s.call("GET", "orgs/acme/jobs/"+second, "", &j); j.Attempt != 0 {
		t.Errorf("what came behind the drain has attempt %d", j.Attempt)
	}
}

// TestChecked shows the result of the last check of the ledger in Activity, with who had it checked.
func TestChecked(t *testing.T) {
	s := dev(t)
	s.submit(`{"type":"one","args":{}}`)
	b := open(t, s.URL+"/o/acme/activity")
	b.shows(".empty", "No check was noted yet")
	check := exec.Command(program, "--server", s.NATS, "log", "verify", "--full")
	check.Env = s.env
	if out, err := check.CombinedOutput(); err != nil {
		t.Fatalf("log verify: %v\n%s", err, out)
	}
	b.visit(s.URL + "/o/acme/activity")
	b.shows(".checked", "nothing is wrong")
	b.shows(".checked", "every byte")
	b.shows(".checked", "user:ada")
}
