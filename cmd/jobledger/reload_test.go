package main

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dartwing/jobledger/gateway"
)

// reloadLine is what a line of the log tells of a reload.
type reloadLine struct {
	Level, Msg, Error string
	Applied, Changes  []string
}

// hangups is a real server that is told to read its configuration again.
type hangups struct {
	t     *testing.T
	conf  string
	lines chan reloadLine
	hup   func() error
}

// send writes a configuration, hangs up, and returns the next n lines about it.
func (h *hangups) send(text string, n int) []reloadLine {
	h.t.Helper()
	if err := os.WriteFile(h.conf, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
	if err := h.hup(); err != nil {
		h.t.Fatal(err)
	}
	var got []reloadLine
	for len(got) < n {
		select {
		case line, open := <-h.lines:
			if !open {
				h.t.Fatalf("the server ended; lines before: %+v", got)
			}
			got = append(got, line)
		case <-time.After(2 * time.Minute):
			h.t.Fatalf("no line about the reload; lines before: %+v", got)
		}
	}
	return got
}

// TestHangup: SIGHUP ends no server. It applies what it can, names with old and new value what needs a restart, shows no secret,
// and a configuration that a start would refuse changes nothing (INTERFACE 10; R-40).
func TestHangup(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("SKIPPED: nobody can send SIGHUP here")
	}
	p := newProcesses(t)
	port := freePort(t)
	base := "store: data\nlisten: \"127.0.0.1:" + port + "\"\nlog_format: json\n"
	h := &hangups{t: t, conf: filepath.Join(p.dir, "jobledger.conf"), lines: make(chan reloadLine, 100)}
	if err := os.WriteFile(h.conf, []byte(base), 0o600); err != nil {
		t.Fatal(err)
	}
	server := p.command("jobledger", "server", "run", "--json", "-c", h.conf)
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	talk, err := server.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
	h.hup = func() error { return server.Process.Signal(syscall.SIGHUP) }
	go func() {
		defer close(h.lines)
		for s := bufio.NewScanner(talk); s.Scan(); {
			var line reloadLine
			if json.Unmarshal(s.Bytes(), &line) == nil && strings.HasPrefix(line.Msg, "hangup: ") {
				h.lines <- line
			}
		}
	}()
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || !strings.Contains(line, `"ready":true`) {
		t.Fatalf("the server is not ready: %q, %v", line, err)
	}

	got := h.send(base+"log_level: warn\nreserve: \"3%\"\nhot_window: \"24h\"\nretention: \"400d\"\ndurability: strict\npassword: hunter2\n", 2)
	if want := []string{"reserve: (not set) -> 3%", "hot_window: (not set) -> 24h", "retention: (not set) -> 400d", "log_level: info -> warn"}; !slices.Equal(got[0].Applied, want) {
		t.Errorf("applied %q, want %q", got[0].Applied, want)
	}
	restart := []string{"durability: standard -> strict", "password: (not set) -> ********"}
	if !slices.Equal(got[1].Changes, restart) || got[1].Level != "warn" {
		t.Errorf("to be restarted for: %+v, want %q", got[1], restart)
	}
	var info gateway.CellInfo
	text := p.must("jobledger", "server", "info", "--json", "--server", "nats://127.0.0.1:"+port, "--timeout", "1m")
	if err := json.Unmarshal([]byte(text), &info); err != nil {
		t.Fatal(err)
	}
	if info.Archiver == nil || info.Archiver.HotWindowS != (24*time.Hour).Seconds() {
		t.Errorf("the ledger has another hot window: %s", text)
	}

	// The level that was applied holds: of the next only the error is told. What is refused changes nothing.
	got = h.send(base+"log_level: info\nhot_window: \"5m\"\n", 1)
	if got[0].Level != "error" || !strings.Contains(got[0].Error, "hot_window: 5m0s is below 10m0s") {
		t.Errorf("a configuration that a start refuses: %+v", got)
	}
	// What waits for a restart is named again, what the file leaves out is kept.
	got = h.send(base+"reserve: \"3%\"\nretention: \"400d\"\ndurability: strict\nlog_level: debug\n", 2)
	if want := []string{"hot_window: 24h -> (not set): the ledger keeps what it has", "log_level: warn -> debug"}; !slices.Equal(got[0].Applied, want) {
		t.Errorf("applied %q, want %q", got[0].Applied, want)
	}
	if !slices.Equal(got[1].Changes, restart[:1]) {
		t.Errorf("to be restarted for: %+v, want %q", got[1], restart[:1])
	}
	if err := server.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for range h.lines { // the pipe is read to its end before Wait closes it
	}
	if err := server.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	p.must("jobledger", "server", "config", "check", h.conf)
}

// What a loaded window leaves to the cell: a reload that could not set it names it again at the next.
func TestReloadThatFails(t *testing.T) {
	conf := writeConf(t, "")
	m, _, stderr := testMain(t, nil, "")
	p := newProgram(m)
	var cfg serverConfig
	r := p.newReload(&cfg, conf)
	defer r.close()
	if _, problems := cfg.load(p, conf); len(problems) > 0 {
		t.Fatal(problems)
	}
	r.loaded(&cfg)
	if err := os.WriteFile(conf, []byte("hot_window: \"1h\"\nreserve: 0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var fail error = context.DeadlineExceeded
	set := func(_ context.Context, hot, retention time.Duration) error {
		if hot != time.Hour || retention != 0 {
			t.Errorf("asked to set %s, %s", hot, retention)
		}
		return fail
	}
	r.again(t.Context(), set)
	if said := stderr.String(); r.reserve.of(1<<40) != 0 || !strings.Contains(said, "could not be set") || !strings.Contains(said, `"applied": ["reserve: (not set) -> 0"]`) {
		t.Errorf("a window that could not be set: %s", said)
	}
	stderr.Reset()
	fail = nil
	r.again(t.Context(), set)
	if said := stderr.String(); !strings.Contains(said, `"applied": ["hot_window: (not set) -> 1h"]`) {
		t.Errorf("at the next: %s", said)
	}
}
