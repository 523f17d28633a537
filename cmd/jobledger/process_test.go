package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// envProgram makes the test's own executable be the program, so that a test has real processes to kill
// without building one.
const envProgram = "JOBLEDGER_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(envProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

// processes are real processes of the program with a home of their own.
type processes struct {
	t   *testing.T
	dir string // working folder; bin/jobledger is the program
	env []string
}

func newProcesses(t *testing.T) *processes {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(bin, "jobledger")); err != nil {
		t.Skipf("no symbolic links here: %v", err)
	}
	env := append(os.Environ(), envProgram+"=1", "XDG_CONFIG_HOME="+filepath.Join(dir, "config"), "HOME="+dir,
		"PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), "NATS_URL=", "NATS_CONTEXT=", "JOBLEDGER_ORG=")
	return &processes{t: t, dir: dir, env: env}
}

// command prepares a process in the working folder; what it says on stderr is the test's log if it fails.
func (p *processes) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...)
	if name == "jobledger" {
		c.Path, c.Err = filepath.Join(p.dir, "bin", "jobledger"), nil
	}
	c.Dir, c.Env = p.dir, p.env
	c.WaitDelay = 10 * time.Second // a child of its own may hold the pipes
	return c
}

// must runs the program to its end and returns its stdout.
func (p *processes) must(name string, args ...string) string {
	p.t.Helper()
	c := p.command(name, args...)
	var out, talk bytes.Buffer
	c.Stdout, c.Stderr = &out, &talk
	if err := c.Run(); err != nil {
		p.t.Fatalf("%s %s: %v\nstdout: %s\nstderr: %s", name, strings.Join(args, " "), err, &out, &talk)
	}
	return out.String()
}

// dev starts `jobledger dev` and returns once it is ready.
func (p *processes) dev(args ...string) *exec.Cmd {
	p.t.Helper()
	c := p.command("jobledger", append([]string{"dev", "--json"}, args...)...)
	var talk bytes.Buffer
	c.Stderr = &talk
	out, err := c.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	lines := bufio.NewReader(out)
	line, err := lines.ReadBytes('\n')
	var ready struct {
		Ready bool `json:"ready"`
	}
	if err != nil || json.Unmarshal(line, &ready) != nil || !ready.Ready {
		_ = c.Process.Kill()
		_ = c.Wait()
		p.t.Fatalf("dev is not ready: %v\nstdout: %s\nstderr: %s", err, line, &talk)
	}
	go func() { _, _ = io.Copy(io.Discard, lines) }()
	return c
}

// freePort is a loopback port that nobody uses at the moment.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
}

// TestDocs does what the README and the pages marked for it say, as a new user would.
func TestDocs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		file, before string
		wants        []string
	}{
		{"README.md", "", []string{`"Ada"`, "submitted", "completed", `"ok":true`}},
		{"docs/OPERATING.md", `for i in $(seq 100); do [ "$(jobledger --org acme dlq ls -n | wc -l)" = 2 ] && break; sleep 0.2; done` + "\n", // the demo's table
			[]string{"permanent_error", "is submitted again", "no: exit code 4", "is it there now?", "2 jobs match, 2 eligible", "2 jobs ignored", ": canceled", "\tdemo\t",
				"org trial is deleted, none of its jobs is left", "no: exit code 1"}},
		{"docs/BATCHES.md", "", []string{`"items":30`, `"completed":30`, "paused", "resumed", "canceled: exit code 5", `"parent_states"`}},
		{"docs/DEPENDENCIES.md", "", []string{`"parent_states"`, `"n":1`, `"n":2`, "waiting_on_parent", "canceled: exit code 5"}},
		{"docs/BACKUP.md", `trap 'kill $(jobs -p) 2> /dev/null || true' EXIT` + "\n", // the drill's server, if it goes wrong
			[]string{"manifest.json: OK", "put back", `"ok":true`, "completed", "the copy does not know it", "no: the store is not empty"}},
		{"docs/HISTORY.md", "", []string{"submitted", csvColumns, "last seq ", "system:worker", "State: running", "read the history of demo up to sequence"}},
		{"docs/HTTP.md", "", []string{`"state":"completed"`, `"event":"submitted"`, `{"name":"Ada"}`, `"duplicate":true`, `"state":"canceled"`,
			`"by":"type"`, `"code":"not_found"`}},
		{"docs/SCHEDULES.md", "", []string{"_s-tick-1-", "* * * * * * UTC", "jobs would be submitted", "jobs submitted", "paused", "is removed"}},
	} {
		t.Run(filepath.Base(c.file), func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath("curl"); err != nil && c.file == "docs/HTTP.md" {
				t.Skip("SKIPPED: the lines of docs/HTTP.md need curl, which this machine does not have")
			}
			text, err := os.ReadFile("../../" + c.file)
			if err != nil {
				t.Fatal(err)
			}
			_, block, ok := strings.Cut(string(text), "<!-- test: shell -->\n```sh\n")
			block, _, closed := strings.Cut(block, "```")
			if !ok || !closed {
				t.Fatalf("%s has no block marked for this test", c.file)
			}
			out := newProcesses(t).script(c.before + block)
			for _, want := range c.wants {
				if !strings.Contains(out, want) {
					t.Errorf("the commands do not print %q:\n%s", want, out)
				}
			}
		})
	}
}

// script runs commands beside a demo, which is drained then.
func (p *processes) script(commands string) string {
	p.t.Helper()
	http := freePort(p.t)
	dev := p.dev("--demo", "--port", freePort(p.t), "--http", http)
	commands = strings.NewReplacer("127.0.0.1:8422", "127.0.0.1:"+http, "127.0.0.1:24222", "127.0.0.1:"+freePort(p.t)).Replace(commands)
	ctx, cancel := context.WithTimeout(p.t.Context(), 2*time.Minute)
	defer cancel()
	sh := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", commands+"\nwait\n")
	// A machine that runs other tests beside this one may answer late.
	sh.Dir, sh.Env, sh.WaitDelay = p.dir, append(p.env, "NATS_TIMEOUT=30s"), 10*time.Second
	out, err := sh.CombinedOutput()
	if err != nil {
		p.t.Fatalf("the commands: %v\n%s", err, out)
	}
	if err := dev.Process.Signal(os.Interrupt); err != nil {
		p.t.Fatal(err)
	}
	if err := dev.Wait(); err != nil {
		p.t.Errorf("dev, drained: %v", err)
	}
	return string(out)
}

// TestKillNine kills the whole development cell and its worker in mid-batch, again and again: no
// acknowledged job is lost, none is poisoned, no attempt starts twice.
func TestKillNine(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes a lease's time")
	}
	const jobs, kills = 100, 3
	p := newProcesses(t)
	port := freePort(t)
	starts := filepath.Join(p.dir, "starts")
	script := `echo $JOBLEDGER_JOB_ID $JOBLEDGER_ATTEMPT >> ` + starts + `; sleep 0.1`
	start := func() (dev, worker *exec.Cmd) {
		dev = p.dev("--port", port)
		worker = p.command("jobledger", "worker", "run", "touch", "--exec", script, "--slots", "4", "--log-level", "error", "-j")
		lines, err := worker.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := worker.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = worker.Process.Kill(); _ = worker.Wait() })
		// A job that ended is the signal that the batch is in full swing.
		if _, err := bufio.NewReader(lines).ReadBytes('\n'); err != nil {
			t.Fatalf("the worker ran nothing: %v", err)
		}
		go func() { _, _ = io.Copy(io.Discard, lines) }()
		return dev, worker
	}
	first := p.dev("--port", port)
	ids := strings.Fields(p.must("jobledger", "job", "submit", "touch", "{}", "--count", fmt.Sprint(jobs)))
	if len(ids) != jobs {
		t.Fatalf("%d ids for %d jobs", len(ids), jobs)
	}
	_ = first.Process.Kill() // acknowledged, and killed before any of it could run
	_ = first.Wait()
	for range kills {
		dev, worker := start()
		_ = dev.Process.Kill()
		_ = worker.Process.Kill()
		_, _ = dev.Wait(), worker.Wait()
	}
	start()
	p.must("jobledger", append([]string{"job", "wait", "--wait-timeout", "3m"}, ids...)...) // 0 only if all completed
	p.must("jobledger", "log", "verify", "--full")
	text, err := os.ReadFile(starts)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		if seen[line] {
			t.Errorf("attempt started twice: %s", line)
		}
		seen[line] = true
	}
}
