package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// Jobs are exported with all their events, by id and by filter, as log replay prints them; the histories that are read
// back from such files, without a server, are those that the ledger tells (INTERFACE 2.5).
func TestJobExport(t *testing.T) {
	w := startWorld(t)
	echoWorker(w)
	w.must(exitOK, "job", "submit", "echo", "--id", "one", "--wait")
	w.must(exitOK, "job", "submit", "echo", "--id", "two", "--wait", "--no-dedup")
	w.run("job", "submit", "fail", "--id", "three", "--wait")
	last := strings.TrimPrefix(strings.TrimSpace(w.must(exitOK, "log", "replay", "--event", "dead_lettered").stderr), "last seq ")
	w.must(exitOK, "job", "ls", "--min-seq", last) // the list follows
	dir := t.TempDir()
	for _, format := range []string{formatNDJSON, formatCloud, formatCSV} {
		replayed := func(id string) string {
			text := w.must(exitOK, "log", "replay", "--job", id, "--format", format).stdout
			return strings.TrimPrefix(text, (&eventForm{format: format}).heading())
		}
		heading := (&eventForm{format: format}).heading()
		file := filepath.Join(dir, format)
		done := w.must(exitOK, "job", "export", "two", "three", "one", "--format", format, "-o", file)
		if want := heading + replayed("two") + replayed("three") + replayed("one"); readText(t, file) != want || !strings.Contains(done.stderr, "3 jobs, ") {
			t.Errorf("%s: %s\n%s\nwant\n%s", format, done.stderr, readText(t, file), want)
		}
		if got := w.must(exitOK, "job", "export", "--where", "type:fail", "--format", format).stdout; got != heading+replayed("three") {
			t.Errorf("%s by a filter:\n%s", format, got)
		}
		if format == formatCSV {
			continue
		}
		for _, id := range []string{"one", "three"} {
			for _, flags := range [][]string{nil, {"-j"}, {"--at", "1h"}} {
				args := append([]string{"job", "history", id}, flags...)
				live, offline := w.must(exitOK, args...), runMain(t, nil, append(args, "--file", file)...)
				if offline.stdout != live.stdout || offline.stderr != live.stderr {
					t.Errorf("%s, %v from the file:\n%+v\nwant\n%+v", format, args, offline, live)
				}
			}
		}
	}
	raw := w.must(exitOK, "job", "history", "one", "--raw").stdout
	if want := w.must(exitOK, "log", "replay", "--job", "one", "--format", "cloudevents").stdout; raw != want {
		t.Errorf("raw:\n%s\nwant\n%s", raw, want)
	}
	exported := filepath.Join(dir, "all")
	w.must(exitOK, "log", "export", exported)
	if got := runMain(t, nil, "job", "history", "one", "--raw", "--file", exported); got.stdout != raw {
		t.Errorf("of log export: %+v", got)
	}
	w.must(exitUsage, "job", "export")
	w.must(exitUsage, "job", "export", "one", "--type", "echo")
	w.must(exitError, "job", "export", "one", "none")
	w.must(exitError, "job", "history", "none", "--file", filepath.Join(dir, formatCloud))
	w.must(exitUsage, "job", "history", "one", "--file", filepath.Join(dir, "nothing"))
}
