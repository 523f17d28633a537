package ledger_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// past makes random stories in LEDGER, moves random beginnings of it to ARCHIVE, and keeps a copy of everything.
type past struct {
	t    testing.TB
	rand *rand.Rand
	env  *ledgertest.Env
	l    *ledger.Ledger
	jobs []schemas.Subject
	copy []*ledger.Entry // every message, by sequence from 1 on
	kept schemas.Seq     // everything up to here has left LEDGER
}

func newPast(t testing.TB, seed uint64, jobs int) *past {
	env := ledgertest.Start(t)
	w := &past{t: t, rand: rand.New(rand.NewPCG(seed, 1)), env: env, l: env.Ledger}
	for i := range jobs {
		id := schemas.NewJobID()
		if i%2 == 0 {
			id = schemas.JobID(fmt.Sprintf("own-%d", i))
		}
		w.jobs = append(w.jobs, schemas.JobSubject(schemas.OrgID(fmt.Sprintf("org%d", i%3)), id))
	}
	return w
}

// act does one thing to one job, or to the settings, and now and then something that nobody should.
func (w *past) act() {
	at := w.jobs[w.rand.IntN(len(w.jobs))]
	switch w.rand.IntN(20) {
	case 0:
		publishRaw(w.t, w.l, at.String(), nil, "who is this?")
		return
	case 1:
		if _, err := w.l.PutType(w.t.Context(), schemas.TypeSettings{Name: "echo", MaxRunning: 1 + w.rand.IntN(9)}, ledger.Meta{}, "a test"); err != nil {
			w.t.Fatal(err)
		}
		return
	}
	w.command(at)
}

// command carries out a random command that is legal; a job that is in ARCHIVE is carried first.
func (w *past) command(at schemas.Subject) {
	ctx := w.t.Context()
	for range 50 {
		j, err := w.l.Fold(ctx, at.Org, at.Job)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			w.t.Fatal(err)
		}
		c := w.random(j)
		data, err := ledger.Decide(j, c)
		if err != nil || data == nil {
			continue
		}
		if _, begins := c.(*ledger.Begin); !begins && (j.Archived || w.leaving(at)) {
			if data, err = ledger.Decide(j, &ledger.Carry{}); err != nil {
				for _, e := range w.of(at) {
					w.t.Logf("%d %s", e.Seq, e.Name())
				}
				w.t.Fatalf("%s is in ARCHIVE up to %d (archived %t, emptied %t): %v", at, w.kept, j.Archived, j.Emptied, err)
			}
		}
		if err := w.l.Append(ctx, schemas.NewEvent(at, data), j.Expect()); err != nil {
			w.t.Fatalf("%s of %s, expecting %d (archived %t, emptied %t): %v", data.Name(), at, j.Expect(), j.Archived, j.Emptied, err)
		}
		return
	}
}

// leaving reports that no message of a job which stays in LEDGER begins it: it is to be carried before anything else.
func (w *past) leaving(at schemas.Subject) bool {
	w.remember()
	for _, e := range w.of(at) {
		switch e.Data.(type) {
		case *schemas.Submitted, *schemas.Carried:
			if e.Seq > w.kept {
				return false
			}
		}
	}
	return w.kept > 0
}

func (w *past) random(j *ledger.Job) ledger.Command {
	now := time.Now().Add(1000 * time.Hour)
	fence := j.Fence
	switch w.rand.IntN(12) {
	case 0, 1:
		return &ledger.Begin{Spec: schemas.Submitted{Type: "echo", Queue: "default", Priority: schemas.PriorityNormal,
			Args: json.RawMessage(fmt.Sprintf(`{"n": %d}`, w.rand.IntN(1000)))}}
	case 2, 3, 4:
		if j.State == schemas.StateQueued {
			return &ledger.Claim{Generation: j.Generation, Submitted: j.SubmittedSeq, Session: schemas.NewSessionID(), Worker: "w-1"}
		}
		return &ledger.Queue{Policy: schemas.DefaultPolicy(), Now: now}
	case 5, 6:
		return &ledger.Outcome{Fence: fence, Generation: j.Generation, Attempt: j.Attempt, Kind: schemas.EventCompleted, Now: now,
			Result: json.RawMessage(`{"ok":true}`), Duration: time.Millisecond}
	case 7:
		return &ledger.Outcome{Fence: fence, Generation: j.Generation, Attempt: j.Attempt, Kind: schemas.EventFailed, Now: now,
			Error: &schemas.JobError{Class: schemas.ClassTransient, Message: "not now", Stack: "at main"}}
	case 8:
		return &ledger.Cancel{Reason: "enough"}
	case 9:
		return &ledger.Retry{Reason: "once more", Now: now}
	case 10:
		return &ledger.Lose{Fence: fence, Cause: schemas.LossWorkerGone}
	}
	return &ledger.Carry{}
}

// remember reads what was stored since the last time.
func (w *past) remember() {
	from := schemas.Seq(len(w.copy)) + 1
	if err := w.l.Replay(w.t.Context(), ledger.ReplayQuery{From: ledger.ReplayBound{Seq: from}, Foreign: true}, func(e *ledger.Entry) error {
		w.copy = append(w.copy, e)
		return nil
	}); err != nil {
		w.t.Fatal(err)
	}
	for i, e := range w.copy {
		if e.Seq != schemas.Seq(i)+1 {
			w.t.Fatalf("message %d has sequence %d", i+1, e.Seq)
		}
	}
}

// move moves a random beginning to ARCHIVE, never a part of a job that runs.
func (w *past) move() {
	w.remember()
	through := w.kept + 1 + schemas.Seq(w.rand.IntN(max(1, len(w.copy)-int(w.kept))))
	through = min(through, schemas.Seq(len(w.copy)))
	for _, at := range w.jobs {
		of := w.of(at)
		if ledger.FoldEvents(at.Org, at.Job, of).State != schemas.StateRunning {
			continue
		}
		for _, e := range slices.Backward(of) {
			_, submitted := e.Data.(*schemas.Submitted)
			if _, carried := e.Data.(*schemas.Carried); submitted || carried {
				through = min(through, e.Seq-1)
				break
			}
		}
	}
	if through <= w.kept {
		return
	}
	purge := w.rand.IntN(3) > 0
	if err := ledger.MoveToArchive(w.t.Context(), w.l, through, purge); err != nil {
		w.t.Fatal(err)
	}
	w.kept = through
}

// of are the copy's messages on a subject.
func (w *past) of(at schemas.Subject) (of []*ledger.Entry) {
	for _, e := range w.copy {
		if e.RawSubject == at.String() {
			of = append(of, e)
		}
	}
	return of
}

// TestOneHistory compares every reader with a copy of the whole history, after random stories and with random
// beginnings of it in ARCHIVE.
func TestOneHistory(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			w := newPast(t, seed, 12)
			for range 5 {
				for range 30 {
					w.act()
				}
				w.move()
				w.checkJobs()
			}
			w.remember()
			w.checkJobs()
			w.checkReplays()
			w.checkCursors()
		})
	}
}

func (w *past) checkJobs() {
	t, ctx := w.t, w.t.Context()
	w.remember()
	for _, at := range w.jobs {
		of := w.of(at)
		want := ledger.FoldEvents(at.Org, at.Job, of)
		got, err := w.l.Fold(ctx, at.Org, at.Job)
		if !want.Exists() {
			if !errors.Is(err, ledger.ErrNotFound) {
				t.Fatalf("%s: %v", at, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		sameJSON(t, fmt.Sprintf("fold of %s", at), ledger.SinceBegun(got), ledger.SinceBegun(want))
		if h, err := w.l.History(ctx, at.Org, at.Job); err != nil || !sameMessages(h.Entries, of) {
			t.Fatalf("history of %s: %d entries instead of %d: %v", at, len(h.Entries), len(of), err)
		}
		cut := of[w.rand.IntN(len(of))].Seq
		before, err := w.l.FoldBefore(ctx, at.Org, at.Job, cut)
		if err != nil {
			t.Fatal(err)
		}
		sameJSON(t, fmt.Sprintf("fold of %s before %d", at, cut), ledger.SinceBegun(before),
			ledger.SinceBegun(ledger.FoldEvents(at.Org, at.Job, slices.DeleteFunc(slices.Clone(of), func(e *ledger.Entry) bool { return e.Seq >= cut }))))
		for g := range want.Generation + 1 {
			ref := schemas.JobRef{ID: at.Job, Generation: g}
			end, err := w.l.Ending(ctx, at.Org, ref, 0)
			if err != nil {
				t.Fatal(err)
			}
			whole := ledger.EndingOf(at.Org, ref, of)
			if end.Ref != whole.Ref || end.State != whole.State {
				t.Fatalf("ending of %s %d: %s %+v, want %s %+v", at, g, end.State, end.Ref, whole.State, whole.Ref)
			}
		}
		e, err := w.l.EventAt(ctx, cut)
		if err != nil || !sameMessages([]*ledger.Entry{e}, []*ledger.Entry{w.copy[cut-1]}) {
			t.Fatalf("event %d: %v", cut, err)
		}
	}
}

// checkReplays compares replays by org, job, type, event, sequence and time, each made twice.
func (w *past) checkReplays() {
	n := schemas.Seq(len(w.copy))
	a := 1 + schemas.Seq(w.rand.IntN(int(n)))
	b := a + schemas.Seq(w.rand.IntN(int(n-a)+1))
	one := w.jobs[w.rand.IntN(len(w.jobs))]
	for _, q := range []ledger.ReplayQuery{
		{}, {From: ledger.ReplayBound{Seq: a}, To: ledger.ReplayBound{Seq: b}}, {Org: "org1"}, {Org: one.Org, Job: one.Job},
		{Org: "org2", From: ledger.ReplayBound{Seq: a}, To: ledger.ReplayBound{Seq: b}}, {Type: "echo"}, {Event: schemas.EventCarried},
		{From: ledger.ReplayBound{Time: w.copy[a-1].Time}, To: ledger.ReplayBound{Time: w.copy[b-1].Time}},
		{Org: "org0", From: ledger.ReplayBound{Time: w.copy[a-1].Time}},
	} {
		var want []schemas.Seq
		for _, e := range w.copy {
			if selects(&q, e) {
				want = append(want, e.Seq)
			}
		}
		got, ndjson, cloud := replay(w.t, w.l, q)
		if !slices.Equal(got, want) {
			w.t.Fatalf("replay %+v: %v, want %v", q, got, want)
		}
		again, ndjson2, cloud2 := replay(w.t, w.l, q)
		if !slices.Equal(got, again) || ndjson != ndjson2 || cloud != cloud2 {
			w.t.Fatalf("replay %+v: two runs differ", q)
		}
	}
}

// selects says by the book whether a query is about e.
func selects(q *ledger.ReplayQuery, e *ledger.Entry) bool {
	if e.Err != nil || q.Org != "" && e.Org != q.Org || q.Job != "" && e.Job != q.Job || q.Event != "" && e.Name() != q.Event {
		return false
	}
	if q.From.Seq > e.Seq || q.To.Seq > 0 && e.Seq > q.To.Seq || e.Time.Before(q.From.Time) || !q.To.Time.IsZero() && e.Time.After(q.To.Time) {
		return false
	}
	line := ledger.LineOf(e)
	return q.Type == "" || line.Type != nil && *line.Type == q.Type
}

// checkCursors reads from the beginning and from anywhere, through a feed.
func (w *past) checkCursors() {
	f := startFeed(w.t, ledger.FeedConfig{Ledger: w.env.NewLedger(), Capacity: 8})
	n := len(w.copy)
	for _, from := range []int{0, w.rand.IntN(n), n - 1, n} {
		after := schemas.Position{}
		if from > 0 {
			after = w.copy[from-1].Position()
		}
		c := f.SubscribeHistory(after)
		for at := from; at < n; {
			entries, err := c.Next(w.t.Context())
			if err != nil {
				w.t.Fatalf("behind %d: %v", at, err)
			}
			for _, e := range entries {
				if e.Position() != w.copy[at].Position() {
					w.t.Fatalf("behind %d comes %d", at, e.Seq)
				}
				at++
			}
		}
		c.Close()
	}
	if w.kept > 2 { // a restore puts another event there, and only that voids a position (DESIGN D2)
		c := f.SubscribeHistory(schemas.Position{Seq: w.kept - 1, ID: schemas.NewEventID()})
		if _, err := c.Next(w.t.Context()); !errors.Is(err, ledger.ErrPositionExpired) {
			w.t.Fatalf("behind another event at %d: %v", w.kept-1, err)
		}
		c.Close()
	}
}

func sameJSON(t testing.TB, what string, got, want any) {
	t.Helper()
	a, errA := json.Marshal(got)
	b, errB := json.Marshal(want)
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		t.Fatalf("%s is\n%s\nwant\n%s", what, a, b)
	}
}

func sameMessages(a, b []*ledger.Entry) bool {
	return slices.EqualFunc(a, b, func(x, y *ledger.Entry) bool {
		return x.Position() == y.Position() && x.RawSubject == y.RawSubject && x.Time.Equal(y.Time) && bytes.Equal(x.Body, y.Body)
	})
}
