package gateway_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/dartwing/jobledger/gateway"
	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// fail ends a running attempt with an error.
func (w *world) fail(j *ledger.Job, class schemas.ErrorClass, message string) *ledger.Job {
	w.t.Helper()
	return w.do(j.ID, &ledger.Outcome{Fence: j.Fence, Generation: j.Generation, Attempt: j.Attempt, Kind: schemas.EventFailed,
		Error: &schemas.JobError{Class: class, Message: message}, Now: time.Now()})
}

// bury makes a job a dead letter.
func (w *world) bury(r ledger.SubmitRequest, message string) *ledger.Job {
	w.t.Helper()
	return w.fail(w.start(w.submit(r)), schemas.ClassPermanent, message)
}

func (w *world) submit(r ledger.SubmitRequest) schemas.JobID {
	w.t.Helper()
	if r.Type == "" {
		r.Type = "echo"
	}
	r.NoDedup = r.ID == ""
	reply, err := w.client.Submit(w.t.Context(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	return reply.ID
}

// a retry needs a reason, names who did it and which request caused it, and means
// "run now" of a job that waits for one.
func TestRetry(t *testing.T) {
	w := start(t)
	dead := w.bury(ledger.SubmitRequest{}, "no such address")
	w.refused(ledger.CodeInvalidArgument, "acme.retry."+string(dead.ID), `{}`)
	w.refused(ledger.CodeNotFound, "globex.retry."+string(dead.ID), `{"reason":"r"}`)
	w.refused(ledger.CodeVersionConflict, "acme.retry."+string(dead.ID), `{"reason":"r","if_seq":1}`)
	w.ask("acme.retry."+string(dead.ID), fmt.Sprintf(`{"reason":"mended","if_seq":%d}`, dead.LastSeq), gateway.HeaderRequestID, "req-1")
	h, err := w.Ledger.History(t.Context(), "acme", dead.ID)
	if err != nil {
		t.Fatal(err)
	}
	e := h.Entries[len(h.Entries)-1]
	if d, ok := e.Data.(*schemas.Retried); !ok || d.Reason != "mended" || e.Actor.String() != "user:ada" || e.CausationID != "req-1" {
		t.Errorf("stored: %s %+v by %s, caused by %q", e.Name(), e.Data, e.Actor, e.CausationID)
	}
	if _, err := w.client.Retry(t.Context(), dead.ID, gateway.RetryRequest{Reason: "again"}); code(err) != ledger.CodeInvalidState {
		t.Errorf("retry of a submitted job: %v", err)
	}
	waits := w.fail(w.start(w.submit(ledger.SubmitRequest{})), schemas.ClassTransient, "busy")
	if waits.State != schemas.StateRetrying {
		t.Fatalf("the job is %s", waits.State)
	}
	now, err := w.client.Retry(t.Context(), waits.ID, gateway.RetryRequest{Reason: "receiver is back"})
	if err != nil || now.State != schemas.StateQueued || now.AttemptsUsed != 1 {
		t.Errorf("run now: %+v, %v", now, err)
	}
}

// A dead job that is unique is retried while the same work has been submitted anew, waits or runs: both go on, or
// the answer says in words why not. It is never an internal error, and the twin is untouched (R-06, R-34, C29).
func TestRetryBesideATwin(t *testing.T) {
	w := start(t)
	for name, r := range map[string]ledger.SubmitRequest{
		"content": {Args: json.RawMessage(`{"unique":true}`)}, "key": {Key: "once"},
	} {
		t.Run(name, func(t *testing.T) {
			r.Type = "echo"
			submit := func() schemas.JobID {
				t.Helper()
				reply, err := w.client.Submit(t.Context(), r)
				if err != nil || reply.Duplicate {
					t.Fatalf("submit: %+v, %v", reply, err)
				}
				return reply.ID
			}
			dead := w.fail(w.start(submit()), schemas.ClassPermanent, "no such address")
			twin := submit()
			before, err := w.Ledger.Fold(t.Context(), "acme", twin)
			if err != nil {
				t.Fatal(err)
			}
			var sequel *gateway.RetryReply
			if twin != dead.ID {
				sequel, err = w.client.Retry(t.Context(), dead.ID, gateway.RetryRequest{Reason: "mended"})
			} else { // a key names one job: its new life stands in place of the dead one
				_, err = w.client.Retry(t.Context(), dead.ID, gateway.RetryRequest{Reason: "mended"})
				if code(err) != ledger.CodeInvalidState {
					t.Errorf("retry of a job that lives again: %v", err)
				}
				return
			}
			if err != nil || sequel.State != schemas.StateSubmitted {
				t.Errorf("retry beside the twin: %+v, %v", sequel, err)
			}
			after, err := w.Ledger.Fold(t.Context(), "acme", twin)
			if err != nil || after.LastSeq != before.LastSeq {
				t.Errorf("the twin went from event %d to %d: %v", before.LastSeq, after.LastSeq, err)
			}
		})
	}
}

// a passed deadline needs a new one; a parent that has not completed is retried first, or waived.
func TestRetryGates(t *testing.T) {
	w := start(t)
	past := time.Now().Add(-time.Minute)
	late := w.submit(ledger.SubmitRequest{Deadline: &past})
	w.do(late, &ledger.DeadLetter{Reason: schemas.DeadExpired})
	if _, err := w.client.Retry(t.Context(), late, gateway.RetryRequest{Reason: "r"}); code(err) != ledger.CodeInvalidState {
		t.Errorf("retry behind the deadline: %v", err)
	}
	later := time.Now().Add(time.Hour)
	if _, err := w.client.Retry(t.Context(), late, gateway.RetryRequest{Reason: "r", Deadline: &later}); err != nil {
		t.Errorf("with a new deadline: %v", err)
	}
	parent := w.bury(ledger.SubmitRequest{ID: "parent"}, "broken")
	child := w.submit(ledger.SubmitRequest{ID: "child", Parents: []schemas.ParentRef{{ID: "parent"}}})
	w.do(child, &ledger.DeadLetter{Reason: schemas.DeadDependencyFailed})
	_, err := w.client.Retry(t.Context(), child, gateway.RetryRequest{Reason: "r"})
	if e := ledger.AsError(err); e == nil || e.Code != ledger.CodeInvalidState || e.Details["parent"] != string(parent.ID) {
		t.Errorf("retry below a failed parent: %v", err)
	}
	if _, err := w.client.Retry(t.Context(), child, gateway.RetryRequest{Reason: "r", WaiveParents: true}); err != nil {
		t.Errorf("with the parent waived: %v", err)
	}
}

// a bulk counts first, acts upon each job as its own events say and not as the view did, names itself in
// the events, and may be done again.
func TestBulk(t *testing.T) {
	w := start(t)
	var ids []schemas.JobID
	for i := range 5 {
		ids = append(ids, w.bury(ledger.SubmitRequest{ID: schemas.JobID(fmt.Sprintf("dead%d", i)), Type: "mail"}, fmt.Sprintf("mailbox %d is full", i)).ID)
	}
	w.submit(ledger.SubmitRequest{Type: "mail"})
	filter := &gateway.Filter{Type: []schemas.TypeName{"mail"}}
	look, err := w.client.Bulk(t.Context(), gateway.BulkRequest{Action: gateway.ActionRetry, Filter: filter, DryRun: true, MinSeq: w.end()})
	if err != nil || look.Matched != 6 || look.Eligible != 5 || look.Skipped != 1 || fmt.Sprint(look.IDs) != fmt.Sprint(ids) {
		t.Fatalf("dry run: %+v, %v", look, err)
	}
	if j, err := w.Ledger.Fold(t.Context(), "acme", ids[0]); err != nil || j.State != schemas.StateDeadLettered {
		t.Fatalf("a dry run did something: %+v, %v", j, err)
	}
	// Meanwhile one is closed, and one leaves the type's dead letters: what was chosen is judged again.
	dead := &gateway.Filter{Type: filter.Type, State: []schemas.State{schemas.StateDeadLettered}, Resolution: "open"}
	if _, err := w.client.Resolve(t.Context(), ids[0], gateway.ResolveRequest{Note: "by hand"}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.Retry(t.Context(), ids[1], gateway.RetryRequest{Reason: "r"}); err != nil {
		t.Fatal(err)
	}
	done, err := w.client.Bulk(t.Context(), gateway.BulkRequest{Action: gateway.ActionRetry, Reason: "mail is back", BulkID: "b-1",
		Filter: dead, IDs: append([]schemas.JobID{"gone"}, look.IDs...)})
	if err != nil || done.Done != 3 || done.Skipped != 3 || done.Failed != 0 {
		t.Fatalf("bulk: %+v, %v", done, err)
	}
	if done.Items[0].Skipped != gateway.SkippedGone || done.Items[1].Skipped != gateway.SkippedChanged || done.Items[2].Skipped != gateway.SkippedChanged || !done.Items[3].OK {
		t.Errorf("items: %+v", done.Items)
	}
	h, err := w.Ledger.History(t.Context(), "acme", ids[4])
	if err != nil {
		t.Fatal(err)
	}
	if e := h.Entries[len(h.Entries)-1]; e.Name() != schemas.EventRetried || e.CausationID != "b-1" {
		t.Errorf("%s caused by %q", e.Name(), e.CausationID)
	}
	again, err := w.client.Bulk(t.Context(), gateway.BulkRequest{Action: gateway.ActionRetry, Reason: "again", Filter: dead, MinSeq: w.end()})
	if err != nil || again.Matched != 0 || again.Left != 0 || again.AsOfSeq == nil {
		t.Errorf("again: %+v, %v", again, err)
	}
	// By ids alone what is not allowed is refused, with its reason.
	mixed, err := w.client.Bulk(t.Context(), gateway.BulkRequest{Action: gateway.ActionCancel, Reason: "r", IDs: []schemas.JobID{ids[0], ids[4]}})
	if err != nil || mixed.Done != 1 || mixed.Failed != 1 || mixed.Items[0].Error.Code != ledger.CodeInvalidState {
		t.Errorf("mixed: %+v, %v", mixed, err)
	}
}

func TestBulkRefuses(t *testing.T) {
	w := start(t)
	for _, body := range []string{`{"action":"retry","filter":{}}`, `{"action":"cancel","ids":["a"]}`, `{"action":"resolve","ids":["a"]}`,
		`{"action":"drop","ids":["a"],"reason":"r"}`, `{"action":"retry","reason":"r"}`, `{"action":"retry","reason":"r","ids":["a.b"]}`,
		`{"action":"retry","reason":"r","filter":{"state":["dead"]}}`, `{"action":"retry","reason":"r","filter":{"resolution":"closed"}}`} {
		w.refused(ledger.CodeInvalidArgument, "acme.bulk", body)
	}
	w.refused(ledger.CodeInvalidArgument, "acme.resolve.x", `{"note":" "}`)
	w.refused(ledger.CodeInvalidArgument, "acme.resolve.x", `{"note":"n","as":"closed"}`)
	w.refused(ledger.CodeInvalidArgument, "acme.errors", `{"by":"colour"}`)
	w.refused(ledger.CodeInvalidArgument, "acme.resubmit.x", `{}`)
	w.refused(ledger.CodeNotFound, "acme.resubmit.x", `{"reason":"r"}`)
}

// dead letters of one kind are one group, whatever numbers their errors name; the key chooses them.
func TestErrorGroups(t *testing.T) {
	w := start(t)
	for i := range 4 {
		w.bury(ledger.SubmitRequest{Type: "mail"}, fmt.Sprintf("mailbox %d of 0x%x is full", i, 4096+i))
	}
	last := w.bury(ledger.SubmitRequest{Type: "fax"}, "line 17 is busy")
	groups, err := w.client.Errors(t.Context(), gateway.ErrorsRequest{MinSeq: w.end()})
	if err != nil || groups.Total != 5 || len(groups.Groups) != 2 {
		t.Fatalf("groups: %+v, %v", groups, err)
	}
	g := groups.Groups[0]
	if g.Count != 4 || g.Message != "mailbox <n> of <hex> is full" || g.Class != schemas.ClassPermanent || g.Type != "mail" || !g.LastAt.After(g.FirstAt) {
		t.Errorf("the largest group: %+v", g)
	}
	list, err := w.client.List(t.Context(), gateway.ListRequest{Filter: gateway.Filter{Group: groups.Groups[1].Key}})
	if err != nil || len(list.Items) != 1 || list.Items[0].ID != last.ID {
		t.Errorf("jobs of a group: %+v, %v", list, err)
	}
	byType, err := w.client.Errors(t.Context(), gateway.ErrorsRequest{By: gateway.ByType})
	if err != nil || byType.Groups[0].Key != "mail" || byType.Groups[1].Key != "fax" {
		t.Errorf("by type: %+v, %v", byType, err)
	}
	if _, err := w.client.Resolve(t.Context(), last.ID, gateway.ResolveRequest{Note: "n", As: gateway.AsIgnored}); err != nil {
		t.Fatal(err)
	}
	open, err := w.client.Errors(t.Context(), gateway.ErrorsRequest{MinSeq: w.end()})
	if err != nil || open.Total != 4 {
		t.Errorf("open ones: %+v, %v", open, err)
	}
}

func TestNormalError(t *testing.T) {
	for in, want := range map[string]string{
		"job 0193f0c2-1111-7abc-8def-0123456789ab failed": "job <id> failed",
		"dial tcp 10.0.0.7:8080: connect: refused":        "dial tcp <n>.<n>.<n>.<n>:<n>: connect: refused",
		"at 0x7fff5fbff8a0\n\tin   deadbeef cafebabe1":    "at <hex> in deadbeef <hex>",
		"checksum 9f86d081884c7d65 is not 1234567890":     "checksum <hex> is not <n>",
		"no such host: mail-3.example.net":                "no such host: mail-<n>.example.net",
		"":                                                "",
	} {
		if have := gateway.NormalError(in); have != want {
			t.Errorf("%q became %q, want %q", in, have, want)
		}
	}
}

// The resubmitted job is linked to the old one and runs as whom that ran.
func TestResubmit(t *testing.T) {
	w := start(t)
	old := w.submit(ledger.SubmitRequest{Args: json.RawMessage(`{"n": 9007199254740993}`), Principal: "user:grace", Tags: map[string]string{"k": "v"}})
	reply, err := w.client.Resubmit(t.Context(), old, gateway.ResubmitRequest{Reason: "once more"})
	if err != nil || reply.From != old {
		t.Fatalf("%+v, %v", reply, err)
	}
	was, err := w.Ledger.Fold(t.Context(), "acme", old)
	if err != nil {
		t.Fatal(err)
	}
	is, err := w.Ledger.Fold(t.Context(), "acme", reply.ID)
	if err != nil || is.CausationID != string(was.SubmittedID) || is.CorrelationID != string(old) || is.Principal() != "user:grace" ||
		string(is.Spec.Args) != string(was.Spec.Args) || is.Spec.Tags["k"] != "v" || is.Spec.Hash != "" || is.Spec.Reason != "once more" {
		t.Errorf("the new job: %+v, %v", is, err)
	}
	if _, err := w.client.Resubmit(t.Context(), "nope", gateway.ResubmitRequest{Reason: "r"}); code(err) != ledger.CodeNotFound || errors.Is(err, ledger.ErrUnknown) {
		t.Errorf("of no job: %v", err)
	}
}
