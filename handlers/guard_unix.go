//go:build unix

package handlers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

const (
	shell = "/bin/sh"
	// guardWriteMax is how long a line to the guard may take. Its pipe holds thousands of lines, so longer
	// means that somebody stopped it.
	guardWriteMax = 2 * time.Second
)

// guardScript reads "+ PGID" and "- PGID" from the worker. The end of its input means that the worker is
// gone, however it died: then it kills the groups that are left, and removes the folder of context files.
// The parent-death signal alone would end only the shell of a command, not what that has started, and exists
// on Linux only.
const guardScript = `trap '' HUP INT QUIT TERM
live=' '
while read -r op group; do
  case $op in
  +) live="$live$group " ;;
  -) case "$live" in *" $group "*) live="${live%% $group *} ${live#* $group }" ;; esac ;;
  esac
done
for group in $live; do kill -s KILL -- "-$group" 2>/dev/null; done
rm -rf -- "$1"
`

// guard is one small process beside the worker that outlives it just long enough to end its children.
type guard struct {
	dir string // context files of attempts; removed by the guard process

	mu     sync.Mutex
	pipe   *os.File
	cmd    *exec.Cmd
	live   map[int]struct{} // process groups under protection, at most one per running attempt
	closed bool
}

func newGuard() (*guard, error) {
	dir, err := os.MkdirTemp("", "jobledger-exec-")
	if err != nil {
		return nil, err
	}
	g := &guard{dir: dir, live: make(map[int]struct{})}
	if err := g.start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return g, nil
}

// start begins a guard process. The caller holds mu, or is alone.
func (g *guard) start() error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := &exec.Cmd{
		Path: shell, Args: []string{shell, "-c", guardScript, "jobledger-exec-guard", g.dir},
		Env: []string{"PATH=/usr/bin:/bin"}, Dir: "/", Stdin: r,
		// A session of its own: the interrupt of a terminal must not take the guard before the worker.
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := cmd.Start(); err != nil {
		return errors.Join(err, w.Close())
	}
	g.cmd, g.pipe = cmd, w
	return nil
}

func (g *guard) add(pgid int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.live[pgid] = struct{}{}
	g.tell('+', pgid)
}

func (g *guard) remove(pgid int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.live, pgid)
	g.tell('-', pgid)
}

// tell writes one line. A guard that does not take it was killed or stopped: another one takes its place and
// learns of all groups. If that fails too the parent-death signal remains.
func (g *guard) tell(op byte, pgid int) {
	if g.closed {
		return
	}
	if g.write(op, pgid) == nil {
		return
	}
	_ = g.stop()
	if g.start() != nil {
		return
	}
	for pgid := range g.live {
		if g.write('+', pgid) != nil {
			return
		}
	}
}

func (g *guard) write(op byte, pgid int) error {
	_ = g.pipe.SetWriteDeadline(time.Now().Add(guardWriteMax))
	_, err := fmt.Fprintf(g.pipe, "%c %d\n", op, pgid)
	return err
}

// stop ends the guard process without letting it act.
func (g *guard) stop() error {
	_ = g.cmd.Process.Kill()
	return errors.Join(g.cmd.Wait(), g.pipe.Close())
}

// close ends the guard: it kills the groups that are left and removes the folder.
func (g *guard) close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil
	}
	g.closed = true
	if err := g.pipe.Close(); err != nil {
		return err
	}
	return g.cmd.Wait()
}

// contextFile writes the file that an attempt's _CONTEXT_FILE names.
func (g *guard) contextFile(ctx context.Context, a *Attempt) (string, error) {
	body, err := contextJSON(ctx, a)
	if err != nil {
		return "", err
	}
	f, err := os.CreateTemp(g.dir, "context-*.json")
	if err != nil {
		return "", err
	}
	_, err = f.Write(body)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}
