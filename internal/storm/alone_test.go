//go:build unix

package storm_test

import (
	"context"
	"encoding/json"
	"fmt"
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

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const (
	aloneType = "alone" // its jobs name resources with a limit of one
	soloType  = "solo"  // one of an org at a time
	// frost is the resource of the job whose worker is frozen for longer than its lease.
	frost = "frost"
	// aloneTimeout is that of both types, and the grace as well.
	aloneTimeout = 2 * time.Second
	// hangs is how many seconds a command takes that outlives its attempt and ends by itself; deaf is that of one which its
	// worker has to kill.
	hangs = 3
	deaf  = 60
)

// aloneCommand is the command of jobs under a limit of one. Its first argument names the limit, the second how many
// seconds the first attempt takes, whatever it is told. Beside the lines that every command writes it takes a lock that
// the system gives back when the last of its processes has ended, however that was: whoever finds it taken overlaps.
const aloneCommand = `set -- $(tr -d '"'); log=$STORM_ALONE/$1
me="$JOBLEDGER_JOB_ID $JOBLEDGER_GENERATION $JOBLEDGER_ATTEMPT $STORM_WORKER"
exec 9>>"$log.lock"
flock -n 9 || echo "$JOBLEDGER_FENCE overlap $me" >>"$log"
echo "$JOBLEDGER_FENCE start $me" >>"$log"
echo "$me" >>"$STORM_STARTS"
if [ "$JOBLEDGER_ATTEMPT" = 1 ] && [ -n "$2" ]; then trap '' TERM; sleep "$2"; else sleep 0.05; fi
echo "$me" >>"$STORM_EFFECTS"
echo "$JOBLEDGER_FENCE end $me" >>"$log"`

// alone is a cell whose jobs may only run one at a time, under several limits.
type alone struct {
	*cell
	l       *ledger.Ledger
	dir     string // a file for each limit
	workers []*process
	dead    map[string]bool // workers whose commands died with them
	frozen  string          // the worker that was frozen for longer than its lease
	// frozenAt is how far the ledger was then, at least.
	frozenAt schemas.Seq
	beside   int // attempts that ran beside one of that

	mu    sync.Mutex
	acked []schemas.JobID
	hangs int
}

func newAlone(t *testing.T, resources ...string) *alone {
	t.Helper()
	if _, err := exec.LookPath("flock"); err != nil {
		t.Skipf("needs flock(1): %v", err)
	}
	a := &alone{cell: newCell(t, 1, *full), dead: make(map[string]bool)}
	a.timeouts = true
	a.dir = filepath.Join(a.home.dir, "alone")
	if err := os.Mkdir(a.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	a.env = append(a.env, "STORM_ALONE="+a.dir)
	for _, r := range resources {
		a.must("resource", "add", r, "--max-running", "1", "--reason", "a test", "--server", a.url)
	}
	policy := []string{"--run-timeout", aloneTimeout.String(), "--backoff", "1s,1,1s", "--max-attempts", "11", "--reason", "a test", "--server", a.url}
	a.must(append([]string{"type", "add", aloneType}, policy...)...)
	a.must(append([]string{"type", "add", soloType, "--max-running-per-org", "1"}, policy...)...)
	a.l = openLedger(t, a.url)
	return a
}

func (a *alone) hire(name, typ string) *process {
	a.t.Helper()
	p := a.workerOf(binary, name, a.way(name), typ, workerSlots, aloneCommand)
	a.workers = append(a.workers, p)
	return p
}

// dismiss forgets a worker that is gone, and its commands with it.
func (a *alone) dismiss(p *process) {
	select {
	case <-p.gone:
	case <-time.After(patience):
		a.t.Fatalf("%s does not end", p.name)
	}
	a.dead[p.name] = true
	a.workers = slices.DeleteFunc(a.workers, func(w *process) bool { return w == p })
}

// submit stores one job. Its first attempt does not listen for so many seconds, if that is not 0.
func (a *alone) submit(typ schemas.TypeName, limit string, hang int, timeout time.Duration) schemas.JobID {
	a.t.Helper()
	words := limit
	if hang > 0 {
		words += " " + strconv.Itoa(hang)
	}
	args, err := json.Marshal(words)
	if err != nil {
		a.t.Error(err)
	}
	r := ledger.SubmitRequest{Org: acme, Type: typ, ID: schemas.NewJobID(), Args: args}
	if typ == aloneType {
		r.Resource = limit
	}
	if timeout > 0 {
		ms := schemas.MillisOf(timeout)
		r.Override = &schemas.Override{TimeoutMS: &ms}
	}
	if _, err := a.l.Submit(context.WithoutCancel(a.t.Context()), r); err != nil {
		a.t.Error(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.acked = append(a.acked, r.ID)
	if hang > 0 {
		a.hangs++
	}
	return r.ID
}

// flow submits at least n jobs, of each limit in turn, and more until stop is called. So many are unfinished at most.
func (a *alone) flow(limits []string, n, backlog, hangEvery int) (stop func()) {
	enough, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		for i := 0; ; i++ {
			for {
				a.o.mu.Lock()
				unfinished, changed := len(a.o.jobs)-a.o.finished, a.o.changed
				a.o.mu.Unlock()
				if unfinished < backlog {
					break
				}
				select {
				case <-changed:
				case <-a.t.Context().Done():
					return
				}
			}
			select {
			case <-enough:
				if i >= n {
					return
				}
			case <-a.t.Context().Done():
				return
			default:
			}
			limit, typ, hang := limits[i%len(limits)], schemas.TypeName(aloneType), 0
			if limit == soloType {
				typ = soloType
			}
			if i/len(limits)%hangEvery == 1 { // soon one of each limit
				if hang = hangs; i%2 == 1 {
					hang = deaf
				}
			}
			a.submit(typ, limit, hang, 0)
		}
	}()
	return sync.OnceFunc(func() { close(enough); <-over })
}

// awaitRun returns when an attempt of a job runs, and what it is.
func (a *alone) awaitRun(id schemas.JobID, attempt int) (fence schemas.Fence, worker string) {
	a.t.Helper()
	a.o.await(fmt.Sprintf("attempt %d of %s", attempt, id), func() bool {
		j := a.o.jobs[id]
		if j == nil || j.Attempt < attempt {
			return false
		}
		fence, worker = j.LastFence, j.Worker
		return true
	})
	return fence, worker
}

// awaitLine returns when the witness of a limit holds a text.
func (a *alone) awaitLine(limit, text string) {
	a.t.Helper()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for over := time.After(patience); ; {
		if said, _ := os.ReadFile(filepath.Join(a.dir, limit)); strings.Contains(string(said), text) {
			return
		}
		select {
		case <-poll.C:
		case <-over:
			a.t.Fatalf("no command under %s wrote %q", limit, text)
		}
	}
}

// freezeLeader stops the leader until another one has started a job and at least for so long; then it goes on.
func (a *alone) freezeLeader(hold time.Duration) failover {
	a.t.Helper()
	p := a.leader()
	p.mu.Lock()
	deposed := p.deposed
	p.mu.Unlock()
	before, since := a.latestEpoch(), time.Now()
	p.signal(syscall.SIGSTOP)
	f := a.awaitFailover(before, since)
	during(a.t, hold-time.Since(since))
	p.signal(syscall.SIGCONT)
	p.await("that its leadership has ended", func() bool { return p.deposed > deposed })
	return f
}

// end lets every job and process end, and judges what the ledger and the witnesses say.
func (a *alone) end(limits ...string) *story {
	a.t.Helper()
	a.o.awaitAll(a.acked)
	drain(a.workers...)
	s := tell(a.t, a.home, a.url, a.acked)
	s.verify(a.home, a.url)
	if out, talk, err := a.try(binary, []string{"JOBLEDGER_ORG="}, "log", "verify", "--limits", "--server", a.url); err != nil {
		a.t.Errorf("log verify --limits: %v: %s%s", err, out, talk)
	}
	a.views.end()
	for _, limit := range limits {
		a.judge(s, limit)
	}
	a.cell.end()
	return s
}

// judge reads the witness of one limit: what it has begun under it has ended before the next began.
func (a *alone) judge(s *story, limit string) {
	a.t.Helper()
	said, err := os.ReadFile(filepath.Join(a.dir, limit))
	if err != nil {
		a.t.Fatal(err)
	}
	var under, outliving *attempt // the latter of the frozen worker: as long as its command goes on, everybody finds the lock taken
	for line := range strings.Lines(string(said)) {
		f := strings.Fields(line)
		if len(f) != 6 {
			a.t.Errorf("%s: torn line %q", limit, line)
			continue
		}
		now := s.at(attemptKey{schemas.JobID(f[2]), f[3], f[4]})
		if f[0] != now.running.String() {
			a.t.Errorf("%s: %v was given fence %s, its running event is %d", limit, now.key, f[0], now.running)
		}
		switch f[1] {
		case "overlap":
			if !a.promised(under, now) {
				outliving = under
			}
			if a.beside++; a.promised(outliving, now) { // else that an attempt of another worker ran, too, its lines tell
				a.t.Errorf("%s: attempt %v began while another one ran", limit, now.key)
			}
		case "start":
			killed := under != nil && (a.dead[under.worker] || under.end == schemas.EventTimedOut && len(under.effects) == 0)
			if under != nil && !killed && a.promised(under, now) { // that it was dead by now the lock tells
				a.t.Errorf("%s: attempt %v began before %v, of %s, had ended", limit, now.key, under.key, under.worker)
			}
			under = now
		case "end":
			if now == under {
				under = nil
			}
			if now == outliving {
				outliving = nil
			}
		}
	}
}

// promised reports whether nobody may run beside an attempt. Of a worker that was frozen until its attempt was lost, or with
// a command that outlived an attempt of it, that is not so for what starts from then on; the later attempt has the higher fence.
func (a *alone) promised(under, now *attempt) bool {
	if under == nil || under.worker != a.frozen || under.running >= now.running {
		return true
	}
	outlived := under.end == schemas.EventTimedOut && now.running > a.frozenAt
	return under.end != schemas.EventLost && !outlived
}

// TestLimitsOfOne has jobs under limits of one: of three resources, and of one type in its org. What the commands write
// themselves shows that no two of one limit ever ran at once, while a command does not listen when its attempt times out
// and runs on for seconds, and the leader is frozen and wakes after another one has taken over (DESIGN D6, D7, R-17).
// At full size workers are killed too, and one is cut off while its command does not listen, so that it ends itself.
//
// The one thing that is not promised is shown as well: a worker process that is frozen for longer than its lease cannot
// stop its command, which runs on beside the next attempt. That one has the higher fence.
func TestLimitsOfOne(t *testing.T) {
	begin(t)
	resources := []string{"r1", "r2", "r3"}
	a := newAlone(t, append(resources, frost)...)
	for i := range size(2, 4) {
		a.hire(fmt.Sprintf("w%d", i+1), aloneType)
	}
	a.hire("o1", soloType)
	a.hire("o2", soloType)
	limits := append(slices.Clone(resources), soloType)
	stop := a.flow(limits, jobCount(24, 400), size(24, 60), size(3, 30))
	t.Cleanup(stop)
	a.o.await("timeouts under each limit, and one more", func() bool {
		n := 0
		for _, j := range a.o.jobs {
			n += j.Used
		}
		return n > len(limits)
	})
	var fails []string
	for range size(1, 4) {
		fails = append(fails, a.freezeLeader(time.Duration(size(0, 30))*time.Second).String())
	}
	if *full {
		a.killWorkers(4)
		a.cutOff()
		a.freezeWorker()
		limits = append(limits, frost)
	}
	stop()
	s := a.end(limits...)
	s.figures(fmt.Sprintf("; %d commands did not listen when their attempt ended; leader frozen: %s; ran beside the command of a frozen worker: %d",
		a.hangs, strings.Join(fails, "; "), a.beside))
}

// killWorkers kills those that hold something, and hires others.
func (a *alone) killWorkers(n int) {
	a.t.Helper()
	for i := range n {
		var p *process
		a.o.await("a worker that holds something", func() bool {
			at := slices.IndexFunc(a.workers, func(w *process) bool { return len(a.o.heldBy(w.name)) > 0 })
			if at >= 0 {
				p = a.workers[at]
			}
			return at >= 0
		})
		typ := aloneType
		if strings.HasPrefix(p.name, "o") {
			typ = soloType
		}
		p.kill()
		a.dismiss(p)
		a.hire(fmt.Sprintf("%s.%d", p.name[:2], i+1), typ)
		a.o.awaitFinished(a.o.count() + 20)
	}
}

// cutOff holds what a worker says and hears while its command, which may only run alone, does not listen: nobody can
// tell that worker that its lease has passed, so it ends itself before that.
func (a *alone) cutOff() {
	a.t.Helper()
	id := a.submit(aloneType, frost, 90, 5*time.Minute)
	_, worker := a.awaitRun(id, 1)
	a.awaitLine(frost, "start "+string(id)+" 1 1")
	p := a.workers[slices.IndexFunc(a.workers, func(w *process) bool { return w.name == worker })]
	a.proxies[worker].hold()
	a.dismiss(p)
	a.proxies[worker].open()
	a.awaitRun(id, 2)
	a.o.awaitAll([]schemas.JobID{id})
	a.hire("c1", aloneType)
}

// freezeWorker stops a worker until its attempt is lost and another one has run, beside the command of the first.
func (a *alone) freezeWorker() {
	a.t.Helper()
	id := a.submit(aloneType, frost, 60, 5*time.Minute)
	_, a.frozen = a.awaitRun(id, 1)
	a.awaitLine(frost, "start "+string(id)+" 1 1")
	p := a.workers[slices.IndexFunc(a.workers, func(w *process) bool { return w.name == a.frozen })]
	p.signal(syscall.SIGSTOP)
	a.o.mu.Lock()
	a.frozenAt = a.o.at
	a.o.mu.Unlock()
	a.o.awaitAll([]schemas.JobID{id})
	p.signal(syscall.SIGCONT)
	a.dismiss(p) // what it finds when it wakes is that it should have ended itself
}
