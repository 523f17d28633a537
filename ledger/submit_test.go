package ledger_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// submitEnv is a ledger with three types: echo (strict), flight (in flight) and plain (no dedup).
func submitEnv(t *testing.T, opts ...ledgertest.Option) *ledgertest.Env {
	env := ledgertest.Start(t, opts...)
	off := schemas.Millis(0)
	for _, s := range []schemas.TypeSettings{
		{Name: "echo", Queue: "q1", Priority: schemas.PriorityHigh},
		{Name: "flight", Dedup: schemas.DedupInFlight},
		{Name: "plain", WindowMS: &off},
	} {
		if _, err := env.Ledger.PutType(env.Context(), s, ledger.Meta{}, ""); err != nil {
			t.Fatal(err)
		}
	}
	return env
}

func request(typ schemas.TypeName, args string) ledger.SubmitRequest {
	return ledger.SubmitRequest{Org: sceneOrg, Type: typ, Args: json.RawMessage(args)}
}

func submit(t *testing.T, l *ledger.Ledger, r ledger.SubmitRequest) ledger.Receipt {
	t.Helper()
	receipt, err := l.Submit(t.Context(), r)
	if err != nil {
		t.Fatalf("submit: %v", err)
	}
	return receipt
}

// finish takes a submitted job to an end.
func finish(t *testing.T, l *ledger.Ledger, id schemas.JobID, to schemas.State) {
	t.Helper()
	a := &actor{t: t, l: l, id: id}
	switch to {
	case schemas.StateCanceled:
		a.do(&ledger.Cancel{Reason: "test"})
	case schemas.StateDeadLettered:
		a.do(&ledger.DeadLetter{Reason: schemas.DeadRejected})
	case schemas.StateCompleted:
		toQueued(a)
		toRunning(a)
		toCompleted(a)
	}
}

func wantCode(t *testing.T, err error, code ledger.Code, field string) *ledger.Error {
	t.Helper()
	e := ledger.AsError(err)
	if e == nil || e.Code != code || e.Field != field {
		t.Errorf("error is %v, want %s of field %q", err, code, field)
	}
	return e
}

// one event holds everything; absent fields take the type's settings.
func TestSubmitStoresEverythingInOneEvent(t *testing.T) {
	t.Parallel()
	env := submitEnv(t)
	at := time.Now().Add(time.Hour).Round(0)
	attempts := 2
	parent := submit(t, env.Ledger, request("echo", `{"parent":true}`))
	r := request("echo", ` {"big": 12345678901234567890,  "z":1} `)
	r.Resource, r.Principal, r.Delay, r.NotBefore, r.DeadlineIn = "carrier-1", "user:ada", 1500*time.Microsecond, &at, time.Hour
	r.Parents = []schemas.ParentRef{{ID: parent.ID, OnFailure: schemas.ParentRun}}
	r.Batch, r.Tags, r.Reason = "b1", map[string]string{"k": "v w"}, "because"
	r.Override = &schemas.Override{MaxAttempts: &attempts}
	r.Meta = ledger.Meta{Actor: schemas.Actor{Type: "user", ID: "bob"}, Traceparent: "00-abc-def-01", CorrelationID: "root"}
	got := submit(t, env.Ledger, r)
	j, err := env.Ledger.Fold(t.Context(), sceneOrg, got.ID)
	if err != nil {
		t.Fatal(err)
	}
	s := j.Spec
	if got.Seq != j.SubmittedSeq || got.State != schemas.StateSubmitted || got.Generation != 1 || got.Duplicate || got.Org != sceneOrg {
		t.Errorf("receipt is %+v", got)
	}
	if string(s.Args) != `{"big": 12345678901234567890,  "z":1}` {
		t.Errorf("args are stored as %s", s.Args)
	}
	if s.Queue != "q1" || s.Priority != schemas.PriorityHigh || s.DelayMS != 2 || s.DeadlineMS != 3_600_000 || !s.NotBefore.Equal(at) ||
		s.Resource != "carrier-1" || j.Principal() != "user:ada" || s.Parents[0].Generation != 1 || s.Batch != "b1" ||
		s.Tags["k"] != "v w" || s.Reason != "because" || *s.Override.MaxAttempts != 2 {
		t.Errorf("stored as %+v", s)
	}
	if s.Hash != "" || s.Dedup != schemas.DedupOff {
		t.Errorf("a child carries the content id %q (R-308)", s.Hash)
	}
	if j.SubmittedBy.ID != "bob" || j.Traceparent == "" || j.CorrelationID != "root" {
		t.Errorf("envelope is %+v", j)
	}
	if r.Parents[0].Generation != 0 {
		t.Error("the request was changed")
	}
	empty := submit(t, env.Ledger, ledger.SubmitRequest{Org: sceneOrg, Type: "plain", Queue: "mine", Priority: schemas.PriorityLow})
	if j, err = env.Ledger.Fold(t.Context(), sceneOrg, empty.ID); err != nil || string(j.Spec.Args) != "{}" || j.Spec.Queue != "mine" || j.Spec.Priority != schemas.PriorityLow {
		t.Errorf("no args, own queue: %+v (%v)", j, err)
	}
}

// "Bad input": each is a clear error naming the field, and nothing is stored.
func TestSubmitRefusesBadInput(t *testing.T) {
	t.Parallel()
	env := submitEnv(t, ledgertest.WithLedgerConfig(ledger.Config{CheckArgs: func(_ *schemas.TypeSettings, args json.RawMessage) error {
		if strings.Contains(string(args), "forbidden") {
			return errors.New("/to: is forbidden")
		}
		return nil
	}}))
	if _, err := env.Ledger.PutType(env.Context(), schemas.TypeSettings{Name: "off", Disabled: true}, ledger.Meta{}, ""); err != nil {
		t.Fatal(err)
	}
	far := time.Now().Add(400 * 24 * time.Hour)
	before := len(messages(t, env.Ledger, "jobs.>"))
	for name, c := range map[string]struct {
		change func(r *ledger.SubmitRequest)
		code   ledger.Code
		field  string
	}{
		"no org":            {func(r *ledger.SubmitRequest) { r.Org = "" }, ledger.CodeInvalidArgument, "org"},
		"bad org":           {func(r *ledger.SubmitRequest) { r.Org = "a.b" }, ledger.CodeInvalidArgument, "org"},
		"wildcard org":      {func(r *ledger.SubmitRequest) { r.Org = ">" }, ledger.CodeInvalidArgument, "org"},
		"bad id":            {func(r *ledger.SubmitRequest) { r.ID = "a b" }, ledger.CodeInvalidArgument, "id"},
		"reserved id":       {func(r *ledger.SubmitRequest) { r.ID = "_a" }, ledger.CodeInvalidArgument, "id"},
		"long id":           {func(r *ledger.SubmitRequest) { r.ID = schemas.JobID(strings.Repeat("a", 65)) }, ledger.CodeInvalidArgument, "id"},
		"bad queue":         {func(r *ledger.SubmitRequest) { r.Queue = "*" }, ledger.CodeInvalidArgument, "queue"},
		"bad priority":      {func(r *ledger.SubmitRequest) { r.Priority = "urgent" }, ledger.CodeInvalidArgument, "priority"},
		"unknown type":      {func(r *ledger.SubmitRequest) { r.Type = "ghost" }, ledger.CodeUnknownType, "type"},
		"disabled type":     {func(r *ledger.SubmitRequest) { r.Type = "off" }, ledger.CodeTypeDisabled, "type"},
		"malformed JSON":    {func(r *ledger.SubmitRequest) { r.Args = []byte(`{"a":`) }, ledger.CodeInvalidArgument, "args"},
		"two JSON values":   {func(r *ledger.SubmitRequest) { r.Args = []byte(`1 2`) }, ledger.CodeInvalidArgument, "args"},
		"too large":         {func(r *ledger.SubmitRequest) { r.Args = make([]byte, schemas.PayloadMax+1) }, ledger.CodePayloadTooLarge, "args"},
		"schema":            {func(r *ledger.SubmitRequest) { r.Args = []byte(`"forbidden"`) }, ledger.CodeInvalidArgument, "args"},
		"args twice":        {func(r *ledger.SubmitRequest) { r.ArgsRef = &schemas.ObjectRef{Bucket: "ARGS"} }, ledger.CodeInvalidArgument, "args"},
		"key and no dedup":  {func(r *ledger.SubmitRequest) { r.Key, r.NoDedup = "k", true }, ledger.CodeInvalidArgument, "key"},
		"on duplicate":      {func(r *ledger.SubmitRequest) { r.OnDuplicate = "maybe" }, ledger.CodeInvalidArgument, "on_duplicate"},
		"no parent":         {func(r *ledger.SubmitRequest) { r.Parents = []schemas.ParentRef{{ID: "ghost"}} }, ledger.CodeNotFound, "parents"},
		"negative delay":    {func(r *ledger.SubmitRequest) { r.Delay = -1 }, ledger.CodeInvalidArgument, "delay"},
		"start too far":     {func(r *ledger.SubmitRequest) { r.NotBefore = &far }, ledger.CodeInvalidArgument, "not_before"},
		"delay too long":    {func(r *ledger.SubmitRequest) { r.Delay = 400 * 24 * time.Hour }, ledger.CodeInvalidArgument, ""},
		"long key":          {func(r *ledger.SubmitRequest) { r.Key = strings.Repeat("k", 257) }, ledger.CodeInvalidArgument, ""},
		"override too high": {func(r *ledger.SubmitRequest) { n := 12; r.Override = &schemas.Override{MaxAttempts: &n} }, ledger.CodeInvalidArgument, ""},
	} {
		r := request("echo", `{"n":1}`)
		c.change(&r)
		_, err := env.Ledger.Submit(t.Context(), r)
		t.Run(name, func(t *testing.T) { wantCode(t, err, c.code, c.field) })
	}
	if after := len(messages(t, env.Ledger, "jobs.>")); after != before {
		t.Errorf("%d events were stored", after-before)
	}
}

// The fault table of Submit: whatever happens to the write, one job is stored and named.
func TestSubmitFaultTable(t *testing.T) {
	t.Parallel()
	env := submitEnv(t)
	other := env.Connect()
	key, own, free := request("echo", `1`), request("echo", `1`), request("echo", `1`)
	key.Key, own.ID, free.NoDedup = "k", "own", true
	modes := map[string]ledger.SubmitRequest{"content": request("echo", `1`), "in flight": request("flight", `1`), "key": key, "own id": own, "no dedup": free}
	for name, r := range modes {
		for kind := range ledgertest.LoseReply + 1 {
			for _, after := range []string{"", "others", "restart"} {
				t.Run(fmt.Sprintf("%s, fault %d, %s", name, kind, after), func(t *testing.T) {
					r := r
					r.Org = schemas.OrgID(schemas.NewJobID())
					env.Faults.Inject(ledgertest.Fault{Event: schemas.EventSubmitted, Kind: kind, After: func(m *nats.Msg) {
						switch after {
						case "others":
							publishForeign(t, other, m.Subject)
						case "restart":
							env.Stop()
							env.StartServer()
						}
					}})
					got := submit(t, env.Ledger, r)
					if got.Duplicate {
						t.Errorf("%+v: its own event was taken for another's", got)
					}
					stored := 0
					for _, e := range messages(t, env.Ledger, "jobs."+string(r.Org)+".>") {
						if e.Name() == schemas.EventSubmitted {
							stored++
							if e.Job != got.ID || e.Seq != got.Seq {
								t.Errorf("job %s at %d is not the one named: %+v", e.Job, e.Seq, got)
							}
						}
					}
					if stored != 1 {
						t.Errorf("%d jobs are stored", stored)
					}
				})
			}
		}
	}
	env.SkipVerify() // foreign messages
}

// "The expected message gone" under the caller's own id: its earlier generation is purged between the fold and
// the append of the next.
func TestSubmitBehindAPurge(t *testing.T) {
	t.Parallel()
	env := submitEnv(t)
	r := request("plain", `1`)
	r.ID = "own"
	submit(t, env.Ledger, r)
	finish(t, env.Ledger, "own", schemas.StateCanceled)
	stream, err := env.Ledger.JetStream().Stream(t.Context(), ledger.StreamLedger)
	if err != nil {
		t.Fatal(err)
	}
	// The first try expects an empty subject and is refused; the purge comes before the second.
	env.Faults.Inject(ledgertest.Fault{Event: schemas.EventSubmitted, Skip: 1, Before: func(*nats.Msg) {
		if err := stream.Purge(t.Context(), jetstream.WithPurgeSubject("jobs."+string(sceneOrg)+".own")); err != nil {
			t.Error(err)
		}
	}})
	if got := submit(t, env.Ledger, r); got.Duplicate || got.Generation != 1 {
		t.Errorf("%+v, want a first generation: nothing is known of an earlier one", got)
	}
	if env.Faults.Hits() != 1 {
		t.Error("the purge did not happen")
	}
	env.SkipVerify() // a purge by subject leaves a gap
}

// A submit whose fate is unknown says so, with the id to ask for; submitting again is safe.
func TestSubmitUnknown(t *testing.T) {
	t.Parallel()
	env := submitEnv(t)
	l := withPublish(t, env, func(ledger.PublishFunc) ledger.PublishFunc {
		return func(context.Context, *nats.Msg) (*nats.Msg, error) { return nil, nats.ErrTimeout }
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	receipt, err := l.Submit(ctx, request("echo", `1`))
	if e := ledger.AsError(err); !errors.Is(err, ledger.ErrUnknown) || e.Details[ledger.DetailReason] != ledger.ReasonOutcomeUnknown || e.Details["id"] != receipt.ID || receipt.ID == "" {
		t.Errorf("%+v, %v, want outcome_unknown and the id", receipt, err)
	}
}

// R-04, dev: an unknown type is registered with the engine's defaults first, once.
func TestRegisterUnknown(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	r := request("new-type", `{}`)
	r.RegisterUnknown, r.NoDedup = true, true
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := env.Ledger.Submit(t.Context(), r); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(messages(t, env.Ledger, "control.cell.type.>")); n != 1 {
		t.Errorf("%d type_set events, want 1", n)
	}
}
