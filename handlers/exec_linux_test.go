package handlers

import (
	"context"
	"os/exec"
	"testing"
	"time"
)

// A process that has ended before it is told to stop has done its work, also where its worker, which was stopped
// itself, has not noticed yet: its result is kept.
func TestExecEndedUnnoticed(t *testing.T) {
	t.Parallel()
	g, err := newGuard()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.close() })
	p := newProcess(&exec.Cmd{Path: shell, Args: []string{shell, "-c", "exit 0"}, SysProcAttr: groupAttr()})
	p.mu.Lock() // who reaps it comes no further than this
	if err := p.start(g); err != nil {
		t.Fatal(err)
	}
	if !awaitExit(p.cmd.Process.Pid) {
		t.Fatal("its end cannot be awaited")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	stopped := make(chan bool)
	go func() { stopped <- p.supervise(ctx, time.Minute) }()
	p.mu.Unlock()
	if <-stopped {
		t.Error("the process counts as stopped, though it had ended")
	}
	if p.end.status != 0 || p.end.signal != "" {
		t.Errorf("it ended with %+v", p.end)
	}
}
