package ledger_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/dartwing/jobledger/ledger"
	"github.com/dartwing/jobledger/ledger/ledgertest"
	"github.com/dartwing/jobledger/schemas"
)

// A job's history tells every event in order, over generations and retries, with where it led and why; an
// illegal event and one of a newer version are shown as such, a foreign message is no event (R-34, R-224,
// INTERFACE 2.5, C44).
func TestHistoryTellsTheWholeStory(t *testing.T) {
	t.Parallel()
	env := ledgertest.Start(t)
	env.SkipVerify()
	l := env.Ledger
	first := submitOne(t, l, "acme", "one")
	fence := runOne(t, l, "acme", "one")
	endOne(t, l, "acme", "one", fence, ledger.Outcome{Kind: schemas.EventFailed,
		Error: &schemas.JobError{Class: schemas.ClassPermanent, Message: "no such file"}})
	retried := step(t, l, "acme", "one", &ledger.Retry{Reason: "file is back", Now: time.Now()})
	publishRaw(t, l, "jobs.acme.one", nil, "not an event")
	fence = runOne(t, l, "acme", "one")
	illegal := schemas.NewEvent(schemas.JobSubject("acme", "one"), &schemas.Queued{Head: *retried.Data.(schemas.JobData).Common(), Policy: schemas.DefaultPolicy()})
	if err := l.Append(t.Context(), illegal, fence.Seq); err != nil {
		t.Fatal(err)
	}
	endOne(t, l, "acme", "one", fence, ledger.Outcome{Kind: schemas.EventCompleted, Result: []byte("{\n \"n\": 12345678901234567890}")})
	submitOne(t, l, "acme", "one")
	newer := publishUndecodable(t, l, "acme", "one")

	h, err := l.History(t.Context(), "acme", "one")
	if err != nil {
		t.Fatal(err)
	}
	if !h.Job.Unreadable || h.Job.Generation != 2 || h.Job.Illegal != 1 || len(h.Attempts) != 2 {
		t.Errorf("the story amounts to %+v with attempts %+v", h.Job, h.Attempts)
	}
	var text bytes.Buffer
	for _, line := range h.Lines() {
		b, err := line.Encode(false)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(append(b, '\n'))
	}
	want := []struct {
		event            schemas.EventName
		from, to, reason any
		attempt          any
		generation       any
	}{
		{"submitted", nil, "submitted", nil, nil, 1.0},
		{"queued", "submitted", "queued", nil, nil, 1.0},
		{"running", "queued", "running", nil, 1.0, 1.0},
		{"dead_lettered", "running", "dead_lettered", "permanent_error", 1.0, 1.0},
		{"retried", "dead_lettered", "submitted", "file is back", nil, 1.0},
		{"queued", "submitted", "queued", nil, nil, 1.0},
		{"running", "queued", "running", nil, 2.0, 1.0},
		{"queued", "dead_lettered", nil, nil, nil, 1.0},
		{"completed", "running", "completed", nil, 2.0, 1.0},
		{"submitted", "completed", "submitted", nil, nil, 2.0},
		{"paused", nil, nil, nil, nil, nil},
	}
	lines := bytes.Split(bytes.TrimSpace(text.Bytes()), []byte("\n"))
	if len(lines) != len(want) {
		t.Fatalf("history has %d lines, want %d:\n%s", len(lines), len(want), text.String())
	}
	for i, w := range want {
		var got map[string]any
		if err := json.Unmarshal(lines[i], &got); err != nil {
			t.Fatal(err)
		}
		for key, value := range map[string]any{"event": string(w.event), "from": w.from, "to": w.to, "reason": w.reason,
			"attempt": w.attempt, "generation": w.generation} {
			if v, there := got[key]; v != value || !there {
				t.Errorf("line %d: %s is %v, want %v:\n%s", i, key, v, value, lines[i])
			}
		}
		for _, key := range []string{"seq", "time", "actor", "data"} {
			if got[key] == nil {
				t.Errorf("line %d has no %s:\n%s", i, key, lines[i])
			}
		}
		if _, there := got["org"]; there {
			t.Errorf("line %d names the org, which is for replays:\n%s", i, lines[i])
		}
		if illegal := got["illegal"] == true; illegal != (i == 7) {
			t.Errorf("line %d: illegal is %t:\n%s", i, illegal, lines[i])
		}
	}
	for i, want := range map[int]string{0: `"args":{"n": 12345678901234567890}`, 8: `"result":{  "n": 12345678901234567890}`, 10: `"quarantined":"`} {
		if !bytes.Contains(lines[i], []byte(want)) {
			t.Errorf("line %d does not hold %s:\n%s", i, want, lines[i])
		}
	}
	if first.Seq != h.Entries[0].Seq || newer != h.Entries[len(h.Entries)-1].Seq {
		t.Errorf("the history runs from %d to %d, want %d to %d", h.Entries[0].Seq, h.Entries[len(h.Entries)-1].Seq, first.Seq, newer)
	}
	if _, err := l.History(t.Context(), "other", "one"); !errors.Is(err, ledger.ErrNotFound) {
		t.Errorf("another org's history: %v", err)
	}
}
