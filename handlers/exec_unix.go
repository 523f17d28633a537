//go:build unix

package handlers

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// run carries out one attempt's process and fills c. The error is the attempt's.
func (e *Exec) run(ctx context.Context, c *child) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	g, err := e.guarded()
	if err != nil {
		return Transient(fmt.Errorf("exec: guard: %w", err))
	}
	contextFile, err := g.contextFile(ctx, c.attempt)
	if err != nil {
		return Transient(fmt.Errorf("exec: context file: %w", err))
	}
	defer os.Remove(contextFile)
	r3, w3, err := os.Pipe()
	if err != nil {
		return Transient(fmt.Errorf("exec: %w", err))
	}
	defer r3.Close()
	p := newProcess(&exec.Cmd{
		Path: shell, Args: []string{shell, "-c", e.Command}, Env: e.environ(c.attempt, contextFile),
		Stdin: bytes.NewReader(c.attempt.args()), Stdout: &c.stdout, Stderr: &c.stderr,
		ExtraFiles: []*os.File{w3}, WaitDelay: pipesDelay, SysProcAttr: groupAttr(),
	})
	err = p.start(g)
	w3.Close()
	if err != nil {
		return Transient(fmt.Errorf("exec: %w", err))
	}
	c.control = newControl(c.attempt, "fd 3", c.log)
	read := make(chan struct{})
	go func() {
		defer close(read)
		_ = c.control.read(ctx, r3, p.done) // an error is the end of it, like its end
	}()
	stopped := p.supervise(ctx, c.attempt.Grace)
	// The group is dead; only a process that left it can still hold fd 3.
	_ = r3.SetReadDeadline(time.Now().Add(pipesDelay))
	<-read
	c.control.saver.close()
	c.stderr.flush()
	if stopped {
		return context.Cause(ctx)
	}
	return c.verdict(p.end)
}

// process is a child in a process group of its own. The thread that forked it waits for it: the
// parent-death signal comes when that *thread* ends, not the process, and the Go runtime ends threads whose
// goroutine was locked to them, so the forking thread must be kept for exactly as long as the child lives.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the process is reaped and end is set
	end  ended

	mu   sync.Mutex
	gone bool // it has exited: its group is killed and its id may belong to another soon
}

func newProcess(cmd *exec.Cmd) *process {
	return &process{cmd: cmd, done: make(chan struct{})}
}

// start forks the process and puts its group under g's protection until it is reaped.
func (p *process) start(g *guard) error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := p.cmd.Start(); err != nil {
			started <- err
			return
		}
		// A worker that dies here leaves the shell to the parent-death signal; it has hardly begun.
		g.add(p.cmd.Process.Pid)
		started <- nil
		p.reap()
		g.remove(p.cmd.Process.Pid)
		close(p.done)
	}()
	return <-started
}

// reap waits for the process's end, kills what it left in its group and records how it ended. Where the
// system can tell of an end before it reaps, the group is killed then, while its id cannot be another's.
func (p *process) reap() {
	// Wait's error repeats the status, or says that a process outside the group kept our pipes open.
	if awaitExit(p.cmd.Process.Pid) {
		p.killGroup()
		_ = p.cmd.Wait()
	} else {
		_ = p.cmd.Wait()
		p.killGroup()
	}
	p.end = endOf(p.cmd.ProcessState)
}

func (p *process) killGroup() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = true
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // ESRCH: nothing was left
}

// supervise waits for the process to end; when ctx ends first it is asked to stop, killed after grace, and
// waited for all the same: a slot is free only when the handler has returned. It reports whether ctx ended first.
func (p *process) supervise(ctx context.Context, grace time.Duration) bool {
	select {
	case <-p.done:
		return false
	case <-ctx.Done():
	}
	if p.exited() {
		<-p.done
		return false // both: the work was done first
	}
	p.signal(syscall.SIGTERM)
	t := time.NewTimer(max(grace, 0))
	defer t.Stop()
	select {
	case <-p.done:
	case <-t.C:
		p.signal(syscall.SIGKILL)
		<-p.done
	}
	return true
}

// exited reports whether the process has, which it may have before anybody here has noticed: a worker that was
// stopped and goes on hears that the attempt's lease is lost as soon as it can look after its children.
func (p *process) exited() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gone || hasExited(p.cmd.Process.Pid)
}

func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.gone {
		_ = syscall.Kill(-p.cmd.Process.Pid, s) // ESRCH: it has just ended
	}
}

func endOf(s *os.ProcessState) ended {
	if s == nil {
		return ended{signal: "UNKNOWN"}
	}
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return ended{signal: signalName(ws.Signal())}
	}
	return ended{status: s.ExitCode()}
}

var signalNames = map[syscall.Signal]string{
	syscall.SIGHUP: "SIGHUP", syscall.SIGINT: "SIGINT", syscall.SIGQUIT: "SIGQUIT", syscall.SIGILL: "SIGILL",
	syscall.SIGTRAP: "SIGTRAP", syscall.SIGABRT: "SIGABRT", syscall.SIGBUS: "SIGBUS", syscall.SIGFPE: "SIGFPE",
	syscall.SIGKILL: "SIGKILL", syscall.SIGUSR1: "SIGUSR1", syscall.SIGSEGV: "SIGSEGV", syscall.SIGUSR2: "SIGUSR2",
	syscall.SIGPIPE: "SIGPIPE", syscall.SIGALRM: "SIGALRM", syscall.SIGTERM: "SIGTERM",
	syscall.SIGXCPU: "SIGXCPU", syscall.SIGXFSZ: "SIGXFSZ", syscall.SIGSYS: "SIGSYS",
}

func signalName(s syscall.Signal) string {
	if name, ok := signalNames[s]; ok {
		return name
	}
	return fmt.Sprintf("SIG%d", int(s))
}

// Close stops the guard, which kills the processes of attempts that still run, and removes its folder. A later
// attempt starts a new guard.
func (e *Exec) Close() error {
	e.mu.Lock()
	g := e.guard
	e.guard = nil
	e.mu.Unlock()
	if g == nil {
		return nil
	}
	return g.close()
}

func (e *Exec) guarded() (*guard, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.guard != nil {
		return e.guard, nil
	}
	g, err := newGuard()
	if err != nil {
		return nil, err
	}
	e.guard = g
	return g, nil
}
