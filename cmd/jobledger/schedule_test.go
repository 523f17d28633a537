package main

import (
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/gateway"
)

// Mistakes in the flags of a schedule are found before any request is made (INTERFACE 2.2).
func TestScheduleMistakes(t *testing.T) {
	for _, tc := range []struct{ args, says string }{
		{"add n echo", "one of --cron, --every and --at"},
		{"add n echo --cron @daily --every 5m", "one of --cron, --every and --at"},
		{"add a.b echo --every 5m", "schedule"},
		{"add n echo {bad --every 5m", "arguments"},
		{"add n echo --every often", "--every"},
		{"add n echo --at noon", "--at"},
		{"add n echo --every 5m --missed never", "once,skip,all"},
		{"add n echo --every 5m --overlap never", "skip,allow,replace"},
		{"add n echo --cron @daily --tz Mars/Olympus", "time zone"},
		{"next n --count 0", "--count"},
		{"backfill n", "from"},
		{"backfill n --from yesterday", "--from"},
		{"info a.b", "schedule"},
	} {
		words := append([]string{"schedule"}, strings.Fields(tc.args)...)
		r := runMain(t, nil, words...)
		if r.code != exitUsage || !strings.Contains(r.stderr, tc.says) || r.stdout != "" {
			t.Errorf("schedule %s: exit code %d, %q", tc.args, r.code, r.stderr)
		}
	}
}

// A schedule from the command line: added, shown as a person and as a script see it, run, made up, removed.
func TestSchedule(t *testing.T) {
	w := startWorld(t)
	added := decode[gateway.Schedule](t, w.must(exitOK, "schedule", "add", "nightly", "echo", `{"n":1}`, "--cron", "30 2 * * *", "--tz", "Europe/Berlin",
		"--tag", "kind=books", "--max-attempts", "2", "--reason", "books", "--json").stdout)
	if added.TZ != "Europe/Berlin" || added.Tags["kind"] != "books" || *added.MaxAttempts != 2 || added.NextAt == nil || *added.Reason != "books" {
		t.Errorf("added %+v", added)
	}
	if info := w.must(exitOK, "schedule", "info", "nightly").stdout; !strings.Contains(info, "When: 30 2 * * * Europe/Berlin") || !strings.Contains(info, "Overlap: skip") {
		t.Errorf("info prints\n%s", info)
	}
	if next := w.must(exitOK, "schedule", "next", "nightly", "--count", "3", "--tz", "Europe/Berlin").stdout; strings.Count(next, ":30:00 C") != 3 {
		t.Errorf("next prints\n%s", next)
	}
	w.must(exitError, "schedule", "add", "nightly", "echo", "--every", "5m")
	w.must(exitOK, "schedule", "add", "nightly", "echo", "--every", "5m", "--replace")
	to := time.Now().UTC().Truncate(time.Hour)
	span := []string{"schedule", "backfill", "nightly", "--from", to.Add(-time.Hour).Format(time.RFC3339), "--to", to.Format(time.RFC3339)}
	if out := w.must(exitOK, append(span, "--dry-run")...); !strings.Contains(out.stderr, "12 jobs would be submitted, 0 had one") {
		t.Errorf("a dry run says %q", out.stderr)
	}
	w.must(exitOK, span...)
	if out := w.must(exitOK, span...); !strings.Contains(out.stderr, "12 ticks: 0 jobs submitted, 12 had one") {
		t.Errorf("the same again says %q", out.stderr)
	}
	id := strings.TrimSpace(w.must(exitOK, "schedule", "trigger", "nightly").stdout)
	w.must(exitOK, "job", "info", id)
	w.must(exitOK, "schedule", "pause", "nightly")
	if list := w.must(exitOK, "schedule", "ls").stdout; !strings.HasPrefix(list, "nightly\techo\tevery 5m0s\tpaused\t") {
		t.Errorf("ls prints %q", list)
	}
	w.must(exitUsage, "schedule", "rm", "nightly") // nobody is there to ask
	w.must(exitOK, "schedule", "rm", "nightly", "--force")
	w.must(exitError, "schedule", "info", "nightly")
}
