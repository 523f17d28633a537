package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// R-315, INTERFACE 2.4: args and results over the inline limits go in and come out byte for byte, from a file, from
// stdin, in a waited submit, as a document, into a file; also where they are larger than one message.
func TestJobLargePayloads(t *testing.T) {
	w := startWorld(t)
	echoWorker(w)
	want := `{"fill":"` + strings.Repeat("x", 9<<20) + `"}` // 8 MiB fit into one message
	file := filepath.Join(t.TempDir(), "args.json")
	if err := os.WriteFile(file, []byte(want+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := w.must(exitOK, "job", "submit", "echo", "--file", file, "--wait")
	if got.stdout != want+"\n" {
		t.Errorf("--wait prints %d bytes", len(got.stdout))
	}
	id := strings.TrimSpace(got.stderr)
	if info := w.must(exitOK, "job", "info", id).stdout; !strings.Contains(info, "bytes in ARGS/acme/"+id+"/") || !strings.Contains(info, "bytes in RESULTS/acme/"+id+"/") {
		t.Errorf("job info: %.2000s", info)
	}
	out := filepath.Join(t.TempDir(), "result.json")
	w.must(exitOK, "job", "result", id, "-o", out)
	if result, err := os.ReadFile(out); err != nil || string(result) != want {
		t.Errorf("job result writes %d bytes, %v", len(result), err)
	}
	if doc := w.must(exitOK, "job", "result", id, "-j").stdout; !strings.Contains(doc, `"result":`+want+"}") || !strings.Contains(doc, `"bucket":"RESULTS"`) {
		t.Errorf("job result -j prints %d bytes", len(doc))
	}
	piped := w.runWith(want, "job", "submit", "echo", "-", "-j")
	if again := decode[map[string]any](t, piped.stdout); again["duplicate"] != true || again["id"] != id {
		t.Errorf("the same args from stdin: %v, %s", again, piped.stderr)
	}
	anew := decode[map[string]any](t, w.must(exitOK, "job", "resubmit", id, "--set", "more=1", "--reason", "test", "-j").stdout)
	changed := w.must(exitOK, "job", "wait", anew["id"].(string))
	if !strings.Contains(changed.stdout, "completed") {
		t.Errorf("job wait: %s", changed.stdout)
	}
	if result := w.must(exitOK, "job", "result", anew["id"].(string)).stdout; !strings.HasPrefix(result, want[:len(want)-1]) || !strings.HasSuffix(result, `"more":1}`) {
		t.Errorf("resubmitted: %d bytes, ending %.40s", len(result), result[max(0, len(result)-40):])
	}
}
