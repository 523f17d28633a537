package main

import (
	"strings"
	"testing"

	"github.com/dartwing/jobledger/gateway"
)

// explain says on one screen what holds a job and the command that would lift it; info names the holds
// beside the record; -j is the document.
func TestJobExplain(t *testing.T) {
	w := startWorld(t)
	id := strings.TrimSpace(w.must(exitOK, "job", "submit", "lonely", "--queue", "bulk", "--in", "1h").stdout)
	got := w.must(exitOK, "job", "explain", id)
	for _, want := range []string{
		"State: submitted (scheduled)", "Workers: 0 serve it, 0 of 0 slots free", "not_before: it was submitted to start no earlier than ",
		"no_worker: nobody serves type lonely in queue bulk", "lift it: jobledger worker run lonely --queue bulk --exec CMD",
	} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("explain does not say %q:\n%s", want, got.stdout)
		}
	}
	x := decode[gateway.Explanation](t, w.must(exitOK, "job", "explain", id, "-j").stdout)
	if string(x.ID) != id || len(x.Holds) != 2 || *x.Reason != "scheduled" {
		t.Errorf("explain -j: %+v", x)
	}
	if info := w.must(exitOK, "job", "info", id); !strings.Contains(info.stdout, "Waits: it was submitted to start no earlier than ") || !strings.Contains(info.stdout, "more: jobledger job explain "+id) {
		t.Errorf("info: %s", info.stdout)
	}
	w.must(exitOK, "job", "cancel", id)
	if ended := w.must(exitOK, "job", "explain", id); !strings.Contains(ended.stdout, "State: canceled (canceled)") || !strings.Contains(ended.stdout, "job retry "+id) {
		t.Errorf("explain of a canceled job: %s", ended.stdout)
	}
	if missing := w.must(exitError, "job", "explain", "nope"); !strings.Contains(missing.stderr, "[not_found]") {
		t.Errorf("explain of nothing: %+v", missing)
	}
	w.must(exitUsage, "job", "explain", "a.b")
}
