//go:build unix

package storm_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

const (
	acme = schemas.OrgID("acme")

	// drainMax is how long a process may take to end after SIGTERM.
	drainMax = time.Minute
	// linesKept of what a process says are shown when its test fails.
	linesKept = 40
)

// home is where the processes of one test live: their configuration, and the files of the witness.
type home struct {
	t   *testing.T
	dir string
	env []string

	starts  string // one line for each start of an attempt: job, generation, attempt, worker
	effects string // one line for each whose work was done

	timeouts bool // attempts may time out
}

func newHome(t *testing.T) *home {
	t.Helper()
	dir := t.TempDir()
	h := &home{t: t, dir: dir, starts: filepath.Join(dir, "starts"), effects: filepath.Join(dir, "effects")}
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "NATS_") && !strings.HasPrefix(kv, "JOBLEDGER_") {
			h.env = append(h.env, kv)
		}
	}
	h.env = append(h.env, "HOME="+dir, "XDG_CONFIG_HOME="+filepath.Join(dir, "config"), "JOBLEDGER_ORG="+string(acme),
		"STORM_STARTS="+h.starts, "STORM_EFFECTS="+h.effects)
	for _, name := range []string{h.starts, h.effects} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

// witnessed is the command of a job that does work, such as "sleep 1". Each line is one append of the shell's.
func witnessed(work string) string {
	line := `echo "$JOBLEDGER_JOB_ID $JOBLEDGER_GENERATION $JOBLEDGER_ATTEMPT $STORM_WORKER" >> `
	return line + `"$STORM_STARTS"; ` + work + `; ` + line + `"$STORM_EFFECTS"`
}

// process is one run of the program.
type process struct {
	t    *testing.T
	name string
	cmd  *exec.Cmd
	gone chan struct{} // closed when it has ended and err is set
	err  error

	mu      sync.Mutex
	said    []string // the latest lines of its stderr
	leading schemas.Seq
	deposed int // times that it said its leadership ended
	racy    bool
	changed chan struct{} // closed and replaced with each line
}

// run starts a program and returns it with its stdout.
func (h *home) run(name, path string, env []string, args ...string) (*process, io.Reader) {
	h.t.Helper()
	p := &process{t: h.t, name: name, cmd: exec.Command(path, args...), gone: make(chan struct{}), changed: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env, p.cmd.SysProcAttr = h.dir, append(slices.Clone(h.env), env...), childAttr()
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	talk, err := p.cmd.StderrPipe()
	if err != nil {
		h.t.Fatal(err)
	}
	forked := make(chan error)
	forker <- func() { forked <- p.cmd.Start() }
	if err := <-forked; err != nil {
		h.t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		p.listen(talk)
		p.err = p.cmd.Wait()
		close(p.gone)
	}()
	h.t.Cleanup(func() {
		p.kill()
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.racy && path != released { // what was released cannot be mended any more
			h.t.Errorf("%s has a data race", name)
		}
		if h.t.Failed() {
			h.t.Logf("%s said:\n%s", name, strings.Join(p.said, "\n"))
		}
	})
	return p, out
}

// listen reads the log of a process to its end.
func (p *process) listen(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct {
			Msg   string      `json:"msg"`
			Epoch schemas.Seq `json:"epoch"`
		}
		_ = json.Unmarshal(lines.Bytes(), &line) // a panic, say, is no JSON
		p.mu.Lock()
		if p.said = append(p.said, lines.Text()); len(p.said) > linesKept && !p.racy {
			p.said = p.said[1:]
		}
		p.racy = p.racy || strings.Contains(lines.Text(), "WARNING: DATA RACE")
		switch line.Msg {
		case "leading":
			p.leading = line.Epoch
		case "leadership ends":
			p.deposed++
		}
		close(p.changed)
		p.changed = make(chan struct{})
		p.mu.Unlock()
	}
	_, _ = io.Copy(io.Discard, r)
}

// epoch is the latest in which the process said that it leads; 0 if none.
func (p *process) epoch() schemas.Seq {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leading
}

// await returns when is, called under mu, holds.
func (p *process) await(what string, is func() bool) {
	p.t.Helper()
	limit := time.After(patience)
	for {
		p.mu.Lock()
		ok, changed := is(), p.changed
		p.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-p.gone:
			p.t.Fatalf("%s ended while the test waited for it to say %s: %v", p.name, what, p.err)
		case <-limit:
			p.t.Fatalf("%s did not say %s", p.name, what)
		}
	}
}

// lastSaid is the one of these texts that the process logged last; empty if none.
func (p *process) lastSaid(texts ...string) (last string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, line := range p.said {
		for _, text := range texts {
			if strings.Contains(line, text) {
				last = text
			}
		}
	}
	return last
}

// signal sends s to the process alone: its jobs have groups of their own.
func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		p.t.Errorf("%s to %s: %v", s, p.name, err)
	}
}

// kill ends the process as a crash does, and returns when it has.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // fails where it has ended already
	<-p.gone
}

// drain ends processes as an operator does: each must settle what it has and report no error.
func drain(ps ...*process) {
	for _, p := range ps {
		p.signal(syscall.SIGTERM)
	}
	limit := time.After(drainMax)
	for _, p := range ps {
		select {
		case <-p.gone:
			if p.err != nil {
				p.t.Errorf("%s, told to end: %v", p.name, p.err)
			}
		case <-limit:
			p.t.Errorf("%s does not end %s after SIGTERM", p.name, drainMax)
			return
		}
	}
}

// must runs the program to its end and returns its stdout.
func (h *home) must(args ...string) string {
	h.t.Helper()
	out, talk, err := h.try(binary, nil, args...)
	if err != nil {
		h.t.Fatalf("jobledger %s: %v\nstdout: %s\nstderr: %s", strings.Join(args, " "), err, out, talk)
	}
	return out
}

// try runs a build of the program to its end, with more variables, and returns what it said.
func (h *home) try(program string, env []string, args ...string) (out, talk string, err error) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	c := exec.CommandContext(ctx, program, args...)
	var stdout, stderr bytes.Buffer
	c.Dir, c.Env, c.Stdout, c.Stderr = h.dir, append(slices.Clone(h.env), env...), &stdout, &stderr
	err = c.Run()
	return stdout.String(), stderr.String(), err
}

// readiness is the line by which a server says that it serves.
type readiness struct {
	Ready    bool   `json:"ready"`
	NATSURL  string `json:"nats_url"`
	Replicas int    `json:"replicas"`
}

// server starts `jobledger` with these arguments and returns it once it serves.
func (h *home) server(name string, args ...string) (*process, readiness) {
	h.t.Helper()
	return h.serverOf(binary, name, args...)
}

// serverOf does so with a build of the program.
func (h *home) serverOf(program, name string, args ...string) (*process, readiness) {
	h.t.Helper()
	p, out := h.run(name, program, nil, append(args, "--json", "--log-format", "json", "--log-level", "info")...)
	lines := bufio.NewReader(out)
	said := make(chan []byte, 1)
	go func() {
		line, _ := lines.ReadBytes('\n') // none, if it ends before
		said <- line
		_, _ = io.Copy(io.Discard, lines)
	}()
	var ready readiness
	select {
	case line := <-said:
		if json.Unmarshal(line, &ready) != nil || !ready.Ready {
			p.kill()
			h.t.Fatalf("%s is not ready: %v: %s", name, p.err, line)
		}
	case <-time.After(patience):
		h.t.Fatalf("%s is not ready", name)
	}
	return p, ready
}

// worker starts a worker of jobs of type typ, each of which does work.
func (h *home) worker(name, url, typ string, slots int, work string) *process {
	h.t.Helper()
	return h.workerWith(name, url, typ, slots, work)
}

// workerWith starts a worker with more flags.
func (h *home) workerWith(name, url, typ string, slots int, work string, flags ...string) *process {
	h.t.Helper()
	return h.workerOf(binary, name, url, typ, slots, witnessed(work), flags...)
}

// workerOf starts a worker of a build of the program; its jobs run a command as it is.
func (h *home) workerOf(program, name, url, typ string, slots int, command string, flags ...string) *process {
	h.t.Helper()
	p, out := h.run(name, program, []string{"STORM_WORKER=" + name}, append([]string{"worker", "run", typ, "--server", url, "--name", name,
		"--slots", strconv.Itoa(slots), "--exec", command, "--json", "--log-format", "json", "--log-level", "info"}, flags...)...)
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return p
}

// Ports of servers that are killed and come back: below those that systems give out by themselves, or a connection
// might have taken one meanwhile.
const (
	portMin = 12_000
	portMax = 32_000
)

// freePorts are different loopback ports that nobody uses at the moment.
func freePorts(t *testing.T, n int) []int {
	t.Helper()
	var ports []int
	for range portMax {
		if len(ports) == n {
			return ports
		}
		port := portMin + rand.IntN(portMax-portMin)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		defer l.Close() // held till the end, or the next one might be the same
		ports = append(ports, port)
	}
	t.Fatalf("no %d free ports", n)
	return nil
}
