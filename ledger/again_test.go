package ledger_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// usedID is an id whose job is in ARCHIVE, submitted again by one who did not look.
type usedID struct {
	id     schemas.JobID
	typ    schemas.TypeName
	args   string // of the later submit; those of the earlier are {"n": 1}
	failed bool   // how the earlier one ended
	want   string // runs, duplicate or rejected
}

var tickID = schemas.TickJobID("nightly", 1, time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC))

var usedIDs = []usedID{
	{id: "free", typ: "echo", args: `{"n": 1}`, want: "runs"},
	{id: "free-other", typ: "echo", args: `{"n": 2}`, want: "runs"},
	{id: "never", typ: "never", args: `{"n": 1}`, want: "duplicate"},
	{id: "never-other", typ: "never", args: `{"n": 2}`, want: "rejected"},
	{id: "never-failed", typ: "never", args: `{"n": 1}`, failed: true, want: "duplicate"},
	{id: "failed", typ: "failed", args: `{"n": 1}`, failed: true, want: "runs"},
	{id: "failed-done", typ: "failed", args: `{"n": 1}`, want: "duplicate"},
	{id: tickID, typ: "echo", args: `{"n": 2}`, want: "duplicate"},
	{id: ledger.BatchItemID(ledger.BatchItems("acme", "b", 1), 7), typ: "echo", args: `{"n": 1}`, failed: true, want: "duplicate"},
	{id: ledger.BatchThenID("acme", "b", 1), typ: "echo", args: `{"n": 1}`, want: "duplicate"},
}

// An id is what its policy says it is also when its job has left for ARCHIVE, where its subject is empty and takes a
// submit (R-07, R-12, R-201, DESIGN D13).
func TestUsedIDs(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	l, ctx := env.Ledger, t.Context()
	spec := func(u *usedID, args string) schemas.Submitted {
		return schemas.Submitted{Type: u.typ, Queue: "default", Priority: schemas.PriorityNormal, Args: json.RawMessage(args)}
	}
	for i := range usedIDs {
		u := &usedIDs[i]
		step(t, l, "acme", u.id, &ledger.Begin{Spec: spec(u, `{"n": 1}`)})
		outcome := ledger.Outcome{Kind: schemas.EventCompleted, Result: json.RawMessage(`{"ok":true}`)}
		if u.failed {
			outcome = ledger.Outcome{Kind: schemas.EventFailed, Error: &schemas.JobError{Class: schemas.ClassPermanent, Message: "no"}}
		}
		endOne(t, l, "acme", u.id, runOne(t, l, "acme", u.id), outcome)
	}
	drawn := schemas.NewJobID()
	if err := ledger.MoveToArchive(ctx, l, end(t, l), true); err != nil {
		t.Fatal(err)
	}
	for name, reuse := range map[schemas.TypeName]schemas.ReusePolicy{"echo": "", "never": schemas.ReuseNever, "failed": schemas.ReuseFailed} {
		if _, err := l.PutType(ctx, schemas.TypeSettings{Name: name, Reuse: reuse}, ledger.Meta{}, "a test"); err != nil {
			t.Fatal(err)
		}
	}
	submitOne(t, l, "acme", drawn)
	if j, err := l.Fold(ctx, "acme", drawn); err != nil {
		t.Fatal(err)
	} else if earlier, err := l.Earlier(ctx, j); earlier != nil || err != nil {
		t.Fatalf("of an id that was drawn: %+v, %v", earlier, err)
	}
	for i := range usedIDs {
		u := &usedIDs[i]
		t.Run(string(u.id), func(t *testing.T) { u.again(t, env, spec(u, u.args)) })
	}
}

// again submits the id as one who knows of nothing, and judges it as the leader does.
func (u *usedID) again(t *testing.T, env *ledgertest.Env, spec schemas.Submitted) {
	l, ctx := env.NewLedger(), t.Context() // which knows nothing yet
	was, err := l.Fold(ctx, "acme", u.id)
	if err != nil || !was.Archived || !was.Emptied || was.Expect() != 0 || was.LastSeq == 0 {
		t.Fatalf("the archived job is %+v: %v", was, err)
	}
	data, err := ledger.Decide(&ledger.Job{Org: "acme", ID: u.id}, &ledger.Begin{Spec: spec})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Append(ctx, schemas.NewEvent(schemas.JobSubject("acme", u.id), data), 0); err != nil {
		t.Fatal(err)
	}
	j, err := l.Fold(ctx, "acme", u.id)
	if err != nil || j.State != schemas.StateSubmitted || j.Generation != 1 || j.Illegal != 0 {
		t.Fatalf("submitted again: %+v, %v", j, err)
	}
	earlier, err := l.Earlier(ctx, j)
	if err != nil || earlier == nil || earlier.SubmittedSeq != was.SubmittedSeq || earlier.State != was.State {
		t.Fatalf("the earlier life is %+v: %v", earlier, err)
	}
	settings, err := l.Type(ctx, u.typ)
	if err != nil {
		t.Fatal(err)
	}
	cmd := ledger.JudgeAgain(j, earlier, settings.Reuse)
	got := "runs"
	switch c := cmd.(type) {
	case *ledger.Cancel:
		got = "duplicate"
	case *ledger.DeadLetter:
		got = string(c.Reason)
	}
	if got != u.want {
		t.Fatalf("it %s, want %s", got, u.want)
	}
	if cmd == nil {
		return
	}
	if _, _, err := l.Do(ctx, "acme", u.id, cmd, ledger.Meta{}); err != nil {
		t.Fatal(err)
	}
	u.follow(t, l, was)
}

// follow asks for the job that was submitted again, as waiters, parents' children and submitters do.
func (u *usedID) follow(t *testing.T, l *ledger.Ledger, was *ledger.Job) {
	ctx := t.Context()
	if u.want != "duplicate" {
		return
	}
	h, err := l.History(ctx, "acme", u.id)
	if err != nil || h.Job.State != schemas.StateCanceled || h.StandsFor().Job.SubmittedSeq != was.SubmittedSeq || h.StandsFor().Job.State != was.State {
		t.Fatalf("the history is %+v: %v", h, err)
	}
	end, err := l.Ending(ctx, "acme", schemas.JobRef{ID: u.id, Generation: 1}, 0)
	if err != nil || end.State != was.State || end.Job.SubmittedSeq != was.SubmittedSeq {
		t.Fatalf("it ended as %+v: %v", end, err)
	}
	if schemas.CheckCallerJobID(string(u.id)) != nil {
		return
	}
	r, err := l.Submit(ctx, ledger.SubmitRequest{Org: "acme", Type: u.typ, ID: u.id, Args: json.RawMessage(u.args)})
	if err != nil || !r.Duplicate || r.Seq != was.SubmittedSeq || r.State != was.State {
		t.Fatalf("submitted a third time: %+v, %v", r, err)
	}
}

// A submitter who looks begins the next generation of an archived id, on its empty subject.
func TestSubmitArchivedID(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	l, ctx := env.Ledger, t.Context()
	completeOne(t, l, "acme", "again")
	if err := ledger.MoveToArchive(ctx, l, end(t, l), true); err != nil {
		t.Fatal(err)
	}
	if _, err := l.PutType(ctx, schemas.TypeSettings{Name: "echo", WindowMS: new(schemas.Millis)}, ledger.Meta{}, "a test"); err != nil {
		t.Fatal(err)
	}
	r, err := env.NewLedger().Submit(ctx, ledger.SubmitRequest{Org: "acme", Type: "echo", ID: "again", NoDedup: true})
	if err != nil || r.Generation != 2 || r.Duplicate {
		t.Fatalf("%+v, %v", r, err)
	}
	j, err := l.Fold(ctx, "acme", "again")
	if err != nil || j.Archived || j.Illegal != 0 || j.Generation != 2 {
		t.Fatalf("%+v, %v", j, err)
	}
	h, err := l.History(ctx, "acme", "again")
	// The four of the first life, carried, since a command on what has left begins with it, and the second life.
	if err != nil || len(h.Entries) != 6 || h.Entries[4].Name() != schemas.EventCarried || len(h.Attempts) != 1 {
		t.Fatalf("%d entries, %d attempts: %v", len(h.Entries), len(h.Attempts), err)
	}
}

// The stream's window of message ids may outlast the hot window, where a clock was ahead or an operator archived early: the
// submission that it names is found in the archive, and stands for the same work submitted again (R-07, DESIGN D4, D13).
func TestDuplicateOfWhatLeft(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	l, ctx := env.Ledger, t.Context()
	if _, err := l.PutType(ctx, schemas.TypeSettings{Name: "echo"}, ledger.Meta{}, "a test"); err != nil {
		t.Fatal(err)
	}
	r := ledger.SubmitRequest{Org: "acme", Type: "echo", Args: json.RawMessage(`{"same":1}`)}
	first, err := l.Submit(ctx, r) // it waits, and so stands for all that is the same
	if err != nil {
		t.Fatal(err)
	}
	if err := ledger.MoveToArchive(ctx, l, end(t, l), true); err != nil {
		t.Fatal(err)
	}
	if _, err := l.PutType(ctx, schemas.TypeSettings{Name: "echo"}, ledger.Meta{}, "as the archiver tells settings again"); err != nil {
		t.Fatal(err)
	}
	again, err := env.NewLedger().Submit(ctx, r)
	if err != nil || !again.Duplicate || again.ID != first.ID || again.Seq != first.Seq {
		t.Errorf("submitted again: %+v, %v; it was %+v", again, err, first)
	}
}
