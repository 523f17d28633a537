//go:build unix

package storm_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// gated is the command of a job whose process says which attempt it is, and then waits until the test opens its gate.
// Its result is its process id, so whose outcome was accepted can be seen.
const gated = `echo "$JOBLEDGER_JOB_ID $JOBLEDGER_FENCE $STORM_WORKER $$" >> "$STORM_STARTS"; ` +
	`while [ ! -e "$STORM_STARTS.$$" ]; do sleep 0.05; done; printf '"%s"' $$`

// hand is one process of a gated job.
type hand struct{ job, fence, worker, pid string }

// gatedWorker starts a worker of gated jobs of one type, with one slot.
func (h *home) gatedWorker(name, url, typ string) *process {
	h.t.Helper()
	p, out := h.run(name, binary, []string{"STORM_WORKER=" + name}, "worker", "run", typ, "--server", url, "--name", name,
		"--slots", "1", "--exec", gated, "--json", "--log-format", "json", "--log-level", "info")
	go func() { _, _ = io.Copy(io.Discard, out) }()
	p.await("that it has started", func() bool { return len(p.said) > 0 })
	return p
}

// hand returns the process in which a worker runs a job, once it runs.
func (h *home) hand(job schemas.JobID, worker string) (found hand) {
	h.t.Helper()
	poll(h.t, fmt.Sprintf("job %s to run on %s", job, worker), func() bool {
		text, err := os.ReadFile(h.starts)
		if err != nil {
			h.t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) == 4 && f[0] == string(job) && f[2] == worker {
				found = hand{f[0], f[1], f[2], f[3]}
			}
		}
		return found.pid != ""
	})
	return found
}

// open lets a process end its job.
func (h *home) open(who hand) {
	h.t.Helper()
	if err := os.WriteFile(h.starts+"."+who.pid, nil, 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// poll returns when is holds, of something that tells nobody when it changes.
func poll(t *testing.T, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for !is() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// follower is a command that follows the ledger and must be told when what it has read is void.
type follower struct {
	*process
	read chan string // lines of its stdout
}

func (h *home) follow(name string, args ...string) *follower {
	h.t.Helper()
	p, out := h.run(name, binary, nil, append(args, "--json")...)
	f := &follower{p, make(chan string, 1000)}
	go func() {
		defer close(f.read)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			f.read <- lines.Text()
		}
	}()
	return f
}

// awaitLine returns when the command has printed a line that holds all of these texts.
func (f *follower) awaitLine(texts ...string) {
	f.t.Helper()
	limit := time.After(patience)
next:
	for {
		select {
		case line, ok := <-f.read:
			if !ok {
				f.t.Fatalf("%s ended before it printed %q", f.name, texts)
			}
			for _, text := range texts {
				if !strings.Contains(line, text) {
					continue next
				}
			}
			return
		case <-limit:
			f.t.Fatalf("%s did not print %q", f.name, texts)
		}
	}
}

// awaitAny returns when the command, which begins with what comes after its start, has printed a line; nudge makes
// something come.
func (f *follower) awaitAny(nudge func(i int)) {
	f.t.Helper()
	limit := time.Now().Add(patience)
	for i := 0; ; i++ {
		nudge(i)
		select {
		case _, ok := <-f.read:
			if ok {
				return
			}
			f.t.Fatalf("%s ended before it printed anything", f.name)
		case <-time.After(200 * time.Millisecond):
		}
		if time.Now().After(limit) {
			f.t.Fatalf("%s prints nothing", f.name)
		}
	}
}

// awaitExpired returns when the command has ended because its position is void.
func (f *follower) awaitExpired() {
	f.t.Helper()
	select {
	case <-f.gone:
	case <-time.After(patience):
		f.t.Fatalf("%s goes on, on a ledger that no longer holds what it has shown", f.name)
	}
	said := strings.Join(f.said, "\n")
	if f.cmd.ProcessState.ExitCode() != 1 || !strings.Contains(said, string(ledger.CodePositionExpired)) {
		f.t.Errorf("%s ended with %v and said %q, want exit 1 and %s", f.name, f.err, said, ledger.CodePositionExpired)
	}
}

// putBack replaces a folder by its copy.
func putBack(t *testing.T, folder, copied string) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(folder), os.CopyFS(folder, os.DirFS(copied))); err != nil {
		t.Fatal(err)
	}
}

// retold is what the ledger tells after older data was put back.
type retold struct {
	jobs map[schemas.JobID]*ledger.Job
	late map[schemas.JobID][]schemas.Fence // of late results
}

// retell reads the ledger from its beginning: every event is legal, and every completion is of an attempt that this
// ledger knows by its id, not only by its sequence. Then it runs the checker.
func retell(t *testing.T, h *home, url string) *retold {
	t.Helper()
	r := &retold{jobs: make(map[schemas.JobID]*ledger.Job), late: make(map[schemas.JobID][]schemas.Fence)}
	begun := make(map[schemas.Fence]schemas.JobID)
	err := openLedger(t, url).Replay(t.Context(), ledger.ReplayQuery{Org: acme}, func(e *ledger.Entry) error {
		j := r.jobs[e.Job]
		if j == nil {
			j = &ledger.Job{Org: e.Org, ID: e.Job}
			r.jobs[e.Job] = j
		}
		if !e.ApplyTo(j) || e.Err != nil {
			t.Errorf("event %d (%s) of job %s is illegal: %v", e.Seq, e.Name(), e.Job, e.Err)
		}
		switch d := e.Data.(type) {
		case *schemas.Running:
			begun[schemas.Fence{Seq: e.Seq, ID: e.ID}] = e.Job
		case *schemas.Completed:
			if begun[d.Fence] != e.Job {
				t.Errorf("event %d completes job %s for an attempt %v that the ledger does not know", e.Seq, e.Job, d.Fence)
			}
		case *schemas.LateResult:
			r.late[e.Job] = append(r.late[e.Job], d.Fence)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	(&story{t: t}).verify(h, url)
	return r
}

// completedBy checks that the outcome of a job is the one of this process.
func (r *retold) completedBy(t *testing.T, id schemas.JobID, who hand) {
	t.Helper()
	j := r.jobs[id]
	if j == nil || j.State != schemas.StateCompleted || string(j.Result) != `"`+who.pid+`"` || j.Attempt != 1 || j.Worker != who.worker {
		t.Errorf("job %s is %+v, want it completed by process %s of %s in its first attempt", id, j, who.pid, who.worker)
	}
}

// TestOlderDataPutBack kills a cell, puts a copy of its data folder back that was taken earlier, and starts it, while
// workers live on that hold attempts of the future that is gone: of a job that the ledger still has and that is given
// to another worker under the same sequence, and of a job that it never heard of, whose id is given out again. No
// outcome of theirs is accepted. The attempt that the copy knows goes on. Whoever followed the ledger is told
// position_expired, views are those of the ledger, and new jobs run (DESIGN D2, R-22, R-42, R-720, R-910).
func TestOlderDataPutBack(t *testing.T) {
	begin(t)
	h := newHome(t)
	port, store, copied := fmt.Sprint(freePorts(t, 1)[0]), filepath.Join(h.dir, "store"), filepath.Join(h.dir, "copy")
	start := func() (*process, string) {
		p, ready := h.server("dev", "dev", "--port", port, "--store", store)
		return p, ready.NATSURL
	}
	dev, url := start()
	submit := func(typ, id string) { h.must("job", "submit", typ, "--id", id, "--server", url) }
	for _, typ := range []string{"known", "later", "gone", "new"} {
		h.must("type", "add", typ, "--server", url)
	}
	kept := h.gatedWorker("kept", url, "known")
	submit("known", "known")
	knownHand := h.hand("known", "kept")
	submit("later", "later") // nobody serves its type yet
	dev.kill()
	if err := os.CopyFS(copied, os.DirFS(store)); err != nil {
		t.Fatal(err)
	}

	// The future that will not have been.
	dev, _ = start()
	o := observe(t, url)
	o.restores = 1
	tail := h.follow("tail", "log", "tail", "--from", "1", "--server", url)
	watch := h.follow("watch", "job", "watch", "--server", url)
	held := []*process{h.gatedWorker("a", url, "later")}
	stale := h.hand("later", "a")
	held = append(held, h.gatedWorker("b", url, "gone"))
	submit("gone", "gone")
	lost := h.hand("gone", "b")
	h.must("type", "add", "unheard", "--server", url)
	tail.awaitLine(`"gone"`, "running")
	watch.awaitAny(func(i int) { submit("new", fmt.Sprintf("nudge-%d", i)) })
	heirs := []*process{h.gatedWorker("c", url, "later"), h.gatedWorker("d", url, "gone")}
	for _, p := range held { // they have done the work, and will say so when it is another's
		p.signal(syscall.SIGSTOP)
	}
	h.open(stale)
	h.open(lost)
	dev.kill()
	putBack(t, store, copied)
	dev, _ = start()
	began := time.Now()
	tail.awaitExpired()
	watch.awaitExpired()
	heir := h.hand("later", "c")
	t.Logf("figures: the job runs again, %s after the cell's start; its fence was %s and is %s", time.Since(began).Round(time.Millisecond), stale.fence, heir.fence)
	submit("gone", "gone")
	again := h.hand("gone", "d")
	for _, p := range held {
		p.signal(syscall.SIGCONT)
	}
	for _, p := range held {
		p.await("what became of its outcome", func() bool { return strings.Contains(strings.Join(p.said, "\n"), "attempt ended") })
	}
	for _, who := range []hand{heir, again, knownHand} {
		h.open(who)
	}
	fresh := h.worker("fresh", url, "new", workerSlots, "true")
	more := parseIDs(h.must("job", "submit", "new", "--count", "50", "--server", url))
	o.awaitAll(append(more, "known", "later", "gone"))
	drain(append(append(held, heirs...), kept, fresh)...)
	r := retell(t, h, url)
	r.completedBy(t, "known", knownHand)
	r.completedBy(t, "later", heir)
	r.completedBy(t, "gone", again)
	if n := len(r.late["later"]) + len(r.late["gone"]); n != 2 {
		t.Errorf("%d late results are kept, want those of the two attempts of the future that is gone: %v", n, r.late)
	}
	if o.restores != 0 {
		t.Error("the test's own fold was not told that its position is void")
	}
	if types := h.must("type", "ls", "--server", url, "--json"); strings.Contains(types, "unheard") {
		t.Errorf("a type that the ledger does not know is listed: %s", types)
	}
	t.Logf("figures: sequence given out again to the same job: %t; late results kept: %v", stale.fence == heir.fence, r.late)
	drain(dev)
}
