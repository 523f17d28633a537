package ledger_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// scene is one kind of append: what happened to the job before, and the command that writes the event.
type scene struct {
	event  schemas.EventName
	before []func(*actor)
	cmd    func(j *ledger.Job) ledger.Command
	to     schemas.State
}

// actor plays one job's story.
type actor struct {
	t     *testing.T
	l     *ledger.Ledger
	id    schemas.JobID
	fence schemas.Fence // of the last running
}

const sceneOrg = schemas.OrgID("scenes")

func (a *actor) do(c ledger.Command) *ledger.Job {
	a.t.Helper()
	j, _, err := a.l.Do(a.t.Context(), sceneOrg, a.id, c, ledger.Meta{})
	if err != nil {
		a.t.Fatal(err)
	}
	return j
}

func toSubmitted(a *actor) {
	a.do(&ledger.Begin{Spec: schemas.Submitted{Type: "echo", Queue: "default", Priority: schemas.PriorityNormal,
		Args: json.RawMessage(`{"n":1}`)}})
}

func toQueued(a *actor) { a.do(queueCommand(nil)) }

func toRunning(a *actor) {
	j, err := a.l.Fold(a.t.Context(), sceneOrg, a.id)
	if err != nil {
		a.t.Fatal(err)
	}
	a.fence = a.do(claimCommand(j)).Fence
}

func toCompleted(a *actor)       { a.do(ending(schemas.EventCompleted, "")(a.fold())) }
func toRetrying(a *actor)        { a.do(ending(schemas.EventFailed, schemas.ClassTransient)(a.fold())) }
func toDead(a *actor)            { a.do(ending(schemas.EventFailed, schemas.ClassPermanent)(a.fold())) }
func toCancelRequested(a *actor) { a.do(&ledger.Cancel{Reason: "no longer wanted"}) }

func (a *actor) fold() *ledger.Job {
	a.t.Helper()
	j, err := a.l.Fold(a.t.Context(), sceneOrg, a.id)
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		a.t.Fatal(err)
	}
	return j
}

func queueCommand(*ledger.Job) ledger.Command {
	return &ledger.Queue{Policy: schemas.DefaultPolicy(), Now: time.Now().Add(24 * time.Hour)}
}

func claimCommand(j *ledger.Job) ledger.Command {
	return &ledger.Claim{Generation: j.Generation, Submitted: j.SubmittedSeq, Session: schemas.NewSessionID(), Worker: "w"}
}

func ending(kind schemas.EventName, class schemas.ErrorClass) func(*ledger.Job) ledger.Command {
	return func(j *ledger.Job) ledger.Command {
		o := &ledger.Outcome{Fence: j.Fence, Generation: j.Generation, Attempt: j.Attempt, Kind: kind, Now: time.Now()}
		switch kind {
		case schemas.EventCompleted:
			o.Result = []byte(`{"done":true}`)
		case schemas.EventReleased:
			o.Reason = schemas.ReleaseDrain
		default:
			o.Error = &schemas.JobError{Class: class, Message: "it broke"}
		}
		return o
	}
}

// scenes holds every event of a job at least once, as its writers produce it.
func scenes() []scene {
	running := []func(*actor){toSubmitted, toQueued, toRunning}
	dead := append(slices.Clone(running), toDead)
	late := func(j *ledger.Job) ledger.Command {
		return &ledger.Outcome{Fence: schemas.Fence{Seq: 1, ID: schemas.NewEventID()}, Generation: 1, Attempt: 1,
			Kind: schemas.EventCompleted, Result: []byte(`1`), Now: time.Now()}
	}
	command := func(c ledger.Command) func(*ledger.Job) ledger.Command {
		return func(*ledger.Job) ledger.Command { return c }
	}
	return []scene{
		{schemas.EventSubmitted, nil, func(*ledger.Job) ledger.Command {
			return &ledger.Begin{Spec: schemas.Submitted{Type: "echo", Queue: "default", Priority: schemas.PriorityNormal}}
		}, schemas.StateSubmitted},
		{schemas.EventSubmitted, append(slices.Clone(running), toCompleted), func(*ledger.Job) ledger.Command {
			return &ledger.Begin{Spec: schemas.Submitted{Type: "echo", Queue: "default", Priority: schemas.PriorityHigh}}
		}, schemas.StateSubmitted},
		{schemas.EventQueued, running[:1], queueCommand, schemas.StateQueued},
		{schemas.EventQueued, append(slices.Clone(running), toRetrying), queueCommand, schemas.StateQueued},
		{schemas.EventRunning, running[:2], claimCommand, schemas.StateRunning},
		{schemas.EventCompleted, running, ending(schemas.EventCompleted, ""), schemas.StateCompleted},
		{schemas.EventFailed, running, ending(schemas.EventFailed, schemas.ClassTransient), schemas.StateRetrying},
		{schemas.EventTimedOut, running, ending(schemas.EventTimedOut, schemas.ClassTimeout), schemas.StateRetrying},
		{schemas.EventCanceled, running[:1], command(&ledger.Cancel{Reason: "r"}), schemas.StateCanceled},
		{schemas.EventCanceled, append(slices.Clone(running), toCancelRequested), func(j *ledger.Job) ledger.Command {
			return &ledger.EndCancel{Fence: j.Fence}
		}, schemas.StateCanceled},
		{schemas.EventDeadLettered, running, ending(schemas.EventFailed, schemas.ClassPermanent), schemas.StateDeadLettered},
		{schemas.EventCancelRequested, running, command(&ledger.Cancel{Reason: "r"}), schemas.StateRunning},
		{schemas.EventReleased, running, ending(schemas.EventReleased, ""), schemas.StateQueued},
		{schemas.EventLost, running, func(j *ledger.Job) ledger.Command {
			return &ledger.Lose{Fence: j.Fence, Cause: schemas.LossWorkerGone}
		}, schemas.StateQueued},
		{schemas.EventRetried, dead, command(&ledger.Retry{Now: time.Now()}), schemas.StateSubmitted},
		{schemas.EventResolved, dead, command(&ledger.Resolve{Note: "n"}), schemas.StateDeadLettered},
		{schemas.EventIgnored, dead, command(&ledger.Resolve{Note: "n", Ignore: true}), schemas.StateDeadLettered},
		{schemas.EventLateResult, running[:1], late, schemas.StateSubmitted},
		{schemas.EventCheckpointed, running, func(j *ledger.Job) ledger.Command {
			return &ledger.Checkpoint{Fence: j.Fence, Value: []byte(`{"page":7}`)}
		}, schemas.StateRunning},
		{schemas.EventCarried, running[:1], command(&ledger.Carry{}), schemas.StateSubmitted},
	}
}

// play brings a new job to where the scene begins.
func (s *scene) play(t *testing.T, l *ledger.Ledger) *actor {
	a := &actor{t: t, l: l, id: schemas.NewJobID()}
	for _, step := range s.before {
		step(a)
	}
	return a
}

// check folds the job again and compares: the event stands there once, and the fold is the state returned.
func (s *scene) check(t *testing.T, a *actor, j *ledger.Job, e *schemas.Event, illegal int) {
	t.Helper()
	if e == nil || e.Name() != s.event || e.Seq == 0 {
		t.Fatalf("wrote %+v, want %s", e, s.event)
	}
	stored, err := a.l.EventAt(t.Context(), e.Seq)
	if err != nil || stored.ID != e.ID {
		t.Fatalf("at %d stands %+v (%v), want event %s", e.Seq, stored, err, e.ID)
	}
	folded := a.fold()
	if folded.State != s.to || j.State != s.to {
		t.Errorf("state is %s in the ledger and %s as returned, want %s", folded.State, j.State, s.to)
	}
	if folded.Illegal != illegal {
		t.Errorf("%d events are illegal, want %d", folded.Illegal, illegal)
	}
	if n := count(t, a, e.Name(), e.ID); n != 1 {
		t.Errorf("event %s stands %d times on the subject", e.ID, n)
	}
}

// count reads the subject message by message.
func count(t *testing.T, a *actor, name schemas.EventName, id schemas.EventID) (n int) {
	t.Helper()
	for _, e := range messages(t, a.l, schemas.JobSubject(sceneOrg, a.id).String()) {
		if e.ID == id && e.Name() == name {
			n++
		}
	}
	return n
}

// messages returns what LEDGER holds on a subject, which may have wildcards. It asks the stream's leader: the
// client's own get may be answered by a replica that lags.
func messages(t *testing.T, l *ledger.Ledger, subject string) (all []*schemas.Event) {
	t.Helper()
	for next := uint64(1); ; {
		ask := fmt.Appendf(nil, `{"seq":%d,"next_by_subj":%q}`, next, subject)
		reply := requestAgain(t, l.Conn(), "$JS.API.STREAM.MSG.GET."+ledger.StreamLedger, ask)
		var answer struct {
			Message *struct {
				Subject string
				Seq     uint64
				Hdrs    []byte
				Data    []byte
				Time    time.Time
			}
			Error *jetstream.APIError
		}
		if err := json.Unmarshal(reply.Data, &answer); err != nil {
			t.Fatal(err)
		}
		m := answer.Message
		switch {
		case answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
			return all
		case m == nil:
			t.Fatalf("messages of %s: %s", subject, reply.Data)
		}
		header, err := nats.DecodeHeadersMsg(m.Hdrs)
		if err != nil {
			header = nil // a foreign message
		}
		e, _ := schemas.Decode(m.Subject, header, m.Data, schemas.Seq(m.Seq), m.Time)
		all = append(all, e)
		next = m.Seq + 1
	}
}

// requestAgain asks until it is answered: a request written to a connection whose server has just been restarted is
// lost without a word where the client has not seen the end of the connection yet.
func requestAgain(t *testing.T, nc *nats.Conn, subject string, data []byte) *nats.Msg {
	t.Helper()
	var err error
	for range 20 {
		var reply *nats.Msg
		if reply, err = nc.Request(subject, data, time.Second); err == nil {
			return reply
		}
	}
	t.Fatalf("%s: %v", subject, err)
	return nil
}

// TestFaultTable crosses each kind of append with each way a write fails, with and without a restart of the
// server in mid-write (STYLE 21, STYLE 7, asyncjobs:storage.go:154; R-907): the event is stored exactly once and the job goes on.
func TestFaultTable(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	faults := []struct {
		name    string
		kind    ledgertest.Kind
		others  bool // another writer's message follows before the retry
		restart bool
	}{
		{"refused", ledgertest.Refuse, false, false},
		{"request lost", ledgertest.LoseRequest, false, false},
		{"reply lost", ledgertest.LoseReply, false, false},
		{"reply lost, others went on", ledgertest.LoseReply, true, false},
		{"refused, restart", ledgertest.Refuse, false, true},
		{"request lost, restart", ledgertest.LoseRequest, false, true},
		{"reply lost, restart", ledgertest.LoseReply, false, true},
		{"reply lost, others went on, restart", ledgertest.LoseReply, true, true},
	}
	other := env.Connect()
	for i, s := range scenes() {
		t.Run(string(s.event), func(t *testing.T) {
			for k, f := range faults {
				if f.restart && (i+k)%4 != 0 {
					continue // a restart takes a while: each scene meets one, each fault several scenes
				}
				t.Run(f.name, func(t *testing.T) {
					a := s.play(t, env.Ledger)
					env.Faults.Inject(ledgertest.Fault{Event: s.event, Kind: f.kind, After: func(m *nats.Msg) {
						if f.others {
							publishForeign(t, other, m.Subject)
						}
						if f.restart {
							env.Stop()
							env.StartServer()
						}
					}})
					hits := env.Faults.Hits()
					j, e, err := a.l.Do(t.Context(), sceneOrg, a.id, s.cmd(a.fold()), ledger.Meta{})
					if err != nil {
						t.Fatal(err)
					}
					if env.Faults.Hits() != hits+1 {
						t.Fatal("the fault did not happen")
					}
					s.check(t, a, j, e, 0)
				})
			}
		})
	}
	env.Provision()
}

// publishForeign stores a message that is none of ours, as any client of the account could.
func publishForeign(t *testing.T, nc *nats.Conn, subject string) {
	t.Helper()
	requestAgain(t, nc, subject, []byte("not an event"))
}

// TestIntruderBeforeEachAppend puts a late result, an illegal event and a foreign message before each kind of
// append, between its fold and its write: the append is refused, decided again and stored (DESIGN D1, R-224).
func TestIntruderBeforeEachAppend(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	other := env.Connect()
	intruders := []struct {
		name    string
		message func(a *actor, exists bool) *schemas.Event // nil: a foreign message
		illegal func(exists bool) int
	}{
		{"late_result", func(a *actor, _ bool) *schemas.Event {
			return schemas.NewEvent(schemas.JobSubject(sceneOrg, a.id), &schemas.LateResult{Outcome: schemas.EventCompleted,
				AttemptHead: schemas.AttemptHead{Attempt: 7, Fence: schemas.Fence{Seq: 7, ID: "x"},
					Head: schemas.Head{Type: "echo", Queue: "default", Priority: schemas.PriorityNormal, Generation: 1, Submitted: 7}}})
		}, func(exists bool) int {
			if exists {
				return 0
			}
			return 1 // nothing is late for a job that does not exist
		}},
		{"illegal", func(a *actor, _ bool) *schemas.Event {
			return schemas.NewEvent(schemas.JobSubject(sceneOrg, a.id), &schemas.Running{Attempt: 99, Session: "s",
				Head: schemas.Head{Type: "echo", Queue: "default", Priority: schemas.PriorityNormal, Generation: 1, Submitted: 7}})
		}, func(bool) int { return 1 }},
		{"foreign", nil, func(bool) int { return 0 }},
	}
	for _, s := range scenes() {
		for _, in := range intruders {
			t.Run(string(s.event)+" after "+in.name, func(t *testing.T) {
				a := s.play(t, env.Ledger)
				from := a.fold()
				env.Faults.Inject(ledgertest.Fault{Event: s.event, Kind: ledgertest.Pass, Before: func(m *nats.Msg) {
					if in.message == nil {
						publishForeign(t, other, m.Subject)
						return
					}
					intrude(t, other, in.message(a, from.Exists()))
				}})
				j, e, err := a.l.DoFrom(t.Context(), from, s.cmd(from), ledger.Meta{})
				if err != nil {
					t.Fatal(err)
				}
				illegal := in.illegal(from.Exists())
				s.check(t, a, j, e, illegal)
				if from.LastSeq >= e.Seq-1 {
					t.Errorf("event at %d follows %d directly: nothing came between", e.Seq, from.LastSeq)
				}
			})
		}
	}
	env.SkipVerify() // illegal events and foreign messages are what it would report
}

// intrude stores an event without any expectation.
func intrude(t *testing.T, nc *nats.Conn, e *schemas.Event) {
	t.Helper()
	m, err := e.Encode()
	if err == nil {
		_, err = nc.RequestMsg(m, 5*time.Second)
	}
	if err != nil {
		t.Errorf("store an intruder: %v", err)
	}
}
