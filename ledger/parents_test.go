package ledger_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/schemas"
)

// told makes the entries of one job's subject from commands; each is legal where it stands.
func told(t *testing.T, commands ...ledger.Command) (entries []*ledger.Entry) {
	t.Helper()
	j := &ledger.Job{Org: "acme", ID: "p"}
	for i, c := range commands {
		data, err := ledger.Decide(j, c)
		if err != nil {
			t.Fatal(err)
		}
		e := schemas.NewEvent(schemas.JobSubject("acme", "p"), data)
		e.Seq, e.Time = schemas.Seq(10*(i+1)), time.Unix(int64(i), 0)
		ledger.Apply(j, e)
		entries = append(entries, &ledger.Entry{Event: e})
	}
	return entries
}

// TestEndingOf: how one life of a job ended is found in its history, whatever came after it: other lives, a
// retry of the same one, a carried event; an event that was not legal ends nobody.
func TestEndingOf(t *testing.T) {
	begin := &ledger.Begin{Spec: schemas.Submitted{Type: "t", Queue: "q", Priority: schemas.PriorityNormal}}
	cancel, retry := &ledger.Cancel{Reason: "no"}, &ledger.Retry{Reason: "again", Now: time.Unix(100, 0)}
	dead := &ledger.DeadLetter{Reason: schemas.DeadExpired}
	alien := &ledger.Entry{Event: schemas.NewEvent(schemas.JobSubject("acme", "p"), &schemas.Completed{AttemptHead: schemas.AttemptHead{
		Head: schemas.Head{Generation: 1, Submitted: 10}, Attempt: 1, Fence: schemas.Fence{Seq: 5, ID: "x"}}})}
	alien.Seq = 15
	carried := told(t, begin, dead, &ledger.Carry{})[2:]
	for _, tc := range []struct {
		name       string
		entries    []*ledger.Entry
		generation int
		state      schemas.State
		at         schemas.Seq // of the event that ended it, 0 if none did
	}{
		{"none", nil, 1, schemas.StateNone, 0},
		{"waits", told(t, begin), 1, schemas.StateSubmitted, 0},
		{"ended", told(t, begin, cancel), 1, schemas.StateCanceled, 20},
		{"closed afterwards", told(t, begin, dead, &ledger.Resolve{Note: "seen"}), 1, schemas.StateDeadLettered, 20},
		{"retried", told(t, begin, dead, retry), 1, schemas.StateSubmitted, 0},
		{"retried and ended again", told(t, begin, dead, retry, cancel), 1, schemas.StateCanceled, 40},
		{"another life follows", told(t, begin, dead, begin), 1, schemas.StateDeadLettered, 20},
		{"the life that followed", told(t, begin, dead, begin, cancel), 2, schemas.StateCanceled, 40},
		{"a life to come", told(t, begin, dead), 2, schemas.StateNone, 0},
		{"any life", told(t, begin, dead, begin), 0, schemas.StateSubmitted, 0},
		{"an illegal end", append(told(t, begin), alien), 1, schemas.StateSubmitted, 0},
		{"carried", carried, 1, schemas.StateDeadLettered, 30},
		{"of a life before the carried one", carried, 0, schemas.StateDeadLettered, 30},
	} {
		t.Run(tc.name, func(t *testing.T) {
			end := ledger.EndingOf("acme", schemas.JobRef{ID: "p", Generation: tc.generation}, tc.entries)
			if end.State != tc.state || (end.Event != nil) != (tc.at != 0) || end.Event != nil && end.Event.Seq != tc.at {
				t.Errorf("%q by %+v, want %q at %d", end.State, end.Event, tc.state, tc.at)
			}
		})
	}
}

// TestSubmitParents: what a submit says of parents is checked before anything is stored; one that
// is named twice is one, in the life it has now.
func TestSubmitParents(t *testing.T) {
	t.Parallel()
	env := submitEnv(t)
	own, other := request("echo", `1`), request("echo", `2`)
	own.ID, other.ID, other.Org = "own", "foreign", "other"
	submit(t, env.Ledger, own)
	if _, err := env.Ledger.Submit(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	finish(t, env.Ledger, "own", schemas.StateCanceled)
	before := len(messages(t, env.Ledger, "jobs.>"))
	many := make([]schemas.ParentRef, schemas.ParentsMax+1)
	for i := range many {
		many[i].ID = schemas.JobID(fmt.Sprint("p", i))
	}
	for name, c := range map[string]struct {
		id      schemas.JobID
		parents []schemas.ParentRef
		code    ledger.Code
	}{
		"of another org":     {"", []schemas.ParentRef{{ID: "foreign"}}, ledger.CodeNotFound},
		"a life to come":     {"", []schemas.ParentRef{{ID: "own", Generation: 2}}, ledger.CodeNotFound},
		"itself":             {"own", []schemas.ParentRef{{ID: "own"}}, ledger.CodeInvalidArgument},
		"101 of them":        {"", many, ledger.CodeInvalidArgument},
		"unknown reaction":   {"", []schemas.ParentRef{{ID: "own", OnFailure: "panic"}}, ledger.CodeInvalidArgument},
		"no id":              {"", []schemas.ParentRef{{}}, ledger.CodeInvalidArgument},
		"twice, differently": {"", []schemas.ParentRef{{ID: "own"}, {ID: "own", OnFailure: schemas.ParentRun}}, ledger.CodeInvalidArgument},
	} {
		r := request("echo", `3`)
		r.ID, r.Parents = c.id, c.parents
		_, err := env.Ledger.Submit(t.Context(), r)
		t.Run(name, func(t *testing.T) { wantCode(t, err, c.code, "parents") })
	}
	if after := len(messages(t, env.Ledger, "jobs.>")); after != before {
		t.Errorf("%d events were stored", after-before)
	}
	r := request("echo", `4`)
	r.Parents = []schemas.ParentRef{{ID: "own"}, {ID: "own", OnFailure: schemas.ParentFail}, {ID: "own"}}
	j, err := env.Ledger.Fold(t.Context(), sceneOrg, submit(t, env.Ledger, r).ID)
	if err != nil || len(j.Spec.Parents) != 1 || j.Spec.Parents[0].Generation != 1 {
		t.Errorf("stored with parents %+v: %v", j.Spec.Parents, err)
	}
}
