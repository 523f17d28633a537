package main

import (
	"strings"
	"testing"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/projector"
)

// What an org used, how a type did and how many waited is shown, and the same in JSON.
func TestOrgUsage(t *testing.T) {
	w := startWorld(t)
	echoWorker(w)
	w.must(exitOK, "job", "submit", "echo", `{"n":1}`, "--wait")
	end, err := w.Ledger.End(t.Context())
	if err == nil {
		err = projector.WaitFor(t.Context(), w.Ledger, end.Seq)
	}
	if err != nil {
		t.Fatal(err)
	}
	u := decode[gateway.Usage](t, w.must(exitOK, "org", "usage", "acme", "--from", "1d", "-j").stdout)
	if u.Org != "acme" || u.Submitted != 1 || u.Completed != 1 || u.Attempts != 1 || u.BytesIn != 7 || u.BytesOut == 0 {
		t.Errorf("usage %+v", u)
	}
	if got := w.must(exitOK, "org", "usage", "acme").stdout; !strings.Contains(got, "Submitted: 1") || !strings.Contains(got, "7 of args") {
		t.Errorf("usage is shown as\n%s", got)
	}
	w.must(exitError, "org", "usage", "acme", "--from", "90d")
	w.must(exitUsage, "org", "usage", "acme", "--to", "never")
	if got := w.must(exitOK, "type", "info", "echo").stdout; !strings.Contains(got, " 0.0 % of 1 in 1h") || !strings.Contains(got, "Ran: p50 ") {
		t.Errorf("the type is shown as\n%s", got)
	}
	typ := decode[gateway.Type](t, w.must(exitOK, "type", "info", "echo", "-j").stdout)
	if typ.Stats == nil || typ.Stats.Samples != 1 {
		t.Errorf("the type is %+v", typ)
	}
	q := decode[gateway.Queue](t, w.must(exitOK, "queue", "info", "default", "-j").stdout)
	if len(q.Depth) != 60 || depthFact(q.Depth) == "" {
		t.Errorf("the depth is %v", q.Depth)
	}
}

// A line of depth has a letter for each minute, as high as the most.
func TestDepthFact(t *testing.T) {
	got := depthFact([]gateway.DepthPoint{{WaitingMax: 0}, {WaitingMax: 7}, {WaitingMax: 14}})
	if !strings.HasPrefix(got, "▁▄█  ") || !strings.Contains(got, "at most 14") {
		t.Errorf("%q", got)
	}
}

// Durations have the two digits that are known of them.
func TestMSText(t *testing.T) {
	for ms, want := range map[float64]string{0.5: "500µs", 12.34: "12ms", 1234.5: "1.2s", 83_456: "1m23s"} {
		if got := msText(ms); got != want {
			t.Errorf("%v ms is %q, want %q", ms, got, want)
		}
	}
}
