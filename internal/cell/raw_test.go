package cell_test

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/projector"
	"github.com/dartwing/jobledger/schemas"
)

// A submit whose sender waits for no answer is a job like any other; what would be refused is recorded as it came, and
// dead-lettered as rejected, with the code and the text that nobody heard. It was never
// queued, also where somebody would work for it. It is neither retried nor resubmitted, for what is recorded need not be
// what was asked for: it is to be submitted again.
func TestRawSubmits(t *testing.T) {
	t.Parallel()
	env, _ := ledgertest.Cell(t)
	s := newSystem(t, env)
	c := env.Client(acme)
	ctx := t.Context()
	s.worker("w", "fax", 4, lasting(0))
	if _, err := c.TypeAdd(ctx, gateway.Type{Name: "fax"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.TypeAdd(ctx, gateway.Type{Name: "closed", Enabled: new(bool)}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.SetQueue(ctx, "small", gateway.SetRequest{New: true, Set: []byte(`{"max_waiting_per_org":1}`), Reason: "a test"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Submit(ctx, ledger.SubmitRequest{Type: "nobody", Queue: "small"}); err != nil {
		t.Fatal(err)
	}
	nc := env.Connect()
	seen := make(map[schemas.JobID]bool)
	raw := func(typ, args string, headers nats.Header) *ledger.Job {
		t.Helper()
		if err := nc.PublishMsg(&nats.Msg{Subject: "jobledger.acme.submit." + typ, Data: []byte(args), Header: headers}); err != nil {
			t.Fatal(err)
		}
		var j *ledger.Job
		s.await("the end of a raw submit", func() bool {
			for id, one := range s.jobs {
				if !seen[id] && one.State.Finished() {
					copied := *one
					j = &copied
					return true
				}
			}
			return false
		})
		seen[j.ID] = true
		return j
	}
	if j := raw("fax", `{"to":1}`, nil); j.State != schemas.StateCompleted || string(j.Result) != `{"to":1}` {
		t.Errorf("a raw submit is %s: %s", j.State, j.Result)
	}
	var closed *ledger.Job
	for _, k := range []struct {
		typ, args, kept string
		headers         nats.Header
		code            ledger.Code
	}{
		{typ: "closed", args: `{"to":2}`, kept: `{"to":2}`, code: ledger.CodeTypeDisabled},
		{typ: "fax", args: `{"to":`, kept: `"{\"to\":"`, code: ledger.CodeInvalidArgument},
		{typ: "fax", args: `3`, kept: `3`, headers: nats.Header{gateway.HeaderPriority: {"utmost"}}, code: ledger.CodeInvalidArgument},
		{typ: "fax", args: `4`, kept: `4`, headers: nats.Header{gateway.HeaderMaxAttempts: {"many"}}, code: ledger.CodeInvalidArgument},
		{typ: "fax", args: `5`, kept: `5`, headers: nats.Header{gateway.HeaderQueue: {"small"}}, code: ledger.CodeQueueFull},
	} {
		j := raw(k.typ, k.args, k.headers)
		if j.State != schemas.StateDeadLettered || j.DeadReason != schemas.DeadRejected || j.Error == nil || j.Error.Code != string(k.code) ||
			j.Error.Message == "" || string(j.Spec.Args) != k.kept || j.Attempt != 0 || !j.QueuedAt.IsZero() {
			t.Errorf("%s %s: %s, %s, %+v, args %s, %d attempts", k.typ, k.args, j.State, j.DeadReason, j.Error, j.Spec.Args, j.Attempt)
		}
		if k.typ == "closed" {
			closed = j
		}
	}
	if _, err := c.EditType(ctx, "closed", gateway.SetRequest{Set: []byte(`{"enabled":true}`), Reason: "a test"}); err != nil {
		t.Fatal(err)
	}
	notRun := func(what string, err error) {
		t.Helper()
		if e := ledger.AsError(err); e == nil || e.Code != ledger.CodeInvalidState ||
			!strings.Contains(e.Message, string(ledger.CodeTypeDisabled)) || !strings.Contains(e.Message, "submit it again") {
			t.Errorf("%s of a refused submit: %v", what, err)
		}
	}
	later := time.Now().Add(time.Hour)
	_, err := c.Retry(ctx, closed.ID, gateway.RetryRequest{Reason: "it is open now", Deadline: &later})
	notRun("a retry", err)
	_, err = c.Resubmit(ctx, closed.ID, gateway.ResubmitRequest{Reason: "it is open now", Args: []byte(`{}`)})
	notRun("a resubmit", err)
	if err := projector.WaitFor(ctx, env.Ledger, closed.LastSeq); err != nil {
		t.Fatal(err)
	}
	dry, err := c.Bulk(ctx, gateway.BulkRequest{Action: gateway.ActionRetry, Filter: &gateway.Filter{Type: []schemas.TypeName{"closed"}}, DryRun: true})
	if err != nil || dry.Matched != 1 || dry.Eligible != 0 {
		t.Errorf("a bulk retry of a refused submit, counted: %+v, %v", dry, err)
	}
	bulk, err := c.Bulk(ctx, gateway.BulkRequest{Action: gateway.ActionRetry, IDs: []schemas.JobID{closed.ID}, Reason: "all", Deadline: &later})
	if err != nil || bulk.Done != 0 || bulk.Failed != 1 || bulk.Items[0].Error == nil || bulk.Items[0].Error.Code != ledger.CodeInvalidState {
		t.Errorf("a bulk retry of a refused submit: %+v, %v", bulk, err)
	}
}
