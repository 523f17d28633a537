package ledger_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

const testdata = "../testdata/ledger"

// start is the stream time at which every story of these tests begins.
var start = time.Date(2026, 11, 23, 14, 0, 0, 0, time.UTC)

// situations are the rows of the transition table in the words of testdata; running! is a running job whose
// cancel was requested.
var situations = []string{"none", "submitted", "queued", "running", "running!", "retrying", "completed", "canceled", "dead_lettered"}

func situationOf(j *ledger.Job) string {
	switch {
	case !j.Exists():
		return "none"
	case j.State == schemas.StateRunning && j.CancelRequested:
		return "running!"
	}
	return string(j.State)
}

// rows reads a table of testdata: words in columns, '#' begins a comment.
func rows(t *testing.T, name string) [][]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(testdata, name))
	if err != nil {
		t.Fatal(err)
	}
	var all [][]string
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		if words := strings.Fields(s.Text()); len(words) > 0 && words[0] != "#" {
			all = append(all, words)
		}
	}
	return all
}

// cell is one of the 153.
type cell struct {
	situation string
	event     schemas.EventName
}

// legalCells is transitions.txt: where each legal event leads.
func legalCells(t *testing.T) map[cell]string {
	t.Helper()
	legal := map[cell]string{}
	for _, row := range rows(t, "transitions.txt") {
		n := len(row)
		event, to := schemas.EventName(row[n-2]), row[n-1]
		for _, from := range row[1 : n-2] {
			c := cell{from, event}
			if !slices.Contains(situations, from) || !slices.Contains(schemas.JobEvents(), event) || legal[c] != "" {
				t.Fatalf("%s: %v is unknown or given twice", row[0], c)
			}
			legal[c] = to
			if to == "same" {
				legal[c] = from
			}
		}
	}
	if len(legal) != 44 || len(situations)*len(schemas.JobEvents()) != 153 {
		t.Fatalf("%d legal cells of %d, want 44 of 153", len(legal), len(situations)*len(schemas.JobEvents()))
	}
	return legal
}

// standing is a job in some situation, with the fences of its attempts by number.
type standing struct {
	*ledger.Job
	fences map[int]schemas.Fence
}

// do decides c, stores what is decided as the next event of the job, and folds it.
func (s *standing) do(t testing.TB, c ledger.Command) {
	t.Helper()
	data, err := ledger.Decide(s.Job, c)
	if err != nil || data == nil {
		t.Fatalf("%T on a job that is %s: %v, %v", c, situationOf(s.Job), data, err)
	}
	if !s.fold(data) {
		t.Fatalf("%s is illegal on a job that is %s", data.Name(), situationOf(s.Job))
	}
}

// fold applies data as the next event, a second after the last one.
func (s *standing) fold(data schemas.Data) bool {
	e := schemas.NewEvent(schemas.JobSubject("acme", "job-1"), data)
	e.Seq, e.Time = s.LastSeq+1, start.Add(time.Duration(s.LastSeq)*time.Second)
	if r, ok := data.(*schemas.Running); ok {
		s.fences[r.Attempt] = schemas.Fence{Seq: e.Seq, ID: e.ID}
	}
	return ledger.Apply(s.Job, e)
}

func (s *standing) claim() *ledger.Claim {
	return &ledger.Claim{Generation: s.Generation, Submitted: s.SubmittedSeq, Session: "s-1", Worker: "w-1"}
}

func (s *standing) outcome(attempt int, kind schemas.EventName) *ledger.Outcome {
	return &ledger.Outcome{Fence: s.fences[attempt], Generation: s.Generation, Attempt: attempt, Kind: kind, Now: now}
}

// now is the stream time of the commands under test: after every story.
var now = start.Add(24 * time.Hour)

var transient = &schemas.JobError{Class: schemas.ClassTransient, Message: "busy"}

// in returns a job in the situation. But for "none" it has had two attempts: the first was lost, the second
// ended in what led to the situation, or runs.
func in(t testing.TB, situation string) *standing {
	t.Helper()
	s := &standing{Job: new(ledger.Job), fences: map[int]schemas.Fence{}}
	if situation == "none" {
		return s
	}
	policy := schemas.DefaultPolicy()
	s.do(t, &ledger.Begin{Spec: schemas.Submitted{Type: "echo", Queue: "default", Priority: schemas.PriorityNormal, Args: json.RawMessage(`{}`)}})
	s.do(t, &ledger.Queue{Policy: policy, Epoch: 1, Now: now})
	s.do(t, s.claim())
	s.do(t, &ledger.Lose{Fence: s.Fence, Cause: schemas.LossWorkerGone})
	s.do(t, s.claim())
	switch situation {
	case "submitted":
		s.do(t, &ledger.Lose{Fence: s.Fence, Cause: schemas.LossWorkerGone, OrgDeleted: true})
		s.do(t, &ledger.Retry{Now: now})
	case "queued":
		s.do(t, &ledger.Lose{Fence: s.Fence, Cause: schemas.LossWorkerGone})
	case "running!":
		s.do(t, &ledger.Cancel{Reason: "not needed"})
	case "retrying":
		o := s.outcome(2, schemas.EventFailed)
		o.Error = transient
		s.do(t, o)
	case "completed":
		s.do(t, s.outcome(2, schemas.EventCompleted))
	case "canceled":
		s.do(t, s.outcome(2, schemas.EventCanceled))
	case "dead_lettered":
		o := s.outcome(2, schemas.EventFailed)
		o.Error = &schemas.JobError{Class: schemas.ClassPermanent, Message: "no such address"}
		s.do(t, o)
	}
	if got := situationOf(s.Job); got != situation {
		t.Fatalf("story for %s ended in %s", situation, got)
	}
	return s
}

// event returns data of the name that fits the job in all that the table does not judge: generation, attempt
// and fence are the right ones.
func (s *standing) event(name schemas.EventName) schemas.Data {
	h := s.Head()
	attempt := s.AttemptHead()
	ended := s.Attempt // by canceled and dead_lettered, which name an attempt only if one runs
	if s.Fence.IsZero() {
		ended = 0
	}
	switch name {
	case schemas.EventSubmitted:
		return &schemas.Submitted{From: s.State, Type: "echo", Queue: "default", Priority: schemas.PriorityNormal, Generation: s.Generation + 1}
	case schemas.EventQueued:
		return &schemas.Queued{Head: h, Policy: schemas.DefaultPolicy()}
	case schemas.EventRunning:
		return &schemas.Running{Head: h, Attempt: s.Attempt + 1, Session: "s-2"}
	case schemas.EventCompleted:
		return &schemas.Completed{AttemptHead: attempt}
	case schemas.EventFailed:
		return &schemas.Failed{AttemptHead: attempt, Error: *transient}
	case schemas.EventTimedOut:
		return &schemas.TimedOut{AttemptHead: attempt, Error: *transient}
	case schemas.EventCanceled:
		return &schemas.Canceled{Head: h, Attempt: ended, Fence: s.Fence}
	case schemas.EventDeadLettered:
		return &schemas.DeadLettered{Head: h, Attempt: ended, Fence: s.Fence, Reason: schemas.DeadOrgDeleted}
	case schemas.EventCancelRequested:
		return &schemas.CancelRequested{AttemptHead: attempt}
	case schemas.EventReleased:
		return &schemas.Released{AttemptHead: attempt}
	case schemas.EventLost:
		return &schemas.Lost{AttemptHead: attempt, Cause: schemas.LossWorkerGone}
	case schemas.EventRetried:
		return &schemas.Retried{Head: h}
	case schemas.EventResolved:
		return &schemas.Resolved{Head: h, Note: "n"}
	case schemas.EventIgnored:
		return &schemas.Ignored{Head: h, Note: "n"}
	case schemas.EventLateResult:
		return &schemas.LateResult{AttemptHead: schemas.AttemptHead{Head: h, Attempt: 1, Fence: s.fences[1]}, Outcome: schemas.EventCompleted}
	case schemas.EventCarried:
		return &schemas.Carried{Head: h, Job: *s.Job}
	case schemas.EventCheckpointed:
		return &schemas.Checkpointed{AttemptHead: attempt, Checkpoint: json.RawMessage(`{"page":7}`)}
	}
	panic("no such event: " + name)
}

// TestTransitions is the 144 cells of R-224 and the nine of checkpointed, as the table says and as the fold obeys: a legal event leads
// where say, an illegal one is counted and changes nothing else but the position.
func TestTransitions(t *testing.T) {
	legal := legalCells(t)
	for _, situation := range situations {
		for _, event := range schemas.JobEvents() {
			t.Run(situation+"/"+string(event), func(t *testing.T) {
				to, ok := legal[cell{situation, event}]
				s := in(t, situation)
				next, isLegal := ledger.Next(s.State, s.CancelRequested, event)
				if isLegal != ok || ok && string(next) != strings.TrimSuffix(to, "!") {
					t.Errorf("Next: %s, legal %t, want %s, %t", next, isLegal, to, ok)
				}
				if situation == "none" && event == schemas.EventCarried {
					return // no transition, yet where a fold may begin: TestFoldBeginsWithCarried
				}
				before := clone(t, s.Job)
				folded := s.fold(s.event(event))
				if folded != ok {
					t.Errorf("Apply: legal %t, want %t", folded, ok)
				}
				if got := situationOf(s.Job); ok && got != to {
					t.Errorf("Apply: now %s, want %s", got, to)
				}
				if !ok {
					before.Illegal++
					before.LastSeq, before.LastID, before.LastAt = s.LastSeq, s.LastID, s.LastAt
					same(t, "an illegal event changed the job", s.Job, before)
				}
			})
		}
	}
}

// TestMisfits shows what the table cannot see: an event of another generation, attempt or fence is illegal
// even where its name is not.
func TestMisfits(t *testing.T) {
	for _, c := range []struct {
		situation string
		change    func(*standing) schemas.Data
	}{
		{"completed", func(s *standing) schemas.Data { return &schemas.Submitted{Generation: s.Generation} }},
		{"completed", func(s *standing) schemas.Data { return &schemas.Submitted{Generation: s.Generation + 2} }},
		{"queued", func(s *standing) schemas.Data { return &schemas.Running{Head: s.Head(), Attempt: s.Attempt} }},
		{"queued", func(s *standing) schemas.Data { return &schemas.Running{Head: s.Head(), Attempt: s.Attempt + 2} }},
		{"queued", func(s *standing) schemas.Data {
			return &schemas.Canceled{Head: s.Head(), Attempt: 1, Fence: s.fences[1]}
		}},
		{"submitted", func(s *standing) schemas.Data { h := s.Head(); h.Generation++; return &schemas.Queued{Head: h} }},
		{"running", func(s *standing) schemas.Data { return &schemas.Canceled{Head: s.Head()} }},
		{"running", func(s *standing) schemas.Data {
			return &schemas.DeadLettered{Head: s.Head(), Attempt: 1, Fence: s.fences[1], Reason: schemas.DeadPoison}
		}},
		{"running", func(s *standing) schemas.Data {
			h := s.AttemptHead()
			h.Attempt, h.Fence = 1, s.fences[1]
			return &schemas.Completed{AttemptHead: h}
		}},
		{"running", func(s *standing) schemas.Data { // the sequence was given out again after a restore (DESIGN D2)
			h := s.AttemptHead()
			h.Fence.ID = "another"
			return &schemas.Completed{AttemptHead: h}
		}},
	} {
		s := in(t, c.situation)
		data := c.change(s)
		before := situationOf(s.Job)
		if s.fold(data) || situationOf(s.Job) != before || s.Illegal != 1 {
			t.Errorf("%s %+v on a job that is %s was folded", data.Name(), data, c.situation)
		}
	}
}

// TestDecisions is decisions.txt: what Decide answers to every command of every producer in every situation
// . Together the commands produce each of the 44 legal cells, and no other.
func TestDecisions(t *testing.T) {
	legal := legalCells(t)
	seen := map[cell]bool{}
	listed := map[string]bool{}
	for _, row := range rows(t, "decisions.txt") {
		name := row[0]
		listed[name] = true
		if commands[name] == nil || len(row) != 1+len(situations) {
			t.Fatalf("row %q: unknown command or %d cells", name, len(row)-1)
		}
		for i, situation := range situations {
			s := in(t, situation)
			c := commands[name](s)
			before := clone(t, s.Job)
			data, err := ledger.Decide(s.Job, c)
			same(t, "Decide changed the job", s.Job, before)
			if got := answer(data, err); got != row[1+i] {
				t.Errorf("%s of a job that is %s: %s (%v), want %s", name, situation, got, err, row[1+i])
			}
			if data == nil {
				continue
			}
			seen[cell{situation, data.Name()}] = true
			if err := data.Validate(); err != nil {
				t.Errorf("%s of a job that is %s decides an invalid %s: %v", name, situation, data.Name(), err)
			}
			if !s.fold(data) {
				t.Errorf("%s of a job that is %s decides an illegal %s", name, situation, data.Name())
			}
		}
	}
	for name := range commands {
		if !listed[name] {
			t.Errorf("command %s has no row", name)
		}
	}
	for c := range legal {
		if !seen[c] {
			t.Errorf("no command produces %v", c)
		}
	}
	if len(seen) != len(legal) {
		t.Errorf("%d cells produced, want %d", len(seen), len(legal))
	}
}

func answer(data schemas.Data, err error) string {
	var state *ledger.StateError
	switch {
	case errors.As(err, &state):
		return "state"
	case errors.Is(err, ledger.ErrStaleAttempt):
		return "stale"
	case errors.Is(err, ledger.ErrNotFound):
		return "absent"
	case err != nil:
		return "error"
	case data == nil:
		return "-"
	}
	return string(data.Name())
}

// clone copies a job all the way down, so that nothing shared can change unseen.
func clone(t testing.TB, j *ledger.Job) *ledger.Job {
	t.Helper()
	b, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	c := new(ledger.Job)
	if err := json.Unmarshal(b, c); err != nil {
		t.Fatal(err)
	}
	return c
}

func same(t testing.TB, what string, got, want *ledger.Job) {
	t.Helper()
	g, err := json.MarshalIndent(got, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	w, err := json.MarshalIndent(want, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(g, w) {
		t.Errorf("%s:\n%s\nwant:\n%s", what, g, w)
	}
}
