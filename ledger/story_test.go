package ledger_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// step carries one command out on a job: fold, decide, append.
func step(t testing.TB, l *ledger.Ledger, org schemas.OrgID, id schemas.JobID, c ledger.Command) *schemas.Event {
	t.Helper()
	ctx := t.Context()
	j, err := l.Fold(ctx, org, id)
	if err != nil && err != ledger.ErrNotFound {
		t.Fatal(err)
	}
	data, err := ledger.Decide(j, c)
	if err != nil {
		t.Fatal(err)
	}
	e := schemas.NewEvent(schemas.JobSubject(org, id), data)
	if err := l.Append(ctx, e, j.LastSeq); err != nil {
		t.Fatal(err)
	}
	return e
}

// submitOne submits a job of type echo.
func submitOne(t testing.TB, l *ledger.Ledger, org schemas.OrgID, id schemas.JobID) *schemas.Event {
	t.Helper()
	return step(t, l, org, id, &ledger.Begin{Spec: schemas.Submitted{Type: "echo", Queue: "default",
		Priority: schemas.PriorityNormal, Args: json.RawMessage(`{"n": 12345678901234567890}`)}})
}

// runOne takes a submitted job through queued to running.
func runOne(t testing.TB, l *ledger.Ledger, org schemas.OrgID, id schemas.JobID) schemas.Fence {
	t.Helper()
	step(t, l, org, id, &ledger.Queue{Policy: schemas.DefaultPolicy(), Now: time.Now().Add(time.Hour)})
	j, err := l.Fold(t.Context(), org, id)
	if err != nil {
		t.Fatal(err)
	}
	e := step(t, l, org, id, &ledger.Claim{Generation: j.Generation, Submitted: j.SubmittedSeq, Session: schemas.NewSessionID(), Worker: "w-1"})
	return schemas.Fence{Seq: e.Seq, ID: e.ID}
}

// endOne ends the current attempt.
func endOne(t testing.TB, l *ledger.Ledger, org schemas.OrgID, id schemas.JobID, fence schemas.Fence, o ledger.Outcome) *schemas.Event {
	t.Helper()
	j, err := l.Fold(t.Context(), org, id)
	if err != nil {
		t.Fatal(err)
	}
	o.Fence, o.Generation, o.Attempt, o.Now = fence, j.Generation, j.Attempt, time.Now()
	return step(t, l, org, id, &o)
}

// completeOne takes a new job through its whole story: four events.
func completeOne(t testing.TB, l *ledger.Ledger, org schemas.OrgID, id schemas.JobID) {
	t.Helper()
	submitOne(t, l, org, id)
	fence := runOne(t, l, org, id)
	endOne(t, l, org, id, fence, ledger.Outcome{Kind: schemas.EventCompleted, Result: []byte(`{"ok":true}`), Duration: 3 * time.Millisecond})
}

// fill publishes the whole stories of n jobs, four events each, without waiting between them: for reading
// tests that need many. It is valid history, written as one trusted writer would on an idle ledger.
func fill(t testing.TB, env *ledgertest.Env, org schemas.OrgID, n int) {
	t.Helper()
	end, err := env.Ledger.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	js := env.Ledger.JetStream()
	var entries []*ledger.Entry
	for i := range n {
		id := schemas.JobID(fmt.Sprintf("job-%d-%06d", end.Seq, i))
		entries = entries[:0]
		for _, c := range []func(j *ledger.Job) ledger.Command{
			func(*ledger.Job) ledger.Command {
				return &ledger.Begin{Spec: schemas.Submitted{Type: "echo", Queue: "default", Priority: schemas.PriorityNormal,
					Args: json.RawMessage(fmt.Sprintf(`{"text":"%0128d"}`, i))}}
			},
			func(*ledger.Job) ledger.Command {
				return &ledger.Queue{Policy: schemas.DefaultPolicy(), Now: time.Now().Add(time.Hour)}
			},
			func(j *ledger.Job) ledger.Command {
				return &ledger.Claim{Generation: 1, Submitted: j.SubmittedSeq, Session: schemas.NewSessionID(), Worker: "w-1"}
			},
			func(j *ledger.Job) ledger.Command {
				return &ledger.Outcome{Fence: j.Fence, Generation: 1, Attempt: 1, Kind: schemas.EventCompleted, Result: []byte(`{"ok":true}`)}
			},
		} {
			j := ledger.FoldEvents(org, id, entries)
			data, err := ledger.Decide(j, c(j))
			if err != nil {
				t.Fatal(err)
			}
			e := schemas.NewEvent(schemas.JobSubject(org, id), data)
			end.Seq++
			e.Seq, e.Time = end.Seq, time.Now()
			m, err := e.Encode()
			if err != nil {
				t.Fatal(err)
			}
			m.Header[schemas.HeaderExpect] = []string{j.LastSeq.String()}
			if _, err := js.PublishMsgAsync(m); err != nil {
				t.Fatal(err)
			}
			entries = append(entries, &ledger.Entry{Event: e})
		}
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-time.After(time.Minute):
		t.Fatal("filling the ledger took more than a minute")
	}
	if got, err := env.Ledger.End(t.Context()); err != nil || got.Seq != end.Seq {
		t.Fatalf("the filled ledger ends at %d, want %d: %v", got.Seq, end.Seq, err)
	}
}

// publishRaw stores a message as it is.
func publishRaw(t testing.TB, l *ledger.Ledger, subject string, h nats.Header, body string) schemas.Seq {
	t.Helper()
	ack, err := l.JetStream().PublishMsg(t.Context(), &nats.Msg{Subject: subject, Header: h, Data: []byte(body)})
	if err != nil {
		t.Fatal(err)
	}
	return schemas.Seq(ack.Sequence)
}

// publishUndecodable stores an event of ours that only a newer version could read.
func publishUndecodable(t testing.TB, l *ledger.Ledger, org schemas.OrgID, id schemas.JobID) schemas.Seq {
	t.Helper()
	return publishRaw(t, l, schemas.JobSubject(org, id).String(), nats.Header{
		schemas.HeaderSpecVersion: {"1.0"}, schemas.HeaderID: {string(schemas.NewEventID())},
		schemas.HeaderSource: {"/orgs/" + string(org)}, schemas.HeaderType: {"jobledger.v2.paused"},
	}, `{"until":"tomorrow"}`)
}

// startFeed runs a feed until the test ends.
func startFeed(t testing.TB, cfg ledger.FeedConfig) *ledger.Feed {
	t.Helper()
	f, err := ledger.NewFeed(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return f
}

// read takes entries from a cursor until one at or above seq has come.
func read(t testing.TB, c *ledger.Cursor, seq schemas.Seq) []*ledger.Entry {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var all []*ledger.Entry
	for c.Position().Seq < seq {
		entries, err := c.Next(ctx)
		if err != nil {
			t.Fatalf("next behind %d, waiting for %d: %v", c.Position().Seq, seq, err)
		}
		all = append(all, entries...)
	}
	return all
}

// checkWhole reports entries that are not exactly the sequences from first to last.
func checkWhole(t testing.TB, entries []*ledger.Entry, first, last schemas.Seq) {
	t.Helper()
	if got, want := len(entries), int(last-first+1); got != want {
		t.Fatalf("read %d entries, want %d", got, want)
	}
	for i, e := range entries {
		if e.Seq != first+schemas.Seq(i) {
			t.Fatalf("entry %d has sequence %d, want %d", i, e.Seq, first+schemas.Seq(i))
		}
	}
}

func end(t testing.TB, l *ledger.Ledger) schemas.Seq {
	t.Helper()
	p, err := l.End(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p.Seq
}
