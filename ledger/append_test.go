package ledger_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// withPublish opens a ledger on env whose writes go through publish.
func withPublish(t *testing.T, env *ledgertest.Env, publish func(next ledger.PublishFunc) ledger.PublishFunc) *ledger.Ledger {
	t.Helper()
	l, err := ledger.New(ledger.Config{Conn: env.Connect(), Logger: zap.NewNop(), Intercept: publish})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// ledgerOn opens a ledger on a connection.
func ledgerOn(t testing.TB, nc *nats.Conn) *ledger.Ledger {
	t.Helper()
	l, err := ledger.New(ledger.Config{Conn: nc, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// answering returns an interceptor whose first writes are answered with replies, without reaching the server.
func answering(replies ...string) func(next ledger.PublishFunc) ledger.PublishFunc {
	return func(next ledger.PublishFunc) ledger.PublishFunc {
		return func(ctx context.Context, m *nats.Msg) (*nats.Msg, error) {
			if len(replies) == 0 {
				return next(ctx, m)
			}
			reply := replies[0]
			replies = replies[1:]
			return &nats.Msg{Data: []byte(reply)}, nil
		}
	}
}

func newSubmitted(id schemas.JobID) *schemas.Event {
	return schemas.NewEvent(schemas.JobSubject(sceneOrg, id), &schemas.Submitted{Type: "echo", Queue: "default",
		Priority: schemas.PriorityNormal, Generation: 1})
}

// Every code that says nothing final is settled by sending the same event again, whatever the reply's text:
// codes are read by number (STYLE 7, rows 1 and 2).
func TestCodesAreDecodedByNumber(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	const reply = `{"type":"x","error":{"code":%d,"err_code":%d,"description":"%s"},"stream":"LEDGER","seq":0}`
	for _, c := range []struct{ status, code int }{
		{400, 10071}, // wrong last sequence, though nothing stands in the way: in flight, or a reply of an older try
		{400, 10164}, // the same on a replicated stream, without a number
		{503, 10077}, // store failed
		{409, 10158}, // same message id in flight
		{429, 10167}, // ingest queue full
		{503, 10008}, // any code not listed
	} {
		for _, text := range []string{"wrong last sequence: 0", "falsche Reihenfolge", ""} {
			id := schemas.NewJobID()
			l := withPublish(t, env, answering(fmt.Sprintf(reply, c.status, c.code, text)))
			e := newSubmitted(id)
			if err := l.Append(t.Context(), e, 0); err != nil || e.Seq == 0 {
				t.Errorf("code %d with text %q: %v, want stored", c.code, text, err)
			}
		}
	}
	for _, garbage := range []string{"", "{}", "+OK", `{"stream":"OTHER","seq":7}`, `{"stream":"LEDGER"}`} {
		l := withPublish(t, env, answering(garbage))
		e := newSubmitted(schemas.NewJobID())
		if err := l.Append(t.Context(), e, 0); err != nil || e.Seq == 0 {
			t.Errorf("reply %q: %v, want stored by the next try", garbage, err)
		}
	}
	for code, want := range map[int]ledger.Code{10054: ledger.CodePayloadTooLarge, 10060: ledger.CodeInternal,
		10070: ledger.CodeInternal, 10109: ledger.CodeInternal, 10193: ledger.CodeInternal} {
		l := withPublish(t, env, answering(fmt.Sprintf(reply, 400, code, "x")))
		err := l.Append(t.Context(), newSubmitted(schemas.NewJobID()), 0)
		if got := ledger.AsError(err); got == nil || got.Code != want || errors.Is(err, ledger.ErrUnknown) {
			t.Errorf("code %d: %v, want %s", code, err, want)
		}
	}
}

// Both codes of a conflict end in a look at what stands there (STYLE 7, row 1; DESIGN D3).
func TestConflictIsRefusedByWhatStandsThere(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ctx := env.Context()
	for _, code := range []string{"10071", "10164"} {
		id := schemas.NewJobID()
		first := newSubmitted(id)
		if err := env.Ledger.Append(ctx, first, 0); err != nil {
			t.Fatal(err)
		}
		l := withPublish(t, env, answering(`{"error":{"code":400,"err_code":`+code+`,"description":""},"stream":"LEDGER"}`))
		err := l.Append(ctx, newSubmitted(id), 0)
		var refused *ledger.RefusedError
		if !errors.As(err, &refused) || !errors.Is(err, ledger.ErrRefused) || refused.ID != first.ID || refused.At != first.Seq {
			t.Errorf("code %s: %v, want refused by %s at %d", code, err, first.ID, first.Seq)
		}
		if err := l.Append(ctx, first, 0); err != nil {
			t.Errorf("the event that stands there, sent again: %v, want stored", err)
		}
	}
}

// ENGINE 12: `failed` stored with its reply lost, then `queued` and `running` by others: the last event is
// foreign, the first behind the expectation is ours.
func TestStoredWriteThatOthersBuiltUpon(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	s := scene{event: schemas.EventFailed, before: []func(*actor){toSubmitted, toQueued, toRunning}}
	a := s.play(t, env.Ledger)
	other := &actor{t: t, l: env.NewLedger(), id: a.id}
	env.Faults.Inject(ledgertest.Fault{Event: schemas.EventFailed, Kind: ledgertest.LoseReply, After: func(*nats.Msg) {
		toQueued(other)
		toRunning(other)
	}})
	from := a.fold()
	j, e, err := a.l.DoFrom(env.Context(), from, ending(schemas.EventFailed, schemas.ClassTransient)(from), ledger.Meta{})
	if err != nil || e == nil || e.Name() != schemas.EventFailed {
		t.Fatalf("wrote %v (%v), want failed", e, err)
	}
	if j.State != schemas.StateRetrying {
		t.Errorf("as returned the job is %s, want retrying: what followed was not ours", j.State)
	}
	if now := a.fold(); now.State != schemas.StateRunning || now.Attempt != 2 || now.Illegal != 0 {
		t.Errorf("the job is %s in attempt %d, want running in 2", now.State, now.Attempt)
	}
}

// "The expected message gone": by a purge, and by older data put back. The writer folds again and the fence's
// event id decides (DESIGN D3).
func TestExpectedMessageGone(t *testing.T) {
	t.Parallel()
	t.Run("purge", func(t *testing.T) {
		env := ledgertest.Start(t)
		a := (&scene{before: []func(*actor){toSubmitted, toQueued, toRunning}}).play(t, env.Ledger)
		from := a.fold()
		stream, err := env.Ledger.JetStream().Stream(env.Context(), ledger.StreamLedger)
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Purge(env.Context()); err != nil {
			t.Fatal(err)
		}
		e := schemas.NewEvent(schemas.JobSubject(sceneOrg, a.id), &schemas.Completed{AttemptHead: from.AttemptHead()})
		var refused *ledger.RefusedError
		if err := env.Ledger.Append(env.Context(), e, from.LastSeq); !errors.As(err, &refused) || !refused.Gone {
			t.Errorf("append behind a purged message: %v, want refused because it is gone", err)
		}
		_, _, err = env.Ledger.DoFrom(env.Context(), from, ending(schemas.EventCompleted, "")(from), ledger.Meta{})
		if !errors.Is(err, ledger.ErrNotFound) || ledger.AsError(err).Code != ledger.CodeNotFound {
			t.Errorf("outcome of a purged job: %v, want not_found", err)
		}
		env.SkipVerify()
	})
	t.Run("older data put back", func(t *testing.T) {
		dir, copied := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "copy")
		env := ledgertest.Start(t, ledgertest.WithStoreDir(dir))
		a := (&scene{before: []func(*actor){toSubmitted, toQueued}}).play(t, env.Ledger)
		env.Stop()
		copyTree(t, dir, copied)
		env.StartServer()
		toRunning(a)
		from := a.fold()
		env.Stop()
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		copyTree(t, copied, dir)
		env.StartServer()

		// The attempt is not in the ledger any more: its outcome is kept as late and changes nothing.
		j, e, err := env.Ledger.DoFrom(env.Context(), from, ending(schemas.EventCompleted, "")(from), ledger.Meta{})
		if err != nil || e == nil || e.Name() != schemas.EventLateResult || j.State != schemas.StateQueued {
			t.Fatalf("outcome of a forgotten attempt: %v %v (%v), want late_result on a queued job", j, e, err)
		}
		// The job goes on: its next attempt bears the number again, and a fence of its own.
		toRunning(a)
		toCompleted(a)
		if now := a.fold(); now.State != schemas.StateCompleted || now.Illegal != 0 {
			t.Errorf("the job is %s with %d illegal events, want completed", now.State, now.Illegal)
		}
	})
}

// Older data is put back, and the next attempt of the same job gets the very sequence that a worker still holds from
// before: the server would store that worker's outcome, for the sequence is the one expected. The ids are compared
// first, whether the connection was lost before the outcome or in the midst of it; the outcome is kept as late, no
// event is illegal, and the newer attempt goes on (DESIGN D2, R-22).
func TestExpectedSequenceGivenOutAgain(t *testing.T) {
	t.Parallel()
	dir, copied := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "copy")
	env := ledgertest.Start(t, ledgertest.WithStoreDir(dir))
	ids := []string{"lost before", "lost in the midst"}
	actors := make([]*actor, len(ids))
	for i := range actors {
		actors[i] = (&scene{before: []func(*actor){toSubmitted, toQueued}}).play(t, env.Ledger)
	}
	env.Stop()
	copyTree(t, dir, copied)
	env.StartServer()
	held := make([]*ledger.Job, len(actors))
	for i, a := range actors {
		toRunning(a)
		held[i] = a.fold()
	}
	life := env.Ledger.Life()
	back := func() {
		env.Stop()
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		copyTree(t, copied, dir)
		env.StartServer()
		other := env.NewLedger()
		for i, a := range actors {
			again := *a
			again.l = other
			toRunning(&again)
			if now := again.fold(); now.LastSeq != held[i].LastSeq || now.LastID == held[i].LastID {
				t.Fatalf("the sequence %d was not given out again, but %d", held[i].LastSeq, now.LastSeq)
			}
		}
	}
	// The request of the second one is lost, and by its next try the data is older.
	env.Faults.Inject(ledgertest.Fault{Event: schemas.EventCompleted, Kind: ledgertest.LoseRequest, After: func(*nats.Msg) { back() }})
	for i := len(actors) - 1; i >= 0; i-- {
		j, e, err := env.Ledger.DoHeld(env.Context(), held[i], life, ending(schemas.EventCompleted, "")(held[i]), ledger.Meta{})
		if err != nil || e == nil || e.Name() != schemas.EventLateResult || j.State != schemas.StateRunning {
			t.Fatalf("connection %s: %v %v (%v), want late_result on a running job", ids[i], j, e, err)
		}
		toCompleted(actors[i])
		if now := actors[i].fold(); now.State != schemas.StateCompleted || now.Illegal != 0 || now.Attempt != 1 {
			t.Errorf("connection %s: the job is %s with %d illegal events in attempt %d, want completed", ids[i], now.State, now.Illegal, now.Attempt)
		}
	}
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// Time that runs out is "unknown" if a copy may be stored, and "not stored" if no server ever took one; it is
// never a refusal (DESIGN D3).
func TestTimeRunsOut(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	short := func() context.Context {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		t.Cleanup(cancel)
		return ctx
	}
	const always = 1 << 20
	for _, kind := range []ledgertest.Kind{ledgertest.LoseRequest, ledgertest.LoseReply, ledgertest.Refuse} {
		env.Faults.Inject(ledgertest.Fault{Kind: kind, Times: always})
		l := env.Ledger
		if kind == ledgertest.LoseReply { // or the look would settle it
			l = withPublish(t, env, func(next ledger.PublishFunc) ledger.PublishFunc {
				return func(context.Context, *nats.Msg) (*nats.Msg, error) { return nil, nats.ErrTimeout }
			})
		}
		err := l.Append(short(), newSubmitted(schemas.NewJobID()), 0)
		if !errors.Is(err, ledger.ErrUnknown) || errors.Is(err, ledger.ErrRefused) {
			t.Errorf("fault %d: %v, want ErrUnknown", kind, err)
		}
		if e := ledger.AsError(err); e.Code != ledger.CodeUnavailable || e.Details[ledger.DetailReason] != ledger.ReasonOutcomeUnknown {
			t.Errorf("fault %d: %+v, want unavailable and outcome_unknown", kind, e)
		}
		env.Faults.Clear()
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := env.Ledger.Append(over, newSubmitted(schemas.NewJobID()), 0); errors.Is(err, ledger.ErrUnknown) || !errors.Is(err, context.Canceled) {
		t.Errorf("append after its context ended: %v, want not stored", err)
	}
	noStream := withPublish(t, ledgertest.Start(t, ledgertest.WithoutProvision()), func(next ledger.PublishFunc) ledger.PublishFunc {
		return func(_ context.Context, m *nats.Msg) (*nats.Msg, error) { return next(t.Context(), m) } // each try is answered
	})
	err := noStream.Append(short(), newSubmitted(schemas.NewJobID()), 0)
	if e := ledger.AsError(err); errors.Is(err, ledger.ErrUnknown) || e.Code != ledger.CodeUnavailable || e.Details[ledger.DetailReason] != ledger.ReasonNoResponse {
		t.Errorf("no stream: %v, want unavailable and no_response", err)
	}
	noStream.Conn().Close()
	err = noStream.Append(t.Context(), newSubmitted(schemas.NewJobID()), 0)
	if e := ledger.AsError(err); errors.Is(err, ledger.ErrUnknown) || e.Code != ledger.CodeUnavailable {
		t.Errorf("closed connection: %v, want unavailable at once", err)
	}
}

// An event that is invalid or larger than the server takes is a clear error, not a retry.
func TestAppendRefusesWhatCannotBeStored(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	e := newSubmitted("not a token!")
	if err := env.Ledger.Append(env.Context(), e, 0); ledger.AsError(err).Code != ledger.CodeInvalidArgument {
		t.Errorf("invalid subject: %v", err)
	}
	e = newSubmitted(schemas.NewJobID())
	e.Tracestate = strings.Repeat("x", 9<<20)
	if err := env.Ledger.Append(env.Context(), e, 0); ledger.AsError(err).Code != ledger.CodePayloadTooLarge {
		t.Errorf("event of 9 MiB: %v", err)
	}
}

// A command that finds the job where it was to bring it writes nothing; one that its state forbids says so
// with a code.
func TestDoReportsStates(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	ctx := env.Context()
	a := (&scene{before: []func(*actor){toSubmitted, toQueued, toRunning, toCompleted}}).play(t, env.Ledger)
	j, e, err := env.Ledger.Do(ctx, sceneOrg, a.id, &ledger.Cancel{}, ledger.Meta{})
	var state *ledger.StateError
	if got := ledger.AsError(err); got == nil || got.Code != ledger.CodeInvalidState || !errors.As(err, &state) || e != nil || j.State != schemas.StateCompleted {
		t.Errorf("cancel of a completed job: %v %v %v", j, e, err)
	}
	_, _, err = env.Ledger.Do(ctx, sceneOrg, schemas.NewJobID(), &ledger.Cancel{}, ledger.Meta{})
	if ledger.AsError(err).Code != ledger.CodeNotFound || !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("cancel of a job that is not there: %v", err)
	}
	b := (&scene{before: []func(*actor){toSubmitted}}).play(t, env.Ledger)
	stale := b.fold()
	meta := ledger.Meta{Actor: schemas.Actor{Type: "user", ID: "ada"}, CausationID: "req-1", CorrelationID: "root"}
	_, e, err = env.Ledger.Do(ctx, sceneOrg, b.id, &ledger.Cancel{Reason: "typo"}, meta)
	if err != nil || e.Actor != meta.Actor || e.CausationID != "req-1" || e.CorrelationID != "root" {
		t.Errorf("cancel: %+v (%v), want the actor and causes given", e, err)
	}
	// A stale fold neither hides what is true by now nor is changed.
	j, e, err = env.Ledger.DoFrom(ctx, stale, &ledger.Cancel{Reason: "typo"}, meta)
	if err != nil || e != nil || j.State != schemas.StateCanceled || stale.State != schemas.StateSubmitted {
		t.Errorf("cancel of a canceled job from a stale fold: %v %v (%v)", j, e, err)
	}
}
