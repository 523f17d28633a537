package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/gateway"
)

// INTERFACE 2.3: one object per attempt; a drain that finished exits 0.
func TestWorkerRun(t *testing.T) {
	w := startWorld(t)
	out, stop := w.background("worker", "run", "echo", "fail", "--exec", `read a; case "$JOBLEDGER_TYPE" in fail) echo no >&2; exit 65;; esac; echo "$a"`, "--json", "--name", "w-1")
	id := strings.TrimSpace(w.must(exitOK, "job", "submit", "echo", `{"n":1}`).stdout)
	bad := strings.TrimSpace(w.must(exitOK, "job", "submit", "fail").stdout)
	seen := map[string]attemptLine{}
	for range 2 {
		text, err := out.next()
		if err != nil {
			t.Fatal(err)
		}
		line := decode[attemptLine](t, text)
		seen[string(line.ID)] = line
		for _, key := range []string{"time", "org", "id", "type", "attempt", "outcome", "duration_ms", "error"} {
			if !strings.Contains(text, `"`+key+`":`) {
				t.Errorf("no %s in %s", key, text)
			}
		}
	}
	if a := seen[id]; a.Outcome == nil || *a.Outcome != "completed" || a.Error != nil || a.Attempt != 1 {
		t.Errorf("echo: %+v", a)
	}
	if a := seen[bad]; a.Outcome == nil || *a.Outcome != "dead_lettered" || a.Error == nil || !strings.Contains(a.Error.Message, "no") {
		t.Errorf("fail: %+v", a)
	}
	if got := stop(); got.code != exitOK {
		t.Errorf("after a drain: exit %d, %s", got.code, got.stderr)
	}
	if worker := decode[struct{ Worker string }](t, w.must(exitOK, "job", "info", id, "-j").stdout).Worker; worker != "w-1" {
		t.Errorf("the attempt's worker is %q", worker)
	}
}

// INTERFACE 2.3: worker ls and info show who works, by id or name; drain has a worker finish and exit 0.
func TestWorkerLsAndDrain(t *testing.T) {
	w := startWorld(t)
	out, stop := w.background("worker", "run", "echo", "--exec", "cat", "--name", "w-1", "--slots", "3")
	var all struct{ Items []gateway.Worker }
	for limit := time.Now().Add(time.Minute); len(all.Items) == 0; { // its first beat shows it
		if time.Now().After(limit) {
			t.Fatal("the worker is not shown")
		}
		all = decode[struct{ Items []gateway.Worker }](t, w.must(exitOK, "worker", "ls", "-j").stdout)
	}
	one := all.Items[0]
	if one.Name != "w-1" || one.Slots != 3 || one.State != gateway.WorkerIdle || one.Version == nil {
		t.Errorf("the worker: %+v", one)
	}
	if table := w.must(exitOK, "worker", "ls").stdout; !strings.HasPrefix(table, string(one.ID)+"\tw-1\t") {
		t.Errorf("table: %q", table)
	}
	if info := w.must(exitOK, "worker", "info", "w-1").stdout; !strings.Contains(info, "Slots: 0 of 3 busy") {
		t.Errorf("worker info: %q", info)
	}
	if got := w.must(exitError, "worker", "drain", "nobody", "--reason", "r"); !strings.Contains(got.stderr, "[not_found]") {
		t.Errorf("drain of nobody: %+v", got)
	}
	w.must(exitUsage, "worker", "drain", "w-1")
	w.must(exitOK, "worker", "drain", "w-1", "--dry-run")
	drained := decode[map[string]any](t, w.must(exitOK, "worker", "drain", "w-1", "--reason", "new kernel", "-j").stdout)
	if drained["id"] != string(one.ID) || drained["state"] != gateway.WorkerDraining || drained["grace_s"] != 30.0 {
		t.Errorf("drain: %v", drained)
	}
	for _, err := out.next(); err == nil; _, err = out.next() { // until it has ended by itself
	}
	if got := stop(); got.code != exitOK {
		t.Errorf("the drained worker: exit %d, %s", got.code, got.stderr)
	}
}

// --max-jobs and --exit-idle end a worker by themselves, with 0.
func TestWorkerEndsByItself(t *testing.T) {
	w := startWorld(t)
	w.must(exitOK, "job", "submit", "echo", "--count", "2")
	got := w.must(exitOK, "worker", "run", "echo", "--exec", "cat", "--slots", "1", "--max-jobs", "2")
	if strings.Count(got.stdout, "completed") != 2 {
		t.Errorf("--max-jobs 2: %s", got.stdout)
	}
	w.must(exitOK, "worker", "run", "echo", "--exec", "cat", "--exit-idle", "100ms")
}

// A service is a worker; requests are signed with the secrets of the file.
func TestWorkerHTTP(t *testing.T) {
	w := startWorld(t)
	signatures := make(chan string, 1)
	service := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		signatures <- r.Header.Get("jobledger-signature")
		_, _ = rw.Write([]byte(`{"ok":true}`))
	}))
	t.Cleanup(service.Close)
	secrets := filepath.Join(t.TempDir(), "secrets")
	if err := os.WriteFile(secrets, []byte("new\nold\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.background("worker", "run", "hook", "--http", service.URL, "--allow-private", "--secret-file", secrets)
	if got := w.must(exitOK, "job", "submit", "hook", "--wait"); got.stdout != "{\"ok\":true}\n" {
		t.Errorf("result %q", got.stdout)
	}
	if s := <-signatures; strings.Count(s, "v1=") != 2 {
		t.Errorf("signature %q, want one of each secret", s)
	}
}

func TestWorkerMistakes(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ args, want string }{
		{"echo", "--exec or --http"},
		{"echo --exec cat --http http://a", "--exec or --http"},
		{"--exec cat", "required argument 'type'"},
		{"e.cho --exec cat", "type"},
		{"echo --exec cat --queue a.b", "queue"},
		{"echo --exec cat --slots 0", "--slots"},
		{"echo --exec cat --slots many", "--slots"},
		{"echo --exec cat --grace 5", "--grace"},
		{"echo --exec cat --allow-private", "--http"},
		{"echo --http http://a --strict-json", "--exec"},
		{"echo --http ftp://a", "--http"},
		{"echo --http http://a --secret-file /nonexistent", "/nonexistent"},
		{"echo --http http://a --secret-file " + empty, "no secret"},
	} {
		got := runMain(t, nil, append([]string{"worker", "run"}, strings.Fields(c.args)...)...)
		if got.code != exitUsage || !strings.Contains(got.stderr, c.want) {
			t.Errorf("%s: exit %d, %q; want 2 and %q", c.args, got.code, got.stderr, c.want)
		}
	}
}
