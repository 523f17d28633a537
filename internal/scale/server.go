package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// server is one that is measured.
type server interface {
	url() string
	// memory is what the server occupies now, and the most it ever did, in bytes; 0 where that is not known.
	memory() (now, most int64)
	// cpu is what it has used since it began; 0 where that is not known.
	cpu() time.Duration
	// fold is how many events the server has folded when it began, and in which time; 0 where that is not known.
	fold() (events int64, took time.Duration)
	// stop ends it; crash as a power cut does to a process.
	stop() error
	crash()
}

// startTimeout bounds the start of a server: one that was killed reads its files anew.
const startTimeout = 5 * time.Minute

// process is the program in a process of its own.
type process struct {
	cmd   *exec.Cmd
	at    string
	ended chan error

	mu     sync.Mutex
	last   string // of what it said
	events int64
	took   time.Duration
}

// startProcess starts `jobledger server run` on a folder and returns when it serves.
func startProcess(ctx context.Context, program, store, profile string, more ...string) (server, error) {
	at, err := freeAddress()
	if err != nil {
		return nil, err
	}
	args := []string{"server", "run", "--store", store, "--listen", at, "--json", "--log-format", "json", "--log-level", "info"}
	args = append(args, more...)
	if profile != "" {
		args = append(args, "--cpuprofile", filepath.Join(profile, filepath.Base(store)+"-"+strconv.FormatInt(time.Now().Unix(), 10)+".prof"))
	}
	p := &process{cmd: exec.Command(program, args...), ended: make(chan error, 1)}
	for _, kv := range os.Environ() { // nothing that the environment names is measured
		if !strings.HasPrefix(kv, "NATS_") && !strings.HasPrefix(kv, "JOBLEDGER_") {
			p.cmd.Env = append(p.cmd.Env, kv)
		}
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	talk, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	var read sync.WaitGroup
	read.Go(func() { p.listen(talk) })
	ready := make(chan string, 1)
	read.Go(func() {
		lines := bufio.NewReader(out)
		line, _ := lines.ReadString('\n') // none, if it ends before
		ready <- line
		_, _ = io.Copy(io.Discard, lines)
	})
	go func() {
		read.Wait() // Wait closes the pipes
		p.ended <- p.cmd.Wait()
	}()
	select {
	case line := <-ready:
		var says struct {
			URL string `json:"nats_url"`
		}
		if err := json.Unmarshal([]byte(line), &says); err == nil && says.URL != "" {
			p.at = says.URL
			return p, nil
		}
	case <-time.After(startTimeout):
	case <-ctx.Done():
	}
	p.crash()
	return nil, fmt.Errorf("the server does not serve: %s", p.said())
}

// freeAddress is a loopback address that nobody uses at the moment.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// listen reads the log.
func (p *process) listen(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var line struct {
			Msg    string  `json:"msg"`
			Events int64   `json:"events"`
			Took   float64 `json:"took_s"`
		}
		_ = json.Unmarshal(lines.Bytes(), &line) // a panic, say, is no JSON
		p.mu.Lock()
		p.last = lines.Text()
		if line.Msg == "ledger folded" {
			p.events, p.took = line.Events, time.Duration(line.Took*float64(time.Second))
		}
		p.mu.Unlock()
	}
	_, _ = io.Copy(io.Discard, r)
}

func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

func (p *process) url() string { return p.at }

func (p *process) fold() (int64, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.events, p.took
}

func (p *process) crash() {
	_ = p.cmd.Process.Kill() // fails where it has ended already
	<-p.ended
	p.ended <- nil
}

func (p *process) stop() error {
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	err := <-p.ended
	p.ended <- nil
	if err != nil {
		return fmt.Errorf("the server ended with %w: %s", err, p.said())
	}
	return nil
}

// tick is the unit of Linux's /proc.
const tick = 10 * time.Millisecond

// cpu reads what Linux says of the process.
func (p *process) cpu() time.Duration { return cpuOf(p.cmd.Process.Pid) }

// cpuOf is what a process has used; 0 where the system does not tell.
func cpuOf(pid int) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	const user, system = 11, 12 // behind the name, which may hold anything
	_, rest, _ := strings.Cut(string(text), ") ")
	f := strings.Fields(rest)
	if len(f) <= system {
		return 0
	}
	u, _ := strconv.ParseInt(f[user], 10, 64)
	k, _ := strconv.ParseInt(f[system], 10, 64)
	return time.Duration(u+k) * tick
}

// memory reads what Linux says of the process.
func (p *process) memory() (now, most int64) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kib, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "VmRSS:":
			now = kib << 10
		case "VmHWM:":
			most = kib << 10
		}
	}
	return now, most
}
