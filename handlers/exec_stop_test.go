//go:build unix

package handlers

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dartwing/jobledger/schemas"
)

const helperEnv = "HANDLERS_TEST_WORKER" // makes the test binary a worker that runs one exec attempt

func TestMain(m *testing.M) {
	if command := os.Getenv(helperEnv); command != "" {
		e := &Exec{Command: command}
		_, err := e.Run(context.Background(), testAttempt())
		println("the attempt returned", err == nil)
		os.Exit(3)
	}
	os.Exit(m.Run())
}

// poll waits for something that other processes do.
func poll(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(time.Minute)
	for !done() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// pidsIn reads the process ids that a command wrote, once there are n.
func pidsIn(t *testing.T, file string, n int) []int {
	t.Helper()
	var pids []int
	poll(t, "process ids in "+file, func() bool {
		b, _ := os.ReadFile(file)
		pids = pids[:0]
		for _, f := range strings.Fields(string(b)) {
			pid, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			pids = append(pids, pid)
		}
		return len(pids) == n && strings.HasSuffix(string(b), "\n")
	})
	return pids
}

// alive reports whether a process runs; a zombie that nobody reaps is dead.
func alive(pid int) bool {
	if runtime.GOOS == "linux" {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		_, after, ok := strings.Cut(string(b), ") ")
		return err == nil && ok && !strings.HasPrefix(after, "Z")
	}
	return syscall.Kill(pid, 0) == nil
}

func wantDead(t *testing.T, pids []int) {
	t.Helper()
	for _, pid := range pids {
		poll(t, "end of process "+strconv.Itoa(pid), func() bool { return !alive(pid) })
	}
}

type outcome struct {
	result string
	err    error
}

// begin runs an attempt in the background; cancel ends its context.
func begin(e *Exec, a *Attempt) (cancel func(), done <-chan outcome) {
	ctx, stop := context.WithCancelCause(context.Background())
	ch := make(chan outcome, 1)
	go func() {
		got, err := e.Run(ctx, a)
		ch <- outcome{string(got), err}
	}()
	return func() { stop(errTestCancel) }, ch
}

// TestExecTerm shows that cancel sends SIGTERM to the whole group, and that a command which tidies up within
// the grace is waited for (INTERFACE 2.6, R-36).
func TestExecTerm(t *testing.T) {
	dir := t.TempDir()
	pids, tidied := filepath.Join(dir, "pids"), filepath.Join(dir, "tidied")
	e := newExec(t, `trap 'echo tidied >`+tidied+`; exit 0' TERM; sleep 300 & echo $$ $! >`+pids+`; wait`)
	cancel, done := begin(e, testAttempt())
	all := pidsIn(t, pids, 2)
	cancel()
	if o := <-done; !errors.Is(o.err, errTestCancel) || o.result != "" {
		t.Errorf("canceled attempt returned %+v", o)
	}
	if _, err := os.Stat(tidied); err != nil {
		t.Errorf("the command was not let tidy up: %v", err)
	}
	wantDead(t, all)
}

// TestExecKill shows that a group which ignores SIGTERM is killed when the grace ends, with all its processes.
func TestExecKill(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	e := newExec(t, `trap '' TERM; sleep 300 & echo $$ $! >`+pids+`; wait; sleep 300`)
	a := testAttempt()
	a.Grace = 50 * time.Millisecond
	cancel, done := begin(e, a)
	all := pidsIn(t, pids, 2)
	cancel()
	if o := <-done; !errors.Is(o.err, errTestCancel) {
		t.Errorf("canceled attempt returned %+v", o)
	}
	wantDead(t, all)
}

// TestExecLeavesNothing shows that what a command leaves running in its group ends with the attempt, and
// that a process which left the group cannot hold the attempt by keeping its pipes open.
func TestExecLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	e := newExec(t, `sleep 300 & echo $! >`+dir+`/pids; echo '"done"'`)
	_, done := begin(e, testAttempt())
	if o := <-done; o.result != `"done"` || o.err != nil {
		t.Errorf("got %+v", o)
	}
	wantDead(t, pidsIn(t, dir+"/pids", 1))

	setsid, err := exec.LookPath("setsid")
	if err != nil {
		t.Skip("no setsid here")
	}
	e = newExec(t, setsid+` sh -c 'echo $$ >`+dir+`/left; exec sleep 300' & while ! [ -s `+dir+`/left ]; do :; done; echo '"left"'`)
	_, done = begin(e, testAttempt())
	if o := <-done; o.result != `"left"` || o.err != nil {
		t.Errorf("got %+v", o)
	}
	for _, pid := range pidsIn(t, dir+"/left", 1) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// TestExecDiesWithWorker shows DESIGN D7: the children of a worker that is killed die with it, also those that
// the shell has started, and nothing stays in the temporary folder.
func TestExecDiesWithWorker(t *testing.T) {
	dir := t.TempDir()
	worker := exec.Command(os.Args[0])
	worker.Env = append(os.Environ(), "TMPDIR="+dir,
		// The pause lets the guard hear of the group: a worker killed within the instant between fork and
		// that word leaves only the shell to the parent-death signal.
		helperEnv+`=trap "" TERM HUP; sleep 300 & sleep 1; echo $$ $! >`+dir+`/pids; wait; sleep 300`)
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	all := pidsIn(t, dir+"/pids", 2)
	if err := worker.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = worker.Wait()
	wantDead(t, all)
	poll(t, "removal of context files", func() bool {
		left, err := filepath.Glob(dir + "/jobledger-exec-*")
		return err == nil && len(left) == 0
	})
}

// TestExecSurvivesThreads shows that the parent-death signal follows the worker, not its threads: threads of the
// runtime end all the time, when a goroutine locked to one ends.
func TestExecSurvivesThreads(t *testing.T) {
	dir := t.TempDir()
	e := newExec(t, `echo $$ >>`+dir+`/pids; while ! [ -e `+dir+`/go ]; do sleep 0.02; done; echo '"alive"'`)
	const attempts, threads = 8, 64
	var done []<-chan outcome
	for range attempts {
		_, d := begin(e, testAttempt())
		done = append(done, d)
	}
	pidsIn(t, dir+"/pids", attempts)
	ended := make(chan struct{})
	for range threads {
		go func() {
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
			ended <- struct{}{}
		}()
	}
	for range threads {
		<-ended
	}
	if err := os.WriteFile(dir+"/go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, d := range done {
		if o := <-d; o.result != `"alive"` || o.err != nil {
			t.Errorf("an attempt died: %+v", o)
		}
	}
}

// TestExecGuardReplaced shows that a guard which was killed is replaced, and protects all attempts that run.
func TestExecGuardReplaced(t *testing.T) {
	dir := t.TempDir()
	e := newExec(t, `trap '' TERM; echo $$ >>`+dir+`/pids; while :; do sleep 1; done`)
	a := testAttempt()
	a.Grace = 0
	cancel1, done1 := begin(e, a)
	pidsIn(t, dir+"/pids", 1)
	e.guard.mu.Lock()
	old := e.guard.cmd
	e.guard.mu.Unlock()
	if err := old.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	poll(t, "end of the guard", func() bool { return !alive(old.Process.Pid) })
	cancel2, done2 := begin(e, a)
	all := pidsIn(t, dir+"/pids", 2)
	e.guard.mu.Lock()
	replaced, live := e.guard.cmd != old, len(e.guard.live)
	// The worker dies, as far as the new guard can tell.
	w := e.guard.pipe
	e.guard.closed = true
	e.guard.mu.Unlock()
	if !replaced || live != 2 {
		t.Errorf("replaced %t, protects %d groups", replaced, live)
	}
	w.Close()
	wantDead(t, all)
	for _, d := range []<-chan outcome{done1, done2} {
		if v := Classify((<-d).err, nil); v.Error.Message != "signal SIGKILL" || v.Error.Class != schemas.ClassUnclassified {
			t.Errorf("got %+v", v)
		}
	}
	cancel1()
	cancel2()
	if err := e.guard.cmd.Wait(); err != nil {
		t.Errorf("guard: %v", err)
	}
}

// TestReadLine shows that a line over the limit is skipped as a whole and the next one is read.
func TestReadLine(t *testing.T) {
	in := bufio.NewReaderSize(strings.NewReader("short\n"+strings.Repeat("y", 100)+"\n last"), 16)
	for _, want := range []struct {
		line string
		long bool
	}{{"short", false}, {"", true}, {"last", false}} {
		line, err := readLine(in, 50)
		if string(line) != want.line || errors.Is(err, errLongLine) != want.long {
			t.Errorf("got %q, %v; want %+v", line, err, want)
		}
	}
}
