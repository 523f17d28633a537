package main

import (
	"encoding/csv"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dartwing/jobledger/schemas"
)

// A replay into a file that was cut off anywhere goes on with --resume: the file is then what it would have been at once,
// in every format but the table. A file of other flags is left as it is (INTERFACE 2.5, R-42).
func TestLogReplayResumes(t *testing.T) {
	w := startWorld(t)
	echoWorker(w)
	for range 3 {
		w.must(exitOK, "job", "submit", "echo", `{"text":"a, \"b\""}`, "--wait", "--no-dedup")
	}
	dir := t.TempDir()
	for _, format := range []string{formatNDJSON, formatCloud, formatCSV} {
		file := filepath.Join(dir, format)
		replay := []string{"log", "replay", "-O", "acme", "--format", format, "-o", file}
		done := w.must(exitOK, replay...)
		whole := readText(t, file)
		if stdout := w.must(exitOK, replay[:len(replay)-2]...).stdout; stdout != whole {
			t.Errorf("%s: the file differs from what is printed", format)
		}
		if done.stdout != "" || !strings.HasPrefix(done.stderr, "last seq ") {
			t.Errorf("%s: %+v", format, done)
		}
		if got := w.must(exitUsage, replay...); !strings.Contains(got.stderr, "--resume") || readText(t, file) != whole {
			t.Errorf("%s: a file was written over: %s", format, got.stderr)
		}
		second := strings.Index(whole, "\n") + 1
		for _, cut := range []int{0, 1, second, second + 7, len(whole)/2 + 1, len(whole) - 1, len(whole)} {
			writeText(t, file, whole[:cut])
			if w.must(exitOK, append(replay, "--resume")...); readText(t, file) != whole {
				t.Errorf("%s: cut at %d of %d and resumed it is\n%s\nwant\n%s", format, cut, len(whole), readText(t, file), whole)
			}
		}
		for _, other := range [][]string{{"--event", "queued"}, {"--actor", "user:nobody"}, {"--from", "100000"}} {
			if w.must(exitUsage, append(append(replay, "--resume"), other...)...); readText(t, file) != whole {
				t.Errorf("%s: a file of other flags was changed", format)
			}
		}
	}
	writeText(t, filepath.Join(dir, "x"), "hello\nworld\n")
	w.must(exitUsage, "log", "replay", "--resume", "-o", filepath.Join(dir, "x"))
	w.must(exitUsage, "log", "replay", "--resume")
}

// What a replay says at its end is where the next begins; CSV is read back as it was, and --actor chooses as it is printed.
func TestLogReplayGoesOn(t *testing.T) {
	w := startWorld(t)
	w.must(exitOK, "job", "submit", "echo", `{"text":"a, \"b\""}`)
	first := w.must(exitOK, "log", "replay", "-O", "acme")
	seq, err := schemas.ParseSeq(strings.TrimSpace(strings.TrimPrefix(first.stderr, "last seq ")))
	if err != nil {
		t.Fatal(err)
	}
	w.must(exitOK, "job", "submit", "echo", "--no-dedup")
	next := w.must(exitOK, "log", "replay", "-O", "acme", "--from", (seq + 1).String(), "--event", "submitted")
	both := w.must(exitOK, "log", "replay", "-O", "acme", "--event", "submitted").stdout
	if lines := strings.Split(both, "\n"); len(lines) != 3 || next.stdout != lines[1]+"\n" {
		t.Errorf("%q behind %d, of %q", next.stdout, seq, both)
	}
	rows, err := csv.NewReader(strings.NewReader(w.must(exitOK, "log", "replay", "-O", "acme", "--format", "csv").stdout)).ReadAll()
	if err != nil || strings.Join(rows[0], ",") != csvColumns {
		t.Fatalf("%q, %v", rows, err)
	}
	actor, data := slices.Index(rows[0], "actor"), slices.Index(rows[0], "data")
	if args := decode[struct{ Args struct{ Text string } }](t, rows[1][data]).Args; args.Text != `a, "b"` {
		t.Errorf("%q", rows[1])
	}
	for _, row := range rows[1:] {
		n := 0
		for _, other := range rows[1:] {
			if other[actor] == row[actor] {
				n++
			}
		}
		if got := strings.Count(w.must(exitOK, "log", "replay", "-O", "acme", "--actor", row[actor]).stdout, "\n"); got != n {
			t.Errorf("%d events by %s, want %d", got, row[actor], n)
		}
	}
	table := w.must(exitOK, "log", "replay", "-O", "acme", "--format", "table").stdout
	if strings.Count(table, "\n") != len(rows) || !strings.Contains(table, "submitted") {
		t.Errorf("table:\n%s", table)
	}
}

func readText(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func writeText(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
