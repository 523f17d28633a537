//go:build unix

package storm_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// attemptKey names an attempt as its command sees it.
type attemptKey struct {
	job         schemas.JobID
	gen, number string
}

func keyOf(id schemas.JobID, gen, number int) attemptKey {
	return attemptKey{id, fmt.Sprint(gen), fmt.Sprint(number)}
}

// attempt is one attempt by both witnesses.
type attempt struct {
	key     attemptKey
	worker  string      // by its running event
	running schemas.Seq // of its running event, the fence
	begun   time.Time

	end   schemas.EventName // how the ledger closed it
	ended schemas.Seq
	at    time.Time
	cause string // of lost and released
	late  []schemas.EventName

	starts  []string // workers whose command wrote that it began
	effects []string // and that its work was done
}

// story is what a test's ledger and files tell.
type story struct {
	t        *testing.T
	timeouts bool // attempts may time out
	attempts map[attemptKey]*attempt
	jobs     map[schemas.JobID]*ledger.Job
	byFence  map[schemas.Seq]*attempt
}

// judge reads the ledger from its beginning, and the files of the witness, and checks what holds whatever was
// damaged: no attempt starts twice, each start has its running event and its end, and no
// acknowledged job is missing, unfinished or poisoned. The checker must find nothing.
func judge(t *testing.T, h *home, url string, acked []schemas.JobID) *story {
	t.Helper()
	s := tell(t, h, url, acked)
	s.verify(h, url)
	return s
}

// tell is judge without the checker.
func tell(t *testing.T, h *home, url string, acked []schemas.JobID) *story {
	t.Helper()
	s := &story{t: t, timeouts: h.timeouts, attempts: make(map[attemptKey]*attempt), jobs: make(map[schemas.JobID]*ledger.Job), byFence: make(map[schemas.Seq]*attempt)}
	if err := openLedger(t, url).Replay(t.Context(), ledger.ReplayQuery{Org: acme}, s.fold); err != nil {
		t.Fatal(err)
	}
	s.witness(h.starts, func(a *attempt, worker string) { a.starts = append(a.starts, worker) })
	s.witness(h.effects, func(a *attempt, worker string) { a.effects = append(a.effects, worker) })
	for _, a := range s.attempts {
		s.check(a)
	}
	for _, id := range acked {
		switch j := s.jobs[id]; {
		case j == nil:
			t.Errorf("job %s was acknowledged and is not in the ledger", id)
		case j.State != schemas.StateCompleted:
			t.Errorf("job %s was acknowledged and is %s (%s): %+v", id, j.State, j.DeadReason, j.Error)
		}
	}
	if len(s.jobs) < len(acked) {
		t.Errorf("the ledger holds %d jobs, %d were acknowledged", len(s.jobs), len(acked))
	}
	return s
}

// verify runs the checker as an operator does, on all orgs.
func (s *story) verify(h *home, url string) {
	s.t.Helper()
	verdict, text, err := h.check(binary, url)
	if p := verdict.Problems; err != nil || !verdict.OK || p.View == nil || p.Count == nil || p.Offer == nil {
		s.t.Fatalf("the checker did not find everything right: %v: %s", err, text)
	}
	s.t.Logf("log verify --full: ok, %d events of %d jobs", verdict.Events, verdict.Jobs)
}

// check runs the checker of a build of the program. The error is that of the program, which ends without one only if
// nothing is wrong.
func (h *home) check(program, url string, more ...string) (verdict ledger.Verdict, text string, err error) {
	h.t.Helper()
	text, talk, err := h.try(program, []string{"JOBLEDGER_ORG="}, append([]string{"log", "verify", "--full", "--server", url}, more...)...)
	if bad := json.Unmarshal([]byte(text), &verdict); bad != nil {
		h.t.Fatalf("%v, %v: %s%s", err, bad, text, talk)
	}
	return verdict, text, err
}

func (s *story) fold(e *ledger.Entry) error {
	j := s.jobs[e.Job]
	if j == nil {
		j = &ledger.Job{Org: e.Org, ID: e.Job}
		s.jobs[e.Job] = j
	}
	if !e.ApplyTo(j) || e.Err != nil {
		s.t.Errorf("event %d (%s) of job %s is illegal: %v", e.Seq, e.Name(), e.Job, e.Err)
	}
	switch d := e.Data.(type) {
	case *schemas.Running:
		a := s.at(keyOf(e.Job, d.Generation, d.Attempt))
		if a.running != 0 {
			s.t.Errorf("attempt %v has two running events, %d and %d", a.key, a.running, e.Seq)
		}
		a.worker, a.running, a.begun = d.Worker, e.Seq, e.Time
		s.byFence[e.Seq] = a
	case *schemas.Completed:
		s.close(d.Fence, e, "")
	case *schemas.Failed:
		s.close(d.Fence, e, d.Error.Message)
	case *schemas.TimedOut:
		s.close(d.Fence, e, d.Error.Message)
	case *schemas.Canceled:
		s.close(d.Fence, e, d.Reason)
	case *schemas.DeadLettered:
		s.close(d.Fence, e, string(d.Reason))
	case *schemas.Lost:
		s.close(d.Fence, e, string(d.Cause))
	case *schemas.Released:
		s.close(d.Fence, e, d.Cause)
	case *schemas.LateResult:
		if a := s.byFence[d.Fence.Seq]; a != nil {
			a.late = append(a.late, d.Outcome)
		} else {
			s.t.Errorf("event %d keeps a late result of no attempt", e.Seq)
		}
	}
	return nil
}

func (s *story) close(f schemas.Fence, e *ledger.Entry, cause string) {
	a := s.byFence[f.Seq]
	if a == nil || a.end != "" {
		s.t.Errorf("event %d (%s) of job %s ends no attempt, or one that has ended", e.Seq, e.Name(), e.Job)
		return
	}
	a.end, a.ended, a.at, a.cause = e.Name(), e.Seq, e.Time, cause
}

func (s *story) at(k attemptKey) *attempt {
	a := s.attempts[k]
	if a == nil {
		a = &attempt{key: k}
		s.attempts[k] = a
	}
	return a
}

// witness reads a file of the commands.
func (s *story) witness(name string, add func(a *attempt, worker string)) {
	s.t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		s.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 4 || !strings.HasSuffix(line, "\n") {
			s.t.Errorf("%s holds a torn line: %q", name, line)
			continue
		}
		add(s.at(attemptKey{schemas.JobID(f[0]), f[1], f[2]}), f[3])
	}
}

// check holds of every attempt.
func (s *story) check(a *attempt) {
	switch {
	case a.running == 0:
		s.t.Errorf("attempt %v was started by %v and has no running event", a.key, a.starts)
	case len(a.starts) > 1 || len(a.effects) > 1:
		s.t.Errorf("attempt %v was started by %v, its work was done by %v", a.key, a.starts, a.effects)
	case len(a.starts) == 1 && a.starts[0] != a.worker:
		s.t.Errorf("attempt %v was claimed by %s and started by %v", a.key, a.worker, a.starts)
	case a.cause == schemas.ReleaseLateClaim && len(a.starts) > 0:
		s.t.Errorf("attempt %v was released as claimed too late, and started by %v", a.key, a.starts)
	case a.end == "":
		s.t.Errorf("attempt %v on %s has no end", a.key, a.worker)
	case a.end == schemas.EventCompleted && (len(a.starts) != 1 || len(a.effects) != 1):
		s.t.Errorf("attempt %v is completed, with starts %v and effects %v", a.key, a.starts, a.effects)
	case s.timeouts && a.end == schemas.EventTimedOut:
	case len(a.starts) == 0 && a.end != schemas.EventLost && a.end != schemas.EventReleased:
		s.t.Errorf("attempt %v was claimed, never started and not given up: %s", a.key, a.end)
	case a.end != schemas.EventCompleted && a.end != schemas.EventLost && a.end != schemas.EventReleased:
		s.t.Errorf("attempt %v ended in %s: %s", a.key, a.end, a.cause)
	}
}

// inOrder returns the attempts that ended in an event, oldest first.
func (s *story) inOrder(end schemas.EventName) []*attempt {
	var out []*attempt
	for _, a := range s.attempts {
		if a.end == end {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(a, b *attempt) int { return int(a.running) - int(b.running) })
	return out
}

// handedBack checks what holds of planned restarts: nothing was lost, attempts were handed back for no
// other reason than that their worker was told to end, some were, and that consumed none of any job's attempts. It
// returns how many were consumed, and those that were handed back.
func (s *story) handedBack() (consumed int, released []*attempt) {
	s.t.Helper()
	for _, a := range s.inOrder(schemas.EventLost) {
		s.t.Errorf("attempt %v of %s was lost: %s", a.key, a.worker, a.cause)
	}
	released = s.inOrder(schemas.EventReleased)
	for _, a := range released {
		if a.cause != schemas.ReleaseDrain {
			s.t.Errorf("attempt %v of %s was released: %s", a.key, a.worker, a.cause)
		}
	}
	if len(released) == 0 {
		s.t.Error("no attempt was handed back: the test shows nothing")
	}
	for id, j := range s.jobs {
		consumed += j.Used
		if j.Used != 0 || j.Losses != 0 {
			s.t.Errorf("job %s consumed %d attempts, and was lost %d times", id, j.Used, j.Losses)
		}
	}
	return consumed, released
}

// figures prints what every test tells.
func (s *story) figures(more string) {
	starts, lost, released, late := 0, map[string]int{}, map[string]int{}, 0
	for _, a := range s.attempts {
		starts += len(a.starts)
		late += len(a.late)
		switch a.end {
		case schemas.EventLost:
			lost[a.cause]++
		case schemas.EventReleased:
			released[a.cause]++
		}
	}
	s.t.Logf("figures: %d jobs, %d attempts, %d witnessed starts, lost %s, released %s, late results %d%s",
		len(s.jobs), len(s.attempts), starts, counted(lost), counted(released), late, more)
}

// counted prints a map of counts in the order of its keys.
func counted(m map[string]int) string {
	if len(m) == 0 {
		return "0"
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%d (%s)", m[k], k))
	}
	return strings.Join(parts, " + ")
}
