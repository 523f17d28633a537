package sim_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// moment is what a command waits for: the job's state, with a cancel requested or not, in an attempt or a later one.
type moment struct {
	state   schemas.State
	cancel  bool
	attempt int
}

func when(s schemas.State) *moment { return &moment{state: s} }

var (
	whenSubmitted = when(schemas.StateSubmitted)
	whenQueued    = when(schemas.StateQueued)
	whenRunning   = when(schemas.StateRunning)
	whenAgain     = &moment{state: schemas.StateRunning, attempt: 2}
	whenCanceling = &moment{state: schemas.StateRunning, cancel: true}
	whenRetrying  = when(schemas.StateRetrying)
	whenCompleted = when(schemas.StateCompleted)
	whenCanceled  = when(schemas.StateCanceled)
	whenDead      = when(schemas.StateDeadLettered)
)

// momentOf is the moment, behind a first attempt, in which a job is in the state that the table names.
func momentOf(from string) *moment {
	state, canceling := strings.CutSuffix(from, "!")
	m := &moment{state: schemas.State(state), cancel: canceling}
	if m.state == schemas.StateRunning {
		m.attempt = 2
	}
	return m
}

// script is how a job comes to a transition.
type script struct {
	attempts []string
	max      int           // attempts; 0: three
	delay    time.Duration // of its start
	typ      schemas.TypeName
	later    []change
}

func do(at *moment, name string) change { return change{when: at, name: name} }
func doAfter(at *moment, after time.Duration, name string) change {
	return change{when: at, after: after, name: name}
}
func doAgain(at *moment) change { return change{when: at, after: windowOver, again: true} }

const (
	soon  = 200 * time.Millisecond
	while = 3 * time.Second
	delay = 3 * time.Second

	tardyTimeout = 2500 * time.Millisecond // of attempts that pass it

	windowOver = 3500 * time.Millisecond // the same content is the same job for so long
)

// stalled is a job that is Queued and not offered: held, and run at once by an operator.
func stalled(name string) script {
	return script{attempts: []string{doReplies, doReturn}, later: []change{do(whenRetrying, "hold"), do(whenRetrying, "retry"), doAfter(whenQueued, soon, name),
		{after: soon, name: "lift"}}}
}

// tardy is a job whose first attempt is timed out and succeeds after all a while later.
func tardy(second string, later ...change) script {
	return script{attempts: []string{doTardy, second}, later: later}
}

// scripts are the ways to the transitions of a job's table.
var scripts = map[string]script{
	"none > submitted":          {attempts: []string{doReturn}},
	"completed > submitted":     {attempts: []string{doReturn}, later: []change{doAgain(whenCompleted)}},
	"canceled > submitted":      {attempts: []string{doReturn}, delay: delay, later: []change{do(whenSubmitted, "cancel"), doAgain(whenCanceled)}},
	"dead_lettered > submitted": {attempts: []string{doBury, doReturn}, later: []change{doAgain(whenDead)}},

	"submitted > queued": {attempts: []string{doReturn}},
	"retrying > queued":  {attempts: []string{doFail, doReturn}},
	"queued > running":   {attempts: []string{doReturn}},

	"running > completed":  {attempts: []string{doReturn}},
	"running! > completed": {attempts: []string{doFinish}, later: []change{doAfter(whenRunning, soon, "cancel")}},
	"running > failed":     {attempts: []string{doFail, doReturn}},
	"running > timed_out":  {attempts: []string{doSleep, doReturn}},
	"running > released":   {attempts: []string{doSleep, doReturn}, later: []change{doAfter(whenRunning, soon, "drain its worker")}},
	"running > lost":       {attempts: []string{doLong, doReturn}, later: []change{doAfter(whenRunning, soon, "crash its worker")}},

	"submitted > canceled":       {attempts: []string{doReturn}, delay: delay, later: []change{do(whenSubmitted, "cancel")}},
	"queued > canceled":          stalled("cancel"),
	"running > canceled":         {attempts: []string{doCancel}},
	"running > cancel_requested": {attempts: []string{doSleep}, later: []change{doAfter(whenRunning, soon, "cancel")}},
	"running! > canceled":        {attempts: []string{doSleep}, later: []change{doAfter(whenRunning, soon, "cancel")}},
	"retrying > canceled":        {attempts: []string{doReplies}, later: []change{do(whenRetrying, "cancel")}},

	"submitted > dead_lettered": {attempts: []string{doReturn}, delay: delay, later: []change{do(whenSubmitted, "delete org")}},
	"queued > dead_lettered":    stalled("delete org"),
	"running > dead_lettered":   {attempts: []string{doBury}},
	"running! > dead_lettered":  {attempts: []string{doTardy}, later: []change{doAfter(whenRunning, soon, "cancel"), do(whenCanceling, "delete org")}},
	"retrying > dead_lettered":  {attempts: []string{doReplies}, later: []change{do(whenRetrying, "delete org")}},

	"canceled > retried":       {attempts: []string{doReturn}, delay: delay, later: []change{do(whenSubmitted, "cancel"), do(whenCanceled, "retry")}},
	"dead_lettered > retried":  {attempts: []string{doBury, doReturn}, later: []change{do(whenDead, "retry")}},
	"dead_lettered > resolved": {attempts: []string{doBury}, later: []change{do(whenDead, "resolve")}},
	"dead_lettered > ignored":  {attempts: []string{doBury}, later: []change{do(whenDead, "ignore")}},

	"submitted > late_result": {attempts: []string{doTardy, doReturn}, max: 1, later: []change{do(whenRunning, "hold"), do(whenDead, "retry"),
		doAfter(whenSubmitted, while, "lift")}},
	"queued > late_result":        tardy(doReturn, do(whenRunning, "hold"), do(whenRetrying, "retry"), doAfter(whenQueued, while, "lift")),
	"running > late_result":       tardy(doSleep),
	"running! > late_result":      tardy(doHang, doAfter(whenAgain, soon, "cancel")),
	"retrying > late_result":      tardy(doReplies),
	"completed > late_result":     tardy(doReturn),
	"canceled > late_result":      tardy(doReturn, do(whenRetrying, "cancel")),
	"dead_lettered > late_result": tardy(doBury),

	"submitted > carried":     {attempts: []string{doReturn}, delay: delay, later: []change{do(whenSubmitted, "carry")}},
	"queued > carried":        stalled("carry"),
	"retrying > carried":      {attempts: []string{doReplies, doReturn}, later: []change{do(whenRetrying, "carry")}},
	"completed > carried":     {attempts: []string{doReturn}, later: []change{do(whenCompleted, "carry")}},
	"canceled > carried":      {attempts: []string{doReturn}, delay: delay, later: []change{do(whenSubmitted, "cancel"), do(whenCanceled, "carry")}},
	"dead_lettered > carried": {attempts: []string{doBury}, later: []change{do(whenDead, "carry")}},

	"running > checkpointed":  {attempts: []string{doSave}},
	"running! > checkpointed": {attempts: []string{doSave}, later: []change{doAfter(whenRunning, soon, "cancel")}},

	"control > hold_set":       {attempts: []string{doReturn}, later: []change{do(nil, "hold"), {after: soon, name: "lift"}}},
	"control > legal_hold_set": {attempts: []string{doReturn}, later: []change{do(nil, "hold history")}},
	"control > token_set":      {attempts: []string{doReturn}, later: []change{do(nil, "add token")}},
	"control > notices_read":   {attempts: []string{doReturn}, later: []change{do(nil, "read notices")}},
	"control > verified":       {attempts: []string{doReturn}, later: []change{do(nil, "note a check")}},
	"control > unmasked":       {attempts: []string{doReturn}, later: []change{do(nil, "unmask")}},
	"control > breaker_closed": {typ: typeOnce, attempts: []string{doReturn}, later: []change{do(nil, "close breaker")}},
}

// scripted makes the plans of what this run aims at.
func (w *world) scripted() {
	for i, a := range w.aims {
		s, ok := scripts[a.what]
		if !ok {
			continue // it happens in every run
		}
		r := w.net.random("script", i)
		p := &plan{n: jobsPerRun + i, id: schemas.JobID(fmt.Sprintf("aim-%d", i)), typ: typePlain, max: 3, attempts: s.attempts, delay: s.delay, later: s.later,
			resource: fmt.Sprintf("aim-%d", i), at: spread(r, 100*time.Millisecond, 6*time.Second)}
		switch {
		case slices.Contains(s.attempts, doTardy):
			p.timeout, p.at = new(schemas.MillisOf(tardyTimeout)), spread(r, 100*time.Millisecond, 2*time.Second)
			if from, _, late := strings.Cut(a.what, " > late_result"); late {
				w.lateAt[p.id] = momentOf(from)
			}
		case slices.Contains(s.attempts, doLong):
			p.timeout, p.at = new(schemas.MillisOf(longTimeout)), spread(r, 100*time.Millisecond, 2*time.Second)
		}
		if s.max > 0 {
			p.max = s.max
		}
		if s.typ != "" {
			p.typ = s.typ
		}
		w.plans = append(w.plans, p)
	}
}

// situation is where a job stands, as its latest event left it.
type situation struct {
	moment
	changed chan struct{} // closed by the next event
}

// moved notes where a job's event left it.
func (t *truth) moved(j *ledger.Job) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.situationOf(j.ID)
	s.moment = moment{state: j.State, cancel: j.State == schemas.StateRunning && j.CancelRequested, attempt: j.Attempt}
	close(s.changed)
	s.changed = make(chan struct{})
}

// situationOf returns where a job stands. t.mu is held.
func (t *truth) situationOf(id schemas.JobID) *situation {
	s := t.situations[id]
	if s == nil {
		s = &situation{changed: make(chan struct{})}
		t.situations[id] = s
	}
	return s
}

// await waits for a moment of a job's life. It is over when no more faults befall what happens then, and with the run.
func (t *truth) await(ctx context.Context, id schemas.JobID, m *moment) error {
	for {
		t.mu.Lock()
		s := t.situationOf(id)
		now, changed := s.moment, s.changed
		t.mu.Unlock()
		if now.state == m.state && now.cancel == m.cancel && now.attempt >= m.attempt {
			return nil
		}
		select {
		case <-changed:
		case <-t.calm:
			return nil
		case <-t.hold: // the run has ended, before it was calm
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// deed does something to the worker of a job's attempt.
func (w *world) deed(id schemas.JobID, name string) {
	for _, r := range w.truth.running {
		if r.ended != "" || r.subject != schemas.JobSubject(testOrg, id).String() {
			continue
		}
		for _, p := range w.live("worker") {
			if p.name != r.worker {
				continue
			}
			if name == "drain its worker" {
				w.drain(p)
			} else {
				w.crashes = min(w.crashes, crashesMax-1)
				w.crash(p)
			}
		}
	}
}

// setHold lays or lifts the hold of a script's own job.
func (w *world) setHold(ctx context.Context, l *ledger.Ledger, p *plan, on bool) error {
	set := &schemas.HoldSet{Settings: schemas.HoldSettings{Scope: schemas.HoldScope{Org: testOrg, Resource: p.resource}, On: on}, Reason: "the simulation asks"}
	_, err := l.Put(ctx, ledger.Meta{}, set.Place(), func(schemas.Setting) (schemas.Setting, error) { return set, nil })
	return err
}

// setAside stores a setting that no job's way depends on.
func (w *world) setAside(ctx context.Context, l *ledger.Ledger, p *plan, what string) error {
	var set schemas.Setting = &schemas.LegalHoldSet{Settings: schemas.LegalHoldSettings{Scope: schemas.LegalScope{Org: testOrg, Job: p.id}, On: true}, Reason: "the simulation asks"}
	switch what {
	case "read notices":
		set = &schemas.NoticesRead{Settings: schemas.NoticesMark{Org: testOrg, Owner: "user:" + string(p.id), Through: time.Unix(1, 0).UTC()}}
	case "note a check": // another each time: what is noted already is not noted again
		set = &schemas.Verified{Settings: schemas.VerifyResult{FirstSeq: 1, LastSeq: schemas.Seq(time.Now().UnixNano())}}
	case "add token":
		set = &schemas.TokenSet{Settings: schemas.TokenSettings{ID: string(p.id), Org: testOrg, Role: schemas.RoleMember,
			Actor: schemas.Actor{Type: "api_key", ID: string(p.id)}, Hash: strings.Repeat("ab", schemas.TokenHashBytes)}, Reason: "the simulation asks"}
	}
	_, err := l.Put(ctx, ledger.Meta{}, set.Place(), func(schemas.Setting) (schemas.Setting, error) { return set, nil })
	return err
}
