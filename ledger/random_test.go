package ledger_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// model is the dumb twin of the machine: it keeps the events and knows the table of transitions.txt; every
// answer is counted anew from the beginning.
type model struct {
	table  map[cell]string
	events []*schemas.Event // the legal ones
}

func (m *model) situation() string {
	at := "none"
	for _, e := range m.events {
		at = m.table[cell{at, e.Name()}]
	}
	return at
}

// generation, attempt, used and losses count as say it.
func (m *model) generation() (n int) {
	for _, e := range m.events {
		if e.Name() == schemas.EventSubmitted {
			n++
		}
	}
	return n
}

func (m *model) attempt() (n int) {
	for _, e := range m.events {
		switch e.Name() {
		case schemas.EventSubmitted:
			n = 0
		case schemas.EventRunning:
			n++
		}
	}
	return n
}

func (m *model) budget() (used, losses, cellLosses int) {
	for _, e := range m.events {
		switch d := e.Data.(type) {
		case *schemas.Submitted, *schemas.Retried:
			used, losses, cellLosses = 0, 0, 0
		case *schemas.Failed, *schemas.TimedOut:
			used, losses, cellLosses = used+1, 0, 0
		case *schemas.Completed:
			losses, cellLosses = 0, 0
		case *schemas.Released:
			if d.Cause != schemas.ReleaseLateClaim {
				losses, cellLosses = 0, 0
			}
		case *schemas.Lost:
			used, losses, cellLosses = lose1(d.Cause, used, losses, cellLosses)
		case *schemas.DeadLettered: // it stands for the failure, timeout or loss that it replaces
			switch {
			case d.Cause != "":
				used, losses, cellLosses = lose1(d.Cause, used, losses, cellLosses)
			case d.Outcome != "":
				used++
			}
		}
	}
	return used, losses, cellLosses
}

func lose1(cause schemas.LossCause, used, losses, cellLosses int) (int, int, int) {
	if cause == schemas.LossCellRestart {
		return used, losses, cellLosses + 1
	}
	return used + 1, losses + 1, 0
}

// running is the fence of the attempt that runs, from the last event that began or ended one.
func (m *model) running() schemas.Fence {
	var f schemas.Fence
	for _, e := range m.events {
		switch e.Name() {
		case schemas.EventRunning:
			f = schemas.Fence{Seq: e.Seq, ID: e.ID}
		case schemas.EventCompleted, schemas.EventFailed, schemas.EventTimedOut, schemas.EventCanceled,
			schemas.EventDeadLettered, schemas.EventReleased, schemas.EventLost:
			f = schemas.Fence{}
		}
	}
	return f
}

// checkpoint is what the next attempt would resume from: the last one of the generation, until it completes.
func (m *model) checkpoint() (value string) {
	for _, e := range m.events {
		switch d := e.Data.(type) {
		case *schemas.Submitted, *schemas.Completed:
			value = ""
		case *schemas.Checkpointed:
			value = strings.TrimPrefix(string(d.Checkpoint), "null")
		}
	}
	return value
}

// world is one random life: the live fold, folds that began at carried events, and the model.
type world struct {
	t       *rapid.T
	clock   time.Time
	seq     schemas.Seq
	job     *ledger.Job
	model   model
	carried []*ledger.Job // folds that began at a carried event
	all     []*schemas.Event
	claims  []*ledger.Outcome // every attempt there was, as an outcome to be filled in
	illegal int
}

// TestRandomLife runs random commands, also of workers that speak for old attempts, and random events of
// writers that decide nothing, against the model. rapid prints the seed of a failure and shrinks it to the
// shortest life that fails; `make fuzz SEED=n` repeats it.
func TestRandomLife(t *testing.T) {
	table := legalCells(t)
	rapid.Check(t, func(t *rapid.T) {
		w := &world{t: t, clock: start, job: new(ledger.Job), model: model{table: table}}
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			w.clock = w.clock.Add(time.Duration(rapid.IntRange(0, 90).Draw(t, "seconds")) * time.Second)
			switch rapid.IntRange(0, 19).Draw(t, "writer") {
			case 0:
				w.illegalEvent()
			case 1:
				w.foreign()
			default:
				w.command()
			}
			w.compare()
		}
		w.invariants()
	})
}

func (w *world) command() {
	c := w.draw()
	before := mustJSON(w.t, w.job)
	data, err := ledger.Decide(w.job, c)
	if string(mustJSON(w.t, w.job)) != string(before) {
		w.t.Fatalf("%T changed the job", c)
	}
	if err != nil || data == nil {
		return
	}
	if w.model.table[cell{w.model.situation(), data.Name()}] == "" {
		w.t.Fatalf("%T decides %s on a job that is %s", c, data.Name(), w.model.situation())
	}
	w.store(data, true)
}

// store appends data by way of its wire form and folds it.
func (w *world) store(data schemas.Data, legal bool) {
	e := schemas.NewEvent(job, data)
	msg, err := e.Encode()
	if err != nil {
		w.t.Fatalf("%s cannot be stored: %v", data.Name(), err)
	}
	w.seq++
	e, err = schemas.Decode(msg.Subject, msg.Header, msg.Data, w.seq, w.clock)
	if err != nil {
		w.t.Fatal(err)
	}
	w.all = append(w.all, e)
	if got := ledger.Apply(w.job, e); got != legal {
		w.t.Fatalf("%s on a job that is %s: legal %t, want %t", e.Name(), w.model.situation(), got, legal)
	}
	for _, j := range w.carried {
		ledger.Apply(j, e)
	}
	if e.Name() == schemas.EventCarried && legal {
		j := new(ledger.Job)
		ledger.Apply(j, e)
		w.carried = append(w.carried, j)
	}
	if !legal {
		w.illegal++
		return
	}
	w.model.events = append(w.model.events, e)
	if r, ok := data.(*schemas.Running); ok {
		w.claims = append(w.claims, &ledger.Outcome{Fence: schemas.Fence{Seq: e.Seq, ID: e.ID}, Generation: r.Generation, Attempt: r.Attempt})
	}
}

// draw makes a command of any producer; often it comes in a wrong state or speaks for an old attempt.
func (w *world) draw() ledger.Command {
	policy := schemas.DefaultPolicy()
	policy.MaxAttempts = rapid.IntRange(1, 4).Draw(w.t, "attempts")
	policy.PoisonLimit = rapid.IntRange(1, 3).Draw(w.t, "poison")
	coin := func(what string) bool { return rapid.Bool().Draw(w.t, what) }
	cause := schemas.LossWorkerGone
	name := rapid.SampledFrom([]string{"begin", "queue", "queue", "claim", "claim", "cancel", "dead-letter", "retry", "resolve",
		"carry", "outcome", "outcome", "outcome", "lose", "lose", "overrun", "end-cancel", "checkpoint", "checkpoint"}).Draw(w.t, "command")
	switch name {
	case "begin":
		s := schemas.Submitted{Type: "echo", Queue: "default", Priority: schemas.PriorityNormal, Args: json.RawMessage(`{"n": 9007199254740993}`)}
		if coin("delayed") {
			s.DelayMS = 60_000
		}
		if coin("deadline") {
			s.DeadlineMS = 600_000
		}
		return &ledger.Begin{Spec: s}
	case "queue":
		return &ledger.Queue{Policy: policy, Epoch: 1, Now: w.clock}
	case "claim":
		return &ledger.Claim{Generation: w.job.Generation, Submitted: w.job.SubmittedSeq, Session: "s", Worker: "w"}
	case "cancel":
		return &ledger.Cancel{Reason: "r"}
	case "dead-letter":
		return &ledger.DeadLetter{Reason: rapid.SampledFrom([]schemas.DeadReason{schemas.DeadExpired, schemas.DeadOrgDeleted, schemas.DeadRejected}).Draw(w.t, "reason")}
	case "retry":
		c := &ledger.Retry{Now: w.clock, Epoch: 1}
		if coin("new deadline") {
			at := w.clock.Add(time.Hour)
			c.Deadline = &at
		}
		return c
	case "resolve":
		return &ledger.Resolve{Note: "n", Ignore: coin("ignore")}
	case "carry":
		return &ledger.Carry{}
	case "lose":
		if coin("cell restart") {
			cause = schemas.LossCellRestart
		}
		return &ledger.Lose{Fence: w.speaker().Fence, Cause: cause, OrgDeleted: rapid.IntRange(0, 9).Draw(w.t, "org") == 0}
	case "overrun":
		return &ledger.Overrun{Fence: w.speaker().Fence, Now: w.clock}
	case "end-cancel":
		return &ledger.EndCancel{Fence: w.speaker().Fence}
	case "checkpoint":
		value := rapid.SampledFrom([]string{`null`, `1`, `{"n": 9007199254740993}`}).Draw(w.t, "checkpoint")
		return &ledger.Checkpoint{Fence: w.speaker().Fence, Value: []byte(value)}
	}
	o := w.speaker()
	o.Now = w.clock
	o.Kind = rapid.SampledFrom([]schemas.EventName{schemas.EventCompleted, schemas.EventFailed, schemas.EventTimedOut,
		schemas.EventCanceled, schemas.EventReleased}).Draw(w.t, "kind")
	o.Reason = rapid.SampledFrom([]string{schemas.ReleaseDrain, schemas.ReleaseLateClaim}).Draw(w.t, "cause")
	if o.Kind == schemas.EventFailed {
		o.Error = &schemas.JobError{Class: rapid.SampledFrom([]schemas.ErrorClass{schemas.ClassTransient, schemas.ClassPermanent, ""}).Draw(w.t, "class"), Message: "m"}
	}
	return &o
}

// speaker picks the attempt that a command speaks for: mostly the latest.
func (w *world) speaker() ledger.Outcome {
	if len(w.claims) == 0 {
		return ledger.Outcome{Fence: schemas.Fence{Seq: 99, ID: "none"}, Generation: 1, Attempt: 1}
	}
	back := rapid.SampledFrom([]int{0, 0, 0, 0, 1, 2}).Draw(w.t, "attempts back")
	return *w.claims[max(0, len(w.claims)-1-back)]
}

// illegalEvent appends an event that is not legal where it stands.
func (w *world) illegalEvent() {
	at := w.model.situation()
	var names []schemas.EventName
	for _, n := range schemas.JobEvents() {
		if w.model.table[cell{at, n}] == "" && n != schemas.EventCarried { // carried is valid in form only where it is legal
			names = append(names, n)
		}
	}
	data := (&standing{Job: w.job}).event(rapid.SampledFrom(names).Draw(w.t, "illegal"))
	h := schemas.Head{From: schemas.StateRunning, Type: "echo", Queue: "default", Priority: schemas.PriorityNormal, Generation: max(1, w.job.Generation), Submitted: 1}
	switch d := data.(type) {
	case interface{ Named() *schemas.AttemptHead }:
		*d.Named() = schemas.AttemptHead{Head: h, Attempt: max(1, w.job.Attempt), Fence: schemas.Fence{Seq: 98, ID: "x"}}
	case schemas.JobData:
		*d.Common() = h
	case *schemas.Submitted:
		d.From = schemas.StateNone
	}
	w.store(data, false)
}

func (w *world) foreign() {
	w.seq++
	e := &schemas.Event{Subject: job, Seq: w.seq, Time: w.clock}
	for _, j := range append([]*ledger.Job{w.job}, w.carried...) {
		ledger.Skip(j, e, false)
	}
}

// compare holds the fold against the model after each step.
func (w *world) compare() {
	used, losses, cellLosses := w.model.budget()
	j := w.job
	for _, c := range []struct {
		what      string
		got, want any
	}{
		{"situation", situationOf(j), w.model.situation()},
		{"generation", j.Generation, w.model.generation()},
		{"attempt", j.Attempt, w.model.attempt()},
		{"used", j.Used, used},
		{"losses", j.Losses, losses},
		{"cell losses", j.CellLosses, cellLosses},
		{"fence", j.Fence, w.model.running()},
		{"illegal", j.Illegal, w.illegal},
		{"last seq", j.LastSeq, w.seq},
		{"checkpoint", string(j.Checkpoint), w.model.checkpoint()},
		{"retry pending", !j.RetryAt.IsZero(), j.State == schemas.StateRetrying},
		{"finish time", !j.FinishedAt.IsZero(), j.State.Finished()},
		{"resolution", j.Resolution != "", j.State == schemas.StateDeadLettered},
	} {
		if c.got != c.want {
			w.t.Fatalf("%s is %v, the model says %v", c.what, c.got, c.want)
		}
	}
}

// invariants hold for a whole life.
func (w *world) invariants() {
	outcomes, late := map[schemas.Fence]int{}, map[schemas.Fence]int{}
	for i, e := range w.model.events {
		switch d := e.Data.(type) {
		case *schemas.LateResult:
			late[d.Fence]++
		case interface{ Named() *schemas.AttemptHead }:
			if e.Name() != schemas.EventCancelRequested && e.Name() != schemas.EventCheckpointed {
				outcomes[d.Named().Fence]++
			}
		case *schemas.Canceled:
			outcomes[d.Fence]++
		case *schemas.DeadLettered:
			outcomes[d.Fence]++
		}
		if i > 0 && schemas.State(w.at(i)).Finished() && !slices.Contains([]schemas.EventName{schemas.EventSubmitted, schemas.EventRetried,
			schemas.EventResolved, schemas.EventIgnored, schemas.EventLateResult, schemas.EventCarried}, e.Name()) {
			w.t.Fatalf("%s moved a finished job", e.Name())
		}
	}
	for f, n := range outcomes {
		if n > 1 && !f.IsZero() {
			w.t.Fatalf("attempt %v has %d outcomes", f, n)
		}
	}
	for f, n := range late {
		if n > 1 {
			w.t.Fatalf("attempt %v has %d late results", f, n)
		}
	}
	want := string(mustJSON(w.t, w.job))
	for i, j := range w.carried {
		if got := string(mustJSON(w.t, j)); got != want {
			w.t.Fatalf("fold from carried event %d:\n%s\nlive:\n%s", i, got, want)
		}
	}
	for _, e := range w.all { // folded again: nothing happens
		ledger.Apply(w.job, e)
	}
	if got := string(mustJSON(w.t, w.job)); got != want {
		w.t.Fatalf("events folded twice:\n%s\nonce:\n%s", got, want)
	}
}

// at is the situation before event i.
func (w *world) at(i int) string {
	m := model{table: w.model.table, events: w.model.events[:i]}
	return m.situation()
}

func mustJSON(t *rapid.T, v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
